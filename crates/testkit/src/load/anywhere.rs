//! A client of several nodes: whatever fails at one is tried at the next.

use std::sync::Arc;

use anyhow::Result;
use ringfort_check::{Event, Operation, Outcome};

use super::client::{Client, batch_outcomes};
use super::{micros, wire};
use crate::http::HttpError;

/// How often a write with an idempotency key is sent while its outcome is unknown.
const ATTEMPTS_MAX: u32 = 20;

impl Client {
    /// Does one thing.
    pub(super) fn anywhere(&mut self) -> Result<()> {
        match self.setup.random.below(100) {
            0..78 => {
                let (key, operation) = self.choose();
                let keyed = operation != Operation::Get && self.setup.random.percent(50);
                self.single_anywhere(&key, &operation, keyed)
            }
            78..86 => {
                let (key, _) = self.choose();
                self.stale_anywhere(key)
            }
            86..94 => {
                let operations = self.choose_batch();
                self.batch_anywhere(&operations, false)
            }
            _ => {
                let operations = self.choose_pair();
                self.batch_anywhere(&operations, true)
            }
        }
    }

    fn single_anywhere(&mut self, key: &str, operation: &Operation, keyed: bool) -> Result<()> {
        let write = self.next_number();
        let identity = keyed.then(|| format!("load.{write}"));
        let mut in_doubt = false;
        for _ in 0..ATTEMPTS_MAX {
            let invoked_us = micros(self.setup.start);
            let sent = wire::send(self.setup.nodes.http(), key, operation, identity.as_deref());
            let outcome = match sent {
                Ok(response) => wire::outcome(operation, &response)?,
                Err(HttpError::NotSent(_)) => {
                    self.await_another()?;
                    if in_doubt { continue } else { return Ok(()) }
                }
                Err(HttpError::Broken(_)) => Outcome::Unknown,
            };
            self.note(key, &outcome);
            self.push(Event {
                client: self.setup.number,
                key: key.to_owned(),
                operation: operation.clone(),
                invoked_us,
                returned_us: micros(self.setup.start),
                outcome: outcome.clone(),
                batch: None,
                staleness_us: None,
                write: keyed.then_some(write),
            });
            match outcome {
                Outcome::Unknown => in_doubt = true,
                Outcome::NotApplied => {}
                _ => return Ok(()),
            }
            self.setup.nodes.leave();
            if !(keyed && in_doubt) {
                return Ok(());
            }
        }
        Ok(())
    }

    fn await_another(&mut self) -> Result<()> {
        let shared = Arc::clone(&self.setup.shared);
        self.setup.nodes.await_another(&shared.stop)
    }

    fn stale_anywhere(&mut self, key: String) -> Result<()> {
        let invoked_us = micros(self.setup.start);
        let response = match wire::send_stale(self.setup.nodes.http(), &key) {
            Ok(response) => response,
            Err(HttpError::NotSent(_)) => return self.await_another(),
            Err(HttpError::Broken(_)) => {
                self.setup.nodes.leave();
                return Ok(());
            }
        };
        let outcome = wire::outcome_of_get(&response);
        if outcome == Outcome::NotApplied {
            self.setup.nodes.leave();
            return Ok(());
        }
        self.push(Event {
            client: self.setup.number,
            key,
            operation: Operation::Get,
            invoked_us,
            returned_us: micros(self.setup.start),
            outcome,
            batch: None,
            staleness_us: Some(wire::staleness_us(&response)?),
            write: None,
        });
        Ok(())
    }

    fn batch_anywhere(&mut self, operations: &[(String, Operation)], atomic: bool) -> Result<()> {
        let invoked_us = micros(self.setup.start);
        let sent = wire::send_batch(self.setup.nodes.http(), operations, atomic);
        let outcomes = match sent {
            Ok(response) => batch_outcomes(operations, &response)?,
            Err(HttpError::NotSent(_)) => return self.await_another(),
            Err(HttpError::Broken(_)) => vec![Outcome::Unknown; operations.len()],
        };
        if outcomes.iter().any(|it| matches!(it, Outcome::Unknown | Outcome::NotApplied)) {
            self.setup.nodes.leave();
        }
        self.record_batch(operations, invoked_us, outcomes, atomic);
        Ok(())
    }
}
