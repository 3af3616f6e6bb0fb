//! What the answers say of one key's writes before any order is sought: which happened, at which version, and known since
//! when. What contradicts itself here needs no search.
//!
//! A value names its put, so a read tells that its put happened, whatever the writer was told, and at which version.

use std::collections::{BTreeMap, HashMap};

use crate::{Event, Operation, Outcome, Rule, Violation};

/// The largest version the contract knows.
const VERSION_MAX: u64 = (1 << 53) - 1;

/// An event that may have taken effect, or was answered.
#[derive(Clone, Copy)]
pub(crate) struct Fact<'a> {
    pub(crate) event: &'a Event,
    /// A write's version, where an answer names it: its own, or that of a read of its value.
    pub(crate) version: Option<u64>,
    /// When it was first known to have happened: its own answer, or else the first read of its value. Absent: it may have
    /// happened at any time since it was sent, may yet, or never.
    pub(crate) known_us: Option<u64>,
}

/// The facts of one key.
///
/// # Errors
/// The events contradict each other, or the history is malformed.
pub(crate) fn facts<'a>(events: &[&'a Event]) -> Result<Vec<Fact<'a>>, Vec<Violation>> {
    let mut violations: Vec<_> = events.iter().filter_map(|event| misfit(event)).collect();
    let puts = puts(events, &mut violations);
    let found = found(events, &puts, &mut violations);
    violations.extend(given_twice(events, &found));
    if !violations.is_empty() {
        return Err(violations);
    }
    let first = first_positions(events);
    let counts = |event: &Event| match event.outcome {
        Outcome::NotApplied => false,
        Outcome::Unknown => event.is_write(),
        // What an atomic batch was refused by is seen through the batch's own earlier operations on the key, which have
        // not happened.
        Outcome::Refused { .. } => {
            event.batch.is_none_or(|at| !at.atomic || first[&at.batch] == at.position)
        }
        Outcome::Written { .. } | Outcome::Absent | Outcome::Found { .. } => true,
    };
    let events = events.iter().filter(|event| counts(event));
    Ok(events.map(|event| fact(event, &found)).collect())
}

fn fact<'a>(event: &'a Event, found: &BTreeMap<&str, Found<'_>>) -> Fact<'a> {
    let (version, known_us) = match event.outcome {
        Outcome::Written { version } => (Some(version), Some(event.returned_us)),
        Outcome::Unknown => {
            let found = event.put_value().and_then(|value| found.get(value));
            (found.map(|found| found.version), found.map(|found| found.known_us))
        }
        _ => (None, Some(event.returned_us)),
    };
    Fact { event, version, known_us }
}

/// An answer that does not fit its question.
fn misfit(event: &Event) -> Option<Violation> {
    let version = match event.outcome {
        Outcome::Written { version } | Outcome::Found { version, .. } => version,
        Outcome::Refused { current_version } => current_version.max(1),
        Outcome::Absent | Outcome::NotApplied | Outcome::Unknown => 1,
    };
    let fits = match (&event.operation, &event.outcome) {
        (_, Outcome::NotApplied | Outcome::Unknown)
        | (Operation::Get, Outcome::Found { .. } | Outcome::Absent)
        | (Operation::Put { .. }, Outcome::Written { .. } | Outcome::Refused { .. }) => true,
        (Operation::Delete { .. }, outcome) => !matches!(outcome, Outcome::Found { .. }),
        _ => false,
    };
    let stale_fits = event.staleness_us.is_none() || event.operation == Operation::Get;
    if event.invoked_us > event.returned_us {
        return Some(Violation::new(Rule::WellFormed, "answered before it was sent", &[event]));
    }
    if !fits || !stale_fits || !(1..=VERSION_MAX).contains(&version) {
        let message = "the answer does not fit the question";
        return Some(Violation::new(Rule::WellFormed, message, &[event]));
    }
    let agrees = match event.outcome {
        Outcome::Refused { current_version } => !event.condition().holds(current_version),
        Outcome::Absent => event.condition().holds(0),
        _ => true,
    };
    let message = "the condition and what stood do not agree with the answer";
    (!agrees).then(|| Violation::new(Rule::ConditionsHold, message, &[event]))
}

/// Every put by its value.
fn puts<'a>(events: &[&'a Event], violations: &mut Vec<Violation>) -> HashMap<&'a str, &'a Event> {
    let mut puts = HashMap::new();
    for event in events {
        if let Some(value) = event.put_value()
            && let Some(other) = puts.insert(value, *event)
        {
            let message = "one value was put twice";
            violations.push(Violation::new(Rule::WellFormed, message, &[other, event]));
        }
    }
    puts
}

/// What reads say of one value.
struct Found<'a> {
    version: u64,
    /// When the first of them was answered.
    known_us: u64,
    put: &'a Event,
    read: &'a Event,
}

/// Matches each value read with its put.
fn found<'a>(
    events: &[&'a Event],
    puts: &HashMap<&'a str, &'a Event>,
    violations: &mut Vec<Violation>,
) -> BTreeMap<&'a str, Found<'a>> {
    let mut by_value: BTreeMap<&str, Found<'_>> = BTreeMap::new();
    for read in events {
        let Outcome::Found { value, version } = &read.outcome else {
            continue;
        };
        let Some(put) = puts.get(value.as_str()).copied() else {
            let message = "a value was read that nobody put";
            violations.push(Violation::new(Rule::NoInventedValue, message, &[read]));
            continue;
        };
        if matches!(put.outcome, Outcome::NotApplied | Outcome::Refused { .. }) {
            let message = "a value was read whose put did not happen";
            violations.push(Violation::new(Rule::NoInventedValue, message, &[put, read]));
            continue;
        }
        let known_us = read.returned_us;
        let first = Found { version: *version, known_us, put, read };
        let found = by_value.entry(value).or_insert(first);
        found.known_us = found.known_us.min(known_us);
        if found.version != *version {
            let message = format!("one write at versions {} and {version}", found.version);
            let events = [put, found.read, read];
            violations.push(Violation::new(Rule::OneVersionPerWrite, message, &events));
        }
    }
    by_value
}

/// Versions that two writes have, and writes that have two.
fn given_twice(events: &[&Event], found: &BTreeMap<&str, Found<'_>>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut given: BTreeMap<u64, &Event> = BTreeMap::new();
    let mut give = |version: u64, write| {
        let other: &Event = given.entry(version).or_insert(write);
        (!std::ptr::eq(other, write)).then(|| {
            let message = format!("version {version} was given to two writes");
            Violation::new(Rule::OneVersionPerWrite, message, &[other, write])
        })
    };
    for event in events {
        if let Outcome::Written { version } = event.outcome {
            violations.extend(give(version, event));
        }
    }
    for found in found.values() {
        match found.put.outcome {
            Outcome::Written { version } if version != found.version => {
                let message = format!("one write at versions {version} and {}", found.version);
                let events = [found.put, found.read];
                violations.push(Violation::new(Rule::OneVersionPerWrite, message, &events));
            }
            Outcome::Unknown => violations.extend(give(found.version, found.put)),
            _ => {}
        }
    }
    violations
}

/// The first position that each batch has on this key.
fn first_positions(events: &[&Event]) -> HashMap<u64, u32> {
    let mut first = HashMap::new();
    for member in events.iter().filter_map(|event| event.batch) {
        let position: &mut u32 = first.entry(member.batch).or_insert(member.position);
        *position = member.position.min(*position);
    }
    first
}
