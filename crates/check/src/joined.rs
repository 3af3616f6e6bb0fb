//! Keys that atomic batches join: one decision for all of them.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use crate::{Event, Outcome, Rule, Violation};

/// The sets of keys, of two or more, that atomic batches join.
pub(crate) fn keys<'a>(history: &'a [Cow<'_, Event>]) -> Vec<Vec<&'a str>> {
    let mut batches: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
    for event in history {
        if let Some(at) = event.batch.filter(|at| at.atomic) {
            batches.entry(at.batch).or_default().push(&event.key);
        }
    }
    // Each key names its set by one of the set's keys.
    let mut set_of: BTreeMap<&str, &str> = BTreeMap::new();
    let mut sets: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for key in batches.values().flatten() {
        set_of.insert(key, key);
        sets.insert(key, vec![key]);
    }
    for batch in batches.values() {
        for key in batch {
            let (to, from) = (set_of[batch[0]], set_of[key]);
            if to != from {
                let moved = sets.remove(from).unwrap_or_default();
                set_of.extend(moved.iter().map(|key| (*key, to)));
                sets.entry(to).or_default().extend(moved);
            }
        }
    }
    sets.into_values().filter(|keys| keys.len() > 1).collect()
}

/// Batches that contradict themselves.
pub(crate) fn malformed(history: &[Cow<'_, Event>]) -> Vec<Violation> {
    let mut batches: BTreeMap<u64, Vec<&Event>> = BTreeMap::new();
    for event in history {
        if let Some(at) = event.batch {
            batches.entry(at.batch).or_default().push(event);
        }
    }
    let batches = batches.values().filter_map(|members| {
        let message = contradiction(members)?;
        Some(Violation::new(Rule::WellFormed, message, members))
    });
    batches.collect()
}

fn contradiction(members: &[&Event]) -> Option<&'static str> {
    let places: Vec<_> = members.iter().filter_map(|event| event.batch).collect();
    let positions: HashSet<_> = places.iter().map(|at| at.position).collect();
    if positions.len() < members.len() {
        return Some("two operations at one position of a batch");
    }
    let atomic = places[0].atomic;
    if places.iter().any(|at| at.atomic != atomic) {
        return Some("a batch is atomic or not");
    }
    if !atomic {
        return None;
    }
    let first = members[0];
    if members
        .iter()
        .any(|event| event.invoked_us != first.invoked_us || event.staleness_us.is_some())
    {
        return Some("an atomic batch is sent as a whole, to a leader");
    }
    let whole = members.iter().all(|event| answered_as(event) == answered_as(first));
    (!whole).then_some("an atomic batch has one answer")
}

/// What one answer says of its whole atomic batch.
#[derive(PartialEq, Eq)]
enum Answer {
    Happened,
    DidNotHappen,
    Unknown,
}

fn answered_as(event: &Event) -> Answer {
    match event.outcome {
        Outcome::Written { .. } | Outcome::Found { .. } | Outcome::Absent => Answer::Happened,
        Outcome::Refused { .. } | Outcome::NotApplied => Answer::DidNotHappen,
        Outcome::Unknown => Answer::Unknown,
    }
}
