//! The state machine of one shard. Deterministic: state and answers follow from the entries alone.
//!
//! Invariants:
//! - The revision rises by one with each applied put and delete and never falls: versions of a key never repeat.
//! - No clock is compared: a key exists until an Expire command that names its version removes it.
//! - A keyed or sessioned write is executed at most once while it is remembered; failed conditions are remembered too,
//!   refusals are not.
//! - What a failed atomic batch changed is taken back before anything else is looked at.

use bytes::Bytes;
use ringfort_engine::{EngineError, Range, ScanControl, StorageEngine, WriteBatch};
use ringfort_types::limits::{RETRY_MEMORY_MS, SESSION_OPEN_MAX};
use ringfort_types::request::{Done, Found};
use ringfort_types::{Applied, Entry, GroupId, SessionId, ShardTime, Version};

use crate::command::{
    Action, Command, CommandIdentity, CommandOperation, DecodeError, Operations, PayloadReader,
};
use crate::layout::{self, Head};
use crate::meta::Meta;
use crate::retry::{self, Session};
use crate::staged::Staged;

/// Remembered answers forgotten with one entry at most, so that an entry's cost is bounded.
const FORGET_PER_ENTRY: usize = 64;

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
        /// Position of the operation, from 0.
        operation: usize,
    },
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
    /// Per entry: its position and the answers to its commands, in order.
    pub answers: Vec<(Applied, Vec<Answer>)>,
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
}

/// The state machine of one shard, over the store of its group.
#[derive(Debug)]
pub struct Machine {
    group: GroupId,
    meta: Meta,
    staged: Staged,
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

impl Machine {
    /// The machine over an open store.
    ///
    /// # Errors
    /// The store cannot be read or is none of ours.
    pub fn open(
        engine: &dyn StorageEngine,
        group: GroupId,
        hash_seed: u64,
    ) -> Result<Self, MachineError> {
        let meta = match engine.get(group, layout::META)? {
            Some(value) => Meta::decode(&value).ok_or(MachineError::Malformed("meta record"))?,
            None => Meta::default(),
        };
        let mut machine = Self {
            group,
            meta,
            staged: Staged::new(hash_seed),
            next_forget: None,
            next_due: None,
        };
        machine.next_due = machine.first_due(engine)?;
        machine.next_forget = machine.first_forget(engine)?;
        Ok(machine)
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

    /// Bytes of remembered answers and sessions.
    #[must_use]
    pub fn retry_bytes(&self) -> u64 {
        self.meta.retry_bytes
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
            let position = Applied {
                index: entry.index,
                term: entry.term,
            };
            let answers = if entry.payload.is_empty() {
                Vec::new()
            } else {
                self.apply_entry(engine, position, &entry.payload, out)?
            };
            out.answers.push((position, answers));
        }
        match entries.last() {
            Some(last) => self.write(
                engine,
                Applied {
                    index: last.index,
                    term: last.term,
                },
            ),
            None => Ok(()),
        }
    }

    fn apply_entry(
        &mut self,
        engine: &mut dyn StorageEngine,
        position: Applied,
        payload: &Bytes,
        out: &mut Applying,
    ) -> Result<Vec<Answer>, MachineError> {
        let malformed = |source| MachineError::Entry {
            index: position.index,
            source,
        };
        let mut reader = PayloadReader::new(payload.clone()).map_err(malformed)?;
        self.meta.time = self.meta.time.max(reader.stamp);
        let at = At {
            position,
            stamp: self.meta.time,
        };
        if self.next_forget.is_some_and(|due| due <= at.stamp) {
            // Forgetting scans the store: what is staged has to be in it.
            let before = Applied {
                index: ringfort_types::Index(position.index.0 - 1),
                ..engine.applied(self.group)?
            };
            if !self.staged.is_empty() {
                let term = out
                    .answers
                    .last()
                    .map_or(before.term, |(applied, _)| applied.term);
                self.write(engine, Applied { term, ..before })?;
            }
            self.forget_due(engine, at.stamp)?;
        }
        let mut answers = Vec::with_capacity(1);
        while let Some(command) = reader.command().map_err(malformed)? {
            answers.push(self.command(engine, at, command, &mut out.effects)?);
        }
        Ok(answers)
    }

