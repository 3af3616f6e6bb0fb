//! What is due, and what the whole state is: looks at the store that are no part of applying.

use bytes::Bytes;
use ringfort_engine::{EngineError, Range, ScanControl, StorageEngine};
use ringfort_types::{GroupId, ShardTime, Version};

use super::{Machine, MachineError};
use crate::layout;

impl Machine {
    /// Keys due at `now` with their versions, at most `count_max` and with about `bytes_max` bytes of keys (one key may
    /// exceed that), for an Expire command. Moves [`Machine::next_due`] on.
    ///
    /// # Errors
    /// The engine failed.
    pub fn due_keys(
        &mut self,
        engine: &dyn StorageEngine,
        now: ShardTime,
        count_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<(Bytes, Version)>, MachineError> {
        let (start, end) = layout::expiry_range(now);
        let mut due = Vec::new();
        let mut malformed = false;
        let mut bytes = 0;
        let range = Range { start: &start, end: Some(&end) };
        engine.scan(self.group, range, &mut |key, value| {
            match (layout::parse_expiry_key(key), value.try_into()) {
                (Some((_, data_key)), Ok(version)) => {
                    bytes += data_key.len();
                    due.push((data_key, Version(u64::from_le_bytes(version))));
                }
                _ => malformed = true,
            }
            if malformed || due.len() == count_max || bytes >= bytes_max {
                ScanControl::Stop
            } else {
                ScanControl::Continue
            }
        })?;
        if malformed {
            return Err(MachineError::Malformed("expiry record"));
        }
        self.next_due = self.first_due(engine)?;
        Ok(due)
    }

    pub(super) fn first_due(
        &self,
        engine: &dyn StorageEngine,
    ) -> Result<Option<ShardTime>, MachineError> {
        let Some(key) = first_key(engine, self.group, layout::EXPIRY_ALL)? else {
            return Ok(None);
        };
        let parsed = layout::parse_expiry_key(&key).map(|(due, _)| due);
        parsed.map(Some).ok_or(MachineError::Malformed("expiry record"))
    }

    pub(super) fn first_forget(
        &self,
        engine: &dyn StorageEngine,
    ) -> Result<Option<ShardTime>, MachineError> {
        let Some(key) = first_key(engine, self.group, layout::FORGET_ALL)? else {
            return Ok(None);
        };
        let parsed = layout::parse_forget_key(&key).map(|(due, _)| due);
        parsed.map(Some).ok_or(MachineError::Malformed("forget key"))
    }

    /// A hash over everything the shard's state holds: equal on all replicas that have applied the same entries.
    ///
    /// # Errors
    /// The engine failed.
    pub fn state_hash(&self, engine: &dyn StorageEngine) -> Result<u128, MachineError> {
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        engine.scan(self.group, Range::default(), &mut |key, value| {
            hasher.update(&(key.len() as u64).to_le_bytes());
            hasher.update(key);
            hasher.update(&(value.len() as u64).to_le_bytes());
            hasher.update(value);
            ScanControl::Continue
        })?;
        Ok(hasher.digest128())
    }
}

fn first_key(
    engine: &dyn StorageEngine,
    group: GroupId,
    (start, end): (&[u8], &[u8]),
) -> Result<Option<Bytes>, EngineError> {
    let mut first = None;
    engine.scan(group, Range { start, end: Some(end) }, &mut |key, _| {
        first = Some(Bytes::copy_from_slice(key));
        ScanControl::Stop
    })?;
    Ok(first)
}
