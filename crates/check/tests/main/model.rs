//! A store that keeps its promises, or breaks one of them now and then.

use std::collections::BTreeMap;

use ringfort_check::{Operation, Outcome};

use crate::generate::Random;

#[derive(Clone, Default)]
struct Key {
    /// Value, version, and when it is due.
    standing: Option<(String, u64, u64)>,
    last: u64,
}

/// A promise that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    LoseWrites,
    ReadOldStates,
    ExpireEarly,
    NeverExpire,
    IgnoreConditions,
    TearAtomicBatches,
    GiveVersionsAgain,
    ExecuteTwice,
}

pub(crate) const BUGS: [Bug; 8] = [
    Bug::LoseWrites,
    Bug::ReadOldStates,
    Bug::ExpireEarly,
    Bug::NeverExpire,
    Bug::IgnoreConditions,
    Bug::TearAtomicBatches,
    Bug::GiveVersionsAgain,
    Bug::ExecuteTwice,
];

pub(crate) struct Store {
    /// It shows this many times in a hundred.
    bug: Option<(Bug, u64)>,
    late_us: u64,
    now_us: u64,
    keys: BTreeMap<String, Key>,
    /// What was read, had one read at that moment.
    past: BTreeMap<String, Vec<(u64, Outcome)>>,
}

impl Store {
    pub(crate) fn new(late_us: u64, bug: Option<(Bug, u64)>) -> Self {
        Self { bug, late_us, now_us: 0, keys: BTreeMap::new(), past: BTreeMap::new() }
    }

    pub(crate) fn version(&self, key: &str) -> u64 {
        let standing = self.keys.get(key).and_then(|key| key.standing.as_ref());
        standing.map_or(0, |standing| standing.1)
    }

    /// What a read of the key at an earlier moment would have found.
    pub(crate) fn at(&self, key: &str, moment_us: u64) -> Outcome {
        let past = self.past.get(key).map_or(&[][..], Vec::as_slice);
        let until = past.partition_point(|(since_us, _)| *since_us <= moment_us);
        until.checked_sub(1).map_or(Outcome::Absent, |at| past[at].1.clone())
    }

    /// Executes at one moment; a batch that is atomic, all or nothing.
    pub(crate) fn execute(
        &mut self,
        operations: &[(String, Operation)],
        moment_us: u64,
        invoked_us: u64,
        atomic: bool,
        random: &mut Random,
    ) -> Vec<Outcome> {
        assert!(moment_us >= self.now_us, "the moments rise");
        self.now_us = moment_us;
        let bug = self.bug.filter(|(_, percent)| random.percent(*percent)).map(|(bug, _)| bug);
        for (name, _) in operations {
            let key = self.keys.entry(name.clone()).or_default();
            let due_us = key.standing.as_ref().map_or(u64::MAX, |standing| standing.2);
            let must = self.now_us > due_us.saturating_add(self.late_us);
            let early = bug == Some(Bug::ExpireEarly) && due_us < u64::MAX;
            let kept = bug == Some(Bug::NeverExpire);
            if early || !kept && (must || self.now_us >= due_us && random.percent(50)) {
                key.standing = None;
                self.remember(name);
            }
        }
        let names = operations.iter().map(|(name, _)| name);
        let before: Vec<_> = names.map(|name| (name.clone(), self.keys[name].clone())).collect();
        let mut outcomes = Vec::new();
        for (name, operation) in operations {
            let key = self.keys.entry(name.clone()).or_default();
            let outcome = apply(key, operation, invoked_us, bug, random);
            let failed = matches!(outcome, Outcome::Refused { .. });
            outcomes.push(outcome);
            if failed && atomic {
                let refused = outcomes.len() - 1;
                self.keys.extend(before);
                let rest = (0..operations.len()).map(|position| match position == refused {
                    true => outcomes[refused].clone(),
                    false => Outcome::NotApplied,
                });
                return rest.collect();
            }
        }
        if bug == Some(Bug::LoseWrites) {
            self.keys.extend(before);
        } else if bug == Some(Bug::TearAtomicBatches) && atomic {
            self.keys.extend(before.into_iter().skip(1));
        } else if bug == Some(Bug::ReadOldStates) {
            for ((name, operation), outcome) in operations.iter().zip(&mut outcomes) {
                if *operation == Operation::Get {
                    *outcome = self.at(name, random.below(self.now_us));
                }
            }
        }
        for (name, _) in operations {
            self.remember(name);
        }
        outcomes
    }

    fn remember(&mut self, name: &str) {
        let outcome = look(&self.keys[name]);
        self.past.entry(name.to_owned()).or_default().push((self.now_us, outcome));
    }
}

fn look(key: &Key) -> Outcome {
    match &key.standing {
        Some((value, version, _)) => Outcome::Found { value: value.clone(), version: *version },
        None => Outcome::Absent,
    }
}

fn apply(
    key: &mut Key,
    operation: &Operation,
    invoked_us: u64,
    bug: Option<Bug>,
    random: &mut Random,
) -> Outcome {
    let current_version = key.standing.as_ref().map_or(0, |standing| standing.1);
    match operation {
        Operation::Get => look(key),
        Operation::Put { condition, .. } | Operation::Delete { condition }
            if !condition.holds(current_version) && bug != Some(Bug::IgnoreConditions) =>
        {
            Outcome::Refused { current_version }
        }
        Operation::Delete { .. } if current_version == 0 => Outcome::Absent,
        _ => {
            let version = key.last + 1 + random.below(2);
            key.last = match bug {
                Some(Bug::GiveVersionsAgain) => key.last.max(1),
                Some(Bug::ExecuteTwice) => version + 1,
                _ => version,
            };
            key.standing = match operation {
                Operation::Put { value, ttl_ms, .. } => {
                    let due_us = ttl_ms.map_or(u64::MAX, |ttl_ms| invoked_us + ttl_ms * 1000);
                    Some((value.clone(), key.last, due_us))
                }
                _ => None,
            };
            let twice = bug == Some(Bug::ExecuteTwice);
            Outcome::Written { version: if twice { version } else { key.last } }
        }
    }
}
