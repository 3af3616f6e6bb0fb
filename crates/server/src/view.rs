//! What the cluster looks like from this node: the map, and what its own replicas know.

use std::collections::{BTreeMap, BTreeSet};

use ringfort_node::ShardSummary;
use ringfort_node::control::{ClusterMap, MapMember};
use ringfort_node::host::{LeaderHint, MemberState, Replica, ReplicaRole, ShardPlacement};
use ringfort_types::request::{ClusterView, NodeView, ReadyCheck, ReplicaView, ShardView};
use ringfort_types::{
    Code, Epoch, GroupId, Index, NodeNumber, Refusal, ReplicaId, ShardId, Term,
    token_range_of_shard,
};

use crate::clock;
use crate::worker_thread::{Host, NodeWorker};

/// A node that is connected, and has said nothing for so long, may hang.
const SILENT_MS: u64 = 5_000;

/// The cluster as this node knows it.
pub(crate) async fn cluster(host: &Host) -> Result<ClusterView, Refusal> {
    let info = &host.shared.info;
    let map = host.shared.map();
    let summaries = summaries(host).await?;
    let held = summaries.into_iter().map(|summary| (summary.shard, summary)).collect();
    let leaders = leaders(host).await?;
    let members = map.clone();
    let full = full_nodes(host).await?;
    let (others, led) = host.on_host(0, move |host| known(host, &members)).await?;
    let is_up = |number| number == info.number || others.get(&number).is_none_or(Other::is_up);
    let mut shards = Vec::with_capacity(map.shards().len());
    for (shard, placement) in (0..).map(ShardId).zip(map.shards()) {
        // Whoever cannot be reached may still be believed to lead.
        let mut hint = leaders.get(&shard).copied().unwrap_or_default();
        hint.leader = hint.leader.filter(|leader| is_up(leader.node()));
        shards.push(shard_view(host, &map, shard, placement, hint, &held));
    }
    let mut warnings = info.warnings.clone();
    let closed = shards.iter().filter(|shard| shard.state == "closed").count();
    if closed > 0 {
        warnings.push(format!("{closed} of {} shards are closed; each says why", shards.len()));
    }
    let catalog: Vec<_> = map.catalog().voters().collect();
    let damaged = catalog.iter().filter(|voter| voter.quarantined);
    warnings.extend(damaged.map(|voter| {
        format!("the catalog's replica on {} is quarantined until it is replaced", voter.node)
    }));
    let full = full.into_iter().filter_map(|number| map.member(number));
    warnings.extend(full.map(|member| {
        format!(
            "the disk of {} has no room for more data: puts may be refused",
            member.info.name.id
        )
    }));
    let alive = catalog.iter().filter(|voter| !voter.quarantined && is_up(voter.id.node())).count();
    let quorum = alive * 2 > catalog.len() && led != Some(false);
    Ok(ClusterView {
        cluster_id: info.cluster_id,
        epoch: map.epoch(),
        replication_factor: u32::try_from(map.settings().replication_factor.get())
            .unwrap_or(u32::MAX),
        answered_by: info.node_id.clone(),
        quorum: (catalog.len() > 1).then_some(quorum),
        nodes: map.members().map(|member| node_view(host, member, &others)).collect(),
        shards,
        warnings,
    })
}

/// What this node knows of another one.
struct Other {
    /// Whether the link to it is up; `None`: none was tried yet.
    link: Option<bool>,
    /// Milliseconds since it said something of itself, which it does every second.
    heard_ms: Option<u64>,
    epoch: Option<Epoch>,
    version: String,
}

impl Other {
    fn is_up(&self) -> bool {
        self.link != Some(false)
    }
}

/// What is known of the other nodes of a map, and whether the catalog has a leader by this node's replica of it, if it has one.
fn known(host: &Host, map: &ClusterMap) -> (BTreeMap<NodeNumber, Other>, Option<bool>) {
    let now = clock::now();
    let of = |number| {
        let said = host.peers.said(number);
        let heard = said.as_ref().map(|said| now.since(said.at).as_millis());
        let other = Other {
            link: host.peers.is_up(number),
            heard_ms: heard.map(|millis| u64::try_from(millis).unwrap_or(u64::MAX)),
            epoch: said.as_ref().map(|said| said.epoch),
            version: said.map(|said| said.version).unwrap_or_default(),
        };
        (number, other)
    };
    let own = host.shared.info.number;
    let others = map.members().map(|member| member.number).filter(|number| *number != own);
    let catalog = host.with_core(|worker| worker.group_status(GroupId::CATALOG));
    (others.map(of).collect(), catalog.map(|status| status.leader.is_some()))
}

fn node_view(host: &Host, member: &MapMember, others: &BTreeMap<NodeNumber, Other>) -> NodeView {
    let other = others.get(&member.number);
    debug_assert_eq!(other.is_none(), member.number == host.shared.info.number);
    let silent = other.and_then(|other| other.heard_ms).is_some_and(|millis| millis > SILENT_MS);
    let state = match (member.state, other) {
        (MemberState::Draining, _) => "draining",
        (_, Some(other)) if !other.is_up() => "down",
        _ if silent => "suspect",
        _ => "active",
    };
    let own_epoch = || Some(host.shared.map().epoch());
    let own_version = || env!("CARGO_PKG_VERSION").to_owned();
    NodeView {
        id: member.info.name.id.clone(),
        state,
        client: member.info.client.clone(),
        peer: member.info.peer.clone(),
        zone: member.info.zone.0.to_string(),
        capacity: f64::from(member.info.capacity.hundredths()) / 100.0,
        version: other.map_or_else(own_version, |other| other.version.clone()),
        heard_ms: other.and_then(|other| other.heard_ms),
        epoch: other.map_or_else(own_epoch, |other| other.epoch),
    }
}

