//! Settings of a server, checked by whoever makes them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ringfort_types::{NodeId, limits};

use crate::peers::PeerTlsFiles;

/// The engines to choose from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineKind {
    /// Data in memory, durable through log and snapshots.
    #[default]
    Memory,
}

/// How linearizable reads are made safe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reads {
    /// By a leader's lease: no message per read. Safe while no clock drifts beyond the bound.
    #[default]
    Lease,
    /// By asking a majority, batch by batch: safe where clocks cannot be trusted.
    ReadIndex,
}

/// Settings of one node's server.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// The node's name; `None`: the one kept in the data directory, made at the first start.
    pub node_id: Option<NodeId>,
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// Failure domain.
    pub zone: String,
    /// Weight on the ring.
    pub capacity: f64,
    /// Where clients connect. Port 0: any free one.
    pub client_listen: SocketAddr,
    /// Where nodes connect.
    pub peer_listen: SocketAddr,
    /// Health and metrics without credentials.
    pub health_listen: Option<SocketAddr>,
    /// What clients dial, if it is not the address listened on.
    pub advertise_client: Option<String>,
    /// What nodes dial, if it is not the address listened on.
    pub advertise_peer: Option<String>,
    /// Where the founders are reached, `host:port`, this node's own address included; or, to join, some members. Each is
    /// different.
    pub seeds: Vec<String>,
    /// Nodes that form the cluster, every seed among them: at least as many as there are seeds, at most 64. 0: the node
    /// joins, or waits for somebody to say who forms the cluster.
    pub bootstrap_expect: u32,
    /// Mutual TLS between nodes; `None`: they talk in the clear and take each other's word for who they are.
    pub peer_tls: Option<PeerTlsFiles>,
    /// Time between two heartbeats of a leader, at least 10 ms; counts at formation.
    pub heartbeat: Duration,
    /// Without a leader's sign for this long another is elected; at least five heartbeats; counts at formation.
    pub election_timeout: Duration,
    /// How linearizable reads are made safe; counts at formation.
    pub reads: Reads,
    /// Replicas of each shard; counts at formation.
    pub replication_factor: u32,
    /// Shards of the cluster; counts at formation.
    pub shards: u32,
    /// The engine.
    pub engine: EngineKind,
    /// Size of a log segment in bytes.
    pub segment_bytes: u64,
    /// The log may grow to this size, or to that of the data, before stores are flushed. In bytes.
    pub log_bytes: u64,
    /// Longest time that a sync waits for company.
    pub sync_delay_max: Duration,
    /// Worker threads; 0: half the cores, at least one.
    pub workers: usize,
    /// Largest value in bytes.
    pub max_value_bytes: usize,
    /// Largest body in bytes.
    pub max_request_bytes: usize,
    /// Bytes of remembered answers per shard.
    pub idempotency_bytes: usize,
    /// Bytes of request bodies that one worker holds at once.
    pub inflight_bytes: usize,
    /// Requests under way on one worker.
    pub inflight_requests: usize,
    /// Client connections that one worker holds at once.
    pub connections: usize,
    /// Bytes of snapshots that the node sends a second to others at most; 0: no bound.
    pub snapshot_bytes_per_second: u64,
    /// Longest time that a stop waits for requests in flight.
    pub stop_timeout: Duration,
}

impl ServerOptions {
    /// The defaults, for a data directory.
    #[must_use]
    pub fn new(data_dir: PathBuf) -> Self {
        Self {
            node_id: None,
            data_dir,
            zone: String::new(),
            capacity: 1.0,
            client_listen: SocketAddr::from(([127, 0, 0, 1], 7400)),
            peer_listen: SocketAddr::from(([127, 0, 0, 1], 7401)),
            health_listen: None,
            advertise_client: None,
            advertise_peer: None,
            seeds: Vec::new(),
            bootstrap_expect: 1,
            peer_tls: None,
            heartbeat: Duration::from_millis(100),
            election_timeout: Duration::from_secs(1),
            reads: Reads::default(),
            replication_factor: 3,
            shards: limits::SHARDS_DEFAULT,
            engine: EngineKind::Memory,
            segment_bytes: 64 << 20,
            log_bytes: 256 << 20,
            sync_delay_max: Duration::from_micros(100),
            workers: 0,
            max_value_bytes: limits::VALUE_BYTES_MAX_DEFAULT,
            max_request_bytes: limits::REQUEST_BYTES_MAX_DEFAULT,
            idempotency_bytes: limits::IDEMPOTENCY_BYTES_DEFAULT,
            inflight_bytes: 256 << 20,
            inflight_requests: 4096,
            connections: 10_000,
            snapshot_bytes_per_second: 32 << 20,
            stop_timeout: Duration::from_secs(10),
        }
    }

    /// The number of worker threads.
    #[must_use]
    pub fn worker_count(&self) -> u16 {
        let half = std::thread::available_parallelism().map_or(1, |cores| cores.get() / 2);
        let count = if self.workers == 0 { half } else { self.workers };
        let most = usize::try_from(self.shards).unwrap_or(usize::MAX).min(256);
        u16::try_from(count.clamp(1, most)).unwrap_or(1)
    }
}
