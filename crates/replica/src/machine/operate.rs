//! Operations: what puts, deletes, gets and expiries do to the staged state.

use bytes::Bytes;
use ringfort_engine::StorageEngine;
use ringfort_types::limits::VERSION_MAX;
use ringfort_types::request::{Done, Found};
use ringfort_types::{ShardTime, Version};

use super::{At, Effect, EffectKind, Machine, MachineError, Reply};
use crate::command::{Action, CommandOperation, Operations};
use crate::layout::{self, DATA_PREFIX_BYTES, Head};

impl Machine {
    pub(super) fn execute(
        &mut self,
        engine: &dyn StorageEngine,
        at: At,
        command: Operations,
        effects: &mut Option<Vec<Effect>>,
    ) -> Result<Reply, MachineError> {
        if !command.atomic {
            let Some(operation) = command.operations.into_iter().next() else {
                return Err(MachineError::Malformed("command without an operation"));
            };
            return Ok(match self.operation(engine, at, operation, effects)? {
                Ok(done) => Reply::Done(done),
                Err(not_done) => not_done.reply(None),
            });
        }
        self.staged.open_savepoint();
        let (meta, effects_before) = (self.meta, effects.as_ref().map_or(0, Vec::len));
        let mut all = Vec::with_capacity(command.operations.len());
        for (position, operation) in command.operations.into_iter().enumerate() {
            match self.operation(engine, at, operation, effects)? {
                Ok(done) => all.push(done),
                Err(not_done) => {
                    self.staged.rollback();
                    self.meta = meta;
                    if let Some(effects) = effects {
                        effects.truncate(effects_before);
                    }
                    return Ok(not_done.reply(Some(position)));
                }
            }
        }
        self.staged.close_savepoint();
        Ok(Reply::All(all))
    }

    /// Executes one operation, or says why not; then nothing has changed.
    fn operation(
        &mut self,
        engine: &dyn StorageEngine,
        at: At,
        operation: CommandOperation,
        effects: &mut Option<Vec<Effect>>,
    ) -> Result<Result<Done, NotDone>, MachineError> {
        let CommandOperation { data_key, condition, action } = operation;
        let wants_value = effects.is_some() || action == Action::Get;
        let before = self.before(engine, &data_key, wants_value)?;
        let current = before.as_ref().map_or(Version::ABSENT, |before| before.head.version);
        if !condition.holds(current) {
            return Ok(Err(NotDone::Condition(current)));
        }
        Ok(Ok(match action {
            Action::Get => {
                self.read_bytes += before.as_ref().map_or(0, |before| before.value_len);
                if self.read_bytes > READ_BYTES_MAX {
                    return Ok(Err(NotDone::TooLarge));
                }
                Done::Got(before.map(|before| before.found(at.stamp)))
            }
            Action::Put { ttl_ms, value } => {
                Done::Put(self.put(at, data_key, (value, ttl_ms), before, effects))
            }
            Action::Delete => Done::Deleted(
                before.map(|before| self.delete(data_key, before, EffectKind::Delete, effects)),
            ),
        }))
    }

    /// What stands under a key; its value is copied only where it is wanted.
    fn before(
        &self,
        engine: &dyn StorageEngine,
        data_key: &Bytes,
        wants_value: bool,
    ) -> Result<Option<Before>, MachineError> {
        let Some(stored) = self.staged.get(engine, self.group, data_key)? else { return Ok(None) };
        let (head, len) = Head::decode(stored.head()).ok_or(MachineError::Malformed("value"))?;
        let value = if wants_value { stored.body(len) } else { Bytes::new() };
        Ok(Some(Before { head, value_len: stored.body_len(len), value }))
    }