    /// Hands what is staged to the engine as one batch.
    fn write(
        &mut self,
        engine: &mut dyn StorageEngine,
        applied: Applied,
    ) -> Result<(), MachineError> {
        self.staged.put(
            Bytes::from_static(layout::META),
            self.meta.encode(),
            Bytes::new(),
        );
        let operations = self.staged.take();
        Ok(engine.write(
            self.group,
            &WriteBatch {
                operations,
                applied,
            },
        )?)
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
            Command::OpenSession => Ok(Answer {
                reply: self.open_session(at),
                replayed: false,
            }),
            Command::Expire(due) => {
                for (data_key, version) in due {
                    self.expire(engine, data_key, version, effects)?;
                }
                Ok(Answer {
                    reply: Reply::Expired,
                    replayed: false,
                })
            }
        }
    }

    // --- identities ---

    fn identified(
        &mut self,
        engine: &dyn StorageEngine,
        at: At,
        command: Operations,
        effects: &mut Option<Vec<Effect>>,
    ) -> Result<Answer, MachineError> {
        let fresh = |reply| Answer {
            reply,
            replayed: false,
        };
        match &command.identity {
            CommandIdentity::None => Ok(fresh(self.execute(engine, at, command, effects)?)),
            CommandIdentity::Key {
                principal,
                key,
                position,
            } => {
                let data_key = &command.operations[0].data_key;
                let record_key = layout::idempotency_key(principal, key, *position, data_key);
                if let Some(answer) = self.remembered(engine, &record_key, command.fingerprint)? {
                    return Ok(answer);
                }
                let due = retry_due(at.stamp);
                let fingerprint = command.fingerprint;
                let reply = self.execute(engine, at, command, effects)?;
                if let Some(record) = retry::encode_remembered(fingerprint, &reply) {
                    self.remember(record_key.clone(), record);
                    self.forget_at(due, &record_key);
                }
                Ok(fresh(reply))
            }
            CommandIdentity::Session {
                session,
                sequence,
                lowest_open,
            } => {
                let (session, sequence, lowest_open) = (*session, *sequence, *lowest_open);
                self.sessioned(
                    engine,
                    at,
                    command,
                    (session, sequence, lowest_open),
                    effects,
                )
            }
        }
    }

    fn sessioned(
        &mut self,
        engine: &dyn StorageEngine,
        at: At,
        command: Operations,
        (id, sequence, lowest_open): (SessionId, u64, u64),
        effects: &mut Option<Vec<Effect>>,
    ) -> Result<Answer, MachineError> {
        let fresh = |reply| Answer {
            reply,
            replayed: false,
        };
        let session_key = layout::session_key(id);
        let Some(mut session) = self.session(engine, &session_key)? else {
            return Ok(fresh(Reply::SessionExpired));
        };
        if sequence < session.lowest_open {
            return Ok(fresh(Reply::SessionExpired));
        }
        let raised = lowest_open.clamp(session.lowest_open, sequence);
        if sequence - raised >= SESSION_OPEN_MAX {
            return Ok(fresh(Reply::SessionFull));
        }
        for closed in session.lowest_open..raised.min(session.lowest_open + SESSION_OPEN_MAX) {
            self.forget_record(engine, layout::session_answer_key(id, closed))?;
        }
        session = Session {
            lowest_open: raised,
            due: retry_due(at.stamp),
        };
        self.staged.put(session_key, session.encode(), Bytes::new());
        let answer_key = layout::session_answer_key(id, sequence);
        if let Some(answer) = self.remembered(engine, &answer_key, command.fingerprint)? {
            return Ok(answer);
        }
        let fingerprint = command.fingerprint;
        let reply = self.execute(engine, at, command, effects)?;
        if let Some(record) = retry::encode_remembered(fingerprint, &reply) {
            self.remember(answer_key, record);
        }
        Ok(fresh(reply))
    }