fn shard_view(
    host: &Host,
    map: &ClusterMap,
    shard: ShardId,
    placement: &ShardPlacement,
    hint: LeaderHint,
    held: &BTreeMap<ShardId, ShardSummary>,
) -> ShardView {
    let leader = hint.leader;
    let summary = held.get(&shard);
    let closed = summary.and_then(|summary| summary.closed.clone());
    let raft = summary.and_then(|summary| summary.status.as_ref()).map(|status| &status.raft);
    let alone = placement.replicas().len() == 1;
    let state = match (&closed, leader) {
        (Some(_), _) if alone => "closed",
        (_, Some(_)) => "serving",
        (_, None) => "no_leader",
    };
    let node_of = |id: ReplicaId| map.member(id.node()).map(|member| member.info.name.id.clone());
    let behind = |index: Index, commit: Index| commit.0.saturating_sub(index.0);
    let replica = |replica: &Replica| {
        let is_here = summary.is_some_and(|summary| summary.replica == replica.id);
        let here = raft.filter(|_| is_here);
        let peer = raft.and_then(|raft| raft.peers.iter().find(|peer| peer.id == replica.id));
        let commit_lag = match (here, peer, raft) {
            (Some(raft), _, _) => Some(behind(raft.durable, raft.commit)),
            (None, Some(peer), Some(raft)) => Some(behind(peer.matched, raft.commit)),
            _ => None,
        };
        let quarantined = replica.quarantined || (is_here && closed.is_some() && !alone);
        ReplicaView {
            id: replica.id,
            node: replica.node.clone(),
            role: match replica.role {
                _ if is_here && closed.is_some() && alone => "closed",
                _ if quarantined => "quarantined",
                _ if leader == Some(replica.id) => "leader",
                ReplicaRole::Voter => "follower",
                ReplicaRole::Learner { .. } => "learner",
            },
            reason: closed.clone().filter(|_| is_here).unwrap_or_default(),
            commit_lag,
            apply_lag: here.map(|raft| behind(raft.applied, raft.commit)),
        }
    };
    ShardView {
        shard,
        tokens: token_range_of_shard(shard, host.shared.shards),
        state,
        term: raft.map(|raft| raft.term).or(Some(hint.term).filter(|term| *term > Term(0))),
        reason: closed.clone().filter(|_| alone).unwrap_or_default(),
        replicas: placement.replicas().iter().map(replica).collect(),
        leader: leader.and_then(node_of),
        keys: summary.map_or(0, |summary| summary.size.keys),
        bytes: summary.map_or(0, |summary| summary.size.bytes),
    }
}

/// Whose disks have no room for some worker's shards.
async fn full_nodes(host: &Host) -> Result<BTreeSet<NodeNumber>, Refusal> {
    let mut all = BTreeSet::new();
    for number in 0..host.shared.workers.len() {
        all.extend(host.on_worker(number, |worker| worker.full_nodes()).await?);
    }
    Ok(all)
}

/// Who leads each shard, as far as this node knows.
async fn leaders(host: &Host) -> Result<BTreeMap<ShardId, LeaderHint>, Refusal> {
    let mut all = BTreeMap::new();
    for number in 0..host.shared.workers.len() {
        all.extend(host.on_worker(number, |worker| worker.leaders()).await?);
    }
    Ok(all)
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
    let (mut replayed_all, mut ready) = (true, true);
    for number in 0..host.shared.workers.len() {
        let look = |worker: &mut NodeWorker| {
            let now = clock::now();
            (worker.is_replayed(now), worker.is_ready(now))
        };
        let (replayed, routes) = host.on_worker(number, look).await.unwrap_or_default();
        replayed_all &= replayed;
        ready &= routes;
    }
    let nodes = host.shared.map().members().count();
    let joined = match nodes {
        1 => "a cluster of one node".to_owned(),
        nodes => format!("a cluster of {nodes} nodes"),
    };
    let summaries = summaries(host).await.unwrap_or_default();
    let closed = summaries.iter().filter(|shard| shard.closed.is_some()).count();
    let replayed =
        if replayed_all { "the log is replayed" } else { "shards are still being replayed" };
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
        ReadyCheck { name: "replayed", ok: replayed_all, detail: replayed.to_owned() },
        ReadyCheck { name: "joined", ok: true, detail: joined },
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
    let map = host.shared.map();
    let members: Vec<_> = map.members().map(|member| &member.info.name.id).collect();
    if members.len() == 1 && node == members[0].as_str() {
        let detail = format!(
            "node {node} cannot be {verb}: it is the only one, and its data would have nowhere to go"
        );
        Refusal::not_applied(Code::Unavailable, detail)
    } else if members.iter().any(|id| id.as_str() == node) {
        let kept = "this version keeps the nodes that a cluster was formed with";
        Refusal::not_applied(Code::Unavailable, format!("node {node} cannot be {verb} yet: {kept}"))
    } else {
        Refusal::not_applied(
            Code::InvalidArgument,
            format!("there is no node {node:?} in this cluster"),
        )
    }
}
