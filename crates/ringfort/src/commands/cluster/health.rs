//! How a cluster is, in a word and with the reasons: what the first line of `cluster status` says.
//!
//! ```text
//!   unavailable   the catalog has no leader, or no shard is served
//!   degraded      something is out: nodes, shards, replicas, or the node that answers is not ready
//!   healthy       nothing is
//! ```
//!
//! Draining and joining nodes, older epochs and warnings are no reasons: they are shown beside it.

use std::fmt;

use ringfort_client::{Cluster, Readiness, ReplicaStatus};
use serde_json::json;

/// More nodes than these are counted, not named.
const NAMED_MAX: usize = 4;

/// The word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Healthy,
    Degraded,
    Unavailable,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unavailable => "unavailable",
        }
    }
}

/// The word and why.
#[derive(Clone, Debug)]
pub(super) struct Health {
    pub(super) state: State,
    /// The worst first; none where all is well.
    pub(super) reasons: Vec<String>,
    /// What is there, which is all there is to say of a healthy one.
    there: String,
}

impl Health {
    /// Judges a cluster by what one node says.
    pub(super) fn of(cluster: &Cluster, readiness: &Readiness) -> Self {
        let mut reasons = Vec::new();
        let shards = cluster.shards.len();
        let in_state = |state| cluster.shards.iter().filter(|shard| shard.state == state).count();
        let (leaderless, closed) = (in_state("no_leader"), in_state("closed"));
        let no_quorum = cluster.quorum == Some(false);
        if no_quorum {
            let node = &cluster.answered_by;
            reasons.push(format!("no quorum: {node} hears no leader of the catalog"));
        }
        if leaderless > 0 {
            let have = if leaderless == 1 { "has" } else { "have" };
            reasons.push(format!("{leaderless} of {shards} shards {have} no leader"));
        }
        if closed > 0 {
            reasons.push(format!("{closed} of {shards} shards {} closed", are(closed)));
        }
        reasons
            .extend(["down", "suspect"].into_iter().filter_map(|state| nodes_in(cluster, state)));
        let short = cluster.shards.iter().filter(|shard| shard.under_replicated).count();
        if short > 0 {
            reasons.push(format!("{short} of {shards} shards {} under-replicated", are(short)));
        }
        let quarantined = replicas(cluster).filter(|replica| replica.role == "quarantined").count();
        if quarantined > 0 {
            let all = replicas(cluster).count();
            reasons
                .push(format!("{quarantined} of {all} replicas {} quarantined", are(quarantined)));
        }
        if !readiness.ready {
            reasons.push(format!("{} is not ready ({})", cluster.answered_by, failed(readiness)));
        }
        let nothing_served = shards > 0 && leaderless + closed == shards;
        let state = match reasons.is_empty() {
            true => State::Healthy,
            false if no_quorum || nothing_served => State::Unavailable,
            false => State::Degraded,
        };
        let active = cluster.nodes.iter().filter(|node| node.state == "active").count();
        let there = format!(
            "{active} of {} nodes are active, {} of {shards} shards are served",
            cluster.nodes.len(),
            in_state("serving")
        );
        Self { state, reasons, there }
    }

    pub(super) fn document(&self) -> serde_json::Value {
        json!({ "state": self.state.as_str(), "reasons": self.reasons })
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = if self.reasons.is_empty() { &self.there } else { &self.reasons.join("; ") };
        write!(f, "{}: {why}", self.state.as_str())
    }
}

fn are(count: usize) -> &'static str {
    if count == 1 { "is" } else { "are" }
}

/// The checks that do not hold, and why.
pub(super) fn failed(readiness: &Readiness) -> String {
    let failed = readiness.checks.iter().filter(|check| !check.ok);
    let failed: Vec<_> = failed.map(|check| format!("{}: {}", check.name, check.detail)).collect();
    failed.join("; ")
}

fn nodes_in(cluster: &Cluster, state: &str) -> Option<String> {
    let nodes: Vec<_> = cluster.nodes.iter().filter(|node| node.state == state).collect();
    let names: Vec<_> = nodes.iter().map(|node| node.id.as_str()).collect();
    match names[..] {
        [] => None,
        [only] => Some(format!("node {only} is {state}")),
        _ if names.len() <= NAMED_MAX => Some(format!("nodes {} are {state}", names.join(", "))),
        _ => Some(format!("{} of {} nodes are {state}", names.len(), cluster.nodes.len())),
    }
}

fn replicas(cluster: &Cluster) -> impl Iterator<Item = &ReplicaStatus> {
    cluster.shards.iter().flat_map(|shard| &shard.replicas)
}
