//! One replica: a Raft group over a state machine.
//!
//! In one turn a worker enqueues what clients ask, then polls: all that is queued becomes one entry, Raft says what to
//! persist and what is committed, committed entries are applied, and their answers come out under the tickets they were
//! enqueued with.
//!
//! Invariants:
//! - What is queued is proposed in the turn it was queued in; nothing stays behind.
//! - Answers come out in the order of the log.
//! - A replica that failed to apply an entry applies nothing more, and says nothing more to its group.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use ringfort_engine::{StorageEngine, StoreSize};
use ringfort_log::{Base, GroupWrite};
use ringfort_raft::{
    Config, Configuration, Effects, Group, Lost, Persist, PersistId, ReadId, Restored, Role,
};
use ringfort_types::request::Operation;
use ringfort_types::{
    Applied, Entry, GroupId, Index, Key, Monotonic, NamespaceId, ReplicaId, ShardTime, Term,
    Version,
};

use crate::batches;
use crate::boundary::{Output, ReplicaConfig, ReplicaStatus, Ticket};
use crate::command::{CommandIdentity, PayloadBuilder};
use crate::layout;
use crate::machine::{Answer, Machine, MachineError};
use crate::meta::ShardClock;
use crate::read::{self, ListQuery, Listed, Reading};

/// Keys that one Expire command names at most.
const EXPIRE_KEYS_MAX: usize = 256;
/// How often a leader stamps its log while keys have a time to live: what a restart may lose of the shard's time.
const STAMP_INTERVAL: Duration = Duration::from_millis(500);

#[derive(Debug)]
struct Proposed {
    position: Applied,
    bytes: usize,
    /// So many commands, whose tickets stand in [`Replica::tickets`].
    commands: usize,
}

/// Where the expiry of what was due stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expiring {
    No,
    /// In this turn's queue.
    Queued,
    /// Proposed at this index, not applied yet.
    Proposed(Index),
}

/// One replica of one shard.
#[derive(Debug)]
pub struct Replica {
    group: GroupId,
    id: ReplicaId,
    raft: Group,
    machine: Machine,
    clock: ShardClock,
    base: Base,
    log_bytes: u64,
    payload_bytes_target: usize,
    queue: PayloadBuilder,
    /// Of all commands proposed and then of those queued; `None`: the replica's own.
    tickets: VecDeque<Option<Ticket>>,
    /// The queue opens a session: its id is the entry's index, so there is one to an entry.
    queue_opens_session: bool,
    proposed: VecDeque<Proposed>,
    /// Bytes of what is proposed and not applied.
    proposed_bytes: usize,
    /// Client commands proposed since the last turn said so.
    fresh_commands: u32,
    reads: VecDeque<(ReadId, Ticket)>,
    last_read: u64,
    expiring: Expiring,
    stamped: Monotonic,
    now: Monotonic,
}

