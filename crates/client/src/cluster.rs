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
    /// `leader`, `follower`, `learner` or `closed`.
    pub role: String,
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
