//! What the cluster looks like: the truth about a cluster of one.

use ringfort_node::ShardSummary;
use ringfort_types::request::{ClusterView, NodeView, ReadyCheck, ReplicaView, ShardView};
use ringfort_types::{Code, Epoch, Index, Refusal, token_range_of_shard};

use crate::clock;
use crate::worker_thread::Host;

/// The cluster as this node knows it.
pub(crate) async fn cluster(host: &Host) -> Result<ClusterView, Refusal> {
    let info = &host.shared.info;
    let mut shards = Vec::new();
    for summary in summaries(host).await? {
        shards.push(shard_view(host, summary));
    }
    shards.sort_unstable_by_key(|shard: &ShardView| shard.shard);
    let mut warnings = info.warnings.clone();
    let closed = shards.iter().filter(|shard| shard.state == "closed").count();
    if closed > 0 {
        warnings.push(format!("{closed} of {} shards are closed; each says why", shards.len()));
    }
    Ok(ClusterView {
        cluster_id: info.cluster_id,
        epoch: Epoch(1),
        replication_factor: info.replication_factor,
        answered_by: info.node_id.clone(),
        quorum: None,
        nodes: vec![NodeView {
            id: info.node_id.clone(),
            state: "active",
            client: info.client.clone(),
            peer: info.peer.clone(),
            zone: info.zone.clone(),
            capacity: info.capacity,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            heard_ms: None,
            epoch: Some(Epoch(1)),
        }],
        shards,
        warnings,
    })
}

fn shard_view(host: &Host, summary: ShardSummary) -> ShardView {
    let node = host.shared.info.node_id.clone();
    let (state, role) = match (&summary.closed, summary.leads) {
        (Some(_), _) => ("closed", "closed"),
        (None, true) => ("serving", "leader"),
        (None, false) => ("no_leader", "follower"),
    };
    let raft = summary.status.as_ref().map(|status| &status.raft);
    let behind = |index: Index, commit: Index| commit.0.saturating_sub(index.0);
    let replica = ReplicaView {
        id: summary.replica,
        node: node.clone(),
        role,
        reason: summary.closed.clone().unwrap_or_default(),
        commit_lag: raft.map(|raft| behind(raft.durable, raft.commit)),
        apply_lag: raft.map(|raft| behind(raft.applied, raft.commit)),
    };
    ShardView {
        shard: summary.shard,
        tokens: token_range_of_shard(summary.shard, host.shared.shards),
        state,
        term: raft.map(|raft| raft.term),
        reason: summary.closed.unwrap_or_default(),
        replicas: vec![replica],
        leader: summary.leads.then_some(node),
        keys: summary.size.keys,
        bytes: summary.size.bytes,
    }
}

/// Every shard of every worker.
pub(crate) async fn summaries(host: &Host) -> Result<Vec<ShardSummary>, Refusal> {
    let mut all = Vec::new();
    for number in 0..host.shared.workers.len() {
        all.extend(host.on_worker(number, |worker| worker.shards()).await?);
    }
    Ok(all)
}

/// Whether the node can serve.
pub(crate) async fn readiness(host: &Host) -> Vec<ReadyCheck> {
    let mut ready = true;
    for number in 0..host.shared.workers.len() {
        ready &=
            host.on_worker(number, |worker| worker.is_ready(clock::now())).await.unwrap_or(false);
    }
    let summaries = summaries(host).await.unwrap_or_default();
    let closed = summaries.iter().filter(|shard| shard.closed.is_some()).count();
    let replayed = if ready { "the log is replayed" } else { "shards are still being replayed" };
    let routes = match (ready, closed) {
        (false, _) => "some shards have no leader yet".to_owned(),
        (true, 0) => "every shard has a leader".to_owned(),
        // The others serve: taking the node out of service would close them as well.
        (true, _) => {
            let all = summaries.len();
            format!(
                "{closed} of {all} shards are closed, the others have a leader; GET /v1/cluster says why"
            )
        }
    };
    vec![
        ReadyCheck { name: "replayed", ok: ready, detail: replayed.to_owned() },
        ReadyCheck { name: "joined", ok: true, detail: "a cluster of one node".to_owned() },
        ReadyCheck { name: "routes", ok: ready, detail: routes },
    ]
}

/// Why a node that has a cluster forms no other.
pub(crate) fn refuse_init(host: &Host) -> Refusal {
    let cluster = host.shared.info.cluster_id;
    let detail = format!("the cluster {cluster} is formed already, and this node belongs to it");
    Refusal::not_applied(Code::Unavailable, detail)
}

/// Why the only node can be neither drained nor removed.
pub(crate) fn refuse_change(host: &Host, node: &str, verb: &str) -> Refusal {
    if node == host.shared.info.node_id.as_str() {
        let detail = format!(
            "node {node} cannot be {verb}: it is the only one, and its data would have nowhere to go"
        );
        Refusal::not_applied(Code::Unavailable, detail)
    } else {
        Refusal::not_applied(
            Code::InvalidArgument,
            format!("there is no node {node:?} in this cluster"),
        )
    }
}
