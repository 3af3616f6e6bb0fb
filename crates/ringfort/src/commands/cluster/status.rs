//! `ringfort cluster status`: what a person on call wants to see first.
//!
//! ```text
//!   healthy, degraded or unavailable, and why
//!   the cluster in a line
//!   every node
//!   the shards with something wrong, the worst first, at most SHARDS_SHOWN
//!   warnings
//! ```

use std::collections::BTreeMap;

use ringfort_client::{Cluster, NodeStatus, Readiness, ReplicaStatus, ShardStatus};
use serde_json::json;

use super::health::Health;
use crate::output;

const SHARDS_SHOWN: usize = 10;
const WARNINGS_SHOWN: usize = 20;

/// The document for programs.
pub(super) fn document(cluster: &Cluster, readiness: &Readiness) -> serde_json::Value {
    let (keys, bytes) = totals(cluster);
    let mut states = BTreeMap::<&str, usize>::new();
    for shard in &cluster.shards {
        *states.entry(shard.state.as_str()).or_default() += 1;
    }
    let short = cluster.shards.iter().filter(|shard| shard.under_replicated).count();
    json!({
        "health": Health::of(cluster, readiness).document(),
        "cluster_id": cluster.cluster_id,
        "epoch": cluster.epoch,
        "answered_by": cluster.answered_by,
        "quorum": cluster.quorum,
        "ready": readiness.ready,
        "checks": readiness.checks,
        "replication_factor": cluster.replication_factor,
        "nodes": cluster.nodes,
        "shards": { "total": cluster.shards.len(), "states": states, "under_replicated": short },
        "keys": keys,
        "bytes": bytes,
        "warnings": warnings(cluster),
    })
}

/// The text for people.
pub(super) fn text(cluster: &Cluster, readiness: &Readiness) -> String {
    let (keys, bytes) = totals(cluster);
    let mut text = format!("{}\n", Health::of(cluster, readiness));
    text += &format!(
        "cluster {} at epoch {}, seen from {}: {} shards, replication factor {}; {} keys, {}\n",
        cluster.cluster_id,
        cluster.epoch,
        cluster.answered_by,
        cluster.shards.len(),
        cluster.replication_factor,
        output::grouped(keys),
        output::human_size(bytes),
    );
    text += &format!("\n{}", nodes(cluster));
    let mut wrong: Vec<_> =
        cluster.shards.iter().filter_map(|shard| Some((wrong(shard)?, shard))).collect();
    // A stable sort: by shard among those that are equally bad.
    wrong.sort_by_key(|((badness, _), _)| *badness);
    if !wrong.is_empty() {
        text += &format!("\n{}", shards(cluster, &wrong));
    }
    let warnings = warnings(cluster);
    if !warnings.is_empty() {
        text.push('\n');
    }
    for warning in warnings.iter().take(WARNINGS_SHOWN) {
        text += &format!("warning: {warning}\n");
    }
    text += &more(warnings.len(), WARNINGS_SHOWN, "-o json");
    text
}

fn totals(cluster: &Cluster) -> (u64, u64) {
    let add = |(keys, bytes): (u64, u64), shard: &ShardStatus| {
        (keys.saturating_add(shard.keys), bytes.saturating_add(shard.bytes))
    };
    cluster.shards.iter().fold((0, 0), add)
}

fn nodes(cluster: &Cluster) -> String {
    let head = [
        "NODE", "STATE", "HEARD", "REPLICAS", "LEADERS", "EPOCH", "ZONE", "CLIENT", "PEER",
        "VERSION",
    ];
    let mut table = output::unbroken_table(head);
    for node in &cluster.nodes {
        table.add_row([
            node.id.clone(),
            node.state.clone(),
            heard(cluster, node),
            node.replicas.to_string(),
            node.leaders.to_string(),
            node.epoch.map_or_else(|| "-".into(), |epoch| epoch.to_string()),
            node.zone.clone(),
            node.client.clone(),
            node.peer.clone(),
            node.version.clone(),
        ]);
    }
    output::table_text(table)
}

/// How long ago the node that answers heard from this one.
fn heard(cluster: &Cluster, node: &NodeStatus) -> String {
    match node.heard_ms {
        _ if node.id == cluster.answered_by => "here".into(),
        None => "-".into(),
        Some(ms) => format!("{} ago", ago(ms)),
    }
}

