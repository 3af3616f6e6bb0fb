//! The words of consensus that the log, Raft and the replica share: terms, indexes, entries, hard state.

use bytes::Bytes;

use crate::id::{ReplicaId, number};
use std::fmt;

number! {
    /// A Raft term. 0 stands before the first election.
    Term(u64)
}
number! {
    /// The position of an entry in its group's log. The first entry has index 1; 0 stands before it.
    Index(u64)
}
number! {
    /// A Raft group within a node: the catalog is group 0, shard `s` is group `s + 1`.
    GroupId(u32)
}

impl Index {
    /// The index that follows.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl GroupId {
    /// The catalog's group.
    pub const CATALOG: Self = Self(0);

    /// The group of a shard.
    #[must_use]
    pub fn of_shard(shard: crate::ShardId) -> Self {
        Self(shard.0 + 1)
    }

    /// The shard whose replica this group is; `None` for the catalog.
    #[must_use]
    pub fn shard(self) -> Option<crate::ShardId> {
        self.0.checked_sub(1).map(crate::ShardId)
    }
}

/// One entry of a group's log. The payload is opaque to Raft and log; empty is the entry a leader begins its term with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Term of the leader that created the entry.
    pub term: Term,
    /// Position in the group's log.
    pub index: Index,
    /// What the state machine is to apply, encoded once by the leader.
    pub payload: Bytes,
}

/// What a Raft group must not forget between two starts, besides its entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct HardState {
    /// The newest term this replica has seen.
    pub term: Term,
    /// Who got this replica's vote in that term.
    pub vote: Option<ReplicaId>,
    /// The newest index known committed. May lag behind the truth after a start.
    pub commit: Index,
}

/// How far a state machine has applied its group's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Applied {
    /// Index of the last applied entry; 0 when none was.
    pub index: Index,
    /// Term of that entry.
    pub term: Term,
}
