//! Expiry: a key that is due exists until an entry of its leader removes it.
//!
//! ```text
//!   a tick, or a listing that met a due key ──▶ at most 256 of what is due ──▶ one Expire entry under way at a time
//!   a command on a due key                  ──▶ an Expire of that key, and the command behind it in the same entry
//! ```

use std::time::Duration;

use bytes::Bytes;
use ringfort_engine::StorageEngine;
use ringfort_types::request::Operation;
use ringfort_types::{Index, Monotonic, NamespaceId, ShardTime, Version};

use super::Replica;
use crate::machine::MachineError;
use crate::read::{self, Reading};

/// How often a leader stamps its log while keys have a time to live: what a restart may lose of the shard's time.
const STAMP_INTERVAL: Duration = Duration::from_millis(500);

/// Where the expiry of what was due stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expiring {
    No,
    /// In this turn's queue.
    Queued,
    /// Proposed at this index, not applied yet.
    Proposed(Index),
    /// Raft took no command: the next tick tries again, so that turns do not chase each other meanwhile.
    Refused,
}

impl Replica {
    /// Queues the expiry of keys, each while it has the version that stands with it.
    pub fn enqueue_expire(&mut self, due: &[(Bytes, Version)]) {
        self.queue.expire(due);
        self.tickets.push_back(None);
    }

    /// Whether a key with this end was due when a request came, at `since`.
    #[must_use]
    pub fn was_due(&self, now: Monotonic, since: Monotonic, due: ShardTime) -> bool {
        // Not the clock's word for `since`: it may have been set since then, and knows nothing from before.
        let passed = u64::try_from(now.since(since).as_millis()).unwrap_or(u64::MAX);
        due.0.saturating_add(passed) <= self.clock.now(now).0
    }

    /// Has what is due expired, where this replica leads, until nothing is left that was due when a request came, at
    /// `since`. Gives whether something may be left: then an entry is under way, and whoever waits asks again when it is
    /// applied. What becomes due meanwhile is not waited for, so that waiting ends.
    ///
    /// # Errors
    /// The engine failed: the replica must stop.
    pub fn expire_due(
        &mut self,
        engine: &dyn StorageEngine,
        now: Monotonic,
        since: Monotonic,
    ) -> Result<bool, MachineError> {
        let now = self.advance(now);
        let is_left = |replica: &Self| {
            replica.machine.next_due().is_some_and(|due| replica.was_due(now, since, due))
        };
        if !self.leads() || !is_left(self) {
            return Ok(false);
        }
        if self.expiring == Expiring::No {
            let due = self.due_keys(engine, now)?;
            if !due.is_empty() {
                self.enqueue_expire(&due);
                self.expiring = Expiring::Queued;
            }
        }
        Ok(is_left(self))
    }

    pub(super) fn tick_expiry(
        &mut self,
        engine: &dyn StorageEngine,
        now: Monotonic,
    ) -> Result<(), MachineError> {
        if self.expiring == Expiring::Refused {
            self.expiring = Expiring::No;
        }
        if !self.leads() || self.expiring != Expiring::No {
            return Ok(());
        }
        let due = self.due_keys(engine, now)?;
        let stamp_due = now.since(self.stamped) >= STAMP_INTERVAL;
        let stamp = stamp_due && self.machine.next_due().is_some();
        let forget = self.machine.next_forget().is_some_and(|due| due <= self.clock.now(now));
        if !due.is_empty() || stamp || forget {
            self.enqueue_expire(&due);
            self.expiring = Expiring::Queued;
        }
        Ok(())
    }

    /// What one Expire may name of what is due.
    fn due_keys(
        &mut self,
        engine: &dyn StorageEngine,
        now: Monotonic,
    ) -> Result<Vec<(Bytes, Version)>, MachineError> {
        let shard_now = self.clock.now(now);
        if self.machine.next_due().is_none_or(|due| due > shard_now) {
            return Ok(Vec::new());
        }
        let bytes_max = self.payload_bytes_target / 2;
        let keys_max = self.expire_keys_max;
        let due = self.machine.due_keys(engine, shard_now, keys_max, bytes_max)?;
        self.expires_full += u64::from(due.len() == keys_max);
        Ok(due)
    }

    pub(super) fn expire_touched(
        &mut self,
        engine: &dyn StorageEngine,
        now: Monotonic,
        operations: &[Operation],
    ) -> Result<(), MachineError> {
        let shard_now = self.clock.now(now);
        if self.machine.next_due().is_none_or(|due| due > shard_now) {
            return Ok(());
        }
        let mut due = Vec::new();
        for operation in operations {
            let reading =
                read::get(engine, self.group, NamespaceId::default(), operation.key(), shard_now)?;
            if let Reading::Due(data_key, version) = reading {
                due.push((data_key, version));
            }
        }
        if !due.is_empty() {
            self.enqueue_expire(&due);
        }
        Ok(())
    }
}
