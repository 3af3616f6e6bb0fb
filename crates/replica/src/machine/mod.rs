//! The state machine of one shard. Deterministic: state and answers follow from the entries alone.
//!
//! Invariants:
//! - The revision rises by one with each applied put and delete and never falls: versions of a key never repeat.
//! - No clock is compared: a key exists until an Expire command that names its version removes it.
//! - A keyed or sessioned write is executed at most once while it is remembered; failed conditions are remembered too,
//!   refusals are not.
//! - What a failed atomic batch changed is taken back before anything else is looked at.

use bytes::Bytes;
use ringfort_engine::{EngineError, StorageEngine, StoreSize, WriteBatch, WriteOperation};
use ringfort_raft::Configuration;
use ringfort_types::request::Done;
use ringfort_types::{Applied, Entry, FeatureLevel, GroupId, SessionId, ShardTime, Version};

use crate::command::{Command, DecodeError, PayloadReader};
use crate::layout;
use crate::meta::Meta;
use crate::staged::Staged;

mod due;
mod identity;
mod operate;

/// What one command gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// One operation.
    Done(Done),
    /// All operations of an atomic batch.
    All(Vec<Done>),
    /// A condition did not hold; nothing was changed.
    PreconditionFailed {
        /// What stands (0: absent).
        current: Version,
        /// In an atomic batch: position of the operation, from 0.
        operation: Option<usize>,
    },
    /// The gets of its entry read more than an entry may; nothing was changed.
    TooLarge,
    /// The identity was used for something else before.
    Mismatch,
    /// The session, or this sequence of it, is no longer known.
    SessionExpired,
    /// The session has too many writes open.
    SessionFull,
    /// A session was opened.
    SessionOpened(SessionId),
    /// Due keys were removed.
    Expired,
}

/// The answer to one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What it gave.
    pub reply: Reply,
    /// It was given to an earlier command of the same identity.
    pub replayed: bool,
}

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EffectKind {
    /// It was set.
    Put,
    /// It was removed.
    Delete,
    /// It was removed because its time was over.
    Expire,
}

/// One change of one key, in the order in which changes take effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// Namespace (4 bytes, big endian) and key.
    pub key: Bytes,
    /// The revision of the change.
    pub version: Version,
    /// What happened.
    pub kind: EffectKind,
    /// The value before.
    pub old: Option<Bytes>,
    /// The value after.
    pub new: Option<Bytes>,
}

/// What applying entries gave.
#[derive(Debug, Default)]
pub struct Applying {
    /// The answers to all commands, in order.
    pub answers: Vec<Answer>,
    /// Per entry: its position, and how many of the answers are to its commands.
    pub entries: Vec<(Applied, usize)>,
    /// Changes in order; `None`: nobody wants them, and none are gathered.
    pub effects: Option<Vec<Effect>>,
}