    fn put(
        &mut self,
        at: At,
        data_key: Bytes,
        (value, ttl_ms): (Bytes, Option<u64>),
        before: Option<Before>,
        effects: &mut Option<Vec<Effect>>,
    ) -> Version {
        let version = self.next_version();
        // Stamps drop what is below a millisecond; the one more makes up for it, so that nothing expires early.
        let due = ttl_ms.map(|ttl| ShardTime(at.stamp.0.saturating_add(ttl).saturating_add(1)));
        self.uncount(&data_key, before.as_ref());
        self.meta.keys += 1;
        self.meta.bytes += key_and_value_bytes(&data_key, value.len());
        if let Some(due) = due {
            let version = Bytes::copy_from_slice(&version.0.to_le_bytes());
            self.staged.put(layout::expiry_key(due, &data_key), version, Bytes::new());
            self.next_due = Some(self.next_due.map_or(due, |next| next.min(due)));
        }
        if let Some(effects) = effects {
            let (key, old, new) =
                (data_key.slice(1..), before.map(|before| before.value), value.clone());
            effects.push(Effect { key, version, kind: EffectKind::Put, old, new: Some(new) });
        }
        self.staged.put(data_key, Head { version, due }.encode(), value);
        version
    }

    fn delete(
        &mut self,
        data_key: Bytes,
        before: Before,
        kind: EffectKind,
        effects: &mut Option<Vec<Effect>>,
    ) -> Version {
        let version = self.next_version();
        self.uncount(&data_key, Some(&before));
        if let Some(effects) = effects {
            let key = data_key.slice(1..);
            effects.push(Effect { key, version, kind, old: Some(before.value), new: None });
        }
        self.staged.delete(data_key);
        version
    }

    /// Removes a key if it still has this version.
    pub(super) fn expire(
        &mut self,
        engine: &dyn StorageEngine,
        data_key: Bytes,
        version: Version,
        effects: &mut Option<Vec<Effect>>,
    ) -> Result<(), MachineError> {
        let before = self.before(engine, &data_key, effects.is_some())?;
        if let Some(before) = before.filter(|before| before.head.version == version) {
            self.delete(data_key, before, EffectKind::Expire, effects);
        }
        Ok(())
    }

    /// Takes what is replaced or removed out of the counters and the expiry.
    fn uncount(&mut self, data_key: &Bytes, before: Option<&Before>) {
        let Some(before) = before else { return };
        // Only a store whose counters are none of ours would make these fall below zero, and that is not worth a process.
        self.meta.keys = self.meta.keys.saturating_sub(1);
        let bytes = key_and_value_bytes(data_key, before.value_len);
        self.meta.bytes = self.meta.bytes.saturating_sub(bytes);
        if let Some(due) = before.head.due {
            self.staged.delete(layout::expiry_key(due, data_key));
        }
    }

    fn next_version(&mut self) -> Version {
        self.meta.revision += 1;
        assert!(self.meta.revision <= VERSION_MAX, "the shard has used up its versions");
        Version(self.meta.revision)
    }
}

/// Bytes of values that the gets of one entry may read: part of the replicated behaviour, so a constant. A leader refuses
/// earlier what it sees to be too much; this bounds what it could not see.
const READ_BYTES_MAX: usize = 128 << 20;

/// Why an operation was not executed.
enum NotDone {
    /// Its condition does not hold against this version.
    Condition(Version),
    /// The entry's gets have read too much.
    TooLarge,
}

impl NotDone {
    fn reply(self, operation: Option<usize>) -> Reply {
        match self {
            Self::Condition(current) => Reply::PreconditionFailed { current, operation },
            Self::TooLarge => Reply::TooLarge,
        }
    }
}

/// What stood under a key.
#[derive(Debug)]
struct Before {
    head: Head,
    value_len: usize,
    /// The value; empty unless it was asked for.
    value: Bytes,
}

impl Before {
    fn found(self, now: ShardTime) -> Found {
        let ttl_ms = self.head.due.map(|due| due.millis_since(now));
        Found { version: self.head.version, value: self.value, ttl_ms }
    }
}

fn key_and_value_bytes(data_key: &Bytes, value_len: usize) -> u64 {
    (data_key.len() - DATA_PREFIX_BYTES + value_len) as u64
}
