//! A look at a group, for people, metrics and tests.

use ringfort_types::{Index, ReplicaId, Term};

use crate::configuration::Configuration;
use crate::effects::Role;
use crate::progress::Sending;

/// What happened since the start, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages dropped: for another replica, or from itself.
    pub dropped_misaddressed: u64,
    /// Messages dropped: of an older term, or answering nothing that is still asked.
    pub dropped_stale: u64,
    /// Messages dropped: from a replica that is not in the group.
    pub dropped_unknown: u64,
    /// Messages dropped: no replica that keeps the rules sends such.
    pub dropped_impossible: u64,
    /// Pre-votes asked for.
    pub pre_votes: u64,
    /// Votes asked for.
    pub elections: u64,
    /// Terms led.
    pub terms_led: u64,
    /// Payloads proposed as a leader.
    pub proposals: u64,
    /// Times that uncommitted entries were replaced.
    pub truncations: u64,
    /// Times that a payload was not taken, as too much was not committed yet.
    pub proposals_refused: u64,
    /// Looks at what is to be sent that found too much of it under way to a peer.
    pub appends_held: u64,
    /// Looks at what is to be written that found too many writes under way.
    pub writes_gathered: u64,
    /// Parts of what was committed that were handed out for applying, beside the last ones.
    pub applies_cut: u64,
    /// Joint configurations begun as a leader.
    pub changes_begun: u64,
    /// Joint configurations left as a leader.
    pub changes_ended: u64,
    /// Leadership handed over.
    pub transfers: u64,
    /// Reads confirmed by the lease.
    pub reads_by_lease: u64,
    /// Reads confirmed by a round of heartbeats.
    pub reads_by_round: u64,
    /// Snapshots begun for a peer.
    pub snapshots_begun: u64,
    /// Snapshots that went on where they had stopped.
    pub snapshots_resumed: u64,
    /// Snapshots installed here.
    pub snapshots_installed: u64,
    /// Times the group fell asleep.
    pub sleeps: u64,
    /// Times it woke.
    pub wakes: u64,
    /// Leaderships given up for want of a quorum.
    pub lost_quorum: u64,
    /// Leaderships given up because the disk stalled.
    pub stalls: u64,
    /// Leaderships given up because the configuration has no place for the leader.
    pub removals: u64,
}

/// A look at a group.
#[derive(Clone, Debug)]
pub struct Status {
    /// What it is.
    pub role: Role,
    /// Its term.
    pub term: Term,
    /// Who got its vote.
    pub vote: Option<ReplicaId>,
    /// Who leads, if it knows.
    pub leader: Option<ReplicaId>,
    /// Its commit index.
    pub commit: Index,
    /// Its last index.
    pub last: Index,
    /// What is durable here, of what it holds.
    pub durable: Index,
    /// What it has applied.
    pub applied: Index,
    /// Whether it sleeps.
    pub asleep: bool,
    /// Whether it may not vote, or only later, because it lost what it had.
    pub lost: bool,
    /// Bytes that are staged of a snapshot on its way in.
    pub staged: Option<u64>,
    /// The configuration that counts.
    pub configuration: Configuration,
    /// A leader's view of the others.
    pub peers: Vec<PeerStatus>,
    /// What happened.
    pub counters: Counters,
}

/// A leader's view of one other replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// Who.
    pub id: ReplicaId,
    /// Durable there up to here.
    pub matched: Index,
    /// The next entry to send.
    pub next: Index,
    /// How it is brought up to date.
    pub sending: Sending,
    /// Appends in flight.
    pub inflight: usize,
}
