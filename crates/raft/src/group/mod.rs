//! One group on one node: its state, its inputs, its outputs.
//!
//! ```text
//!              timeout             quorum would             quorum did
//!   Follower ──────────▶ PreCandidate ─────────▶ Candidate ───────────▶ Leader
//!      ▲                      │                     │                     │
//!      └──────────────────────┴── a newer term, a leader of this term ────┘
//! ```
//!
//! What a message does stands in the file of its subject: `election`, `replication`, `commit`, `heartbeat`, `reads`,
//! `membership`, `transfer`, `snapshot`, `sleep`, `memory`. This file holds the state and dispatches.

mod admit;
mod commit;
#[cfg(feature = "mutants")]
mod digest;
mod election;
mod heartbeat;
mod leader;
mod membership;
mod memory;
mod output;
mod reads;
mod replication;
mod sleep;
mod snapshot;
mod transfer;

use std::collections::VecDeque;

use bytes::Bytes;
use ringfort_types::{Index, Monotonic, ReplicaId, Term};

use crate::config::{Config, Lost, Restored};
use crate::configuration::{CONFIGURATION_MARK, Configuration};
use crate::effects::{
    LeaderHint, PersistId, ProposeError, ReadId, ReadReady, Role, SnapshotEffect,
};
use crate::guard::Guard;
use crate::log::Log;
use crate::message::{Body, Message};
use crate::persisting::Persisting;
use crate::position::Position;
use crate::random::Random;
use crate::status::{Counters, PeerStatus, Status};

use election::Votes;
use leader::Leader;
use snapshot::Incoming;

pub use transfer::TransferError;

/// One Raft group on one node.
#[derive(Clone, Debug)]
pub struct Group {
    config: Config,
    random: Random,
    /// The newest time that was told.
    now: Monotonic,

    // Must outlive the process; `persisting` says how much of it is durable.
    term: Term,
    vote: Option<ReplicaId>,
    log: Log,
    persisting: Persisting,

    commit: Index,
    /// Handed out for applying, not beyond `commit`.
    apply_handed: Index,
    applied: Index,

    state: State,
    /// Who leads this term, if known.
    leader: Option<ReplicaId>,
    /// When the leader was last heard of; whoever leads hears itself at each quorum.
    leader_heard: Option<Monotonic>,
    election_due: Monotonic,
    /// No vote before this: a promise to a leader, or the quiet time after a start.
    no_vote_until: Monotonic,
    /// What the last leadership of this replica had committed, and until when nobody else led.
    led: Option<(Index, Monotonic)>,
    lost: Lost,
    asleep: bool,
    /// A snapshot that is being received; it outlives roles and terms.
    incoming: Option<Box<Incoming>>,

    // Effects that wait to be taken.
    outbox: Vec<Message>,
    /// Messages about a hard state, and the write that must be durable before they go.
    held: VecDeque<(PersistId, Message)>,
    snapshots: Vec<SnapshotEffect>,
    reads_ready: Vec<ReadReady>,
    reads_lost: Vec<ReadId>,
    role_told: (Role, Term),

    counters: Counters,
}

/// What it is, with what it has to know for that.
#[derive(Clone, Debug)]
enum State {
    Follower(Follower),
    PreCandidate(Votes),
    Candidate(Votes),
    Leader(Box<Leader>),
}

/// What a follower knows of its leader's log.
#[derive(Clone, Debug, Default, Hash)]
struct Follower {
    /// Up to here the log is the same as that of this term's leader.
    matched: Index,
    /// What was last acknowledged to it.
    acknowledged: Index,
    /// An acknowledgement is owed also if it says nothing new.
    ack_due: bool,
}

