//! Histories of what clients asked and were told, and checkers that decide whether a store that keeps its promises could
//! have told them so.
//!
//! A history is plain data ([`Event`]), kept as JSON lines so that a failed run can be looked at, cut down and kept as a
//! test. A checker is a function from a history to a [`Report`]; it knows nothing of how the history came about, so real
//! processes and simulated clusters are judged alike.
//!
//! - [`register`]: each key as a register with versions. Versions name the order of writes, so checking is close to linear
//!   in the length of the history, whatever its concurrency.
//! - [`atomic`]: all of an atomic batch or nothing of it.
//!
//! Left out so far: a search for a linearization where versions do not give the order (histories over a partitioned
//! cluster), and times to live.

pub mod atomic;
mod event;
mod history;
pub mod register;
mod report;

pub use event::{Condition, Event, Member, Operation, Outcome};
pub use history::{HistoryError, read_history, write_history};
pub use report::{Report, Rule, Violation};

/// Runs every checker over the history.
#[must_use]
pub fn check(history: &[Event]) -> Report {
    let mut report = register::check(history);
    report.violations.extend(atomic::check(history));
    report
}