    fn open_session(&mut self, at: At) -> Reply {
        let id = SessionId(at.position.index.0);
        let key = layout::session_key(id);
        let due = retry_due(at.stamp);
        self.remember(
            key.clone(),
            Session {
                lowest_open: 1,
                due,
            }
            .encode(),
        );
        self.forget_at(due, &key);
        Reply::SessionOpened(id)
    }

    fn session(
        &self,
        engine: &dyn StorageEngine,
        key: &Bytes,
    ) -> Result<Option<Session>, MachineError> {
        match self.staged.get(engine, self.group, key)? {
            Some(stored) => Session::decode(stored.head())
                .map(Some)
                .ok_or(MachineError::Malformed("session")),
            None => Ok(None),
        }
    }

    /// The remembered answer of an identity, or that it was used for something else.
    fn remembered(
        &self,
        engine: &dyn StorageEngine,
        key: &Bytes,
        fingerprint: u128,
    ) -> Result<Option<Answer>, MachineError> {
        let Some(stored) = self.staged.get(engine, self.group, key)? else {
            return Ok(None);
        };
        let (known, reply) = retry::decode_remembered(Bytes::copy_from_slice(stored.head()))
            .ok_or(MachineError::Malformed("remembered answer"))?;
        if known == fingerprint {
            Ok(Some(Answer {
                reply,
                replayed: true,
            }))
        } else {
            Ok(Some(Answer {
                reply: Reply::Mismatch,
                replayed: false,
            }))
        }
    }

    fn remember(&mut self, key: Bytes, record: Bytes) {
        self.meta.retry_bytes += record_bytes(&key, record.len());
        self.staged.put(key, record, Bytes::new());
    }

    fn forget_at(&mut self, due: ShardTime, key: &Bytes) {
        self.staged
            .put(layout::forget_key(due, key), Bytes::new(), Bytes::new());
        self.next_forget = Some(self.next_forget.map_or(due, |next| next.min(due)));
    }

    fn forget_record(
        &mut self,
        engine: &dyn StorageEngine,
        key: Bytes,
    ) -> Result<(), MachineError> {
        let len = self
            .staged
            .get(engine, self.group, &key)?
            .map(|stored| stored.head().len());
        if let Some(len) = len {
            self.meta.retry_bytes = self
                .meta
                .retry_bytes
                .saturating_sub(record_bytes(&key, len));
            self.staged.delete(key);
        }
        Ok(())
    }

    /// Forgets answers and sessions whose time is over, a bounded number of them.
    fn forget_due(
        &mut self,
        engine: &dyn StorageEngine,
        now: ShardTime,
    ) -> Result<(), MachineError> {
        let mut due = Vec::new();
        let mut next = None;
        let range = Range {
            start: layout::FORGET_ALL.0,
            end: Some(layout::FORGET_ALL.1),
        };
        engine.scan(
            self.group,
            range,
            &mut |key, _| match layout::parse_forget_key(key) {
                Some((time, _)) if time <= now && due.len() < FORGET_PER_ENTRY => {
                    due.push(Bytes::copy_from_slice(key));
                    ScanControl::Continue
                }
                Some((time, _)) => {
                    next = Some(time);
                    ScanControl::Stop
                }
                None => ScanControl::Stop,
            },
        )?;
        self.next_forget = next;
        for forget_key in due {
            let (_, record_key) = layout::parse_forget_key(&forget_key)
                .ok_or(MachineError::Malformed("forget key"))?;
            let record_key = forget_key.slice_ref(record_key);
            self.staged.delete(forget_key.clone());
            match layout::parse_session_key(&record_key) {
                Some(id) => self.forget_session(engine, now, id, record_key)?,
                None => self.forget_record(engine, record_key)?,
            }
        }
        Ok(())
    }

