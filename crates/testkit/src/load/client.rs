//! One client: what it chooses to ask, and what it writes down.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::{Result, ensure};
use ringfort_check::{Condition, Event, Member, Operation, Outcome};

use super::nodes::Nodes;
use super::{LoadOptions, Pending, Shared, micros, wire};
use crate::Random;
use crate::http::{HttpError, Response};

/// All keys of a load begin so.
pub(super) const KEY_PREFIX: &str = "crash/";

/// The keys of single writes, and those of atomic batches. Some hold what a path must encode.
fn single_key(number: u64) -> String {
    match number % 4 {
        0 => format!("crash/key {number}"),
        1 => format!("crash/{{tag}}{number}"),
        _ => format!("crash/{number}"),
    }
}

fn pair_keys(number: u64) -> [String; 2] {
    [format!("crash/{{pair{number}}}/left"), format!("crash/{{pair{number}}}/right")]
}

/// Every key that a load may write.
pub(super) fn all_keys(options: &LoadOptions) -> Vec<String> {
    let single = (0..options.keys).map(single_key);
    single.chain((0..options.pairs).flat_map(pair_keys)).collect()
}

pub(super) struct Setup {
    pub(super) number: u32,
    pub(super) load: u64,
    pub(super) start: Instant,
    pub(super) options: LoadOptions,
    pub(super) random: Random,
    pub(super) nodes: Nodes,
    pub(super) shared: Arc<Shared>,
    pub(super) pending: Vec<Pending>,
}

/// What a client has to tell in the end.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    pub(super) events: Vec<Event>,
    pub(super) pending: Vec<Pending>,
}

pub(super) struct Client {
    pub(super) setup: Setup,
    pub(super) sequence: u64,
    /// The newest version this client knows of each key, for its conditions.
    known: HashMap<String, u64>,
    recorded: Recorded,
}

/// The server is gone: nothing of the request left.
struct Gone;

impl Client {
    pub(super) fn new(setup: Setup) -> Self {
        Self { setup, sequence: 0, known: HashMap::new(), recorded: Recorded::default() }
    }

    pub(super) fn run(mut self) -> Result<Recorded> {
        let mut again = std::mem::take(&mut self.setup.pending);
        while let Some(pending) = again.pop() {
            if self.single(pending.clone(), true)?.is_err() {
                self.recorded.pending.push(pending);
                self.recorded.pending.append(&mut again);
                return Ok(self.recorded);
            }
        }
        while !self.setup.shared.stop.load(Ordering::Relaxed) {
            if self.setup.nodes.are_several() {
                self.anywhere()?;
                continue;
            }
            let gone = match self.setup.random.below(100) {
                0..84 => {
                    let (chosen, keyed) = self.choose_single();
                    self.single(chosen, keyed)?.is_err()
                }
                84..94 => {
                    let operations = self.choose_batch();
                    self.batch(&operations, false)?.is_err()
                }
                _ => {
                    let operations = self.choose_pair();
                    self.batch(&operations, true)?.is_err()
                }
            };
            if gone {
                break;
            }
        }
        Ok(self.recorded)
    }

    fn new_value(&mut self) -> String {
        let options = &self.setup.options;
        let most = match self.setup.random.percent(1) {
            true => options.large_value_bytes,
            false => options.value_bytes,
        };
        let len = self.setup.random.below(most + 1);
        self.sequence += 1;
        wire::value_name(self.setup.load, self.setup.number, self.sequence, len)
    }

    pub(super) fn choose(&mut self) -> (String, Operation) {
        let key = single_key(self.setup.random.below(self.setup.options.keys));
        let known = self.known.get(&key).copied();
        let condition = match (self.setup.random.below(100), known) {
            (0..12, Some(version)) => Condition::Version(version),
            (12..18, _) => Condition::Absent,
            _ => Condition::Always,
        };
        let operation = match (self.setup.random.below(100), condition) {
            (0..72, _) => Operation::Put { value: self.new_value(), condition, ttl_ms: None },
            (72..86, Condition::Always | Condition::Version(_)) => Operation::Delete { condition },
            _ => Operation::Get,
        };
        (key, operation)
    }

    fn choose_single(&mut self) -> (Pending, bool) {
        let (key, operation) = self.choose();
        let keyed = operation != Operation::Get && self.setup.random.percent(15);
        self.sequence += 1;
        let Setup { load, number, .. } = self.setup;
        let pending = Pending {
            client: number,
            key,
            operation,
            idempotency_key: format!("{load}.{number}.{}", self.sequence),
            invoked_us: micros(self.setup.start),
        };
        (pending, keyed)
    }

