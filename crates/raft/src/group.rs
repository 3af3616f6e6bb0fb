//! A group of one voter: it elects itself, appends, and commits on its own durable acknowledgement.
//!
//! ```text
//!   start ──▶ candidate ──(vote durable)──▶ leader ──(empty entry of its term durable)──▶ serves reads and proposals
//! ```
//!
//! Invariants: commit never passes what is durable here and never falls; a term has one leader; the leader proposes
//! nothing before its vote for itself is durable.
//!
//! Source: Ongaro, Consensus: Bridging Theory and Practice, chapters 3 and 6.4.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use ringfort_types::{Applied, Entry, HardState, Index, Monotonic, ReplicaId, Term};

use crate::entries::Entries;

/// What a group is told at its start and never after.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// The replica that this group is on this node.
    pub replica: ReplicaId,
    /// Longest time between two ticks. Default 100 ms, the heartbeat.
    pub tick: Duration,
}

/// What the log and the engine gave back for the group.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// Hard state, proven.
    pub hard_state: HardState,
    /// The position the engine's durable state holds.
    pub applied: Applied,
    /// Entries from there on, contiguous.
    pub entries: Vec<Entry>,
}

/// What a replica is in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Follows a leader, or waits for one.
    Follower,
    /// Asks for votes.
    Candidate,
    /// Leads.
    Leader,
}

/// Names a [`Persist`]; they count up without gaps from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PersistId(pub u64);

/// What is to be made durable, as a whole.
#[derive(Clone, Debug)]
pub struct Persist {
    /// Comes back with [`Group::handle_persisted`].
    pub id: PersistId,
    /// New hard state, if it changed.
    pub hard_state: Option<HardState>,
    /// New entries. They follow the last one or replace everything from their first index on.
    pub entries: Vec<Entry>,
}

/// A message between two replicas of a group, opaque to the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The sender.
    pub from: ReplicaId,
    /// The receiver.
    pub to: ReplicaId,
    /// What it says.
    pub body: Bytes,
}

/// Names a read; chosen by the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReadId(pub u64);

/// A read that may be served once `index` is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadReady {
    /// Which.
    pub id: ReadId,
    /// What must be applied first.
    pub index: Index,
}

/// What the host is to do; the crate's head says in which order.
#[derive(Debug, Default)]
pub struct Effects {
    /// To be made durable.
    pub persist: Option<Persist>,
    /// To be sent now.
    pub messages: Vec<Message>,
    /// To be sent once `persist` is durable.
    pub messages_after_persist: Vec<Message>,
    /// Committed, to be applied.
    pub apply: Vec<Entry>,
    /// Confirmed reads.
    pub reads: Vec<ReadReady>,
    /// The new role and term, if they changed.
    pub role: Option<(Role, Term)>,
}

/// Who is believed to lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaderHint {
    /// The leader, if one is known.
    pub leader: Option<ReplicaId>,
    /// In which term.
    pub term: Term,
}

/// Why nothing was proposed. Nothing has changed; somebody else may take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// This replica does not lead.
    #[error("not the leader of term {}", .0.term)]
    NotLeader(LeaderHint),
}

/// A look at a group, for people and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// What it is.
    pub role: Role,
    /// Its term.
    pub term: Term,
    /// Its commit index.
    pub commit: Index,
    /// Its last index.
    pub last: Index,
    /// What it has applied.
    pub applied: Index,
    /// Messages dropped because their sender or receiver is unknown here.
    pub messages_dropped: u64,
}

/// One Raft group on one node.
#[derive(Debug)]
pub struct Group {
    config: Config,
    role: Role,
    hard_state: HardState,
    log: Entries,
    /// Handed out in `apply`, not beyond `commit`.
    apply_handed: Index,
    applied: Index,
    /// Index of the empty entry that began this term of leadership.
    term_start: Index,
    persisted: PersistId,
    /// Persists under way, with the last position each makes durable.
    persisting: VecDeque<(PersistId, Applied)>,
    last_persist: PersistId,
    unsaved_hard_state: bool,
    unsaved_from: Index,
    reads: Vec<ReadId>,
    role_changed: bool,
    messages_dropped: u64,
}

impl Group {
    /// Starts a group with what was recovered. Its first effects make it a candidate.
    #[must_use]
    pub fn new(config: Config, restored: Restored) -> Self {
        let log = Entries::new(restored.applied, restored.entries);
        let last = log.last().index;
        let mut group = Self {
            config,
            role: Role::Follower,
            hard_state: restored.hard_state,
            log,
            apply_handed: restored.applied.index,
            applied: restored.applied.index,
            term_start: Index(0),
            persisted: PersistId(0),
            persisting: VecDeque::new(),
            last_persist: PersistId(0),
            unsaved_hard_state: false,
            unsaved_from: last.next(),
            reads: Vec::new(),
            role_changed: false,
            messages_dropped: 0,
        };
        group.hard_state.commit = group.hard_state.commit.max(restored.applied.index);
        assert!(
            group.hard_state.commit <= last,
            "commit {} beyond the last entry {last}",
            group.hard_state.commit
        );
        group.become_candidate();
        group
    }

    /// Takes the passing of time. A group of one has nothing to time.
    pub fn handle_tick(&mut self, _now: Monotonic) {}

    /// Takes a message. A group of one knows no other replica: it is dropped and counted.
    pub fn handle_message(&mut self, _now: Monotonic, _message: &Message) {
        self.messages_dropped += 1;
    }

