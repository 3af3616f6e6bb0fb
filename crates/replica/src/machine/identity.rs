//! Identities: a write that is remembered is answered again instead of executed again.

use bytes::Bytes;
use ringfort_engine::{Range, ScanControl, StorageEngine};
use ringfort_types::limits::{RETRY_MEMORY_MS, SESSION_OPEN_MAX};
use ringfort_types::{SessionId, ShardTime};

use super::{Answer, At, Effect, Machine, MachineError, Reply};
use crate::command::{CommandIdentity, CommandOperation, Operations};
use crate::layout;
use crate::retry::{self, Session};

/// Remembered answers forgotten with one entry at most, so that an entry's cost is bounded: so many, and one for so many
/// bytes of the entry, which is more than a keyed command takes. So memory is given back faster than it can be taken.
const FORGET_PER_ENTRY: usize = 64;
const FORGET_PER_BYTES: usize = 16;

impl Machine {
    pub(super) fn identified(
        &mut self,
        engine: &dyn StorageEngine,
        at: At,
        command: Operations,
        effects: &mut Option<Vec<Effect>>,
    ) -> Result<Answer, MachineError> {
        let fresh = |reply| Answer { reply, replayed: false };
        match &command.identity {
            CommandIdentity::None => Ok(fresh(self.execute(engine, at, command, effects)?)),
            CommandIdentity::Key { .. } => self.keyed(engine, at, command, effects),
            CommandIdentity::Session { session, sequence, lowest_open } => {
                let (session, sequence, lowest_open) = (*session, *sequence, *lowest_open);
                self.sessioned(engine, at, command, (session, sequence, lowest_open), effects)
            }
        }
    }

    /// A keyed command. An atomic batch is remembered under its first operation, and the scopes of the others are taken.
    fn keyed(
        &mut self,
        engine: &dyn StorageEngine,
        at: At,
        command: Operations,
        effects: &mut Option<Vec<Effect>>,
    ) -> Result<Answer, MachineError> {
        let fresh = |reply| Answer { reply, replayed: false };
        let mut scopes = scopes(&command);
        let fingerprint = command.fingerprint;
        let Some(first) = scopes.next() else {
            return Err(MachineError::Malformed("command without an operation"));
        };
        let others: Vec<Bytes> = scopes.collect();
        if let Some(answer) = self.remembered(engine, &first, fingerprint)? {
            return Ok(answer);
        }
        for scope in &others {
            if self.staged.get(engine, self.group, scope)?.is_some() {
                return Ok(fresh(Reply::Mismatch));
            }
        }
        let due = retry_due(at.stamp);
        let reply = self.execute(engine, at, command, effects)?;
        if let Some(record) = retry::encode_remembered(fingerprint, &reply) {
            self.remember(first.clone(), record);
            self.forget_at(due, &first);
            for scope in others {
                self.remember(scope.clone(), retry::encode_part(fingerprint));
                self.forget_at(due, &scope);
            }
        }
        Ok(fresh(reply))
    }

    fn sessioned(
        &mut self,
        engine: &dyn StorageEngine,
        at: At,
        command: Operations,
        (id, sequence, lowest_open): (SessionId, u64, u64),
        effects: &mut Option<Vec<Effect>>,
    ) -> Result<Answer, MachineError> {
        let fresh = |reply| Answer { reply, replayed: false };
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
        for closed in
            session.lowest_open..raised.min(session.lowest_open.saturating_add(SESSION_OPEN_MAX))
        {
            self.forget_record(engine, layout::session_answer_key(id, closed))?;
        }
        session = Session { lowest_open: raised, due: retry_due(at.stamp) };
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

    pub(super) fn open_session(&mut self, at: At) -> Reply {
        let id = SessionId(at.position.index.0);
        let key = layout::session_key(id);
        let due = retry_due(at.stamp);
        self.remember(key.clone(), Session { lowest_open: 1, due }.encode());
        self.forget_at(due, &key);
        Reply::SessionOpened(id)
    }

    fn session(
        &self,
        engine: &dyn StorageEngine,
        key: &Bytes,
    ) -> Result<Option<Session>, MachineError> {
        match self.staged.get(engine, self.group, key)? {
            Some(stored) => {
                Session::decode(stored.head()).map(Some).ok_or(MachineError::Malformed("session"))
            }
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
            Ok(Some(Answer { reply, replayed: true }))
        } else {
            Ok(Some(Answer { reply: Reply::Mismatch, replayed: false }))
        }
    }

    fn remember(&mut self, key: Bytes, record: Bytes) {
        self.meta.retry_bytes += record_bytes(&key, record.len());
        self.staged.put(key, record, Bytes::new());
    }

    fn forget_at(&mut self, due: ShardTime, key: &Bytes) {
        self.staged.put(layout::forget_key(due, key), Bytes::new(), Bytes::new());
        self.next_forget = Some(self.next_forget.map_or(due, |next| next.min(due)));
    }

    fn forget_record(
        &mut self,
        engine: &dyn StorageEngine,
        key: Bytes,
    ) -> Result<(), MachineError> {
        let len = self.staged.get(engine, self.group, &key)?.map(|stored| stored.head().len());
        if let Some(len) = len {
            self.meta.retry_bytes = self.meta.retry_bytes.saturating_sub(record_bytes(&key, len));
            self.staged.delete(key);
        }
        Ok(())
    }

    /// Forgets answers and sessions whose time is over, a bounded number of them.
    pub(super) fn forget_due(
        &mut self,
        engine: &dyn StorageEngine,
        now: ShardTime,
        payload_bytes: usize,
    ) -> Result<(), MachineError> {
        let count_max = FORGET_PER_ENTRY + payload_bytes / FORGET_PER_BYTES;
        let mut due = Vec::new();
        let mut next = None;
        let range = Range { start: layout::FORGET_ALL.0, end: Some(layout::FORGET_ALL.1) };
        engine.scan(self.group, range, &mut |key, _| match layout::parse_forget_key(key) {
            Some((time, _)) if time <= now && due.len() < count_max => {
                due.push(Bytes::copy_from_slice(key));
                ScanControl::Continue
            }
            Some((time, _)) => {
                next = Some(time);
                ScanControl::Stop
            }
            None => ScanControl::Stop,
        })?;
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
        for sequence in session.lowest_open..session.lowest_open.saturating_add(SESSION_OPEN_MAX) {
            self.forget_record(engine, layout::session_answer_key(id, sequence))?;
        }
        self.forget_record(engine, key)
    }
}

/// What a keyed command is remembered under: one scope for each operation.
fn scopes(command: &Operations) -> impl Iterator<Item = Bytes> {
    let scope = |(offset, operation): (u16, &CommandOperation)| match &command.identity {
        CommandIdentity::Key { principal, key, position } => {
            let position = position.wrapping_add(offset);
            Some(layout::idempotency_key(principal, key, position, &operation.data_key))
        }
        CommandIdentity::None | CommandIdentity::Session { .. } => None,
    };
    let all: Vec<Bytes> = (0..).zip(&command.operations).filter_map(scope).collect();
    all.into_iter()
}

fn retry_due(stamp: ShardTime) -> ShardTime {
    ShardTime(stamp.0.saturating_add(RETRY_MEMORY_MS + 1))
}

/// What a record counts for: itself, and the key that says when to forget it.
fn record_bytes(key: &Bytes, len: usize) -> u64 {
    (2 * key.len() + 9 + len) as u64
}