impl Group {
    /// Starts a replica with what was recovered.
    ///
    /// # Panics
    /// Entries that do not follow the applied position, or that no version of this crate wrote: the host checks both.
    #[must_use]
    pub fn new(config: Config, restored: Restored, now: Monotonic) -> Self {
        let base = Position::from(restored.applied);
        let mut log = Log::new(base, restored.configuration);
        let mut term = restored.hard_state.term.max(base.term);
        for entry in restored.entries {
            let configuration = Configuration::of_entry(&entry)
                .expect("raft: a restored configuration can be read");
            term = term.max(entry.term);
            log.push(entry, configuration);
        }
        let last = log.last().index;
        let vote = restored.hard_state.vote.filter(|_| term == restored.hard_state.term);
        let (commit, lost) =
            settle_commit(&config, restored.hard_state.commit, base, last, restored.lost);
        let mut group = Self {
            random: Random::new(config.seed ^ config.replica.0.rotate_left(32)),
            now,
            term,
            vote,
            persisting: Persisting::new(last),
            log,
            commit,
            apply_handed: base.index,
            applied: base.index,
            state: State::Follower(Follower::default()),
            leader: None,
            leader_heard: None,
            election_due: now,
            no_vote_until: Monotonic(0),
            led: None,
            lost,
            asleep: false,
            incoming: None,
            outbox: Vec::new(),
            held: VecDeque::new(),
            snapshots: Vec::new(),
            reads_ready: Vec::new(),
            reads_lost: Vec::new(),
            role_told: (Role::Follower, term),
            counters: Counters::default(),
            config,
        };
        group.begin_quiet_time();
        group
    }

    // --- inputs ---

    /// Takes the passing of time.
    pub fn handle_tick(&mut self, now: Monotonic) {
        self.advance(now);
        if self.asleep || self.is_silent() {
            return;
        }
        match self.state {
            State::Leader(_) => self.tick_leader(),
            _ => self.tick_election(),
        }
    }

    /// Takes a message.
    pub fn handle_message(&mut self, now: Monotonic, message: Message) {
        self.advance(now);
        if self.is_silent() || !self.admit(&message) || !self.settle_term(&message) {
            return;
        }
        self.wake_for(&message);
        let Message { from, term, body, .. } = message;
        match body {
            Body::PreVote { last } => self.handle_pre_vote(from, term, last),
            Body::PreVoteAnswer { granted } => self.handle_pre_vote_answer(from, term, granted),
            Body::Vote { last, transfer } => self.handle_vote(from, last, transfer),
            Body::VoteAnswer { granted } => self.handle_vote_answer(from, granted),
            Body::Append { previous, entries, commit } => {
                if self.accept_leader(from) && self.accept_content(from, previous, false) {
                    self.handle_append(from, previous, entries, commit);
                }
            }
            Body::AppendAck { index } => self.handle_append_ack(from, index),
            Body::AppendReject { previous, hint, lost } => {
                self.handle_append_reject(from, previous, hint, lost);
            }
            Body::Heartbeat { commit, round, lease } => {
                self.handle_heartbeat(from, commit, round, lease);
            }
            Body::HeartbeatAck { round, commit } => self.handle_heartbeat_ack(from, round, commit),
            Body::Snapshot { snapshot, offset, data, last, to_learner } => {
                let previous = Position::default();
                if self.accept_leader(from) && self.accept_content(from, previous, to_learner) {
                    self.handle_snapshot(from, snapshot, offset, data, last);
                }
            }
            Body::SnapshotAck { id, offset } => self.handle_snapshot_ack(from, id, offset),
            Body::TimeoutNow => self.handle_timeout_now(from),
            Body::ReadIndex { read, nonce } => self.handle_read_index(from, read, nonce),
            Body::ReadIndexAnswer { read, nonce, index } => {
                self.handle_read_index_answer(read, nonce, index);
            }
            Body::Sleep { last } => self.handle_sleep(from, last),
            // Its term was all it had to say.
            Body::OldTerm => {}
        }
    }

    /// Appends a payload to the leader's log; it is committed when it comes back in
    /// [`Effects::apply`](crate::Effects::apply) with the term and index returned here.
    ///
    /// # Errors
    /// This replica does not lead, hands over, or holds too much that is not committed; nothing has changed.
    ///
    /// # Panics
    /// The payload is empty or begins with [`CONFIGURATION_MARK`]: our host's bug.
    pub fn propose(&mut self, now: Monotonic, payload: Bytes) -> Result<Position, ProposeError> {
        self.advance(now);
        let first = payload.first();
        assert!(
            first.is_some_and(|byte| *byte != CONFIGURATION_MARK),
            "raft: a payload is not empty and does not look like a configuration"
        );
        let taken = self.may_propose(payload.len());
        let full = matches!(taken, Err(ProposeError::TooMuchUncommitted));
        self.counters.proposals_refused += u64::from(full);
        taken?;
        self.wake_up();
        self.counters.proposals += 1;
        Ok(self.append(payload, None))
    }

