//! What a group is told at its start: its settings, and what the disk gave back.

use std::time::Duration;

use ringfort_types::{Applied, Entry, HardState, Index, ReplicaId};

use crate::configuration::Configuration;
use crate::guard::Guards;

/// What one replica is told at its start.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// The replica that this group is on this node.
    pub replica: ReplicaId,
    /// Random bits, fresh at each start: they spread election timeouts and tell this start's reads from an earlier one's.
    pub seed: u64,
    /// How eager it is to lead.
    pub priority: Priority,
    /// What all replicas of all groups share.
    pub settings: Settings,
    /// Checks in place; all, but in tests.
    pub guards: Guards,
}

impl Config {
    /// A replica with default settings.
    #[must_use]
    pub fn new(replica: ReplicaId, seed: u64) -> Self {
        Self {
            replica,
            seed,
            priority: Priority::Normal,
            settings: Settings::default(),
            guards: Guards::default(),
        }
    }
}

/// How eager a replica is to lead. It decides how long it waits for a leader, never whether it may vote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Leads only where another leader hands over to it.
    Never,
    /// Waits twice as long as others: leads where they do not.
    Low,
    /// The default.
    #[default]
    Normal,
}

/// How reads are confirmed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reads {
    /// By a lease that heartbeats renew, and as [`Reads::Index`] where it has run out. Relies on the drift of clocks being
    /// within [`Settings::lease_margin`].
    #[default]
    Lease,
    /// By a round of heartbeats for each batch of reads. Relies on no clock.
    Index,
}

/// Settings that all replicas of a cluster share. Times are of monotonic clocks, sizes are bytes of payloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Time between two heartbeats of a leader. Default 100 ms. Shorter finds dead leaders no sooner; see `election_timeout`.
    pub heartbeat: Duration,
    /// How long a follower waits for its leader: a random time between this and twice this. Default 1 s; at least five
    /// heartbeats. Shorter means shorter gaps after a crash, and more elections for nothing when a node is slow.
    pub election_timeout: Duration,
    /// What a follower promises with each acknowledged heartbeat: no vote for this long. Default 900 ms; at most
    /// `election_timeout`, so that a promise never delays an election.
    pub lease: Duration,
    /// By how much sooner a lease ends for its leader than for its voters. Default 100 ms; it covers the drift of their clocks
    /// during one lease.
    pub lease_margin: Duration,
    /// The longest `lease` that any node of the cluster may be set to. Default 1 s. For so long after its start a voter does
    /// not vote: it may have promised.
    pub lease_max: Duration,
    /// A leader whose oldest write is not durable after this time steps down. Default 2 s; zero: never.
    pub stall_timeout: Duration,
    /// A group with nothing to do for this long sleeps. Zero, the default: never. Only for hosts that watch nodes and wake
    /// groups.
    pub sleep_after: Duration,
    /// How reads are confirmed. Default by lease.
    pub reads: Reads,
    /// Largest payload of one append message; one entry always fits. Default 1 MiB.
    pub append_bytes_max: usize,
    /// Most entries of one append message. Default 1,024.
    pub append_entries_max: usize,
    /// Most append messages to one peer that are not acknowledged. Default 64.
    pub inflight_messages_max: usize,
    /// Most payload bytes to one peer that are not acknowledged; one message always fits. Default 16 MiB.
    pub inflight_bytes_max: usize,
    /// Payload bytes beyond which a leader takes no proposal until some are committed; one always fits. Default 64 MiB.
    pub uncommitted_bytes_max: usize,
    /// Payload bytes handed out for applying at a time; one entry always fits. Default 16 MiB.
    pub apply_bytes_max: usize,
    /// Writes to this replica's log that are not durable, at most. What comes while so many are under way is gathered in the
    /// next one. Default 1,024; at least 1.
    pub writes_in_flight_max: usize,
    /// Applied entries kept in memory for followers that lag, in payload bytes, by a group of several. Default 1 MiB. Whoever
    /// lags more gets a snapshot. Zero: none are kept.
    pub trailing_bytes: usize,
    /// The same while a follower gets a snapshot, and until it was sent what was written behind that: what has to reach from the
    /// snapshot to the end of the log. Default 64 MiB.
    pub catch_up_bytes: usize,
    /// Size of a chunk of a snapshot. Default 256 KiB.
    pub snapshot_chunk_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(100),
            election_timeout: Duration::from_secs(1),
            lease: Duration::from_millis(900),
            lease_margin: Duration::from_millis(100),
            lease_max: Duration::from_secs(1),
            stall_timeout: Duration::from_secs(2),
            sleep_after: Duration::ZERO,
            reads: Reads::Lease,
            append_bytes_max: 1 << 20,
            append_entries_max: 1024,
            inflight_messages_max: 64,
            inflight_bytes_max: 16 << 20,
            uncommitted_bytes_max: 64 << 20,
            apply_bytes_max: 16 << 20,
            writes_in_flight_max: 1024,
            trailing_bytes: 1 << 20,
            catch_up_bytes: 64 << 20,
            snapshot_chunk_bytes: 256 << 10,
        }
    }
}

/// What a start found missing on its disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Lost {
    /// Nothing.
    #[default]
    Nothing,
    /// The hard state is proven; entries up to this index may be missing. The replica votes for nobody and leads nothing
    /// until a leader's commit covers them.
    Entries(Index),
    /// The hard state is not proven. The replica is silent until it is replaced.
    HardState,
}

/// What the log and the engine gave back for the group.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// Hard state.
    pub hard_state: HardState,
    /// The position that the engine's state holds.
    pub applied: Applied,
    /// The configuration at that position: the founding one at position 0; empty for a replica that joins and has heard
    /// nothing yet.
    pub configuration: Configuration,
    /// Entries from there on, contiguous, all durable.
    pub entries: Vec<Entry>,
    /// What is missing.
    pub lost: Lost,
}
