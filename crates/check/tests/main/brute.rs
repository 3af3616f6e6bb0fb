//! Every possible order of a small history, tried one by one: no windows, no memory of what was tried, no shortcuts.

use std::collections::BTreeMap;

use ringfort_check::{Condition, Event, Operation, Outcome};

#[derive(Clone, Default)]
struct Key<'a> {
    standing: Option<Standing<'a>>,
    last: u64,
}

#[derive(Clone)]
struct Standing<'a> {
    value: &'a str,
    version: u64,
    expires_us: u64,
    seen_until_us: u64,
}

#[derive(Clone, Default)]
struct World<'a> {
    now_us: u64,
    placed: Vec<bool>,
    keys: BTreeMap<&'a str, Key<'a>>,
    /// What identified writes came to.
    answers: BTreeMap<(&'a str, u64), Outcome>,
}

pub(crate) struct Brute<'a> {
    history: &'a [Event],
    /// What takes effect at one moment.
    units: Vec<Vec<&'a Event>>,
    late_us: u64,
    version_max: u64,
}

impl<'a> Brute<'a> {
    pub(crate) fn new(history: &'a [Event], late_us: u64) -> Self {
        let mut units: Vec<Vec<&Event>> = Vec::new();
        for event in history {
            let refused = matches!(event.outcome, Outcome::Refused { .. });
            let atomic = event.batch.filter(|at| at.atomic && !refused);
            let mate = |unit: &&mut Vec<&Event>| {
                let first = unit[0];
                let first_refused = matches!(first.outcome, Outcome::Refused { .. });
                !first_refused && first.batch.map(|at| at.batch) == atomic.map(|at| at.batch)
            };
            match units.iter_mut().filter(|_| atomic.is_some()).find(mate) {
                Some(unit) => unit.push(event),
                None => units.push(vec![event]),
            }
        }
        for unit in &mut units {
            unit.sort_by_key(|event| event.batch.map(|at| at.position));
        }
        let versions = history.iter().map(|event| {
            let asked = match event.condition() {
                Condition::Version(version) => version,
                _ => 0,
            };
            event.named_version().unwrap_or(0).max(asked)
        });
        let version_max = versions.max().unwrap_or(0);
        Self { history, units, late_us, version_max }
    }

    /// Whether there is an order.
    pub(crate) fn explains(&self) -> bool {
        self.goes_on(&World { placed: vec![false; self.units.len()], ..World::default() })
    }

    fn goes_on(&self, world: &World<'a>) -> bool {
        let left = || self.units.iter().zip(&world.placed).filter(|(_, placed)| !**placed);
        let mut must =
            left().filter(|(unit, _)| is_answered(unit) && !self.is_void(unit)).peekable();
        if must.peek().is_none() {
            return true;
        }
        if must.any(|(unit, _)| world.now_us > returned_us(unit)) {
            return false;
        }
        for (name, key) in &world.keys {
            if let Some(standing) = &key.standing
                && standing.expires_us < u64::MAX
            {
                let mut next = world.clone();
                next.now_us = next.now_us.max(standing.expires_us);
                next.keys.get_mut(name).unwrap().standing = None;
                if self.goes_on(&next) {
                    return true;
                }
            }
        }
        (0..self.units.len()).any(|index| {
            !world.placed[index] && self.place(world, index).iter().any(|next| self.goes_on(next))
        })
    }

    /// A part of an atomic batch that was refused after it had written the key itself says nothing.
    fn is_void(&self, unit: &[&Event]) -> bool {
        let event = unit[0];
        let earlier = |other: &Event| {
            other.key == event.key
                && other.batch.is_some_and(|at| {
                    event
                        .batch
                        .is_some_and(|own| at.batch == own.batch && at.position < own.position)
                })
        };
        let refused = match event.outcome {
            Outcome::Refused { current_version } => !event.condition().holds(current_version),
            _ => false,
        };
        refused && event.batch.is_some_and(|at| at.atomic) && self.history.iter().any(earlier)
    }

