//! One replica: a Raft group over a state machine.
//!
//! In one turn a worker enqueues what clients ask, then polls: all that is queued becomes one entry (at once, or after a wait
//! for company that the worker decides on), Raft says what to persist and what is committed, committed entries are applied,
//! and their answers come out under the tickets they were enqueued with.
//!
//! Invariants:
//! - What is queued is proposed or refused when the replica is polled; it stays only where whoever polls holds it back.
//! - A proposal that this replica's leadership does not outlive is given up: nobody knows what becomes of it.
//! - Answers come out in the order of the log.
//! - A replica that failed to apply an entry applies nothing more, and says nothing more to its group.

use std::collections::VecDeque;

use ringfort_engine::{StorageEngine, StoreSize};
use ringfort_log::{Base, GroupWrite};
use ringfort_raft::{
    Change, ChangeError, Config, Configuration, Effects, Group, LeaderHint, Message, Persist,
    PersistId, Priority, ProposeError, Restored, Role,
};
use ringfort_types::request::Operation;
use ringfort_types::{
    Applied, Entry, FeatureLevel, GroupId, Index, Key, Levels, Monotonic, NamespaceId, ReplicaId,
    Version,
};

use crate::batches;
use crate::boundary::{Load, Output, ReplicaConfig, ReplicaStatus, Ticket};
use crate::command::{CommandIdentity, PayloadBuilder};
use crate::layout;
use crate::machine::{Machine, MachineError};
use clock::ShardClock;
use expiry::Expiring;
use log_size::LogSize;
pub use reads::Probed;
use reads::Reads;
use snapshots::Snapshots;

mod clock;
mod expiry;
mod log_size;
mod proposals;
mod reads;
mod sleep;
mod snapshots;
mod state;

#[derive(Debug)]
struct Proposed {
    position: Applied,
    bytes: usize,
    /// So many commands, whose tickets stand in [`Replica::tickets`].
    commands: usize,
}

/// One replica of one shard.
#[derive(Debug)]
pub struct Replica {
    group: GroupId,
    id: ReplicaId,
    raft: Group,
    machine: Machine,
    levels: Levels,
    clock: ShardClock,
    base: Base,
    log_size: LogSize,
    payload_bytes_target: usize,
    expire_keys_max: usize,
    expires_full: u64,
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
    reads: Reads,
    snapshots: Snapshots,
    /// Tickets that were refused between two polls.
    refused: Vec<(Ticket, ProposeError)>,
    /// A payload of this turn was refused, and so are the others until the queue is empty at its end.
    refusing: Option<ProposeError>,
    expiring: Expiring,
    stamped: Monotonic,
    now: Monotonic,
    /// Random bits that clients do not know.
    seed: u64,
    /// The end of what this node has promised the leader's node for this group, while it slept.
    promised: Monotonic,
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
        let founding = config.founding.clone();
        let known = config.levels.known;
        let machine = Machine::open(engine, config.group, founding, known, config.seed)?;
        let raft_config = raft_config(&config);
        let log_size = LogSize::new(config.base.applied.index, &config.entries);
        let entries =
            config.entries.into_iter().skip_while(|entry| entry.index <= applied.index).collect();
        let restored = Restored {
            hard_state: config.hard_state,
            applied,
            configuration: machine.configuration().clone(),
            entries,
            lost: config.lost,
        };
        let mut replica = Self {
            group: config.group,
            id: config.replica,
            raft: Group::new(raft_config, restored, now),
            clock: ShardClock::new(machine.time(), now),
            machine,
            levels: config.levels,
            base: config.base,
            log_size,
            payload_bytes_target: config.payload_bytes_target,
            expire_keys_max: config.expire_keys_max,
            expires_full: 0,
            queue: PayloadBuilder::new(),
            tickets: VecDeque::new(),
            queue_opens_session: false,
            proposed: VecDeque::new(),
            proposed_bytes: 0,
            fresh_commands: 0,
            reads: Reads::default(),
            snapshots: Snapshots::new(config.seed),
            refused: Vec::new(),
            refusing: None,
            expiring: Expiring::No,
            stamped: now,
            now,
            seed: config.seed,
            promised: Monotonic(0),
        };
        replica.follow_stamps();
        Ok(replica)
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

    /// Whether it leads its group, and has applied everything that was committed before its term. See
    /// [`ringfort_raft::Group::has_taken_over`].
    #[must_use]
    pub fn has_taken_over(&self) -> bool {
        self.raft.has_taken_over()
    }

