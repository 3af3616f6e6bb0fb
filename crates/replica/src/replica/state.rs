//! What a replica has applied, as others look at it.

use bytes::Bytes;
use ringfort_engine::StorageEngine;
use ringfort_types::request::Found;
use ringfort_types::{Applied, Key, Monotonic, NamespaceId};

use super::Replica;
use crate::layout;
use crate::machine::MachineError;
use crate::read::{self, ListQuery, Listed, Reading};

impl Replica {
    /// Reads one key from what is applied; whether that may be answered is the caller's to know.
    ///
    /// # Errors
    /// The engine failed: the replica must stop.
    pub fn get(
        &self,
        engine: &dyn StorageEngine,
        now: Monotonic,
        key: &Key,
    ) -> Result<Reading, MachineError> {
        read::get(engine, self.group, NamespaceId::default(), key, self.clock.now(now))
    }

    /// Reads one key as it is applied, for a stale read: a key that is due is still there, for what overtook its expiry may
    /// not be applied yet.
    ///
    /// # Errors
    /// The engine failed: the replica must stop.
    pub fn get_applied(
        &self,
        engine: &dyn StorageEngine,
        now: Monotonic,
        key: &Key,
    ) -> Result<Option<Found>, MachineError> {
        let now = self.clock.now(now);
        read::get_applied(engine, self.group, NamespaceId::default(), key, now)
    }

    /// Bytes of a key's value as it is applied; 0 if it is absent or cannot be read.
    #[must_use]
    pub fn value_bytes(&self, engine: &dyn StorageEngine, key: &Key) -> usize {
        let data_key = layout::data_key(NamespaceId::default(), key.as_bytes());
        let stored = engine.get(self.group, &data_key).ok().flatten();
        stored.map_or(0, |stored| stored.len())
    }

    /// Lists keys from what is applied.
    ///
    /// # Errors
    /// The engine failed: the replica must stop.
    pub fn list(
        &self,
        engine: &dyn StorageEngine,
        now: Monotonic,
        query: &ListQuery,
    ) -> Result<Listed, MachineError> {
        read::list(engine, self.group, query, self.clock.now(now))
    }

    /// What the shard's store has applied, and a hash over it: replicas whose stores have applied the same index hold the
    /// same state.
    ///
    /// # Errors
    /// The engine failed.
    pub fn applied_state(
        &self,
        engine: &dyn StorageEngine,
    ) -> Result<(Applied, u128), MachineError> {
        Ok((engine.applied(self.group)?, self.machine.state_hash(engine)?))
    }

    /// A hash over the shard's state.
    ///
    /// # Errors
    /// The engine failed.
    pub fn state_hash(&self, engine: &dyn StorageEngine) -> Result<u128, MachineError> {
        self.machine.state_hash(engine)
    }

    /// The key as an Expire command names it.
    #[must_use]
    pub fn expiry_name(key: &Key) -> Bytes {
        layout::data_key(NamespaceId::default(), key.as_bytes())
    }
}