    /// Appends a payload, which is not empty, to the leader's log; it is committed when it comes back in
    /// [`Effects::apply`] with the term and index returned here.
    ///
    /// # Errors
    /// This replica does not lead; nothing has changed.
    pub fn propose(&mut self, payload: Bytes) -> Result<Applied, ProposeError> {
        if self.role != Role::Leader {
            return Err(ProposeError::NotLeader(self.leader()));
        }
        Ok(self.append(payload))
    }

    /// Asks for an index that covers everything committed before now.
    ///
    /// # Errors
    /// This replica does not lead; nothing has changed.
    pub fn read(&mut self, id: ReadId) -> Result<(), ProposeError> {
        if self.role != Role::Leader {
            return Err(ProposeError::NotLeader(self.leader()));
        }
        self.reads.push(id);
        Ok(())
    }

    /// Whether a read may be served at once from what is applied: this replica leads, its term has committed, nobody else
    /// can lead, and everything committed is applied.
    #[must_use]
    pub fn can_read_now(&self) -> bool {
        self.leads_with_commit() && self.applied == self.hard_state.commit
    }

    /// Takes word that a persist and all before it are durable.
    ///
    /// # Panics
    /// The id was never handed out: our host's bug.
    pub fn handle_persisted(&mut self, id: PersistId) {
        assert!(id <= self.last_persist, "persist {id:?} was never requested");
        let mut durable = None;
        while let Some((_, position)) = self.persisting.pop_front_if(|(waiting, _)| *waiting <= id)
        {
            durable = Some(position);
        }
        self.persisted = self.persisted.max(id);
        if self.role == Role::Candidate {
            self.become_leader();
        } else if let Some(position) = durable
            && position.term == self.hard_state.term
        {
            // A quorum of one: what is durable here in the own term is committed, and all before it.
            self.hard_state.commit = self.hard_state.commit.max(position.index);
        }
    }

    /// Takes word that the state machine has applied up to an index.
    pub fn handle_applied(&mut self, index: Index) {
        assert!(index <= self.apply_handed, "applied {index} beyond what was handed out");
        self.applied = self.applied.max(index);
        self.log.forget(self.applied);
    }

    /// Takes word that the log begins behind `base` now. What a group of one has applied it has forgotten already.
    pub fn compact(&mut self, base: Index) {
        assert!(base <= self.applied, "compacted to {base} beyond what is applied");
    }

    /// What the host is to do now.
    pub fn poll_effects(&mut self) -> Effects {
        Effects {
            persist: self.poll_persist(),
            messages: Vec::new(),
            messages_after_persist: Vec::new(),
            apply: self.poll_apply(),
            reads: self.poll_reads(),
            role: std::mem::take(&mut self.role_changed)
                .then_some((self.role, self.hard_state.term)),
        }
    }

    /// Who leads, as far as this replica knows.
    #[must_use]
    pub fn leader(&self) -> LeaderHint {
        let leader = (self.role == Role::Leader).then_some(self.config.replica);
        LeaderHint { leader, term: self.hard_state.term }
    }

    /// A look at the group.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            role: self.role,
            term: self.hard_state.term,
            commit: self.hard_state.commit,
            last: self.log.last().index,
            applied: self.applied,
            messages_dropped: self.messages_dropped,
        }
    }

    fn leads_with_commit(&self) -> bool {
        self.role == Role::Leader && self.hard_state.commit >= self.term_start
    }

    fn become_candidate(&mut self) {
        self.role = Role::Candidate;
        self.role_changed = true;
        self.hard_state.term = Term(self.hard_state.term.0 + 1);
        self.hard_state.vote = Some(self.config.replica);
        self.unsaved_hard_state = true;
    }

    fn become_leader(&mut self) {
        self.role = Role::Leader;
        self.role_changed = true;
        // Entries of earlier terms are committed by committing this one (own-term rule).
        self.term_start = self.append(Bytes::new()).index;
    }

    fn append(&mut self, payload: Bytes) -> Applied {
        let entry =
            Entry { term: self.hard_state.term, index: self.log.last().index.next(), payload };
        let position = Applied { index: entry.index, term: entry.term };
        self.log.push(entry);
        position
    }

    fn poll_persist(&mut self) -> Option<Persist> {
        let last = self.log.last();
        if !self.unsaved_hard_state && self.unsaved_from > last.index {
            return None;
        }
        let entries = self.log.range(Index(self.unsaved_from.0 - 1), last.index);
        let hard_state = std::mem::take(&mut self.unsaved_hard_state).then_some(self.hard_state);
        self.unsaved_from = last.index.next();
        self.last_persist = PersistId(self.last_persist.0 + 1);
        self.persisting.push_back((self.last_persist, last));
        Some(Persist { id: self.last_persist, hard_state, entries })
    }

    fn poll_apply(&mut self) -> Vec<Entry> {
        if self.hard_state.commit <= self.apply_handed {
            return Vec::new();
        }
        let entries = self.log.range(self.apply_handed, self.hard_state.commit);
        self.apply_handed = self.hard_state.commit;
        entries
    }

    fn poll_reads(&mut self) -> Vec<ReadReady> {
        if self.reads.is_empty() || !self.leads_with_commit() {
            return Vec::new();
        }
        let index = self.hard_state.commit;
        self.reads.drain(..).map(|id| ReadReady { id, index }).collect()
    }
}
