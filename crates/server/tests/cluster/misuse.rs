//! Nodes that do not belong where they are: each is refused, its own log says why, and the cluster goes on. And what those that
//! do belong say.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ringfort_testkit::{Cluster, Server, ServerOptions, node_id, wait_until};

use super::moves::peer_of;

const PATIENCE: Duration = Duration::from_secs(60);
/// Enough to reach every shard.
const WRITES: usize = 30;

pub(super) fn await_said(server: &Server, words: &[&str]) -> Result<()> {
    let said = || {
        let log = server.log_text();
        Ok(log.lines().any(|line| words.iter().all(|word| line.contains(word))).then_some(()))
    };
    let awaited = wait_until(&format!("a log line with {words:?}"), PATIENCE, said);
    awaited.with_context(|| format!("its log:\n{}", server.log_text()))
}

/// The cluster serves through each of these nodes.
fn serves(cluster: &Cluster, nodes: &[usize]) -> Result<()> {
    for node in nodes {
        let mut http = cluster.node(*node).client();
        for number in 0..WRITES {
            // A node that was lost just now is noticed by what fails on the way to it.
            wait_until("a write to be acknowledged", PATIENCE, || {
                let response = http.put(&format!("key-{number}"), node_id(*node).as_bytes())?;
                let refused = matches!(response.status, 503 | 504);
                ensure!(response.status == 200 || refused, "{}", response.text());
                Ok((!refused).then_some(()))
            })?;
        }
    }
    Ok(())
}

/// Whether a node says that it is ready. One that does not listen yet says nothing.
pub(super) fn is_ready(server: &Server) -> bool {
    server.client().get("/readyz").is_ok_and(|response| response.status == 200)
}

#[test]
fn a_node_of_another_cluster_at_a_peers_address_is_not_taken_for_the_peer() -> Result<()> {
    let mut cluster = Cluster::start(3, 3, |_, options| options)?;
    let place = cluster.node(2).peer_port();
    cluster.kill(2)?;
    // It forms a cluster of its own first, and comes to the address afterwards.
    let mut foreign = ServerOptions::new().set("node.id", "n2").start()?;
    let cluster_id = foreign.client().get("/v1/cluster")?.json()["cluster_id"].to_string();
    foreign.kill()?;
    foreign.restart_with(|options| options.peer_port(place))?;
    for node in 0..2 {
        await_said(cluster.node(node), &["n2", "wrong_cluster", cluster_id.trim_matches('"')])?;
    }
    serves(&cluster, &[0, 1])?;
    foreign.kill()?;
    cluster.start_all()?;
    cluster.await_agreement()?;
    serves(&cluster, &[2])
}

#[test]
fn a_node_of_another_cluster_that_has_this_ones_addresses_says_that_it_is_refused() -> Result<()> {
    let mut other = Cluster::start(3, 3, |_, options| options)?;
    other.kill(1)?;
    let place = other.node(1).peer_port();
    let one = Cluster::start(3, 3, |node, options| match node {
        1 => options.peer_port(place),
        _ => options,
    })?;
    for node in [0, 2] {
        await_said(other.node(node), &["n1", "wrong_cluster"])?;
    }
    serves(&other, &[0, 2])?;
    one.await_agreement()?;
    serves(&one, &[0, 1, 2])
}

#[test]
fn a_wiped_disk_under_an_old_node_id_is_refused() -> Result<()> {
    let mut cluster = Cluster::start(3, 3, |_, options| options)?;
    serves(&cluster, &[0])?;
    cluster.kill(1)?;
    let data = cluster.node(1).data_dir().to_owned();
    let aside = cluster.node(1).home().join("aside");
    std::fs::rename(&data, &aside)?;
    std::fs::create_dir(&data)?;
    cluster.spawn(1)?;
    await_said(cluster.node(1), &["n1", "its disk was wiped or replaced"])?;
    ensure!(!is_ready(cluster.node(1)), "a node without its data says that it is ready");
    serves(&cluster, &[0, 2])?;
    // With its own disk it belongs there again.
    cluster.kill(1)?;
    std::fs::remove_dir_all(&data)?;
    std::fs::rename(&aside, &data)?;
    cluster.start_all()?;
    cluster.await_agreement()?;
    serves(&cluster, &[1])
}

#[test]
fn a_second_node_of_the_same_id_is_refused() -> Result<()> {
    let cluster = Cluster::start(3, 3, |_, options| options)?;
    let before = cluster.await_agreement()?;
    let seeds: Vec<_> =
        (0..3).map(|node| format!("127.0.0.1:{}", cluster.node(node).peer_port())).collect();
    let second = ServerOptions::new()
        .set("node.id", "n0")
        .set("cluster.seeds", &seeds.join(","))
        .set("cluster.bootstrap_expect", "3");
    let mut second = second.prepare()?;
    second.spawn()?;
    await_said(&second, &["n0", "a second node has node.id"])?;
    ensure!(!is_ready(&second), "a second n0 says that it is ready");
    serves(&cluster, &[0, 1, 2])?;
    ensure!(cluster.await_agreement()? == before, "leaders changed");
    Ok(())
}

