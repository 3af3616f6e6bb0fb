//! What a group asks of its host, and what it tells.

use bytes::Bytes;
use ringfort_types::{Entry, HardState, Index, ReplicaId, Term};

use crate::message::{Message, SnapshotId, SnapshotMeta};

/// What a replica is in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Follows a leader, or waits for one.
    Follower,
    /// Asks who would vote for it.
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Leads.
    Leader,
}

/// Names a [`Persist`]; they count up without gaps from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PersistId(pub u64);

/// What is to be made durable, as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Persist {
    /// Comes back with [`Group::handle_persisted`](crate::Group::handle_persisted).
    pub id: PersistId,
    /// New hard state, if term or vote changed.
    pub hard_state: Option<HardState>,
    /// New entries. They follow the last one or replace everything from their first index on.
    pub entries: Vec<Entry>,
}

/// Names a read; chosen by the host, not used twice between two starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId(pub u64);

/// A read that may be served once `index` is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReadReady {
    /// Which.
    pub id: ReadId,
    /// What must be applied first.
    pub index: Index,
}

/// What is to be done about snapshots.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SnapshotEffect {
    /// Read a chunk for a peer, and give it back with
    /// [`Group::handle_snapshot_chunk`](crate::Group::handle_snapshot_chunk), or say with
    /// [`Group::handle_snapshot_failed`](crate::Group::handle_snapshot_failed) that it cannot be had.
    Read {
        /// For whom.
        to: ReplicaId,
        /// Of which snapshot; none: of a new one, of what is applied now or later.
        snapshot: Option<SnapshotId>,
        /// From where.
        offset: u64,
        /// Most bytes.
        bytes_max: usize,
    },
    /// The peer needs its snapshot no more.
    Release {
        /// Who.
        to: ReplicaId,
    },
    /// Put a chunk behind those staged before; one at offset 0 begins anew. Say so with
    /// [`Group::handle_staged`](crate::Group::handle_staged). It need not be durable.
    Stage {
        /// Of which snapshot.
        snapshot: SnapshotMeta,
        /// Where in it.
        offset: u64,
        /// The bytes.
        data: Bytes,
    },
    /// Make what is staged the state of the group, durably, and say so with
    /// [`Group::handle_installed`](crate::Group::handle_installed). The log behind it goes, unless it holds the snapshot's
    /// position.
    Install {
        /// Which snapshot.
        snapshot: SnapshotMeta,
    },
    /// What is staged is not wanted any more.
    Discard,
}

/// What the host is to do; the crate's head says in which order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// To be made durable.
    pub persist: Option<Persist>,
    /// To be sent. All that they promise is durable.
    pub messages: Vec<Message>,
    /// Snapshots to be read, staged, installed.
    pub snapshots: Vec<SnapshotEffect>,
    /// Committed, to be applied.
    pub apply: Vec<Entry>,
    /// Confirmed reads.
    pub reads: Vec<ReadReady>,
    /// Reads that will not be confirmed: leadership was lost.
    pub reads_lost: Vec<ReadId>,
    /// The new role and term, if they changed.
    pub role: Option<(Role, Term)>,
}

impl Effects {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Who is believed to lead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaderHint {
    /// The leader, if one is known.
    pub leader: Option<ReplicaId>,
    /// In which term.
    pub term: Term,
}

/// Why nothing was proposed. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// This replica does not lead; somebody else may take it.
    #[error("not the leader of term {}", .0.term)]
    NotLeader(LeaderHint),
    /// Leadership is being handed over; whoever takes over may take it.
    #[error("leadership is being handed over to replica {0}")]
    Transferring(ReplicaId),
    /// Too much is not committed yet; later, it may be taken here.
    #[error("too many bytes are not committed yet")]
    TooMuchUncommitted,
}