    fn place(&self, world: &World<'a>, index: usize) -> Vec<World<'a>> {
        let unit = &self.units[index];
        let first = unit[0];
        let from_us = first.invoked_us.saturating_sub(first.staleness_us.unwrap_or(0));
        let mut next = world.clone();
        next.now_us = next.now_us.max(from_us);
        next.placed[index] = true;
        let too_late = is_answered(unit) && next.now_us > returned_us(unit);
        let read_unserved =
            unit.len() == 1 && first.operation == Operation::Get && !is_answered(unit);
        if too_late
            || read_unserved
            || first.outcome == Outcome::NotApplied
            || self.is_void(unit)
            || self.is_overtaken(world, first)
        {
            return Vec::new();
        }
        let mut worlds = vec![next];
        for event in unit {
            worlds = worlds.iter().flat_map(|world| self.apply(world, event)).collect();
        }
        worlds
    }

    /// Whether something behind it in its batch on its key is placed already.
    fn is_overtaken(&self, world: &World<'_>, event: &Event) -> bool {
        let Some(own) = event.batch.filter(|at| !at.atomic) else {
            return false;
        };
        let placed = self.units.iter().zip(&world.placed).filter(|(_, placed)| **placed);
        placed.into_iter().any(|(unit, _)| {
            unit[0].key == event.key
                && unit[0]
                    .batch
                    .is_some_and(|at| at.batch == own.batch && at.position > own.position)
        })
    }

    fn apply(&self, world: &World<'a>, event: &'a Event) -> Vec<World<'a>> {
        let identity = event.write.map(|write| (event.key.as_str(), write));
        if let Some(answer) = identity.and_then(|identity| world.answers.get(&identity)) {
            // A repetition: the same answer, no effect.
            return (event.outcome == *answer).then(|| world.clone()).into_iter().collect();
        }
        let key = world.keys.get(event.key.as_str()).cloned().unwrap_or_default();
        let results = self.results(&key, event).into_iter();
        let told = |outcome: &Outcome| match (&event.outcome, outcome) {
            // A part that is refused takes its atomic batch with it.
            (Outcome::Unknown, Outcome::Refused { .. }) => event.batch.is_none_or(|at| !at.atomic),
            (Outcome::Unknown, _) => true,
            (told, outcome) => told == outcome,
        };
        let shows = |outcome: &Outcome| match (outcome, event.condition(), &event.operation) {
            (Outcome::Refused { current_version }, ..) => *current_version > 0,
            (Outcome::Found { .. }, ..)
            | (Outcome::Written { .. }, Condition::Exists | Condition::Version(1..), _)
            | (Outcome::Written { .. }, _, Operation::Delete { .. }) => true,
            _ => false,
        };
        let late =
            key.standing.as_ref().is_some_and(|standing| world.now_us > standing.seen_until_us);
        let late = late && event.staleness_us.is_none() && self.is_ever_answered(event);
        let results = results.filter(|(_, outcome)| told(outcome) && !(late && shows(outcome)));
        results
            .map(|(key, outcome)| {
                let mut world = world.clone();
                world.keys.insert(&event.key, key);
                world.answers.extend(identity.map(|identity| (identity, outcome)));
                world
            })
            .collect()
    }

    /// What the operation could make of the key, and say.
    fn results(&self, key: &Key<'a>, event: &'a Event) -> Vec<(Key<'a>, Outcome)> {
        let current_version = key.standing.as_ref().map_or(0, |standing| standing.version);
        let same = |outcome| vec![(key.clone(), outcome)];
        if event.operation == Operation::Get {
            return match &key.standing {
                None => same(Outcome::Absent),
                Some(Standing { value, version, .. }) => {
                    same(Outcome::Found { value: (*value).to_owned(), version: *version })
                }
            };
        }
        if !event.condition().holds(current_version) {
            return same(Outcome::Refused { current_version });
        }
        let standing = match &event.operation {
            Operation::Put { value, ttl_ms, .. } => {
                Some((value, ttl_ms.map(|ttl_ms| ttl_ms * 1000)))
            }
            _ if current_version == 0 => return same(Outcome::Absent),
            _ => None,
        };
        let versions = key.last + 1..=self.version_max.max(key.last + 1);
        let written = versions.map(|version| {
            let standing = standing.map(|(value, ttl_us)| {
                let (sent_us, known_us) = self.times(event);
                let expires_us = ttl_us.map_or(u64::MAX, |ttl_us| sent_us + ttl_us);
                let seen_until_us = known_us
                    .zip(ttl_us)
                    .map_or(u64::MAX, |(known_us, ttl_us)| known_us + ttl_us + self.late_us);
                Standing { value, version, expires_us, seen_until_us }
            });
            (Key { standing, last: version }, Outcome::Written { version })
        });
        written.collect()
    }

    fn attempts(&self, event: &'a Event) -> impl Iterator<Item = &'a Event> {
        self.history.iter().filter(move |other| {
            std::ptr::eq(*other, event)
                || other.write.is_some() && other.write == event.write && other.key == event.key
        })
    }

    fn is_ever_answered(&self, event: &'a Event) -> bool {
        self.attempts(event).any(|attempt| is_answered(&[attempt]))
    }

    /// When the write was first sent, and when it was first known to have happened.
    fn times(&self, event: &'a Event) -> (u64, Option<u64>) {
        let sent = self.attempts(event).filter(|attempt| attempt.outcome != Outcome::NotApplied);
        let answered = self.attempts(event).filter(|attempt| is_answered(&[attempt]));
        let found = self.history.iter().filter(|read| {
            matches!(&read.outcome, Outcome::Found { value, .. } if event.put_value() == Some(value))
                && read.key == event.key
        });
        let known = answered.map(|attempt| attempt.returned_us).min();
        let known = known.or_else(|| found.map(|read| read.returned_us).min());
        (sent.map(|attempt| attempt.invoked_us).min().unwrap(), known)
    }
}

fn is_answered(unit: &[&Event]) -> bool {
    unit.iter().any(|event| !matches!(event.outcome, Outcome::Unknown | Outcome::NotApplied))
}

/// When it was first known that the unit took effect.
fn returned_us(unit: &[&Event]) -> u64 {
    unit.iter().map(|event| event.returned_us).min().unwrap()
}