/// Why an entry could not be applied. The state is unchanged since the last batch; the replica must stop, for another
/// replica may have applied it.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// The entry's bytes.
    #[error("entry {index} cannot be applied")]
    Entry {
        /// Which entry.
        index: ringfort_types::Index,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
    /// The engine failed.
    #[error("the engine failed")]
    Engine(#[from] EngineError),
    /// The store holds bytes that no version of this code wrote.
    #[error("the store holds a malformed {0}")]
    Malformed(&'static str),
    /// A snapshot is not what its head says.
    #[error("a snapshot of entry {index} holds {holds}")]
    Snapshot {
        /// The entry that it is said to be of.
        index: ringfort_types::Index,
        /// What it holds instead.
        holds: &'static str,
    },
}

/// The state machine of one shard, over the store of its group.
#[derive(Debug)]
pub struct Machine {
    group: GroupId,
    /// The newest feature level that it applies.
    known: FeatureLevel,
    meta: Meta,
    /// Of the group, as of what is applied.
    configuration: Configuration,
    /// The store holds it.
    configuration_stored: bool,
    staged: Staged,
    /// Bytes that the gets of the entry being applied have read.
    read_bytes: usize,
    /// No remembered answer is due before this; `None`: there is none at all.
    next_forget: Option<ShardTime>,
    /// No key is due before this; `None`: no key has a time to live.
    next_due: Option<ShardTime>,
}

/// Where an entry is applied: what its commands may know of it.
#[derive(Clone, Copy, Debug)]
struct At {
    position: Applied,
    stamp: ShardTime,
}

/// The configuration of a group as its store names it: as of what is applied. `None`: it names none.
///
/// # Errors
/// The store cannot be read or is none of ours.
pub fn stored_configuration(
    engine: &dyn StorageEngine,
    group: GroupId,
) -> Result<Option<Configuration>, MachineError> {
    let stored = engine.get(group, layout::CONFIGURATION)?;
    let decoded = stored.map(|bytes| Configuration::decode(&bytes)).transpose();
    decoded.map_err(|_| MachineError::Malformed("configuration"))
}

impl Machine {
    /// The machine over an open store. `founding` is the group's configuration where the store names none: before anything
    /// was applied, or in a store of a version that knew only groups of one. `known` is the newest feature level that it is to
    /// apply.
    ///
    /// # Errors
    /// The store cannot be read or is none of ours.
    pub fn open(
        engine: &dyn StorageEngine,
        group: GroupId,
        founding: Configuration,
        known: FeatureLevel,
        hash_seed: u64,
    ) -> Result<Self, MachineError> {
        let stored = stored_configuration(engine, group)?;
        let configuration_stored = stored.is_some();
        let configuration = stored.unwrap_or(founding);
        let meta = match engine.get(group, layout::META)? {
            Some(value) => Meta::decode(&value),
            // Every batch writes it: it is absent where nothing was ever applied.
            None => (engine.applied(group)? == Applied::default()).then(Meta::default),
        };
        let meta = meta.ok_or(MachineError::Malformed("meta record"))?;
        let mut machine = Self {
            group,
            known,
            meta,
            configuration,
            configuration_stored,
            staged: Staged::new(hash_seed),
            read_bytes: 0,
            next_forget: None,
            next_due: None,
        };
        machine.next_due = machine.first_due(engine)?;
        machine.next_forget = machine.first_forget(engine)?;
        Ok(machine)
    }

    /// The group's configuration, as of what is applied.
    #[must_use]
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// The newest stamp applied.
    #[must_use]
    pub fn time(&self) -> ShardTime {
        self.meta.time
    }

    /// The shard's revision.
    #[must_use]
    pub fn revision(&self) -> Version {
        Version(self.meta.revision)
    }

    /// Keys that exist, and the bytes of those keys and their values.
    #[must_use]
    pub fn size(&self) -> StoreSize {
        StoreSize { keys: self.meta.keys, bytes: self.meta.bytes }
    }

    /// Bytes of remembered answers and sessions.
    #[must_use]
    pub fn retry_bytes(&self) -> u64 {
        self.meta.retry_bytes
    }

    /// Nothing remembered is due before this; `None`: nothing is remembered.
    #[must_use]
    pub fn next_forget(&self) -> Option<ShardTime> {
        self.next_forget
    }

    /// No key is due before this; `None`: no key has a time to live.
    #[must_use]
    pub fn next_due(&self) -> Option<ShardTime> {
        self.next_due
    }

    /// Applies committed entries, as one batch of the engine unless answers have to be forgotten in between.
    ///
    /// # Errors
    /// The replica must stop; see [`MachineError`].
    pub fn apply(
        &mut self,
        engine: &mut dyn StorageEngine,
        entries: &[Entry],
        out: &mut Applying,
    ) -> Result<(), MachineError> {
        for entry in entries {
            let position = Applied { index: entry.index, term: entry.term };
            let answered = out.answers.len();
            let configuration = Configuration::of_entry(entry)
                .map_err(|_| MachineError::Malformed("configuration"))?;
            if let Some(configuration) = configuration {
                self.configuration = configuration;
                self.configuration_stored = false;
            } else if !entry.payload.is_empty() {
                self.apply_entry(engine, position, &entry.payload, out)?;
            }
            out.entries.push((position, out.answers.len() - answered));
        }
        match entries.last() {
            Some(last) => self.write(engine, Applied { index: last.index, term: last.term }),
            None => Ok(()),
        }
    }

    fn apply_entry(
        &mut self,
        engine: &mut dyn StorageEngine,
        position: Applied,
        payload: &Bytes,
        out: &mut Applying,
    ) -> Result<(), MachineError> {
        let malformed = |source| MachineError::Entry { index: position.index, source };
        let mut reader = PayloadReader::new(payload.clone(), self.known).map_err(malformed)?;
        self.meta.time = self.meta.time.max(reader.stamp);
        self.read_bytes = 0;
        let at = At { position, stamp: self.meta.time };
        if self.next_forget.is_some_and(|due| due <= at.stamp) {
            // Forgetting scans the store: what is staged has to be in it.
            let before = Applied {
                index: ringfort_types::Index(position.index.0 - 1),
                ..engine.applied(self.group)?
            };
            if !self.staged.is_empty() {
                let term = out.entries.last().map_or(before.term, |(applied, _)| applied.term);
                self.write(engine, Applied { term, ..before })?;
            }
            self.forget_due(engine, at.stamp, payload.len())?;
        }
        while let Some(command) = reader.command().map_err(malformed)? {
            out.answers.push(self.command(engine, at, command, &mut out.effects)?);
        }
        Ok(())
    }

    /// Hands what is staged to the engine as one batch.
    fn write(
        &mut self,
        engine: &mut dyn StorageEngine,
        applied: Applied,
    ) -> Result<(), MachineError> {
        let mut operations = self.staged.take();
        operations.push(WriteOperation::Put {
            key: Bytes::from_static(layout::META),
            head: self.meta.encode(),
            body: Bytes::new(),
        });
        if !self.configuration_stored && !self.configuration.is_blank() {
            operations.push(WriteOperation::Put {
                key: Bytes::from_static(layout::CONFIGURATION),
                head: self.configuration.encode(),
                body: Bytes::new(),
            });
            self.configuration_stored = true;
        }
        let batch = WriteBatch { operations, applied };
        engine.write(self.group, &batch)?;
        self.staged.give_back(batch.operations);
        Ok(())
    }

    fn command(
        &mut self,
        engine: &dyn StorageEngine,
        at: At,
        command: Command,
        effects: &mut Option<Vec<Effect>>,
    ) -> Result<Answer, MachineError> {
        match command {
            Command::Operations(operations) => self.identified(engine, at, operations, effects),
            Command::OpenSession => Ok(Answer { reply: self.open_session(at), replayed: false }),
            Command::Expire(due) => {
                for (data_key, version) in due {
                    self.expire(engine, data_key, version, effects)?;
                }
                Ok(Answer { reply: Reply::Expired, replayed: false })
            }
        }
    }
}
