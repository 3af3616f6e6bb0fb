//! `ringfort cluster route K`: where a key lives, step by step, and what to do where nobody serves it.

use ringfort_client::{Cluster, ReplicaStatus, Route};
use ringfort_types::Key;

use super::status;
use crate::output;

/// The text for people.
pub(super) fn text(key: &[u8], route: &Route, cluster: &Cluster) -> String {
    let shard = &route.shard;
    let mut rows = vec![
        ("key", output::escape(key)),
        ("token", token(key, &route.token)),
        (
            "shard",
            format!("{}, of tokens {}..{}", shard.shard, shard.first_token, shard.last_token),
        ),
        ("replicas", status::replicas(cluster, &shard.replicas)),
    ];
    match &shard.leader {
        Some(leader) => rows.push(("leader", leader_text(leader, route, cluster))),
        None => {
            let refused = "none: writes and linearizable reads of this key answer 503";
            rows.push(("leader", refused.into()));
            rows.push(("advice", advice(route, cluster)));
        }
    }
    if shard.under_replicated && shard.leader.is_some() {
        let wanted = cluster.replication_factor;
        rows.push(("warning", format!("fewer than {wanted} replicas work: under-replicated")));
    }
    rows.into_iter().map(|(name, text)| format!("{name:<10}{text}\n")).collect()
}

fn token(key: &[u8], token: &str) -> String {
    match Key::new(key.to_vec()) {
        Ok(whole) if whole.hash_tag() != key => {
            format!("{token}, of its hash tag {}", output::escape(whole.hash_tag()))
        }
        _ => token.to_owned(),
    }
}

fn leader_text(leader: &str, route: &Route, cluster: &Cluster) -> String {
    let node = cluster.nodes.iter().find(|node| node.id == leader);
    let address = node.map(|node| format!(" at {}", node.client)).unwrap_or_default();
    let term = route.shard.term.map(|term| format!(", term {term}")).unwrap_or_default();
    format!("{leader}{address}{term}; every node answers for it")
}

/// What helps a shard that nobody leads.
fn advice(route: &Route, cluster: &Cluster) -> String {
    let shard = &route.shard;
    if !shard.reason.is_empty() {
        return shard.reason.clone();
    }
    let voters: Vec<_> =
        shard.replicas.iter().filter(|replica| replica.role != "learner").collect();
    let out: Vec<_> =
        voters.iter().filter_map(|replica| Some((*replica, out(replica, cluster)?))).collect();
    let needed = voters.len() / 2 + 1;
    if voters.len() - out.len() >= needed {
        let nodes: Vec<_> = voters.iter().map(|replica| replica.node.as_str()).collect();
        return format!(
            "a majority is there and elects a leader within a few raft.election_timeout: ask again; if none comes, the \
             logs of {} say why",
            nodes.join(", ")
        );
    }
    let names: Vec<_> =
        out.iter().map(|(replica, why)| format!("{} ({why})", replica.node)).collect();
    let is_down = |(_, why): &(_, String)| why == "down";
    let help = if out.iter().any(is_down) { ". Start the nodes again that are down" } else { "" };
    format!(
        "of {} replicas {needed} are needed, and {} are out: {}{help}",
        voters.len(),
        out.len(),
        names.join(", ")
    )
}

/// Why a replica cannot vote, if it cannot.
fn out(replica: &ReplicaStatus, cluster: &Cluster) -> Option<String> {
    if matches!(replica.role.as_str(), "quarantined" | "closed") {
        return Some(replica.role.clone());
    }
    let node = cluster.nodes.iter().find(|node| node.id == replica.node);
    node.map(|node| node.state.clone()).filter(|state| matches!(state.as_str(), "down" | "left"))
}
