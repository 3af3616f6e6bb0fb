//! What a replica is given at its start and gives in a turn.

use bytes::Bytes;
use ringfort_log::{Base, GroupWrite};
use ringfort_raft::{
    Configuration, Guards, Lost, Message, PersistId, ProposeError, Role, Settings, SnapshotMeta,
};
use ringfort_types::{Entry, GroupId, HardState, Levels, ReplicaId, Term};

use crate::machine::{Answer, Applying};

/// Names a request; chosen by the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What a replica is made of at its start.
#[derive(Clone, Debug)]
pub struct ReplicaConfig {
    /// Its group.
    pub group: GroupId,
    /// Its id.
    pub replica: ReplicaId,
    /// Proven hard state.
    pub hard_state: HardState,
    /// Where its log begins.
    pub base: Base,
    /// Entries behind the base.
    pub entries: Vec<Entry>,
    /// What is missing of its log.
    pub lost: Lost,
    /// The configuration that its group was founded with; blank where it joins. Counts while its store names none.
    pub founding: Configuration,
    /// What all replicas of the cluster share.
    pub settings: Settings,
    /// Which feature level it stamps at first, and which ones it applies.
    pub levels: Levels,
    /// Random bits, fresh at each start; clients do not know them.
    pub seed: u64,
    /// Raft's checks; all, but in tests.
    pub guards: Guards,
    /// A payload that has grown to this size, in bytes, is proposed, and another one begun.
    pub payload_bytes_target: usize,
    /// Keys that one Expire names at most, but for keys that a command touches. What else is due then goes with the next one.
    pub expire_keys_max: usize,
}

/// What a turn of a replica gives.
#[derive(Debug, Default)]
pub struct Output {
    /// To be written to the log, in order.
    pub writes: Vec<GroupWrite>,
    /// To be reported with [`Replica::handle_persisted`](crate::Replica::handle_persisted) once those writes are durable.
    pub persists: Vec<(GroupId, PersistId)>,
    /// To be sent to other replicas of the group. Nothing in them waits for a write.
    pub messages: Vec<(GroupId, Message)>,
    /// Chunks of snapshots that are to be sent, some time soon: each with
    /// [`Replica::send_chunk`](crate::Replica::send_chunk).
    pub chunks: Vec<ChunkWanted>,
    /// Snapshots that are complete, to become the group's state.
    pub installs: Vec<Install>,
    /// Groups whose role or term changed.
    pub roles: Vec<(GroupId, Role, Term)>,
    /// Answers to commands.
    pub answers: Vec<(Ticket, Answer)>,
    /// Reads that may be served now.
    pub reads: Vec<Ticket>,
    /// What waits for those writes: client commands, and entries of other leaders. The log paces itself by them.
    pub commands: u32,
    /// Bytes of entries that were applied, about.
    pub applied_bytes: u64,
    /// Tickets whose proposals are lost to a change of leadership or a stop: their outcome is unknown.
    pub lost: Vec<Ticket>,
    /// Tickets whose commands were never proposed, and why: they have not happened and never will.
    pub refused: Vec<(Ticket, ProposeError)>,
    /// What the replicas of a turn apply into, one after the other.
    pub(crate) applying: Applying,
}

/// A chunk of a snapshot that a replica has to send. It is read when it may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkWanted {
    /// The group.
    pub group: GroupId,
    /// Who gets it.
    pub to: ReplicaId,
    /// It is not the first one.
    pub goes_on: bool,
}

/// A snapshot that came whole. Its bytes are to replace the store's content, durably: see
/// [`Replica::handle_store_replaced`](crate::Replica::handle_store_replaced),
/// [`Replica::handle_installed`](crate::Replica::handle_installed) and
/// [`Replica::handle_install_failed`](crate::Replica::handle_install_failed).
#[derive(Debug)]
pub struct Install {
    /// The group.
    pub group: GroupId,
    /// What it holds.
    pub snapshot: SnapshotMeta,
    /// The engine's stream, in parts.
    pub stream: Vec<Bytes>,
}

/// A look at a replica, for people and metrics.
#[derive(Clone, Debug)]
pub struct ReplicaStatus {
    /// Its Raft group.
    pub raft: ringfort_raft::Status,
    /// Bytes of entries since the base.
    pub log_bytes: u64,
    /// Where its log begins.
    pub base: Base,
    /// Bytes of remembered answers.
    pub retry_bytes: u64,
    /// Looks at what is due that found as many keys as one Expire may name.
    pub expires_full: u64,
}

/// What replicas hold of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Commands that are not proposed yet.
    pub queued: usize,
    /// Commands that are proposed and not applied.
    pub proposed: usize,
    /// Bytes of both.
    pub bytes: usize,
}

impl Load {
    /// The sum over several replicas, after one of them has changed from `before` to `after`.
    ///
    /// # Panics
    /// The sum does not hold `before`.
    #[must_use]
    pub fn moved(self, before: Self, after: Self) -> Self {
        let moved = |sum: usize, before: usize, after: usize| sum - before + after;
        Self {
            queued: moved(self.queued, before.queued, after.queued),
            proposed: moved(self.proposed, before.proposed, after.proposed),
            bytes: moved(self.bytes, before.bytes, after.bytes),
        }
    }
}
