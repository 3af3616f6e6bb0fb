//! Every setting with its unit, its default, and how to choose it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ringfort_server::Reads;
use ringfort_types::{NodeId, limits};

use crate::logging::{Filter, Format, Output};

/// What a node is told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) node: Node,
    pub(crate) listen: Listen,
    pub(crate) cluster: Cluster,
    pub(crate) storage: Storage,
    pub(crate) server: Server,
    pub(crate) limits: Limits,
    pub(crate) raft: Raft,
    pub(crate) security: Security,
    pub(crate) logging: Logging,
}

/// Who the node is.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// Unique, stable name. Default: generated once and kept in `data_dir`.
    pub(crate) id: Option<NodeId>,
    /// Where everything durable lives; one node's alone.
    pub(crate) data_dir: PathBuf,
    /// Failure domain: replicas are spread over zones. Nodes that fail together share one.
    pub(crate) zone: String,
    /// Weight on the ring: a node of twice the capacity gets twice the data.
    pub(crate) capacity: f64,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            id: None,
            data_dir: "/var/lib/ringfort".into(),
            zone: "default".into(),
            capacity: 1.0,
        }
    }
}

/// Where it is reached.
#[derive(Clone, Debug)]
pub(crate) struct Listen {
    /// The client API.
    pub(crate) client: SocketAddr,
    /// Other nodes.
    pub(crate) peer: SocketAddr,
    /// Health and metrics without credentials; `None`: off.
    pub(crate) health: Option<SocketAddr>,
    /// What clients dial, where it is not `client`.
    pub(crate) advertise_client: Option<String>,
    /// What nodes dial, where it is not `peer`.
    pub(crate) advertise_peer: Option<String>,
}

impl Default for Listen {
    fn default() -> Self {
        let loopback = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        Self {
            client: loopback(7400),
            peer: loopback(7401),
            health: None,
            advertise_client: None,
            advertise_peer: None,
        }
    }
}

/// Whom it forms a cluster with.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    /// Where the founders' peer listeners are reached, `host:port`, this node's included; or, to join, some members'.
    pub(crate) seeds: Vec<String>,
    /// Nodes that form the cluster, every seed among them, at most 64. Default: 1 without seeds, 0 (join only) with.
    pub(crate) bootstrap_expect: Option<u32>,
    /// Replicas of each shard. Counts at formation.
    pub(crate) replication_factor: u32,
    /// Shards of the cluster. Fixed at formation; some dozens per node that it will ever have.
    pub(crate) shards: u32,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            seeds: Vec::new(),
            bootstrap_expect: None,
            replication_factor: 3,
            shards: limits::SHARDS_DEFAULT,
        }
    }
}

impl Cluster {
    /// `bootstrap_expect`, or the default that the seeds give it.
    pub(crate) fn expected(&self) -> u32 {
        self.bootstrap_expect.unwrap_or(u32::from(self.seeds.is_empty()))
    }
}

/// Where applied data lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    Memory,
    Lsm,
    RocksDb,
}

impl Engine {
    pub(crate) const ALL: [(&'static str, Self); 3] =
        [("memory", Self::Memory), ("lsm", Self::Lsm), ("rocksdb", Self::RocksDb)];
}

/// How data is kept.
#[derive(Clone, Debug)]
pub(crate) struct Storage {
    pub(crate) engine: Engine,
    /// Bytes of one segment of the log. Larger: fewer files; smaller: space comes back sooner. Each begins with the state
    /// of every shard: a start refuses segments that are too small for `cluster.shards`.
    pub(crate) segment_bytes: u64,
    /// Bytes of log beyond which engines are flushed so that old segments can go. Larger: fewer flushes; smaller: less
    /// disk and a shorter replay at start.
    pub(crate) log_bytes: u64,
    /// Longest time that a sync of the log waits for company, in microseconds. 0: it never waits. Larger: fewer syncs
    /// and less CPU under load; smaller: lower latency.
    pub(crate) sync_delay_max_us: u64,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            engine: Engine::Memory,
            segment_bytes: 64 << 20,
            log_bytes: 256 << 20,
            sync_delay_max_us: 100,
        }
    }
}

/// How the process works.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    /// Threads that serve connections and own shards. 0: half the cores, at least one.
    pub(crate) workers: usize,
    /// Longest time that a stop waits for requests in flight.
    pub(crate) stop_timeout: Duration,
}

impl Default for Server {
    fn default() -> Self {
        Self { workers: 0, stop_timeout: Duration::from_secs(10) }
    }
}

/// Bounds on what clients send and on what is held for them.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Largest value, in bytes.
    pub(crate) max_value_bytes: usize,
    /// Largest body of a request, in bytes.
    pub(crate) max_request_bytes: usize,
    /// Memory of one shard for remembered answers, in bytes. Full: keyed writes get 429.
    pub(crate) idempotency_bytes: usize,
    /// Bodies that one worker holds at once, in bytes. Full: requests get 429.
    pub(crate) inflight_bytes: usize,
    /// Requests under way at once on one worker. More get 429.
    pub(crate) inflight_requests: usize,
    /// Client connections that one worker holds at once.
    pub(crate) connections: usize,
    /// Bytes of snapshots a second to nodes that are behind, so that clients hardly notice. 0: no bound.
    pub(crate) snapshot_bytes_per_second: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_value_bytes: limits::VALUE_BYTES_MAX_DEFAULT,
            max_request_bytes: limits::REQUEST_BYTES_MAX_DEFAULT,
            idempotency_bytes: limits::IDEMPOTENCY_BYTES_DEFAULT,
            inflight_bytes: 256 << 20,
            inflight_requests: 4096,
            connections: 10_000,
            snapshot_bytes_per_second: 32 << 20,
        }
    }
}

/// The names of the ways in which linearizable reads are made safe.
pub(crate) const READS: [(&str, Reads); 2] =
    [("lease", Reads::Lease), ("read_index", Reads::ReadIndex)];

/// Timing of consensus. Counts at formation.
#[derive(Clone, Debug)]
pub(crate) struct Raft {
    /// Between two heartbeats.
    pub(crate) heartbeat: Duration,
    /// Without a leader's sign for this long, another is elected. At least five heartbeats. Shorter: a failure costs less
    /// time; longer: a slow disk or network costs no leader.
    pub(crate) election_timeout: Duration,
    pub(crate) reads: Reads,
}

impl Default for Raft {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(100),
            election_timeout: Duration::from_secs(1),
            reads: Reads::Lease,
        }
    }
}

/// Who may talk to it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Security {
    /// Allows other addresses than loopback without TLS and authentication.
    pub(crate) insecure: bool,
    /// Certificate authority of the nodes, with `peer_cert` and `peer_key`: mutual TLS between nodes.
    pub(crate) peer_ca: Option<PathBuf>,
    pub(crate) peer_cert: Option<PathBuf>,
    pub(crate) peer_key: Option<PathBuf>,
}

impl Security {
    /// Whether nodes prove to each other who they are.
    pub(crate) fn has_peer_tls(&self) -> bool {
        self.peer_ca.is_some() && self.peer_cert.is_some() && self.peer_key.is_some()
    }
}

/// What it says about itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Logging {
    /// `info`, or more finely `info,ringfort_log=debug`. Read again at SIGHUP.
    pub(crate) level: Filter,
    pub(crate) format: Format,
    pub(crate) output: Output,
}
