//! What a checker found.

use std::fmt;

use crate::Event;

/// A rule that a history breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// The history itself is malformed: a value put twice on one key, or an answer that does not fit its question.
    WellFormed,
    /// What was acknowledged, or seen once, is seen from then on, or something later is.
    NoLostWrite,
    /// A value read was put, on that key, by a write that may have happened.
    NoInventedValue,
    /// No two writes of a key have one version, and no write has two: an unknown one happens at most once.
    OneVersionPerWrite,
    /// A write has a larger version than everything known when it was sent.
    VersionsRise,
    /// Nothing is read before it was sent.
    NoFuture,
    /// A write happened only if its condition held, and was refused only if it did not.
    ConditionsHold,
    /// All of an atomic batch takes effect or nothing does.
    AllOrNothing,
}

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// The key.
    pub key: String,
    /// What a person reads.
    pub message: String,
    /// The events that contradict each other.
    pub events: Vec<Event>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: key {}: {}", self.rule, self.key, self.message)?;
        for event in &self.events {
            let line = serde_json::to_string(event).map_err(|_| fmt::Error)?;
            write!(f, "\n    {}", shortened(&line))?;
        }
        Ok(())
    }
}

/// Long values say nothing to a person.
fn shortened(line: &str) -> String {
    const LINE_CHARS_MAX: usize = 400;
    if line.chars().count() <= LINE_CHARS_MAX {
        return line.to_owned();
    }
    line.chars().take(LINE_CHARS_MAX).chain(['…']).collect()
}

/// What a checker found, and how much it had to look at: a check of nothing proves nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Every broken rule.
    pub violations: Vec<Violation>,
    /// Keys in the history.
    pub keys: usize,
    /// Writes that were acknowledged.
    pub acknowledged: usize,
    /// Writes of unknown outcome.
    pub unknown: usize,
    /// Those of them that a read proved to have happened.
    pub unknown_seen: usize,
    /// Reads that were answered, and refusals that named a version.
    pub reads: usize,
}

impl Report {
    /// Whether no rule is broken.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }

    /// Whether this rule is broken.
    #[must_use]
    pub fn breaks(&self, rule: Rule) -> bool {
        self.violations.iter().any(|found| found.rule == rule)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN_MAX: usize = 10;
        write!(
            f,
            "{} keys, {} acknowledged writes, {} of unknown outcome ({} of them seen), {} reads: {} violations",
            self.keys,
            self.acknowledged,
            self.unknown,
            self.unknown_seen,
            self.reads,
            self.violations.len()
        )?;
        for violation in self.violations.iter().take(SHOWN_MAX) {
            write!(f, "\n  {violation}")?;
        }
        if self.violations.len() > SHOWN_MAX {
            write!(f, "\n  … and {} more", self.violations.len() - SHOWN_MAX)?;
        }
        Ok(())
    }
}
