//! Nodes that come back at other addresses.

use std::time::Duration;

use anyhow::{Result, ensure};
use ringfort_testkit::{Cluster, free_ports, node_id, wait_until};

/// The longest for a node to be ready and known where it is, on a shared machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where a node is, as another one has it.
pub(super) fn peer_of(cluster: &Cluster, at: usize, node: usize) -> Result<String> {
    let document = cluster.document(at, "/v1/cluster/nodes")?;
    let nodes = document["nodes"].as_array().into_iter().flatten();
    let found = nodes.into_iter().find(|known| known["id"] == node_id(node).as_str());
    Ok(found.and_then(|known| known["peer"].as_str()).unwrap_or_default().to_owned())
}

/// Every live node knows it there.
fn await_known(cluster: &Cluster, node: usize) -> Result<()> {
    let peer = format!("127.0.0.1:{}", cluster.node(node).peer_port());
    for at in cluster.live() {
        wait_until(&format!("{} to know {peer}", node_id(at)), PATIENCE, || {
            Ok((peer_of(cluster, at, node)? == peer).then_some(()))
        })?;
    }
    Ok(())
}

/// The catalog says so, too: its leader writes it once nobody has answered at the old address for a while.
fn await_recorded(cluster: &Cluster) -> Result<()> {
    let epoch = |at| anyhow::Ok(cluster.document(at, "/v1/cluster")?["epoch"].as_u64());
    let before = epoch(0)?;
    for at in cluster.live() {
        wait_until("a newer catalog", PATIENCE, || Ok((epoch(at)? > before).then_some(())))?;
    }
    Ok(())
}

fn come_back_elsewhere(cluster: &mut Cluster, node: usize) -> Result<()> {
    let port = free_ports(1)?[0];
    cluster.node_mut(node).set_options(|options| options.peer_port(port));
    cluster.spawn(node)
}

#[test]
fn a_node_at_another_address_is_ready_again_and_everybody_learns_where() -> Result<()> {
    let mut cluster = Cluster::start(3, 3, |_, options| options)?;
    cluster.await_agreement()?;
    cluster.kill(1)?;
    come_back_elsewhere(&mut cluster, 1)?;
    cluster.await_ready(1)?;
    await_known(&cluster, 1)?;
    await_recorded(&cluster)?;
    cluster.await_agreement()?;
    // A node that was away learns it from the catalog, and so does one that starts without having met it.
    cluster.kill(0)?;
    cluster.kill(1)?;
    cluster.spawn(0)?;
    cluster.await_ready(0)?;
    await_known(&cluster, 1)?;
    cluster.start_all()?;
    cluster.await_agreement()?;
    Ok(())
}

/// The only majority there is needs the node that moved: the catalog gets no leader before it is reached where it is.
#[test]
fn a_node_that_moved_makes_the_majority() -> Result<()> {
    let mut cluster = Cluster::start(3, 3, |_, options| options)?;
    cluster.await_agreement()?;
    cluster.kill(2)?;
    cluster.kill(1)?;
    come_back_elsewhere(&mut cluster, 1)?;
    cluster.await_ready(1)?;
    await_known(&cluster, 1)?;
    cluster.await_agreement()?;
    let mut http = cluster.node(0).client();
    wait_until("a write to be acknowledged", PATIENCE, || {
        let response = http.put("key", b"value")?;
        ensure!(matches!(response.status, 200 | 503 | 504), "{}", response.text());
        Ok((response.status == 200).then_some(()))
    })
}
