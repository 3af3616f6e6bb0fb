//! A history of some keys as what the search works on: calls that took effect at one moment each, with the window of that
//! moment, and calls that may have.

use std::collections::BTreeMap;

use crate::facts::Fact;
use crate::{Condition, Event, Operation, Options, Outcome};

/// No limit, or an end that never comes.
pub(crate) const NEVER: u64 = u64::MAX;

pub(crate) struct Problem<'a> {
    pub(crate) keys: Vec<Named<'a>>,
    /// What took effect, by the start of its window.
    pub(crate) calls: Vec<Call<'a>>,
    /// What may have taken effect.
    pub(crate) maybes: Vec<Maybe<'a>>,
    /// The maybes in classes: those of one class do the same, and stand in the order of their sending.
    pub(crate) classes: Vec<Vec<u32>>,
}

/// The versions of a key that answers name.
#[derive(Default)]
pub(crate) struct Named<'a> {
    /// Those that were certainly given, and to which event; to an unknown one where no answer says.
    pub(crate) versions: BTreeMap<u64, Option<&'a Event>>,
    /// Those that writes of unknown outcome would have needed.
    pub(crate) wanted: Vec<u64>,
}

/// One operation, or an atomic batch.
pub(crate) struct Call<'a> {
    pub(crate) parts: Vec<Part<'a>>,
    pub(crate) from_us: u64,
    pub(crate) to_us: u64,
    /// It shows that the key is there, and if what an answer names as the version before still stands, by then.
    pub(crate) shows_by_us: u64,
    /// A call of the same batch on the same key that goes first.
    pub(crate) after: Option<u32>,
    /// Something of unknown outcome stands before it in its batch.
    pub(crate) after_maybe: bool,
}

/// A call that may have taken effect, at any time since it was sent.
pub(crate) struct Maybe<'a> {
    pub(crate) parts: Vec<Part<'a>>,
    pub(crate) from_us: u64,
    /// When it can have gone by itself.
    pub(crate) expires_us: u64,
    /// The first of as many numbers as there are maybes that do the same once they are due, this one included. Absent:
    /// there is no other like it.
    pub(crate) alike: Option<u32>,
    /// Its batch has more on its key.
    in_company: bool,
    /// Calls of the same batch on the same key that stand before and behind it.
    pub(crate) calls_before: Vec<u32>,
    pub(crate) calls_behind: Vec<u32>,
    pub(crate) maybes_behind: Vec<u32>,
}

/// One operation on one key.
#[derive(Clone, Copy)]
pub(crate) struct Part<'a> {
    pub(crate) event: &'a Event,
    /// An index of [`Problem::keys`].
    pub(crate) key: usize,
    pub(crate) effect: Effect,
}

#[derive(Clone, Copy)]
pub(crate) enum Effect {
    /// Shows the key at this version, 0 for absent, and leaves it so.
    See(u64),
    /// Writes at this version, where an answer names it.
    Put(Option<u64>, Life),
    Delete(Option<u64>),
}

/// When what a put wrote may be gone by itself, and until when it may be seen.
#[derive(Clone, Copy)]
pub(crate) struct Life {
    pub(crate) expires_us: u64,
    pub(crate) seen_until_us: u64,
}

impl Part<'_> {
    pub(crate) fn is_write(&self) -> bool {
        !matches!(self.effect, Effect::See(_))
    }

    pub(crate) fn is_put(&self) -> bool {
        matches!(self.effect, Effect::Put(..))
    }

    fn expires_us(&self) -> u64 {
        match self.effect {
            Effect::Put(_, life) => life.expires_us,
            Effect::See(_) | Effect::Delete(_) => NEVER,
        }
    }

    /// Whether it was answered, and by a leader: a stale read may show what is due, and what was never answered promises
    /// nothing.
    pub(crate) fn is_timely(&self) -> bool {
        self.event.staleness_us.is_none() && self.event.outcome != Outcome::Unknown
    }

    /// Whether it takes effect only on a key that is there.
    pub(crate) fn needs_presence(&self) -> bool {
        let named = match self.event.condition() {
            Condition::Exists => true,
            Condition::Version(version) => version > 0,
            Condition::Always | Condition::Absent => false,
        };
        let deleted = matches!(self.effect, Effect::Delete(_));
        named || deleted && self.event.outcome != Outcome::Unknown
    }

    /// The version that it shows to stand when it takes effect.
    pub(crate) fn shown(&self) -> Option<u64> {
        match (self.effect, self.event.condition()) {
            (Effect::See(version), _) | (_, Condition::Version(version)) => Some(version),
            _ => None,
        }
    }
}