    pub(super) fn choose_batch(&mut self) -> Vec<(String, Operation)> {
        let count = 1 + self.setup.random.below(5);
        (0..count).map(|_| self.choose()).collect()
    }

    pub(super) fn choose_pair(&mut self) -> Vec<(String, Operation)> {
        let number = self.setup.random.below(self.setup.options.pairs);
        pair_keys(number)
            .into_iter()
            .map(|key| {
                let operation = Operation::Put {
                    value: self.new_value(),
                    condition: Condition::Always,
                    ttl_ms: None,
                };
                (key, operation)
            })
            .collect()
    }

    fn single(&mut self, pending: Pending, keyed: bool) -> Result<Result<(), Gone>> {
        let Pending { key, operation, .. } = &pending;
        let identity = keyed.then_some(pending.idempotency_key.as_str());
        let outcome = match wire::send(self.setup.nodes.http(), key, operation, identity) {
            Ok(response) => wire::outcome(operation, &response)?,
            Err(HttpError::NotSent(_)) => return Ok(Err(Gone)),
            Err(HttpError::Broken(_)) => Outcome::Unknown,
        };
        if outcome == Outcome::Unknown && keyed {
            self.recorded.pending.push(pending);
            return Ok(Ok(()));
        }
        self.record(key.clone(), operation.clone(), pending.invoked_us, outcome, None);
        Ok(Ok(()))
    }

    fn batch(
        &mut self,
        operations: &[(String, Operation)],
        atomic: bool,
    ) -> Result<Result<(), Gone>> {
        let invoked_us = micros(self.setup.start);
        let sent = wire::send_batch(self.setup.nodes.http(), operations, atomic);
        let outcomes = match sent {
            Ok(response) => batch_outcomes(operations, &response)?,
            Err(HttpError::NotSent(_)) => return Ok(Err(Gone)),
            Err(HttpError::Broken(_)) => vec![Outcome::Unknown; operations.len()],
        };
        self.record_batch(operations, invoked_us, outcomes, atomic);
        Ok(Ok(()))
    }

    pub(super) fn record_batch(
        &mut self,
        operations: &[(String, Operation)],
        invoked_us: u64,
        outcomes: Vec<Outcome>,
        atomic: bool,
    ) {
        let number = self.next_number();
        for ((position, (key, operation)), outcome) in (0..).zip(operations).zip(outcomes) {
            let member = Member { batch: number, position, atomic };
            self.record(key.clone(), operation.clone(), invoked_us, outcome, Some(member));
        }
    }

    /// A number that nothing else in the history has.
    pub(super) fn next_number(&mut self) -> u64 {
        self.sequence += 1;
        (self.setup.load << 40) | (u64::from(self.setup.number) << 30) | self.sequence
    }

    fn record(
        &mut self,
        key: String,
        operation: Operation,
        invoked_us: u64,
        outcome: Outcome,
        batch: Option<Member>,
    ) {
        self.note(&key, &outcome);
        self.push(Event {
            client: self.setup.number,
            key,
            operation,
            invoked_us,
            returned_us: micros(self.setup.start),
            outcome,
            batch,
            staleness_us: None,
            write: None,
        });
    }

    pub(super) fn push(&mut self, event: Event) {
        self.recorded.events.push(event);
    }

    /// Counts an acknowledgement, and keeps what is known of the key's version.
    pub(super) fn note(&mut self, key: &str, outcome: &Outcome) {
        match *outcome {
            Outcome::Written { version } => {
                self.setup.shared.acknowledged.fetch_add(1, Ordering::Relaxed);
                self.known.insert(key.to_owned(), version);
            }
            Outcome::Found { version, .. } => {
                self.known.insert(key.to_owned(), version);
            }
            _ => {
                self.known.remove(key);
            }
        }
    }
}

pub(super) fn batch_outcomes(
    operations: &[(String, Operation)],
    response: &Response,
) -> Result<Vec<Outcome>> {
    let body = response.json();
    if response.status != 200 {
        // One answer for all: refused, or unknown, as a whole.
        let whole = Operation::Delete { condition: Condition::Always };
        let outcome = wire::outcome(&whole, response)?;
        return Ok(vec![outcome; operations.len()]);
    }
    let results = body["results"].as_array().cloned().unwrap_or_default();
    ensure!(
        results.len() == operations.len(),
        "{} results for {} operations",
        results.len(),
        operations.len()
    );
    let each = operations.iter().zip(&results);
    each.map(|((_, operation), result)| wire::outcome_in_batch(operation, result)).collect()
}
