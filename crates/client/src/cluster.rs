//! What the cluster routes answer. Fields that a server of another version leaves out are empty: these are for people
//! and tools that look, nothing is decided by them.

use serde::{Deserialize, Serialize};

/// The cluster as one node knows it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Cluster {
    /// The cluster's id, 32 hexadecimal digits.
    pub cluster_id: String,
    /// Version of this view.
    pub epoch: u64,
    /// Replicas that each shard should have.
    pub replication_factor: u32,
    /// The node that answered.
    pub answered_by: String,
    /// Whether the catalog has a leader that this node hears; `None`: not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quorum: Option<bool>,
    /// Every member.
    pub nodes: Vec<NodeStatus>,
    /// Every shard, by id.
    pub shards: Vec<ShardStatus>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// One member.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct NodeStatus {
    /// Its name.
    pub id: String,
    /// `joining`, `active`, `suspect`, `down`, `draining` or `left`.
    pub state: String,
    /// Where clients reach it.
    pub client: String,
    /// Where nodes reach it.
    pub peer: String,
    /// Failure domain.
    pub zone: String,
    /// Weight on the ring.
    pub capacity: f64,
    /// Version of its executable.
    pub version: String,
    /// Milliseconds since the answering node last heard from it; `None`: never, or it is that node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heard_ms: Option<u64>,
    /// The epoch of its map, as it last told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// Replicas it has.
    pub replicas: u64,
    /// Shards it leads.
    pub leaders: u64,
}

/// One shard.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct ShardStatus {
    /// The shard.
    pub shard: u32,
    /// Its smallest token, 16 hexadecimal digits.
    pub first_token: String,
    /// Its largest token, inclusive.
    pub last_token: String,
    /// `serving`, `no_leader` or `closed`.
    pub state: String,
    /// Why it is closed and what can be done; empty otherwise.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Its replicas.
    pub replicas: Vec<ReplicaStatus>,
    /// The node that leads it, if one does.
    pub leader: Option<String>,
    /// The term of its Raft group, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub term: Option<u64>,
    /// Fewer replicas vote, on nodes that are there, than the replication factor says.
    pub under_replicated: bool,
    /// Live keys.
    pub keys: u64,
    /// Bytes of those keys and their values.
    pub bytes: u64,
}

/// One replica of a shard.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct ReplicaStatus {
    /// The replica.
    pub id: u64,
    /// Where it lives.
    pub node: String,
    /// `leader`, `follower`, `learner`, `quarantined` or `closed`.
    pub role: String,
    /// Why it is quarantined or closed; empty otherwise.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Committed entries that are not durable there yet, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit_lag: Option<u64>,
    /// Committed entries that it has not applied yet, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apply_lag: Option<u64>,
}

/// What serves a key.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Route {
    /// Version of the map this comes from.
    pub epoch: u64,
    /// The key, where it is UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The key in base64, where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_b64: Option<String>,
    /// The key's token, 16 hexadecimal digits.
    pub token: String,
    /// The shard that the token falls into.
    #[serde(flatten)]
    pub shard: ShardStatus,
}

/// Whether a node can serve.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Readiness {
    /// All checks hold.
    pub ready: bool,
    /// The checks.
    pub checks: Vec<ReadyCheck>,
}

/// One check of readiness.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct ReadyCheck {
    /// Its name: `replayed`, `joined`, `routes`, …
    pub name: String,
    /// It holds.
    pub ok: bool,
    /// What a person reads.
    pub detail: String,
}

impl Readiness {
    /// The status decides; the body explains, where it does.
    pub(crate) fn parse(ready: bool, body: &[u8]) -> Self {
        let told: Self = serde_json::from_slice(body).unwrap_or_default();
        Self { ready, ..told }
    }
}