/// What is right needs nobody to read it.
#[test]
fn a_healthy_start_warns_of_nothing() -> Result<()> {
    let cluster = Cluster::start(3, 3, |_, options| options)?;
    cluster.await_agreement()?;
    for node in 0..3 {
        let log = cluster.node(node).log_text();
        let loud: Vec<_> =
            log.lines().filter(|line| line.contains("WARN") || line.contains("ERROR")).collect();
        ensure!(loud.is_empty(), "{}: {loud:#?}", node_id(node));
    }
    Ok(())
}

/// A server, not started, on a copy of node 1's data directory, and node 1 running again.
fn with_copy(cluster: &mut Cluster) -> Result<Server> {
    cluster.kill(1)?;
    let directory = cluster.node(1).home().join("copy");
    std::fs::create_dir(&directory)?;
    for entry in std::fs::read_dir(cluster.node(1).data_dir())? {
        let entry = entry?;
        std::fs::copy(entry.path(), directory.join(entry.file_name()))?;
    }
    cluster.start_all()?;
    cluster.await_agreement()?;
    ServerOptions::new().data_dir(&directory).prepare()
}

#[test]
fn a_copy_of_a_data_directory_beside_its_node_is_refused_and_ends() -> Result<()> {
    let mut cluster = Cluster::start(3, 3, |_, options| options)?;
    serves(&cluster, &[0, 1, 2])?;
    let mut copy = with_copy(&mut cluster)?;
    copy.spawn()?;
    await_said(
        &copy,
        &["duplicate_node", "n1 is connected already", "copies of one data directory"],
    )?;
    let before = cluster.await_agreement()?;
    let status = copy.wait().with_context(|| format!("its log:\n{}", copy.log_text()))?;
    ensure!(status.code() == Some(3), "the copy ended with {status}");
    await_said(&copy, &["this node runs already, the process ends"])?;
    serves(&cluster, &[0, 1, 2])?;
    let (after, log) = (cluster.await_agreement()?, cluster.node(1).log_text());
    ensure!(after == before, "leaders changed: {before:?} to {after:?}");
    ensure!(!log.contains("duplicate_node"), "the node was taken for its copy:\n{log}");
    // Killed and started again at once it is the node, whatever others know of it yet.
    cluster.kill(1)?;
    cluster.start_all()?;
    cluster.await_agreement()?;
    serves(&cluster, &[1])
}

/// Something watches over both, and the copy is quicker. It is let in while nobody answers at the node's address, and the others
/// dial it where it says it is: with that it is not the node yet.
#[test]
fn a_copy_that_comes_while_its_node_starts_again_gives_way_to_it() -> Result<()> {
    let mut cluster = Cluster::start(3, 3, |_, options| options)?;
    serves(&cluster, &[0, 1, 2])?;
    let mut copy = with_copy(&mut cluster)?;
    // The copy does not have these.
    serves(&cluster, &[2])?;
    cluster.await_agreement()?;
    cluster.kill(1)?;
    copy.spawn()?;
    let (own, other) = (cluster.node(1).peer_port(), copy.peer_port());
    for at in [0, 2] {
        wait_until("the copy to be heard", PATIENCE, || {
            Ok((peer_of(&cluster, at, 1)? == format!("127.0.0.1:{other}")).then_some(()))
        })?;
    }
    cluster.start_all().with_context(|| format!("its log:\n{}", cluster.node(1).log_text()))?;
    let status = copy.wait().with_context(|| format!("its log:\n{}", copy.log_text()))?;
    ensure!(status.code() == Some(3), "the copy ended with {status}");
    await_said(&copy, &["duplicate_node", "n1 is connected already"])?;
    cluster.await_agreement()?;
    for at in 0..3 {
        ensure!(peer_of(&cluster, at, 1)? == format!("127.0.0.1:{own}"), "n1 is elsewhere");
        for number in 0..WRITES {
            let response = cluster.node(at).client().get(&format!("/v1/kv/key-{number}"))?;
            ensure!(response.body == node_id(2).as_bytes(), "key-{number}: {}", response.text());
        }
    }
    serves(&cluster, &[0, 1, 2])
}

#[test]
fn settings_that_differ_are_warned_about() -> Result<()> {
    let mut cluster = Cluster::start(3, 3, |_, options| options)?;
    cluster.kill(1)?;
    cluster.node_mut(1).set_options(|options| {
        options
            .set("cluster.shards", "16")
            .set("cluster.replication_factor", "1")
            .set("raft.election_timeout", "2s")
    });
    cluster.start_all()?;
    cluster.await_agreement()?;
    let warnings = cluster.document(1, "/v1/cluster")?["warnings"].to_string();
    for words in [
        "cluster.shards is configured as 16; the cluster was formed with 8",
        "cluster.replication_factor is configured as 1; the cluster was formed with 3",
        "raft.election_timeout is configured as 2s; the cluster was formed with 1s",
    ] {
        ensure!(warnings.contains(words), "{words:?} is not in {warnings}");
    }
    let others = cluster.document(0, "/v1/cluster")?["warnings"].to_string();
    ensure!(!others.contains("is configured as"), "{others}");
    serves(&cluster, &[0, 1, 2])
}
