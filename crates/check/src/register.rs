//! Each key as a register whose writes are numbered by versions.
//!
//! # Model
//! The writes of a key that happened stand in the order of their versions; what a read returns is the newest of them at
//! some moment between its invocation and its answer. A version is *established* at a moment when an answer that names it
//! (of a write, a read, or a refused condition) has been seen. Whatever is invoked later must find that version or a
//! larger one:
//!
//! ```text
//!   put a ──────ok v3                               established: 3
//!                     get ────────found v2          lost: v3 was established before the get was sent
//!   put b ──────────────────✗ (unknown)
//!                                get ───found b v4  b happened, and is version 4 from now on
//! ```
//!
//! A write of unknown outcome constrains nothing until a read shows it; then it has one version like any other. A delete
//! of unknown outcome explains any absence after it was sent: the checker errs on the side of silence.
//!
//! # What it relies on
//! No value is put twice on one key; times are of one clock. Keys with a time to live do not belong in such a history.

use std::collections::{BTreeMap, HashMap};

use crate::{Condition, Event, Operation, Outcome, Report, Rule, Violation};

mod floor;

use floor::Floor;

/// Checks every key of the history on its own.
#[must_use]
pub fn check(history: &[Event]) -> Report {
    let mut by_key: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
    for event in history {
        by_key.entry(&event.key).or_default().push(event);
    }
    let mut report = Report { keys: by_key.len(), ..Report::default() };
    for (key, events) in by_key {
        Register::new(key, events, &mut report).check();
    }
    report
}

/// What an answer says stands for the key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Version(u64),
    Absent,
}

struct Register<'a> {
    key: &'a str,
    events: Vec<&'a Event>,
    /// Every put by its value.
    puts: HashMap<&'a str, &'a Event>,
    /// The writes known to have happened, by version.
    happened: BTreeMap<u64, &'a Event>,
    floor: Floor,
    report: &'a mut Report,
}

impl<'a> Register<'a> {
    fn new(key: &'a str, events: Vec<&'a Event>, report: &'a mut Report) -> Self {
        Self {
            key,
            events,
            puts: HashMap::new(),
            happened: BTreeMap::new(),
            floor: Floor::default(),
            report,
        }
    }

    fn check(mut self) {
        self.count();
        self.collect_puts();
        self.collect_acknowledged();
        self.collect_seen();
        self.floor = Floor::new(self.events.iter().filter_map(|event| {
            let version = match event.outcome {
                Outcome::Written { version } | Outcome::Found { version, .. } => version,
                Outcome::Refused { current_version } => current_version,
                _ => return None,
            };
            Some((event.returned_us, version))
        }));
        self.check_writes();
        self.check_reads();
        self.check_conditions();
        self.check_batch_order();
    }

    fn count(&mut self) {
        for event in &self.events {
            match event.outcome {
                Outcome::Written { .. } => self.report.acknowledged += 1,
                Outcome::Unknown if event.is_write() => self.report.unknown += 1,
                Outcome::Absent | Outcome::Found { .. } | Outcome::Refused { .. } => {
                    self.report.reads += 1;
                }
                Outcome::NotApplied | Outcome::Unknown => {}
            }
        }
    }

    fn violation(&mut self, rule: Rule, message: impl Into<String>, events: &[&Event]) {
        self.report.violations.push(Violation {
            rule,
            key: self.key.to_owned(),
            message: message.into(),
            events: events.iter().map(|event| (*event).clone()).collect(),
        });
    }

    fn collect_puts(&mut self) {
        for event in self.events.clone() {
            let Operation::Put { value, .. } = &event.operation else {
                continue;
            };
            if let Some(other) = self.puts.insert(value, event) {
                self.violation(Rule::WellFormed, "one value was put twice", &[other, event]);
            }
        }
    }

    fn collect_acknowledged(&mut self) {
        for event in self.events.clone() {
            match (&event.operation, &event.outcome) {
                (Operation::Get, Outcome::Written { .. } | Outcome::Refused { .. })
                | (Operation::Put { .. } | Operation::Delete { .. }, Outcome::Found { .. })
                | (Operation::Put { .. }, Outcome::Absent)
                | (_, Outcome::Written { version: 0 } | Outcome::Found { version: 0, .. }) => {
                    self.violation(
                        Rule::WellFormed,
                        "the answer does not fit the question",
                        &[event],
                    );
                }
                (_, Outcome::Written { version }) => self.happens(*version, event, event),
                _ => {}
            }
        }
    }

    /// Notes that `write` happened at `version`, as `witness` says.
    fn happens(&mut self, version: u64, write: &'a Event, witness: &'a Event) {
        match self.happened.get(&version) {
            None => {
                self.happened.insert(version, write);
            }
            Some(other) if std::ptr::eq(*other, write) => {}
            Some(other) => {
                let message = format!("version {version} was given to two writes");
                self.violation(Rule::OneVersionPerWrite, message, &[*other, write, witness]);
            }
        }
    }