    /// Whether this replica takes what only a leader serves: it leads, and is not handing leadership over.
    #[must_use]
    pub fn serves(&self) -> bool {
        self.leads() && !self.raft.is_transferring()
    }

    /// Who leads its group, as far as it knows.
    #[must_use]
    pub fn leader(&self) -> LeaderHint {
        self.raft.leader()
    }

    /// The configuration that counts: the newest in its log, committed or not.
    #[must_use]
    pub fn configuration(&self) -> &Configuration {
        self.raft.configuration()
    }

    /// The newest committed configuration, and its index: see [`Group::committed_configuration`].
    #[must_use]
    pub fn committed_configuration(&self) -> (Index, &Configuration) {
        self.raft.committed_configuration()
    }

    /// See [`Group::is_outgrown`].
    #[must_use]
    pub fn is_outgrown(&self) -> bool {
        self.raft.is_outgrown()
    }

    /// What is durable of its log: no state beyond it may become durable.
    #[must_use]
    pub fn durable(&self) -> Index {
        self.raft.durable()
    }

    /// Whether entries are missing that it may have acknowledged: it votes for nobody, until a leader has brought them.
    #[must_use]
    pub fn has_lost(&self) -> bool {
        self.raft.has_lost()
    }

    /// What is applied.
    #[must_use]
    pub fn applied(&self) -> Index {
        self.raft.applied()
    }

    /// Where its log begins.
    #[must_use]
    pub fn base(&self) -> Base {
        self.base
    }

    /// The shard's revision.
    #[must_use]
    pub fn revision(&self) -> Version {
        self.machine.revision()
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
            log_bytes: self.log_size.total(),
            base: self.base,
            retry_bytes: self.machine.retry_bytes(),
            expires_full: self.expires_full,
        }
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

    /// What this replica holds of requests, whether or not anybody still waits for them.
    #[must_use]
    pub fn load(&self) -> Load {
        let (queued, queued_bytes) = match self.queue.is_empty() {
            true => (0, 0),
            false => (self.queue.commands(), self.queue.len()),
        };
        let proposed = self.tickets.len() - queued;
        Load { queued, proposed, bytes: queued_bytes + self.proposed_bytes }
    }

    // --- inputs ---

    /// Queues operations with one identity for the next entry. Keys among them that are due are expired first. The
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

    /// Takes a message of another replica.
    pub fn handle_message(&mut self, now: Monotonic, message: Message) {
        let now = self.advance(now);
        if !sleep::comes_late(&message) {
            self.handle_wake(now);
        }
        self.raft.handle_message(now, message);
        self.follow_stamps();
    }

    /// Takes word that what was sent to a replica may be lost.
    pub fn handle_unreachable(&mut self, replica: ReplicaId) {
        self.raft.handle_unreachable(replica);
    }

    /// Begins a change of the group's members.
    ///
    /// # Errors
    /// See [`Group::propose_change`]; nothing has changed.
    pub fn propose_change(
        &mut self,
        now: Monotonic,
        changes: &[Change],
    ) -> Result<(), ChangeError> {
        let now = self.advance(now);
        self.raft.propose_change(now, changes).map(|_| ())
    }

    /// Hands leadership to another voter, if it can.
    ///
    /// # Errors
    /// See [`Group::transfer`]; nothing has changed.
    pub fn transfer(
        &mut self,
        now: Monotonic,
        to: ReplicaId,
    ) -> Result<(), ringfort_raft::TransferError> {
        let now = self.advance(now);
        // Behind the transfer nothing is proposed any more.
        self.propose(now);
        self.raft.transfer(now, to)
    }

    /// Takes the cluster's active feature level, for what it proposes from here on. A lower one than it knows of is of an old
    /// copy of the catalog, and does not count.
    pub fn raise_level(&mut self, active: FeatureLevel) {
        self.levels.active = self.levels.active.max(active);
    }

    /// Changes how eager this replica is to lead.
    pub fn set_priority(&mut self, priority: Priority) {
        self.raft.set_priority(priority);
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
        self.tick_expiry(engine, now)
    }

    /// Takes word that a persist and all before it are durable.
    pub fn handle_persisted(&mut self, id: PersistId) {
        self.raft.handle_persisted(id);
    }

    /// Bytes of entries since the base that are applied: what a flush that begins now makes needless.
    #[must_use]
    pub fn applied_log_bytes(&self) -> u64 {
        self.log_size.applied()
    }

