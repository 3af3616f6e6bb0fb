//! What people read of a cluster, in `golden/`: a state of the cluster each, as `cluster status` and as `cluster route` show
//! it. `UPDATE_GOLDENFILES=1` writes them anew, and then a person reads them.

use std::path::Path;

use ringfort_client::{
    Cluster, NodeStatus, Readiness, ReadyCheck, ReplicaStatus, Route, ShardStatus,
};

use super::{route, status};

const SHARDS: u32 = 12;

/// Compares with a file of `golden/`.
fn assert_golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/commands/cluster/golden").join(name);
    if std::env::var("UPDATE_GOLDENFILES").is_ok_and(|value| value == "1") {
        std::fs::write(&path, text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, golden, "{name} differs; UPDATE_GOLDENFILES=1 writes it anew");
}

fn node(number: u32) -> NodeStatus {
    let port = 7400 + 10 * number;
    NodeStatus {
        id: format!("n{number}"),
        state: "active".into(),
        client: format!("127.0.0.1:{port}"),
        peer: format!("127.0.0.1:{}", port + 1),
        zone: format!("rack-{number}"),
        capacity: 1.0,
        version: "0.1.0".into(),
        heard_ms: (number > 0).then_some(u64::from(40 * number)),
        epoch: Some(7),
        ..NodeStatus::default()
    }
}

fn shard(number: u32, nodes: u32) -> ShardStatus {
    let leader = number % nodes;
    let replica = |node: u32| ReplicaStatus {
        id: u64::from(4096 + node),
        node: format!("n{node}"),
        role: if node == leader { "leader".into() } else { "follower".into() },
        ..ReplicaStatus::default()
    };
    ShardStatus {
        shard: number,
        first_token: format!("{:016x}", u64::from(number) << 60),
        last_token: format!("{:016x}", (u64::from(number) << 60) + (1 << 60) - 1),
        state: "serving".into(),
        leader: Some(format!("n{leader}")),
        term: Some(3),
        replicas: (0..nodes).map(replica).collect(),
        keys: 100,
        bytes: 25_600,
        ..ShardStatus::default()
    }
}

/// A cluster where all is well.
fn cluster(nodes: u32) -> Cluster {
    counted(Cluster {
        cluster_id: "45953bb1efb9b48622325cb59c97918a".into(),
        epoch: 7,
        replication_factor: 3.min(nodes),
        answered_by: "n0".into(),
        quorum: Some(true),
        nodes: (0..nodes).map(node).collect(),
        shards: (0..SHARDS).map(|number| shard(number, nodes)).collect(),
        warnings: Vec::new(),
    })
}

/// With the counts that a server makes of its shards.
fn counted(mut cluster: Cluster) -> Cluster {
    for node in &mut cluster.nodes {
        let has = |shard: &&ShardStatus| shard.replicas.iter().any(|r| r.node == node.id);
        let leads = |shard: &&ShardStatus| shard.leader.as_ref() == Some(&node.id);
        node.replicas = cluster.shards.iter().filter(has).count() as u64;
        node.leaders = cluster.shards.iter().filter(leads).count() as u64;
    }
    cluster
}

/// The nodes stop, and so do their replicas; those that are left elect others where they can.
fn lose(mut cluster: Cluster, lost: &[&str]) -> Cluster {
    for node in cluster.nodes.iter_mut().filter(|node| lost.contains(&&*node.id)) {
        node.state = "down".into();
        node.heard_ms = Some(42_000);
    }
    let left = cluster.nodes.len() - lost.len();
    let majority = left > cluster.nodes.len() / 2;
    for shard in &mut cluster.shards {
        shard.under_replicated = true;
        let leader = shard.leader.take().filter(|leader| !lost.contains(&&**leader));
        shard.leader = leader.or(Some("n0".into())).filter(|_| majority);
        shard.state = if majority { "serving".into() } else { "no_leader".into() };
        let votes =
            |replica: &&mut ReplicaStatus| replica.role != "learner" && replica.reason.is_empty();
        for replica in shard.replicas.iter_mut().filter(votes) {
            let leads = shard.leader.as_ref() == Some(&replica.node);
            replica.role = if leads { "leader".into() } else { "follower".into() };
        }
    }
    cluster.quorum = Some(majority);
    counted(cluster)
}

/// One replica of shard 4 is quarantined, and its successor on the same node catches up.
fn with_quarantine(mut cluster: Cluster) -> Cluster {
    let shard = &mut cluster.shards[4];
    shard.under_replicated = true;
    let damaged = &mut shard.replicas[2];
    damaged.role = "quarantined".into();
    damaged.reason = "log-00000003 is damaged at offset 8192".into();
    shard.replicas.push(ReplicaStatus {
        id: 4 << 12 | 2,
        node: "n2".into(),
        role: "learner".into(),
        commit_lag: Some(12_345),
        apply_lag: Some(10),
        ..ReplicaStatus::default()
    });
    cluster
}

fn ready() -> Readiness {
    Readiness { ready: true, checks: Vec::new() }
}

fn not_ready() -> Readiness {
    let detail = "12 of 12 shards have no leader".into();
    let check = |name: &str, ok, detail| ReadyCheck { name: name.into(), ok, detail };
    let checks = vec![check("joined", true, "joined".into()), check("routes", false, detail)];
    Readiness { ready: false, checks }
}