    /// Forgets a session unless it was used since; then it is looked at again when it is due.
    fn forget_session(
        &mut self,
        engine: &dyn StorageEngine,
        now: ShardTime,
        id: SessionId,
        key: Bytes,
    ) -> Result<(), MachineError> {
        let Some(session) = self.session(engine, &key)? else {
            return Ok(());
        };
        if session.due > now {
            self.forget_at(session.due, &key);
            return Ok(());
        }
        for sequence in session.lowest_open..session.lowest_open + SESSION_OPEN_MAX {
            self.forget_record(engine, layout::session_answer_key(id, sequence))?;
        }
        self.forget_record(engine, key)
    }

    // --- operations ---

    fn execute(
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
                Err(current) => Reply::PreconditionFailed {
                    current,
                    operation: 0,
                },
            });
        }
        let savepoint = self.staged.savepoint();
        let (meta, effects_before) = (self.meta, effects.as_ref().map_or(0, Vec::len));
        let mut all = Vec::with_capacity(command.operations.len());
        for (position, operation) in command.operations.into_iter().enumerate() {
            match self.operation(engine, at, operation, effects)? {
                Ok(done) => all.push(done),
                Err(current) => {
                    self.staged.rollback(savepoint);
                    self.meta = meta;
                    if let Some(effects) = effects {
                        effects.truncate(effects_before);
                    }
                    return Ok(Reply::PreconditionFailed {
                        current,
                        operation: position,
                    });
                }
            }
        }
        Ok(Reply::All(all))
    }

    /// Executes one operation; the error is the version that stands against its condition.
    fn operation(
        &mut self,
        engine: &dyn StorageEngine,
        at: At,
        operation: CommandOperation,
        effects: &mut Option<Vec<Effect>>,
    ) -> Result<Result<Done, Version>, MachineError> {
        let CommandOperation {
            data_key,
            condition,
            action,
        } = operation;
        let stored = self.staged.get(engine, self.group, &data_key)?;
        let head = match &stored {
            Some(stored) => {
                Some(Head::decode(stored.head()).ok_or(MachineError::Malformed("value"))?)
            }
            None => None,
        };
        if let Action::Get = action {
            let found = head.zip(stored).map(|((head, len), stored)| Found {
                version: head.version,
                value: stored.body(len),
                ttl_ms: head.due.map(|due| due.millis_since(at.stamp)),
                staleness_ms: None,
            });
            return Ok(Ok(Done::Got(found)));
        }
        let current = head.map_or(Version::ABSENT, |(head, _)| head.version);
        if !condition.holds(current) {
            return Ok(Err(current));
        }
        let old = match effects {
            Some(_) => head.zip(stored).map(|((_, len), stored)| stored.body(len)),
            None => None,
        };
        let head = head.map(|(head, _)| head);
        Ok(Ok(match action {
            Action::Put { ttl_ms, value } => {
                Done::Put(self.put(at, data_key, value, ttl_ms, head, old, effects))
            }
            Action::Delete | Action::Get => {
                let version =
                    head.map(|head| self.delete(data_key, head, old, EffectKind::Delete, effects));
                Done::Deleted(version)
            }
        }))
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one call, from the one place that has looked all of it up"
    )]
    fn put(
        &mut self,
        at: At,
        data_key: Bytes,
        value: Bytes,
        ttl_ms: Option<u64>,
        before: Option<Head>,
        old: Option<Bytes>,
        effects: &mut Option<Vec<Effect>>,
    ) -> Version {
        let version = self.next_version();
        // Stamps drop what is below a millisecond; the one more makes up for it, so that nothing expires early.
        let due = ttl_ms.map(|ttl| ShardTime(at.stamp.0.saturating_add(ttl).saturating_add(1)));
        self.forget_expiry(&data_key, before);
        if let Some(due) = due {
            let version = Bytes::copy_from_slice(&version.0.to_le_bytes());
            self.staged
                .put(layout::expiry_key(due, &data_key), version, Bytes::new());
            self.next_due = Some(self.next_due.map_or(due, |next| next.min(due)));
        }
        if let Some(effects) = effects {
            let key = data_key.slice(1..);
            effects.push(Effect {
                key,
                version,
                kind: EffectKind::Put,
                old,
                new: Some(value.clone()),
            });
        }
        self.staged
            .put(data_key, Head { version, due }.encode(), value);
        version
    }

    fn delete(
        &mut self,
        data_key: Bytes,
        before: Head,
        old: Option<Bytes>,
        kind: EffectKind,
        effects: &mut Option<Vec<Effect>>,
    ) -> Version {
        let version = self.next_version();
        self.forget_expiry(&data_key, Some(before));
        if let Some(effects) = effects {
            effects.push(Effect {
                key: data_key.slice(1..),
                version,
                kind,
                old,
                new: None,
            });
        }
        self.staged.delete(data_key);
        version
    }

    fn expire(
        &mut self,
        engine: &dyn StorageEngine,
        data_key: Bytes,
        version: Version,
        effects: &mut Option<Vec<Effect>>,
    ) -> Result<(), MachineError> {
        let Some(stored) = self.staged.get(engine, self.group, &data_key)? else {
            return Ok(());
        };
        let (head, len) = Head::decode(stored.head()).ok_or(MachineError::Malformed("value"))?;
        if head.version == version {
            let old = effects.is_some().then(|| stored.body(len));
            self.delete(data_key, head, old, EffectKind::Expire, effects);
        }
        Ok(())
    }

    fn forget_expiry(&mut self, data_key: &Bytes, before: Option<Head>) {
        if let Some(due) = before.and_then(|head| head.due) {
            self.staged.delete(layout::expiry_key(due, data_key));
        }
    }

    fn next_version(&mut self) -> Version {
        self.meta.revision += 1;
        assert!(
            self.meta.revision <= ringfort_types::limits::VERSION_MAX,
            "the shard has used up its versions"
        );
        Version(self.meta.revision)
    }

    // --- what is due ---

    /// Keys due at `now` with their versions, at most `count_max`, for an Expire command. Moves [`Machine::next_due`] on.
    ///
    /// # Errors
    /// The engine failed.
    pub fn due_keys(
        &mut self,
        engine: &dyn StorageEngine,
        now: ShardTime,
        count_max: usize,
    ) -> Result<Vec<(Bytes, Version)>, MachineError> {
        let (start, end) = layout::expiry_range(now);
        let mut due = Vec::new();
        let mut malformed = false;
        let range = Range {
            start: &start,
            end: Some(&end),
        };
        engine.scan(self.group, range, &mut |key, value| {
            match (layout::parse_expiry_key(key), value.try_into()) {
                (Some((_, data_key)), Ok(version)) => {
                    due.push((data_key, Version(u64::from_le_bytes(version))))
                }
                _ => malformed = true,
            }
            if malformed || due.len() == count_max {
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

    fn first_due(&self, engine: &dyn StorageEngine) -> Result<Option<ShardTime>, MachineError> {
        let key = first_key(engine, self.group, layout::EXPIRY_ALL)?;
        Ok(key
            .and_then(|key| layout::parse_expiry_key(&key))
            .map(|(due, _)| due))
    }

    fn first_forget(&self, engine: &dyn StorageEngine) -> Result<Option<ShardTime>, MachineError> {
        let key = first_key(engine, self.group, layout::FORGET_ALL)?;
        Ok(key.and_then(|key| layout::parse_forget_key(&key).map(|(due, _)| due)))
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

fn retry_due(stamp: ShardTime) -> ShardTime {
    ShardTime(stamp.0.saturating_add(RETRY_MEMORY_MS + 1))
}

/// What a record counts for: itself, and the key that says when to forget it.
fn record_bytes(key: &Bytes, len: usize) -> u64 {
    (2 * key.len() + 9 + len) as u64
}

fn first_key(
    engine: &dyn StorageEngine,
    group: GroupId,
    (start, end): (&[u8], &[u8]),
) -> Result<Option<Bytes>, EngineError> {
    let mut first = None;
    engine.scan(
        group,
        Range {
            start,
            end: Some(end),
        },
        &mut |key, _| {
            first = Some(Bytes::copy_from_slice(key));
            ScanControl::Stop
        },
    )?;
    Ok(first)
}