impl Call<'_> {
    pub(crate) fn is_write(&self) -> bool {
        self.parts.iter().any(Part::is_write)
    }
}

impl<'a> Problem<'a> {
    /// The facts of each key.
    pub(crate) fn new(facts: &[&[Fact<'a>]], options: &Options) -> Self {
        let mut problem = Self {
            keys: facts.iter().map(|_| Named::default()).collect(),
            calls: Vec::new(),
            maybes: Vec::new(),
            classes: Vec::new(),
        };
        let mut batches: BTreeMap<u64, Vec<(Fact<'a>, usize)>> = BTreeMap::new();
        for (key, facts) in facts.iter().enumerate() {
            for fact in *facts {
                match fact.event.batch {
                    Some(at)
                        if at.atomic && !matches!(fact.event.outcome, Outcome::Refused { .. }) =>
                    {
                        batches.entry(at.batch).or_default().push((*fact, key));
                    }
                    _ => problem.push(&[(*fact, key)], options),
                }
            }
        }
        for mut members in batches.into_values() {
            members.sort_by_key(|(fact, _)| fact.event.batch.map(|at| at.position));
            problem.push(&members, options);
        }
        problem.name_versions();
        problem.narrow();
        problem.calls.sort_by_key(|call| call.from_us);
        problem.order_batches();
        problem.classify();
        problem
    }

    /// Adds what takes effect at one moment.
    fn push(&mut self, members: &[(Fact<'a>, usize)], options: &Options) {
        let parts: Vec<_> = members.iter().map(|(fact, key)| part(*fact, *key, options)).collect();
        let event = members[0].0.event;
        let from_us = event.invoked_us.saturating_sub(event.staleness_us.unwrap_or(0));
        match members.iter().filter_map(|(fact, _)| fact.known_us).min() {
            Some(to_us) => self.calls.push(Call {
                parts,
                from_us,
                to_us,
                shows_by_us: NEVER,
                after: None,
                after_maybe: false,
            }),
            None => self.maybes.push(Maybe {
                expires_us: parts.iter().map(Part::expires_us).min().unwrap_or(NEVER),
                parts,
                from_us,
                alike: None,
                in_company: false,
                calls_before: Vec::new(),
                calls_behind: Vec::new(),
                maybes_behind: Vec::new(),
            }),
        }
    }

    fn name_versions(&mut self) {
        for part in self.calls.iter().flat_map(|call| &call.parts) {
            let versions = &mut self.keys[part.key].versions;
            if let Some(shown) = part.shown().filter(|shown| *shown > 0) {
                versions.entry(shown).or_default();
            }
            if let Effect::Put(Some(version), _) | Effect::Delete(Some(version)) = part.effect {
                versions.insert(version, Some(part.event));
            }
        }
        for part in self.maybes.iter().flat_map(|maybe| &maybe.parts) {
            let key = &mut self.keys[part.key];
            if let Some(shown) = part.shown()
                && !key.versions.contains_key(&shown)
            {
                key.wanted.push(shown);
            }
        }
        for key in &mut self.keys {
            key.wanted.sort_unstable();
            key.wanted.dedup();
        }
    }

    /// Operations of one batch on one key take effect in order.
    fn order_batches(&mut self) {
        let mut batches: BTreeMap<(usize, u64), Vec<Place>> = BTreeMap::new();
        let calls = (0..).zip(&self.calls).map(|(index, call)| (&call.parts, Which::Call(index)));
        let maybes =
            (0..).zip(&self.maybes).map(|(index, maybe)| (&maybe.parts, Which::Maybe(index)));
        for (parts, which) in calls.chain(maybes) {
            if let Some(at) = parts[0].event.batch.filter(|at| !at.atomic) {
                let members = batches.entry((parts[0].key, at.batch)).or_default();
                members.push(Place { position: at.position, which });
            }
        }
        for mut members in batches.into_values().filter(|members| members.len() > 1) {
            members.sort_unstable_by_key(|member| member.position);
            for (place, member) in members.iter().enumerate() {
                let (before, behind) = (&members[..place], &members[place + 1..]);
                match member.which {
                    Which::Call(index) => {
                        let call = &mut self.calls[index as usize];
                        call.after = calls_of(before).last();
                        call.after_maybe = maybes_of(before).next().is_some();
                    }
                    Which::Maybe(index) => {
                        let maybe = &mut self.maybes[index as usize];
                        maybe.in_company = true;
                        maybe.calls_before = calls_of(before).collect();
                        maybe.calls_behind = calls_of(behind).collect();
                        maybe.maybes_behind = maybes_of(behind).collect();
                    }
                }
            }
        }
    }

    fn classify(&mut self) {
        let mut order: Vec<u32> = (0..).zip(&self.maybes).map(|(index, _)| index).collect();
        order.sort_by_key(|index| self.maybes[*index as usize].from_us);
        let mut kinds: BTreeMap<_, Vec<u32>> = BTreeMap::new();
        for index in order {
            match self.maybes[index as usize].kind() {
                Some(kind) => kinds.entry(kind).or_default().push(index),
                None => self.classes.push(vec![index]),
            }
        }
        let mut alike = u32::try_from(self.maybes.len()).unwrap_or(u32::MAX);
        for (Kind { immortal, .. }, members) in kinds {
            members.iter().for_each(|member| self.maybes[*member as usize].alike = Some(alike));
            alike = alike.saturating_add(u32::try_from(members.len()).unwrap_or(u32::MAX));
            match immortal {
                true => self.classes.push(members),
                false => self.classes.extend(members.into_iter().map(|member| vec![member])),
            }
        }
    }
}

/// A place in a batch.
struct Place {
    position: u32,
    which: Which,
}

#[derive(Clone, Copy)]
enum Which {
    Call(u32),
    Maybe(u32),
}

fn calls_of(places: &[Place]) -> impl Iterator<Item = u32> {
    places.iter().filter_map(|place| match place.which {
        Which::Call(index) => Some(index),
        Which::Maybe(_) => None,
    })
}

fn maybes_of(places: &[Place]) -> impl Iterator<Item = u32> {
    places.iter().filter_map(|place| match place.which {
        Which::Maybe(index) => Some(index),
        Which::Call(_) => None,
    })
}

/// What is equal for all that do the same: at any time, or where they expire, once they are due.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    key: usize,
    put: bool,
    immortal: bool,
    condition: (u8, u64),
}

impl Maybe<'_> {
    /// Nothing for what is like no other.
    fn kind(&self) -> Option<Kind> {
        let [part] = self.parts[..] else {
            return None;
        };
        let condition = match part.event.condition() {
            Condition::Always => (0, 0),
            // Deleting what is not there does nothing.
            Condition::Exists if !part.is_put() => (0, 0),
            Condition::Absent | Condition::Version(0) => (1, 0),
            Condition::Exists => (2, 0),
            Condition::Version(version) => (3, version),
        };
        let kind = Kind {
            key: part.key,
            put: part.is_put(),
            immortal: self.expires_us == NEVER,
            condition,
        };
        (!self.in_company).then_some(kind)
    }
}

fn part<'a>(fact: Fact<'a>, key: usize, options: &Options) -> Part<'a> {
    let Fact { event, version, known_us } = fact;
    let effect = match (&event.operation, &event.outcome) {
        (_, Outcome::Absent) => Effect::See(0),
        (_, Outcome::Found { version, .. }) => Effect::See(*version),
        (_, Outcome::Refused { current_version }) => Effect::See(*current_version),
        (Operation::Put { ttl_ms, .. }, _) => {
            let ttl_us = ttl_ms.map_or(NEVER, |ttl_ms| ttl_ms.saturating_mul(1000));
            let late_us = ttl_us.saturating_add(options.expiry_late_us);
            Effect::Put(
                version,
                Life {
                    expires_us: event.invoked_us.saturating_add(ttl_us),
                    seen_until_us: known_us.unwrap_or(NEVER).saturating_add(late_us),
                },
            )
        }
        (Operation::Delete { .. } | Operation::Get, _) => Effect::Delete(version),
    };
    Part { event, key, effect }
}
