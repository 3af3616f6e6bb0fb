//! What a key is, and what one operation makes of it.

use crate::problem::{Effect, NEVER, Named, Part};

/// A key at one moment of a possible order.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct KeyState {
    /// 0: absent.
    pub(crate) version: u64,
    /// The largest version it ever had.
    pub(crate) last: u64,
    /// When it may be gone by itself, and until when it may be seen.
    pub(crate) expires_us: u64,
    pub(crate) seen_until_us: u64,
}

impl KeyState {
    pub(crate) const ABSENT: Self =
        Self { version: 0, last: 0, expires_us: NEVER, seen_until_us: NEVER };

    pub(crate) fn expired(self) -> Self {
        Self { last: self.last, ..Self::ABSENT }
    }

    /// Adds to `into` what the key may be after the part took effect at `now_us`: nothing where it cannot, several where
    /// the version that it gives is open.
    ///
    /// An `idle` change is left out where `idle` says so: one that helps nothing that comes later.
    pub(crate) fn after(
        self,
        part: &Part<'_>,
        named: &Named<'_>,
        now_us: u64,
        idle: Idle,
        into: &mut Vec<Self>,
    ) {
        let shows = self.version > 0 && part.is_timely();
        match part.effect {
            Effect::See(version) => {
                if version == self.version && !(shows && now_us > self.seen_until_us) {
                    into.push(self);
                }
            }
            Effect::Put(..) | Effect::Delete(_) if !part.event.condition().holds(self.version) => {}
            Effect::Put(..) | Effect::Delete(_)
                if part.needs_presence()
                    && (self.version == 0 || shows && now_us > self.seen_until_us) => {}
            Effect::Put(version, life) => {
                // Over what stays anyway, a put changes nothing but the version.
                let pointless =
                    self.version > 0 && self.expires_us == NEVER && life.expires_us == NEVER;
                for (version, asked_for) in self.versions(version, true, named) {
                    if asked_for || idle == Idle::Keep || !pointless {
                        into.push(Self {
                            version,
                            last: version,
                            expires_us: life.expires_us,
                            seen_until_us: life.seen_until_us,
                        });
                    }
                }
            }
            Effect::Delete(None) if self.version == 0 => {
                if idle == Idle::Keep {
                    into.push(self);
                }
            }
            Effect::Delete(version) => {
                let versions = self.versions(version, false, named);
                into.extend(versions.into_iter().map(|(last, _)| Self { last, ..Self::ABSENT }));
            }
        }
    }

    /// The versions that a write may give now, and whether something asks for that one.
    ///
    /// A version that no answer names is the smallest possible: that leaves the most room for others.
    fn versions(self, given: Option<u64>, put: bool, named: &Named<'_>) -> Vec<(u64, bool)> {
        let next = named.versions.range(self.last + 1..).next();
        if let Some(given) = given {
            let is_next = next.is_some_and(|(next, _)| *next == given);
            return is_next.then_some((given, true)).into_iter().collect();
        }
        let end = next.map_or(NEVER, |(next, _)| *next);
        let smallest = self.last + 1;
        let mut versions = Vec::new();
        let nobodys = next.filter(|(_, writer)| writer.is_none());
        if put {
            versions.extend(nobodys.map(|(version, _)| (*version, true)));
            let first = named.wanted.partition_point(|wanted| *wanted < smallest);
            let wanted = named.wanted[first..].iter().take_while(|wanted| **wanted < end);
            versions.extend(wanted.map(|wanted| (*wanted, true)));
        }
        if smallest < end && !versions.contains(&(smallest, true)) {
            versions.push((smallest, false));
        }
        versions
    }
}

/// What becomes of changes that help nothing that comes later.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Idle {
    /// They happened.
    Keep,
    /// They may as well not have happened.
    Skip,
}