    /// Matches each value read with its put.
    fn collect_seen(&mut self) {
        let mut seen: HashMap<&str, (u64, &Event)> = HashMap::new();
        for event in self.events.clone() {
            let Outcome::Found { value, version } = &event.outcome else {
                continue;
            };
            let Some(put) = self.puts.get(value.as_str()).copied() else {
                self.violation(Rule::NoInventedValue, "a value was read that nobody put", &[event]);
                continue;
            };
            if put.invoked_us > event.returned_us {
                self.violation(Rule::NoFuture, "read before it was put", &[put, event]);
            }
            let given = match put.outcome {
                Outcome::Written { version } => Some((version, put)),
                Outcome::Unknown => {
                    self.happens(*version, put, event);
                    let first = seen.get(value.as_str()).copied();
                    if first.is_none() {
                        self.report.unknown_seen += 1;
                        seen.insert(value, (*version, event));
                    }
                    first
                }
                _ => {
                    let message = "a value was read whose put did not happen";
                    self.violation(Rule::NoInventedValue, message, &[put, event]);
                    continue;
                }
            };
            if let Some((given, witness)) = given
                && given != *version
            {
                let message = format!("one write at versions {given} and {version}");
                self.violation(Rule::OneVersionPerWrite, message, &[put, witness, event]);
            }
        }
    }

    /// Every write has a larger version than what was established when it was sent.
    fn check_writes(&mut self) {
        for (version, write) in self.happened.clone() {
            let floor = self.floor.at(write.invoked_us);
            if version <= floor {
                let message = format!("version {version} after {floor} was known");
                self.violation(Rule::VersionsRise, message, &[write]);
            }
        }
    }

    fn check_reads(&mut self) {
        // Absences, as (when seen, the largest version that was surely gone by then).
        let mut gone = Vec::new();
        for event in self.events.clone() {
            let floor = self.floor.at(event.invoked_us);
            match seen(event) {
                Some(Seen::Version(version)) if version < floor => {
                    self.lost(event, floor, &format!("version {version} was found"));
                }
                Some(Seen::Absent) => {
                    gone.push((event.returned_us, floor));
                    if !self.explains_absence(floor, event) {
                        self.lost(event, floor, "nothing was found and no delete explains it");
                    }
                }
                _ => {}
            }
        }
        let gone = Floor::new(gone.into_iter());
        for event in self.events.clone() {
            let floor = gone.at(event.invoked_us);
            if seen(event)
                .is_some_and(|seen| matches!(seen, Seen::Version(version) if version <= floor))
            {
                let message =
                    format!("version {floor} or a smaller one came back after it was gone");
                self.violation(Rule::NoLostWrite, message, &[event]);
            }
        }
    }

    fn lost(&mut self, read: &'a Event, floor: u64, what: &str) {
        let message = format!("version {floor} was known before; {what}");
        let mut events = vec![read];
        events.extend(self.happened.get(&floor));
        self.violation(Rule::NoLostWrite, message, &events);
    }

    fn explains_absence(&self, floor: u64, read: &Event) -> bool {
        floor == 0
            || self.happened.range(floor..).any(|(_, write)| {
                matches!(write.operation, Operation::Delete { .. })
                    && write.invoked_us <= read.returned_us
            })
            || self.unknown_delete_before(read.returned_us)
    }

    fn unknown_delete_before(&self, time_us: u64) -> bool {
        self.events.iter().any(|event| {
            matches!(event.operation, Operation::Delete { .. })
                && event.outcome == Outcome::Unknown
                && event.invoked_us <= time_us
        })
    }

    fn check_conditions(&mut self) {
        for event in self.events.clone() {
            let failed = match (event.condition(), &event.outcome) {
                (Condition::Always, Outcome::Refused { .. }) => true,
                (Condition::Absent, Outcome::Refused { current_version }) => *current_version == 0,
                (Condition::Version(wanted), Outcome::Refused { current_version }) => {
                    wanted == *current_version
                }
                (Condition::Absent, Outcome::Written { version }) => {
                    let before = self.happened.range(..*version).next_back();
                    before
                        .is_some_and(|(_, write)| matches!(write.operation, Operation::Put { .. }))
                        && !self.unknown_delete_before(event.returned_us)
                }
                (Condition::Version(wanted), Outcome::Written { version }) => {
                    let between = self.happened.range((wanted + 1).min(*version)..*version);
                    wanted == 0 || between.count() > 0 || wanted < self.floor.at(event.invoked_us)
                }
                _ => false,
            };
            if failed {
                let message = "the condition and what stood do not agree with the answer";
                self.violation(Rule::ConditionsHold, message, &[event]);
            }
        }
    }

    /// Operations of one batch on one key take effect in order.
    fn check_batch_order(&mut self) {
        let mut last: HashMap<u64, (u32, u64, &Event)> = HashMap::new();
        let mut members: Vec<_> = self
            .events
            .iter()
            .filter_map(|event| match (event.batch, &event.outcome) {
                (Some(member), Outcome::Written { version }) => Some((member, *version, *event)),
                _ => None,
            })
            .collect();
        members.sort_by_key(|(member, ..)| (member.batch, member.position));
        for (member, version, event) in members {
            let before = last.insert(member.batch, (member.position, version, event));
            if let Some((_, earlier, other)) = before
                && earlier >= version
            {
                self.violation(
                    Rule::VersionsRise,
                    "operations of a batch out of order",
                    &[other, event],
                );
            }
        }
    }
}

fn seen(event: &Event) -> Option<Seen> {
    match event.outcome {
        Outcome::Found { version, .. } => Some(Seen::Version(version)),
        Outcome::Absent | Outcome::Refused { current_version: 0 } => Some(Seen::Absent),
        Outcome::Refused { current_version } => Some(Seen::Version(current_version)),
        _ => None,
    }
}
