//! Histories of what clients asked and were told, and a checker that decides whether a store that keeps its promises could
//! have told them so.
//!
//! A history is plain data ([`Event`]), kept as JSON lines (`docs/formats/history.md`), so that a failed run can be looked
//! at, cut down and kept as a test. The checker is a function from a history to a [`Report`]; it knows nothing of how the
//! history came about, so real processes and simulated clusters are judged alike.
//!
//! # What is checked
//! Each key is a register that begins absent. There must be an order of what happened in which
//! - each operation takes effect at one moment between its sending and its answer, a stale read earlier by its bound;
//! - each answer is what the register then says, conditions included;
//! - each write has a larger version than every write of the key before it;
//! - a key with a time to live goes by itself at one moment, no earlier than that time after its put was first sent, and no
//!   answer but a stale read's shows it later than that time and [`Options::expiry_late_us`] after its put was first known
//!   to have happened;
//! - a write of unknown outcome happened at any moment since it was sent, or never, and attempts of one write happened once;
//! - operations of a batch on one key keep their order, and all of an atomic batch takes effect at one moment.
//!
//! # How
//! 1. `attempts`: attempts of one write become one event.
//! 2. `facts`: which writes happened, at which version, known since when; contradictions in that need no search.
//! 3. `problem`, `windows`: calls, and the windows of time that versions and times to live leave them.
//! 4. `search`: an order, for each key alone; then for keys that atomic batches join.
//!
//! Where the search reaches its limit, the key is undecided, and the report does not pass.
//!
//! # What it relies on
//! No value is put twice on one key, so that a value names its put. Times are of one clock. All that wrote a key is in the
//! history, from the key's beginning.

mod attempts;
mod decide;
mod event;
mod facts;
mod history;
mod joined;
mod problem;
mod report;
mod search;
mod state;
mod tried;
mod windows;

use std::collections::BTreeMap;

pub use event::{Condition, Event, Member, Operation, Outcome};
pub use history::{HistoryError, read_history, write_history};
pub use report::{Report, Rule, Verdict, Violation};

/// What a check may take for granted, and how long it may search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long a key may still be seen after its time to live, in microseconds: 1 s by the contract, plus all time that a
    /// shard had no leader, which the caller knows. Default: 1 s.
    pub expiry_late_us: u64,
    /// Steps of one search, after which it is given up as undecided: calls placed, counted again after each choice taken
    /// back. A history that passes takes hardly more than one for each of its writes. Default: 1,000,000, which take
    /// seconds and some hundred MiB.
    pub steps_max: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { expiry_late_us: 1_000_000, steps_max: 1_000_000 }
    }
}

/// Checks the history with [`Options::default`].
#[must_use]
pub fn check(history: &[Event]) -> Report {
    check_with(history, &Options::default())
}

/// Checks the history.
#[must_use]
pub fn check_with(history: &[Event], options: &Options) -> Report {
    let (merged, violations) = attempts::merge(history);
    let mut by_key: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
    for event in &merged {
        by_key.entry(&event.key).or_default().push(event);
    }
    let mut report = Report { violations, keys: by_key.len(), ..Report::default() };
    report.violations.extend(joined::malformed(&merged));
    let mut decided = BTreeMap::new();
    for (key, events) in &by_key {
        match facts::facts(events) {
            Ok(facts) => {
                report.count(&facts);
                if decide::decide(&[&facts], options, &mut report) {
                    decided.insert(*key, facts);
                }
            }
            Err(violations) => report.violations.extend(violations),
        }
    }
    for keys in joined::keys(&merged) {
        report.joined += 1;
        // What one key says alone is not said again.
        let facts: Option<Vec<_>> =
            keys.iter().map(|key| decided.get(key).map(Vec::as_slice)).collect();
        if let Some(facts) = facts {
            decide::decide(&facts, options, &mut report);
        }
    }
    report
}
