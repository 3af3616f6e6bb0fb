//! What a replica is given at its start and gives in a turn.

use std::time::Duration;

use ringfort_log::{Base, GroupWrite};
use ringfort_raft::PersistId;
use ringfort_types::{Entry, GroupId, HardState, ReplicaId};

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
    /// The longest time between two ticks.
    pub tick: Duration,
    /// A number that clients do not know.
    pub hash_seed: u64,
    /// A payload that has grown to this size, in bytes, is proposed, and another one begun.
    pub payload_bytes_target: usize,
}

/// What a turn of a replica gives.
#[derive(Debug, Default)]
pub struct Output {
    /// To be written to the log, in order.
    pub writes: Vec<GroupWrite>,
    /// To be reported with [`Replica::handle_persisted`](crate::Replica::handle_persisted) once those writes are durable.
    pub persists: Vec<(GroupId, PersistId)>,
    /// Answers to commands.
    pub answers: Vec<(Ticket, Answer)>,
    /// Reads that may be served now.
    pub reads: Vec<Ticket>,
    /// Client commands among those writes.
    pub commands: u32,
    /// Tickets whose proposals are lost to a change of leadership or a stop: their outcome is unknown.
    pub lost: Vec<Ticket>,
    /// What the replicas of a turn apply into, one after the other.
    pub(crate) applying: Applying,
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
}
