//! What the checker found.

use std::fmt;

use crate::Event;

/// A rule that a history breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// The history itself is malformed: a value put twice on one key, an answer that does not fit its question, a batch
    /// that contradicts itself.
    WellFormed,
    /// A value read was put, on that key, by a write that may have happened.
    NoInventedValue,
    /// No two writes of a key have one version, and no write has two: an unknown one happens at most once.
    OneVersionPerWrite,
    /// All attempts of one write were told the same.
    RetriesAgree,
    /// There is no order that explains the answers: each operation at one moment between its sending and its answer,
    /// writes in the order of their versions.
    Linearizable,
    /// There would be such an order if times to live did not count: a key was gone too early, or was still there.
    ExpiryInTime,
    /// There would be such an order without the conditions: a write happened although its condition did not hold, or was
    /// refused although it did.
    ConditionsHold,
    /// There would be such an order without the stale reads: one is older than its bound, or shows what never stood.
    StaleWithinBound,
    /// Each key has such an order, and they do not fit together: an atomic batch took effect in parts.
    AllOrNothing,
}

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// The key, or where keys do not fit together: one of them.
    pub key: String,
    /// What a person reads.
    pub message: String,
    /// The events that contradict each other: the first is the one that fits nowhere.
    pub events: Vec<Event>,
}

impl Violation {
    pub(crate) fn new(rule: Rule, message: impl Into<String>, events: &[&Event]) -> Self {
        Self {
            rule,
            key: events.first().map(|event| event.key.clone()).unwrap_or_default(),
            message: message.into(),
            events: events.iter().map(|event| (*event).clone()).collect(),
        }
    }
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

/// What a check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every key was decided, and no rule is broken.
    Passed,
    /// A rule is broken.
    Violated,
    /// No rule was found broken, and the search was given up for some keys.
    Undecided,
}

/// What the checker found, and how much it had to look at: a check of nothing proves nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Every broken rule.
    pub violations: Vec<Violation>,
    /// Keys, alone or joined by atomic batches, whose search was given up at its limit of steps.
    pub undecided: Vec<Vec<String>>,
    /// Keys in the history.
    pub keys: usize,
    /// Sets of keys that atomic batches join.
    pub joined: usize,
    /// Writes that were acknowledged.
    pub acknowledged: usize,
    /// Writes of unknown outcome.
    pub unknown: usize,
    /// Those of them that a read proved to have happened.
    pub unknown_seen: usize,
    /// Reads that were answered, and refusals that named a version.
    pub reads: usize,
    /// Steps of all searches.
    pub steps: u64,
}

impl Report {
    /// What it all comes to.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if !self.violations.is_empty() {
            Verdict::Violated
        } else if !self.undecided.is_empty() {
            Verdict::Undecided
        } else {
            Verdict::Passed
        }
    }

    /// Whether every key was decided and no rule is broken.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.verdict() == Verdict::Passed
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
            "{} keys ({} sets joined by atomic batches), {} acknowledged writes, {} of unknown outcome ({} of them seen), \
             {} reads, {} steps: {} violations, {} undecided",
            self.keys,
            self.joined,
            self.acknowledged,
            self.unknown,
            self.unknown_seen,
            self.reads,
            self.steps,
            self.violations.len(),
            self.undecided.len()
        )?;
        for violation in self.violations.iter().take(SHOWN_MAX) {
            write!(f, "\n  {violation}")?;
        }
        for keys in self.undecided.iter().take(SHOWN_MAX) {
            write!(f, "\n  undecided: {}", keys.join(", "))?;
        }
        let hidden = self.violations.len().saturating_sub(SHOWN_MAX)
            + self.undecided.len().saturating_sub(SHOWN_MAX);
        if hidden > 0 {
            write!(f, "\n  … and {hidden} more")?;
        }
        Ok(())
    }
}