    /// Takes word that a persist and all before it are durable.
    ///
    /// # Panics
    /// The id was never handed out: our host's bug.
    pub fn handle_persisted(&mut self, id: PersistId) {
        self.persisting.complete(id, self.config.guards);
        self.settle_own_vote();
        self.advance_commit();
    }

    /// Takes word that the state machine has applied up to an index.
    ///
    /// # Panics
    /// Nothing was handed out up to there: our host's bug.
    pub fn handle_applied(&mut self, index: Index) {
        assert!(index <= self.apply_handed, "raft: applied {index} beyond what was handed out");
        self.applied = self.applied.max(index);
        self.forget();
    }

    /// Takes word that the host holds a durable state up to `base`. Entries up to there may be forgotten, but for those kept
    /// for followers that lag.
    ///
    /// # Panics
    /// Not everything up to there is applied: our host's bug.
    pub fn compact(&mut self, base: Index) {
        assert!(base <= self.applied, "raft: compacted to {base} beyond what is applied");
        self.forget();
    }

    /// Changes how eager this replica is to lead.
    pub fn set_priority(&mut self, priority: crate::config::Priority) {
        self.config.priority = priority;
    }

    // --- looks ---

    /// This replica.
    #[must_use]
    pub fn id(&self) -> ReplicaId {
        self.config.replica
    }

    /// What it is.
    #[must_use]
    pub fn role(&self) -> Role {
        match self.state {
            State::Follower(_) => Role::Follower,
            State::PreCandidate(_) => Role::PreCandidate,
            State::Candidate(_) => Role::Candidate,
            State::Leader(_) => Role::Leader,
        }
    }

    /// Who leads, as far as this replica knows.
    #[must_use]
    pub fn leader(&self) -> LeaderHint {
        LeaderHint { leader: self.leader, term: self.term }
    }

    /// What is committed, as far as this replica knows.
    #[must_use]
    pub fn commit(&self) -> Index {
        self.commit
    }

    /// What is applied.
    #[must_use]
    pub fn applied(&self) -> Index {
        self.applied
    }

    /// What is durable on this replica's disk, of what it holds: no state beyond it may become durable.
    #[must_use]
    pub fn durable(&self) -> Index {
        self.persisting.durable()
    }

    /// The last position of its log.
    #[must_use]
    pub fn last(&self) -> Position {
        self.log.last()
    }

    /// What happened since the start, counted.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Whether entries are missing that this replica may have acknowledged: it votes for nobody.
    #[must_use]
    pub fn has_lost(&self) -> bool {
        match self.lost {
            Lost::Nothing => false,
            Lost::Entries(through) => self.commit < through,
            Lost::HardState => true,
        }
    }

    /// Whether it sleeps: it asks for no ticks.
    #[must_use]
    pub fn is_asleep(&self) -> bool {
        self.asleep
    }

    /// When [`Group::handle_tick`] has something to do at the earliest; `None` while it sleeps or is silent.
    #[must_use]
    pub fn deadline(&self) -> Option<Monotonic> {
        if self.asleep || self.is_silent() {
            return None;
        }
        match &self.state {
            State::Leader(leader) => Some(leader.heartbeat_due),
            _ => Some(self.election_due),
        }
    }

    /// The configuration that counts: the newest in the log.
    #[must_use]
    pub fn configuration(&self) -> &Configuration {
        self.log.configuration().1
    }

    /// The newest committed configuration, and the index of its entry. Where a start or a snapshot began behind that entry, the
    /// index at which it began.
    #[must_use]
    pub fn committed_configuration(&self) -> (Index, &Configuration) {
        let (index, configuration) = &self.log.configurations_from(self.commit)[0];
        (*index, configuration)
    }