#[test]
fn status_of_a_healthy_cluster() {
    assert_golden("status-healthy.txt", &status::text(&cluster(3), &ready()));
}

#[test]
fn status_of_a_single_node() {
    assert_golden("status-single.txt", &status::text(&cluster(1), &ready()));
}

#[test]
fn status_with_a_node_down() {
    assert_golden("status-node-down.txt", &status::text(&lose(cluster(3), &["n2"]), &ready()));
}

#[test]
fn status_without_quorum() {
    let cluster = lose(cluster(3), &["n1", "n2"]);
    assert_golden("status-no-quorum.txt", &status::text(&cluster, &not_ready()));
}

#[test]
fn status_with_a_quarantined_replica() {
    let mut cluster = with_quarantine(cluster(3));
    cluster.nodes[1].epoch = Some(5);
    cluster.warnings.push("raft.heartbeat is 200ms on n1 and 100ms in the cluster".into());
    assert_golden("status-quarantined.txt", &status::text(&cluster, &ready()));
}

/// What one that is down ran last, or one that has said nothing yet, is no news.
#[test]
fn status_during_an_upgrade() {
    let mut upgrading = cluster(5);
    upgrading.nodes[1].version = "0.2.0".into();
    upgrading.nodes[3].version = String::new();
    let mut upgrading = lose(upgrading, &["n4"]);
    upgrading.nodes[4].version = "0.0.9".into();
    assert_golden("status-upgrade.txt", &status::text(&upgrading, &ready()));
    upgrading.nodes[1].version = "0.1.0".into();
    assert_eq!(status::document(&upgrading, &ready())["warnings"].as_array().unwrap().len(), 0);
}

/// The worst comes first, and a list has an end.
#[test]
fn status_with_much_that_is_wrong() {
    let mut cluster = lose(with_quarantine(cluster(9)), &["n5", "n6", "n7", "n8"]);
    cluster.nodes[4].state = "suspect".into();
    cluster.shards[11].state = "closed".into();
    cluster.shards[11].reason = "the snapshot is damaged: restore n0 from a backup".into();
    cluster.shards[11].leader = None;
    cluster.shards[10].state = "no_leader".into();
    cluster.shards[10].leader = None;
    for shard in &mut cluster.shards {
        shard.replicas.truncate(3);
    }
    cluster.warnings = (0..25).map(|number| format!("number {number}")).collect();
    assert_golden("status-much.txt", &status::text(&counted(cluster), &not_ready()));
}

#[test]
fn documents_say_how_the_cluster_is() {
    for (cluster, readiness, state, reasons) in [
        (cluster(3), ready(), "healthy", 0),
        (cluster(3), not_ready(), "degraded", 1),
        (lose(cluster(3), &["n2"]), ready(), "degraded", 2),
        (lose(cluster(3), &["n1", "n2"]), not_ready(), "unavailable", 5),
        (with_quarantine(cluster(3)), ready(), "degraded", 2),
        (Cluster { quorum: Some(false), ..cluster(3) }, ready(), "unavailable", 1),
        (Cluster { quorum: None, ..cluster(3) }, ready(), "healthy", 0),
    ] {
        let document = status::document(&cluster, &readiness);
        assert_eq!(document["health"]["state"], state, "{document}");
        assert_eq!(document["health"]["reasons"].as_array().unwrap().len(), reasons, "{document}");
    }
    let document = status::document(&lose(cluster(3), &["n2"]), &ready());
    assert_eq!(document["shards"]["under_replicated"], 12);
    assert_eq!(document["shards"]["states"]["serving"], 12);
}

/// The text of the route of a key that shard 4 holds.
fn routed(key: &str, cluster: &Cluster) -> String {
    let token = "4a00000000000017".into();
    let route = Route { epoch: 7, token, shard: cluster.shards[4].clone(), ..Route::default() };
    route::text(key.as_bytes(), &route, cluster)
}

#[test]
fn routes_are_explained() {
    let mut electing = cluster(3);
    electing.shards[4].leader = None;
    electing.shards[4].state = "no_leader".into();
    electing.shards[4].replicas[1].role = "follower".into();
    let mut closed = cluster(1);
    let shard = &mut closed.shards[4];
    (shard.state, shard.leader) = ("closed".into(), None);
    shard.reason = "log-00000003 is damaged at offset 8192: restore the node from a backup".into();
    shard.replicas[0].role = "closed".into();
    let mut quarantined = lose(with_quarantine(cluster(3)), &["n1"]);
    quarantined.shards[4].leader = None;
    quarantined.shards[4].replicas[0].role = "follower".into();
    let cases = [
        ("a leader", "user:1", cluster(3)),
        ("a hash tag", "{user42}:cart", cluster(3)),
        ("a replica that is replaced", "k", with_quarantine(cluster(3))),
        ("a node down", "k", lose(cluster(3), &["n2"])),
        ("an election", "k", electing),
        ("no majority", "k", lose(cluster(3), &["n1", "n2"])),
        ("one down, one quarantined", "k", quarantined),
        ("a closed shard of a single node", "k", closed),
    ];
    let text: String = cases
        .iter()
        .map(|(title, key, cluster)| format!("# {title}\n{}\n", routed(key, cluster)))
        .collect();
    assert_golden("routes.txt", &text);
}