impl Replica {
    /// Starts a replica over its open store, whose applied position is the base's or newer.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn new(
        config: ReplicaConfig,
        engine: &dyn StorageEngine,
        now: Monotonic,
    ) -> Result<Self, MachineError> {
        let applied = engine.applied(config.group)?;
        let machine = Machine::open(engine, config.group, config.hash_seed)?;
        let raft_config = raft_config(&config);
        let log_bytes = config.entries.iter().map(entry_bytes).sum();
        let entries =
            config.entries.into_iter().skip_while(|entry| entry.index <= applied.index).collect();
        let restored = Restored {
            hard_state: config.hard_state,
            applied,
            configuration: Configuration::founding([config.replica]),
            entries,
            lost: Lost::Nothing,
        };
        Ok(Self {
            group: config.group,
            id: config.replica,
            raft: Group::new(raft_config, restored, now),
            clock: ShardClock::new(machine.time(), now),
            machine,
            base: config.base,
            log_bytes,
            payload_bytes_target: config.payload_bytes_target,
            queue: PayloadBuilder::new(),
            tickets: VecDeque::new(),
            queue_opens_session: false,
            proposed: VecDeque::new(),
            proposed_bytes: 0,
            fresh_commands: 0,
            reads: VecDeque::new(),
            last_read: 0,
            expiring: Expiring::No,
            stamped: now,
            now,
        })
    }

    /// The replica's id.
    #[must_use]
    pub fn id(&self) -> ReplicaId {
        self.id
    }

    /// Whether this replica leads its group.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.raft.role() == Role::Leader
    }

    /// Whether reads can be served from what is applied, right now.
    #[must_use]
    pub fn can_read_now(&self, now: Monotonic) -> bool {
        self.raft.can_read_now(now)
    }

    /// Keys that exist, and the bytes of those keys and their values.
    #[must_use]
    pub fn size(&self) -> StoreSize {
        self.machine.size()
    }

    /// Bytes of remembered answers and sessions.
    #[must_use]
    pub fn retry_bytes(&self) -> u64 {
        self.machine.retry_bytes()
    }

    /// A look at it.
    #[must_use]
    pub fn status(&self) -> ReplicaStatus {
        ReplicaStatus {
            raft: self.raft.status(),
            log_bytes: self.log_bytes,
            base: self.base,
            retry_bytes: self.machine.retry_bytes(),
        }
    }

    /// The shard's time now.
    #[must_use]
    pub fn shard_time(&self, now: Monotonic) -> ShardTime {
        self.clock.now(now)
    }

    /// Whether a write of this identity is remembered: it will be answered again, and nothing grows by it.
    #[must_use]
    pub fn remembers(
        &self,
        engine: &dyn StorageEngine,
        identity: &CommandIdentity,
        key: &Key,
    ) -> bool {
        let data_key = layout::data_key(NamespaceId::default(), key.as_bytes());
        let record = match identity {
            CommandIdentity::None => return false,
            CommandIdentity::Key { principal, key, position } => {
                layout::idempotency_key(principal, key, *position, &data_key)
            }
            CommandIdentity::Session { session, sequence, .. } => {
                layout::session_answer_key(*session, *sequence)
            }
        };
        engine.get(self.group, &record).is_ok_and(|found| found.is_some())
    }

    /// Bytes that are queued, or proposed and not applied: what this replica holds of requests whether or not anybody
    /// still waits for them.
    #[must_use]
    pub fn unapplied_bytes(&self) -> usize {
        let queued = if self.queue.is_empty() { 0 } else { self.queue.len() };
        queued + self.proposed_bytes
    }

    // --- inputs ---

    /// Queues operations with one identity for this turn's entry. Keys among them that are due are expired first. The
    /// caller has seen that this replica leads.
    ///
    /// # Errors
    /// The engine failed: the replica must stop.
    pub fn enqueue(
        &mut self,
        engine: &dyn StorageEngine,
        now: Monotonic,
        ticket: Ticket,
        identity: &CommandIdentity,
        atomic: bool,
        operations: &[Operation],
    ) -> Result<(), MachineError> {
        let now = self.advance(now);
        self.expire_touched(engine, now, operations)?;
        self.queue.operations(NamespaceId::default(), identity, atomic, operations);
        self.tickets.push_back(Some(ticket));
        self.propose_if_large(now);
        Ok(())
    }

    /// Queues the opening of a session.
    pub fn enqueue_open_session(&mut self, now: Monotonic, ticket: Ticket) {
        let now = self.advance(now);
        if self.queue_opens_session {
            self.propose(now);
        }
        self.queue.open_session();
        self.queue_opens_session = true;
        self.tickets.push_back(Some(ticket));
    }

    /// Queues a read that waits until it may be served; it comes back in [`Output::reads`]. The caller has seen that this
    /// replica leads.
    pub fn enqueue_read(&mut self, ticket: Ticket) {
        self.last_read += 1;
        let id = ReadId(self.last_read);
        if self.raft.read(self.now, id).is_ok() {
            self.reads.push_back((id, ticket));
        }
    }

    /// Queues the expiry of keys, each while it has the version that stands with it.
    pub fn enqueue_expire(&mut self, due: &[(Bytes, Version)]) {
        self.queue.expire(due);
        self.tickets.push_back(None);
    }

    /// Takes the passing of time: expires what is due, and stamps the log while keys have a time to live or answers are
    /// due to be forgotten (which happens with an entry).
    ///
    /// # Errors
    /// The engine failed: the replica must stop.
    pub fn handle_tick(
        &mut self,
        engine: &dyn StorageEngine,
        now: Monotonic,
    ) -> Result<(), MachineError> {
        let now = self.advance(now);
        self.raft.handle_tick(now);
        if !self.leads() || self.expiring != Expiring::No {
            return Ok(());
        }
        let shard_now = self.clock.now(now);
        let is_due = |time: Option<ShardTime>| time.is_some_and(|due| due <= shard_now);
        let stamp_due = now.since(self.stamped) >= STAMP_INTERVAL;
        let due = if is_due(self.machine.next_due()) {
            let bytes_max = self.payload_bytes_target / 2;
            self.machine.due_keys(engine, shard_now, EXPIRE_KEYS_MAX, bytes_max)?
        } else {
            Vec::new()
        };
        let stamp = stamp_due && self.machine.next_due().is_some();
        if !due.is_empty() || stamp || is_due(self.machine.next_forget()) {
            self.enqueue_expire(&due);
            self.expiring = Expiring::Queued;
        }
        Ok(())
    }

    /// Takes word that a persist and all before it are durable.
    pub fn handle_persisted(&mut self, id: PersistId) {
        self.raft.handle_persisted(id);
    }

    /// Takes word that the log's record of a new base is durable.
    pub fn handle_rebased(&mut self, base: Base, log_bytes_dropped: u64) {
        self.base = base;
        self.log_bytes = self.log_bytes.saturating_sub(log_bytes_dropped);
        self.raft.compact(base.applied.index);
    }

    // --- reads ---

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

    /// A hash over the shard's state.
    ///
    /// # Errors
    /// The engine failed.
    pub fn state_hash(&self, engine: &dyn StorageEngine) -> Result<u128, MachineError> {
        self.machine.state_hash(engine)
    }

    // --- outputs ---

    /// Whether [`Replica::poll`] has something to do that an input made.
    #[must_use]
    pub fn has_queued(&self) -> bool {
        !self.queue.is_empty() || !self.reads.is_empty()
    }

    /// Does what waits: proposes the queue, applies what is committed, and says what is to be written and answered.
    ///
    /// # Errors
    /// An entry could not be applied: the replica must stop. What was put into `out` so far stands.
    pub fn poll(
        &mut self,
        engine: &mut dyn StorageEngine,
        now: Monotonic,
        out: &mut Output,
    ) -> Result<(), MachineError> {
        let now = self.advance(now);
        self.propose(now);
        out.commands += std::mem::take(&mut self.fresh_commands);
        let effects = self.raft.poll_effects();
        if let Some((role, term)) = effects.role {
            self.handle_role(role, term, out);
        }
        let Effects { persist, apply, reads, messages, snapshots, .. } = effects;
        assert!(messages.is_empty() && snapshots.is_empty(), "a group of one talks to nobody");
        if let Some(persist) = persist {
            self.persist(persist, out);
        }
        let mut apply = &apply[..];
        while !apply.is_empty() {
            let (batch, behind) = batches::split(apply);
            self.apply(engine, batch, out)?;
            apply = behind;
        }
        for ready in reads {
            assert!(
                ready.index <= self.raft.applied(),
                "a read was confirmed beyond what is applied"
            );
            let position = self.reads.iter().position(|(id, _)| *id == ready.id);
            out.reads.extend(
                position.and_then(|position| self.reads.remove(position)).map(|(_, ticket)| ticket),
            );
        }
        Ok(())
    }

    /// The newest time this replica was told: whoever asks with an older one gets no older stamp for it.
    fn advance(&mut self, now: Monotonic) -> Monotonic {
        self.now = self.now.max(now);
        self.now
    }

    fn persist(&mut self, persist: Persist, out: &mut Output) {
        self.log_bytes += persist.entries.iter().map(entry_bytes).sum::<u64>();
        out.persists.push((self.group, persist.id));
        out.writes.push(GroupWrite::Append {
            group: self.group,
            hard_state: persist.hard_state,
            entries: persist.entries,
        });
    }

    fn apply(
        &mut self,
        engine: &mut dyn StorageEngine,
        entries: &[Entry],
        out: &mut Output,
    ) -> Result<(), MachineError> {
        let mut applying = std::mem::take(&mut out.applying);
        self.machine.apply(engine, entries, &mut applying)?;
        self.clock.observe(self.machine.time(), self.now);
        let mut answers = applying.answers.drain(..);
        for (position, count) in applying.entries.drain(..) {
            self.raft.handle_applied(position.index);
            if matches!(self.expiring, Expiring::Proposed(index) if index <= position.index) {
                self.expiring = Expiring::No;
            }
            let mut answers = answers.by_ref().take(count);
            self.answer(position, &mut answers, out);
            // Nobody here waits for those to another leader's entry.
            answers.for_each(drop);
        }
        drop(answers);
        out.applying = applying;
        Ok(())
    }

    fn answer(
        &mut self,
        position: Applied,
        answers: impl ExactSizeIterator<Item = Answer>,
        out: &mut Output,
    ) {
        while let Some(proposed) =
            self.proposed.pop_front_if(|proposed| proposed.position.index <= position.index)
        {
            self.proposed_bytes -= proposed.bytes;
            let tickets = self.tickets.drain(..proposed.commands);
            if proposed.position == position {
                assert_eq!(tickets.len(), answers.len(), "one answer for each command");
                let pairs = tickets.zip(answers);
                out.answers.extend(pairs.filter_map(|(ticket, answer)| Some((ticket?, answer))));
                return;
            }
            // Another leader's entry stands where ours was proposed: ours will never be applied there.
            out.lost.extend(tickets.flatten());
        }
    }

    fn handle_role(&mut self, role: Role, _term: Term, out: &mut Output) {
        if role != Role::Leader {
            self.expiring = Expiring::No;
            out.lost.extend(self.reads.drain(..).map(|(_, ticket)| ticket));
        }
    }

    /// Everything that waits here for an answer, given up: the replica stops.
    pub fn abandon(&mut self) -> Vec<Ticket> {
        self.proposed_bytes = 0;
        self.proposed.clear();
        let mut lost: Vec<_> = self.tickets.drain(..).flatten().collect();
        lost.extend(self.reads.drain(..).map(|(_, ticket)| ticket));
        lost
    }

    fn propose_if_large(&mut self, now: Monotonic) {
        if self.queue.len() >= self.payload_bytes_target {
            self.propose(now);
        }
    }

    fn propose(&mut self, now: Monotonic) {
        if self.queue.is_empty() {
            return;
        }
        let commands = self.queue.commands();
        self.queue_opens_session = false;
        // Stamps never fall, also where a foreign stamp was ahead of this replica's reckoning.
        let stamp = self.clock.now(now).max(self.machine.time());
        let clients = self.tickets.iter().rev().take(commands).flatten().count();
        self.fresh_commands += u32::try_from(clients).unwrap_or(u32::MAX);
        let payload = self.queue.finish(stamp);
        let bytes = payload.len();
        match self.raft.propose(payload) {
            Ok(position) => {
                self.stamped = now;
                if self.expiring == Expiring::Queued {
                    self.expiring = Expiring::Proposed(position.index);
                }
                self.proposed_bytes += bytes;
                let position = position.into();
                self.proposed.push_back(Proposed { position, bytes, commands });
            }
            // Callers enqueue only where this replica leads, and leadership changes only within `poll`.
            Err(error) => unreachable_for(&error),
        }
    }

    fn expire_touched(
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

    /// The key as an Expire command names it.
    #[must_use]
    pub fn expiry_name(key: &Key) -> Bytes {
        layout::data_key(NamespaceId::default(), key.as_bytes())
    }
}

fn unreachable_for(error: &ringfort_raft::ProposeError) {
    panic!("proposed where this replica does not lead: {error}");
}

/// A group of one: the worker bounds what is proposed, and nobody lags.
fn raft_config(config: &ReplicaConfig) -> Config {
    let mut raft = Config::new(config.replica, config.hash_seed);
    raft.settings.heartbeat = config.tick;
    raft.settings.election_timeout = config.tick * 10;
    raft.settings.uncommitted_bytes_max = usize::MAX;
    raft.settings.apply_bytes_max = usize::MAX;
    raft
}

/// What an entry costs in the log, roughly: its payload and a record's header.
fn entry_bytes(entry: &Entry) -> u64 {
    entry.payload.len() as u64 + 64
}