    /// Takes word that the log's record of a new base is durable, with what [`Replica::applied_log_bytes`] was when the
    /// flush began.
    pub fn handle_rebased(&mut self, base: Base, log_bytes_dropped: u64) {
        self.base = base;
        self.log_size.rebase(log_bytes_dropped);
        self.raft.compact(base.applied.index);
    }

    // --- outputs ---

    /// Whether [`Replica::poll`] may have something to do.
    #[must_use]
    pub fn has_queued(&self) -> bool {
        !self.queue.is_empty() || !self.refused.is_empty() || self.raft.has_effects()
    }

    /// Whether a poll left something committed unapplied, so that one turn is not too long: another one is to follow.
    #[must_use]
    pub fn has_more_to_apply(&self) -> bool {
        self.raft.has_more_to_apply()
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
        self.poll_proposed(engine, out)
    }

    /// As [`Replica::poll`], but where this replica leads others, what is queued stays queued. Gives whether something does:
    /// whoever holds it back polls again.
    ///
    /// # Errors
    /// As [`Replica::poll`].
    pub fn poll_holding(
        &mut self,
        engine: &mut dyn StorageEngine,
        now: Monotonic,
        out: &mut Output,
    ) -> Result<bool, MachineError> {
        let now = self.advance(now);
        if !self.serves() || self.raft.configuration().is_alone(self.id) {
            self.propose(now);
        }
        self.poll_proposed(engine, out)?;
        Ok(!self.queue.is_empty())
    }

    fn poll_proposed(
        &mut self,
        engine: &mut dyn StorageEngine,
        out: &mut Output,
    ) -> Result<(), MachineError> {
        out.commands += std::mem::take(&mut self.fresh_commands);
        if self.queue.is_empty() {
            self.refusing = None;
        }
        // A chunk that was read has to be sent, one that was staged to be acknowledged: not in the next turn, in this one.
        while self.execute_effects(engine, out)? {}
        out.refused.append(&mut self.refused);
        Ok(())
    }

    /// Executes what Raft asks for. Gives whether that may have made it ask for more at once.
    fn execute_effects(
        &mut self,
        engine: &mut dyn StorageEngine,
        out: &mut Output,
    ) -> Result<bool, MachineError> {
        let Effects { persist, messages, snapshots, apply, reads, reads_lost, role } =
            self.raft.poll_effects();
        let goes_on = !snapshots.is_empty();
        if let Some(persist) = persist {
            self.persist(persist, out);
        }
        out.messages.extend(messages.into_iter().map(|message| (self.group, message)));
        for effect in snapshots {
            self.execute_snapshot(engine, effect, out);
        }
        let mut apply = &apply[..];
        while !apply.is_empty() {
            let (batch, behind) = batches::split(apply);
            self.apply(engine, batch, out)?;
            apply = behind;
        }
        self.confirm_reads(&reads, out);
        self.lose_reads(&reads_lost, out);
        if let Some((role, term)) = role {
            out.roles.push((self.group, role, term));
            if role != Role::Leader {
                self.step_down(out);
                self.release_snapshots(engine);
            }
        }
        Ok(goes_on)
    }

    /// The newest time this replica was told: whoever asks with an older one gets no older stamp for it.
    fn advance(&mut self, now: Monotonic) -> Monotonic {
        self.now = self.now.max(now);
        self.now
    }

    fn persist(&mut self, persist: Persist, out: &mut Output) {
        let Persist { id, hard_state, mut entries } = persist;
        if self.snapshots.is_recording() {
            // The log on disk holds none of them any more, and neither will this one.
            entries.clear();
        }
        self.log_size.append(&entries, &self.raft);
        if !self.leads() {
            // Somebody waits for each at its leader.
            out.commands =
                out.commands.saturating_add(u32::try_from(entries.len()).unwrap_or(u32::MAX));
        }
        out.persists.push((self.group, id));
        out.writes.push(GroupWrite::Append { group: self.group, hard_state, entries });
    }

    fn apply(
        &mut self,
        engine: &mut dyn StorageEngine,
        entries: &[Entry],
        out: &mut Output,
    ) -> Result<(), MachineError> {
        let mut applying = std::mem::take(&mut out.applying);
        self.machine.apply(engine, entries, &mut applying)?;
        out.applied_bytes += self.log_size.apply(entries);
        debug_assert!(
            self.clock.now(self.now) >= self.machine.time(),
            "stamps come before they are applied"
        );
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
}

fn raft_config(config: &ReplicaConfig) -> Config {
    Config {
        settings: config.settings,
        guards: config.guards,
        ..Config::new(config.replica, config.seed)
    }
}