    /// The configuration as of an applied index that is still known, for the snapshot of that index.
    ///
    /// # Panics
    /// The index is before the kept part of the log.
    #[must_use]
    pub fn configuration_at(&self, index: Index) -> &Configuration {
        assert!(index >= self.log.base().index, "raft: the configuration at {index} is forgotten");
        self.log.configuration_at(index)
    }

    /// Whether more than half of the bytes of log are kept that may be, for somebody who gets a snapshot.
    #[must_use]
    pub fn is_outgrown(&self) -> bool {
        self.log.bytes() > self.config.settings.catch_up_bytes / 2
    }

    /// The term at an index that is kept.
    #[must_use]
    pub fn term_at(&self, index: Index) -> Option<Term> {
        self.log.term_at(index)
    }

    /// Entries that are kept, from an index on.
    #[must_use]
    pub fn entries_from(&self, from: Index) -> Vec<ringfort_types::Entry> {
        let from = from.max(self.log.base().index.next());
        self.log.range(from, self.log.last().index, usize::MAX, usize::MAX)
    }

    /// A look at the group.
    #[must_use]
    pub fn status(&self) -> Status {
        let peers = match &self.state {
            State::Leader(leader) => leader.peers.as_slice(),
            _ => &[],
        };
        let peer = |peer: &crate::progress::Progress| PeerStatus {
            id: peer.id,
            matched: peer.matched,
            next: peer.next,
            sending: peer.sending.clone(),
            inflight: peer.inflight(),
        };
        Status {
            role: self.role(),
            term: self.term,
            vote: self.vote,
            leader: self.leader,
            commit: self.commit,
            last: self.log.last().index,
            durable: self.persisting.durable(),
            applied: self.applied,
            asleep: self.asleep,
            lost: self.has_lost(),
            staged: self.incoming.as_ref().map(|incoming| incoming.staged()),
            configuration: self.configuration().clone(),
            peers: peers.iter().map(peer).collect(),
            counters: self.counters,
        }
    }

    // --- helpers of all subjects ---

    fn advance(&mut self, now: Monotonic) {
        self.now = self.now.max(now);
    }

    fn has(&self, guard: Guard) -> bool {
        self.config.guards.has(guard)
    }

    /// Whether this replica says and does nothing until it is replaced.
    fn is_silent(&self) -> bool {
        self.lost == Lost::HardState
    }

    fn is_alone(&self) -> bool {
        self.configuration().is_alone(self.config.replica)
    }

    fn send(&mut self, to: ReplicaId, body: Body) {
        self.send_in_term(to, self.term, body);
    }

    fn send_in_term(&mut self, to: ReplicaId, term: Term, body: Body) {
        self.outbox.push(Message { from: self.config.replica, to, term, body });
    }

    /// Sends once term and vote are durable as they stand now.
    fn send_held(&mut self, to: ReplicaId, body: Body) {
        if !self.has(Guard::VoteDurable) {
            return self.send(to, body);
        }
        let message = Message { from: self.config.replica, to, term: self.term, body };
        // Whoever asks again and again while the disk is slow gets one answer.
        if self.held.iter().all(|(_, held)| *held != message) {
            self.held.push_back((self.persisting.hard_state_write(), message));
        }
    }
}

/// Where commit begins, and what is missing: commit never lies before what is applied, nor behind the log.
fn settle_commit(
    config: &Config,
    commit: Index,
    base: Position,
    last: Index,
    lost: Lost,
) -> (Index, Lost) {
    let commit =
        if config.guards.has(Guard::CommitCoversApplied) { commit.max(base.index) } else { commit };
    if commit <= last || !config.guards.has(Guard::CommitWithinLog) {
        return (commit, lost);
    }
    // What was known committed was in the log once, and acknowledged: it is lost.
    let lost = match lost {
        Lost::Nothing => Lost::Entries(commit),
        Lost::Entries(through) => Lost::Entries(through.max(commit)),
        Lost::HardState => Lost::HardState,
    };
    (last, lost)
}
