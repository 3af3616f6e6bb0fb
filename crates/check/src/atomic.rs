//! All of an atomic batch or nothing of it.
//!
//! Where one put of an atomic batch is known to have happened (acknowledged, or its value was read), its other puts
//! happened at the same point. So a read of another of its keys, sent after that was known, must not return what had been
//! there before the batch was sent:
//!
//! ```text
//!   put a=1, b=1 ──ok
//!                    put a=2, b=2 ─────✗ (unknown)
//!                                   get a ──2      the batch happened
//!                                            get b ──1   torn: 1 precedes the whole batch
//! ```
//!
//! Whether an acknowledged put is still there is [`register`](crate::register)'s business.

use std::collections::{BTreeMap, HashMap};

use crate::{Event, Operation, Outcome, Rule, Violation};

/// Checks every atomic batch of the history.
#[must_use]
pub fn check(history: &[Event]) -> Vec<Violation> {
    let mut batches: BTreeMap<u64, Vec<&Event>> = BTreeMap::new();
    let mut puts: HashMap<(&str, &str), &Event> = HashMap::new();
    let mut reads: HashMap<&str, Vec<&Event>> = HashMap::new();
    for event in history {
        if let Operation::Put { value, .. } = &event.operation {
            puts.insert((&event.key, value), event);
        }
        if matches!(event.outcome, Outcome::Found { .. }) {
            reads.entry(&event.key).or_default().push(event);
        }
        if let Some(member) = event.batch
            && member.atomic
        {
            batches.entry(member.batch).or_default().push(event);
        }
    }
    let mut violations = Vec::new();
    for members in batches.values() {
        let known_at = members.iter().filter_map(|event| known_at(event, &reads)).min();
        let Some(known_at) = known_at else {
            continue;
        };
        for member in members {
            violations.extend(torn(member, known_at, &puts, &reads));
        }
    }
    violations
}

/// When it was first known that this put happened.
fn known_at(member: &Event, reads: &HashMap<&str, Vec<&Event>>) -> Option<u64> {
    let Operation::Put { value, .. } = &member.operation else {
        return None;
    };
    if matches!(member.outcome, Outcome::Written { .. }) {
        return Some(member.returned_us);
    }
    let reads = reads.get(member.key.as_str())?;
    let of_this = |read: &&&Event| matches!(&read.outcome, Outcome::Found { value: found, .. } if found == value);
    reads.iter().filter(of_this).map(|read| read.returned_us).min()
}

/// A read that shows what stood before the batch, sent after the batch was known to have happened.
fn torn(
    member: &Event,
    known_at: u64,
    puts: &HashMap<(&str, &str), &Event>,
    reads: &HashMap<&str, Vec<&Event>>,
) -> Option<Violation> {
    let reads = reads.get(member.key.as_str())?;
    reads.iter().find_map(|read| {
        let Outcome::Found { value, .. } = &read.outcome else {
            return None;
        };
        let put = puts.get(&(member.key.as_str(), value.as_str()))?;
        (read.invoked_us > known_at && put.precedes(member) && member.is_write()).then(|| {
            Violation {
                rule: Rule::AllOrNothing,
                key: member.key.clone(),
                message: "an older value was read although another part of the batch had happened"
                    .to_owned(),
                events: vec![(*put).clone(), member.clone(), (*read).clone()],
            }
        })
    })
}
