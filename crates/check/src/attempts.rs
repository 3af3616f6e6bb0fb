//! Attempts of one write, as one event: it took effect once, between the first sending and the first answer.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::{Event, Operation, Outcome, Rule, Violation};

/// The history with each identified write as one event. Attempts that were told different things are violations.
pub(crate) fn merge(history: &[Event]) -> (Vec<Cow<'_, Event>>, Vec<Violation>) {
    let mut attempts: BTreeMap<(&str, u64), Vec<&Event>> = BTreeMap::new();
    let mut merged = Vec::with_capacity(history.len());
    let mut violations = Vec::new();
    for event in history {
        match event.write {
            None => merged.push(Cow::Borrowed(event)),
            Some(_) if event.operation == Operation::Get => {
                violations.push(Violation::new(Rule::WellFormed, "a read is no write", &[event]));
            }
            Some(write) => attempts.entry((&event.key, write)).or_default().push(event),
        }
    }
    for attempts in attempts.into_values() {
        merged.push(one(&attempts, &mut violations));
    }
    (merged, violations)
}

fn one<'a>(attempts: &[&'a Event], violations: &mut Vec<Violation>) -> Cow<'a, Event> {
    let first = attempts[0];
    if attempts.iter().any(|attempt| !same(first, attempt)) {
        let message = "attempts of one write ask for different things";
        violations.push(Violation::new(Rule::WellFormed, message, attempts));
    }
    // Nothing of an attempt that was not applied is left: it says nothing of the others.
    let sent = || attempts.iter().filter(|attempt| attempt.outcome != Outcome::NotApplied);
    let answered = || sent().filter(|attempt| attempt.outcome != Outcome::Unknown);
    let Some(invoked_us) = sent().map(|attempt| attempt.invoked_us).min() else {
        return Cow::Borrowed(first);
    };
    let mut event = Event { invoked_us, outcome: Outcome::Unknown, ..first.clone() };
    if let Some(answer) = answered().min_by_key(|attempt| attempt.returned_us) {
        if answered().any(|attempt| attempt.outcome != answer.outcome) {
            let message = "attempts of one write were told different things";
            violations.push(Violation::new(Rule::RetriesAgree, message, attempts));
        }
        event.outcome = answer.outcome.clone();
        event.returned_us = answer.returned_us;
    } else {
        event.returned_us = sent().map(|attempt| attempt.returned_us).max().unwrap_or(invoked_us);
    }
    Cow::Owned(event)
}

fn same(one: &Event, other: &Event) -> bool {
    one.operation == other.operation && one.batch == other.batch
}