/// A time that has passed, in the unit that says enough.
fn ago(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0 => format!("{ms}ms"),
        1..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// What is wrong with a shard and how bad that is, the worst having the smallest number.
fn wrong(shard: &ShardStatus) -> Option<(u8, String)> {
    let quarantined = shard.replicas.iter().find(|replica| replica.role == "quarantined");
    match (shard.state.as_str(), quarantined) {
        ("closed", _) => Some((0, format!("closed: {}", shard.reason))),
        ("no_leader", _) => Some((1, "no leader".into())),
        (_, Some(replica)) => {
            Some((2, format!("quarantined on {}: {}", replica.node, replica.reason)))
        }
        _ if shard.under_replicated => Some((3, "under-replicated".into())),
        _ => None,
    }
}

fn shards(cluster: &Cluster, wrong: &[((u8, String), &ShardStatus)]) -> String {
    let mut table = output::unbroken_table(["SHARD", "LEADER", "TERM", "REPLICAS", "WRONG"]);
    for ((_, what), shard) in wrong.iter().take(SHARDS_SHOWN) {
        table.add_row([
            shard.shard.to_string(),
            shard.leader.clone().unwrap_or_else(|| "-".into()),
            shard.term.map_or_else(|| "-".into(), |term| term.to_string()),
            replicas(cluster, &shard.replicas),
            what.clone(),
        ]);
    }
    output::table_text(table) + &more(wrong.len(), SHARDS_SHOWN, "`ringfort cluster shards`")
}

/// Says that not all are shown, and what shows them.
fn more(all: usize, shown: usize, where_else: &str) -> String {
    match all.saturating_sub(shown) {
        0 => String::new(),
        rest => format!("… and {rest} more: {where_else} shows all\n"),
    }
}

/// Replicas with what matters of each: `n0 (leader), n1 (follower, 12 behind), n2 (follower, down)`.
pub(super) fn replicas(cluster: &Cluster, replicas: &[ReplicaStatus]) -> String {
    let texts: Vec<_> = replicas.iter().map(|replica| replica_text(cluster, replica)).collect();
    texts.join(", ")
}

fn replica_text(cluster: &Cluster, replica: &ReplicaStatus) -> String {
    let mut facts = vec![replica.role.clone()];
    // Without a reason to look, everybody is active.
    let state = cluster.nodes.iter().find(|node| node.id == replica.node).map(|node| &*node.state);
    facts.extend(state.filter(|state| *state != "active").map(ToOwned::to_owned));
    let behind = [(replica.commit_lag, "behind"), (replica.apply_lag, "to apply")];
    let behind =
        behind.into_iter().filter_map(|(lag, what)| Some((lag.filter(|lag| *lag > 0)?, what)));
    facts.extend(behind.map(|(lag, what)| format!("{} {what}", output::grouped(lag))));
    format!("{} ({})", replica.node, facts.join(", "))
}

/// What the server warns of, and what only shows from outside: nodes with an older map, or executables of several versions.
fn warnings(cluster: &Cluster) -> Vec<String> {
    let newest = cluster.nodes.iter().filter_map(|node| node.epoch).max().unwrap_or(0);
    let newest = newest.max(cluster.epoch);
    let old = |node: &&NodeStatus| is_there(node) && node.epoch.is_some_and(|epoch| epoch < newest);
    let old = cluster.nodes.iter().filter(old).map(|node| {
        let epoch = node.epoch.unwrap_or_default();
        format!("node {} has the map of epoch {epoch}, the newest known is {newest}", node.id)
    });
    cluster.warnings.iter().cloned().chain(old).chain(versions(cluster)).collect()
}

/// Says which versions there are, if there is more than one; the table says which node has which.
fn versions(cluster: &Cluster) -> Option<String> {
    let mut versions = BTreeMap::<&str, usize>::new();
    // A node that has said nothing yet may have any.
    for node in cluster.nodes.iter().filter(|node| is_there(node) && !node.version.is_empty()) {
        *versions.entry(&node.version).or_default() += 1;
    }
    let count = |(version, count): (&&str, &usize)| {
        format!("{version} on {count} {}", if *count == 1 { "node" } else { "nodes" })
    };
    let counts: Vec<_> = versions.iter().map(count).collect();
    (counts.len() > 1).then(|| format!("nodes run different versions: {}", counts.join(", ")))
}

/// Whether a node may be running, as far as is known.
fn is_there(node: &NodeStatus) -> bool {
    !matches!(node.state.as_str(), "down" | "left")
}
