//! Damage on one disk of three: the cluster mends it without a hand.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ringfort_testkit::http::HttpClient;
use ringfort_testkit::{Cluster, node_id, wait_until};

/// The longest until everything is replaced, on a shared machine.
const PATIENCE: Duration = Duration::from_secs(60);
const HURT: usize = 2;

fn put_all(http: &mut HttpClient, keys: std::ops::Range<u32>) -> Result<()> {
    for key in keys {
        let response = http.put(&format!("key-{key}"), key.to_string().as_bytes())?;
        ensure!(response.status == 200, "key-{key}: {response:?}");
    }
    Ok(())
}

/// The ids of the hurt node's replicas, as a node's map has them.
fn replicas(cluster: &Cluster, at: usize) -> Result<BTreeSet<u64>> {
    let document = cluster.document(at, "/v1/cluster/shards")?;
    let shards = document["shards"].as_array().context("a map without shards")?;
    let all = shards.iter().filter_map(|shard| shard["replicas"].as_array()).flatten();
    let hurt = node_id(HURT);
    let mine = all.filter(|replica| replica["node"] == hurt.as_str());
    Ok(mine.filter_map(|replica| replica["id"].as_u64()).collect())
}

/// Loses what a node's log has between its first and its last pages.
fn lose_most_of_the_log(cluster: &Cluster) -> Result<()> {
    let mut hit = 0;
    for file in fs::read_dir(cluster.node(HURT).data_dir())? {
        let path: PathBuf = file?.path();
        let is_segment = path.extension().is_some_and(|extension| extension == "seg");
        let mut content = if is_segment { fs::read(&path)? } else { continue };
        let end = content.iter().rposition(|byte| *byte != 0).unwrap_or(0);
        if end > 64 << 10 {
            content[16 << 10..end - (16 << 10)].fill(0xa5);
            fs::write(&path, content)?;
            hit += 1;
        }
    }
    ensure!(hit > 0, "there is no log to be damaged");
    Ok(())
}

#[test]
fn a_node_whose_log_is_damaged_gets_everything_again() -> Result<()> {
    let mut cluster = Cluster::start(3, 3, |_, options| options.set("cluster.shards", "8"))?;
    cluster.await_agreement()?;
    put_all(&mut cluster.node(0).client(), 0..150)?;
    let before = replicas(&cluster, 0)?;
    cluster.kill(HURT)?;
    lose_most_of_the_log(&cluster)?;
    put_all(&mut cluster.node(0).client(), 150..200)?;
    cluster.spawn(HURT)?;
    wait_until("every damaged replica to be replaced", PATIENCE, || {
        for at in cluster.live() {
            let status = cluster.document(at, "/v1/cluster")?;
            let shards = status["shards"].as_array().context("a map without shards")?;
            let whole = shards.iter().all(|shard| shard["under_replicated"] == false);
            let warnings = status["warnings"].as_array().is_none_or(Vec::is_empty);
            if !whole || !warnings || replicas(&cluster, at)? == before {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })?;
    let log = cluster.node(HURT).log_text();
    ensure!(log.contains("quarantined"), "its own log says nothing of it: {log}");
    cluster.await_agreement()?;
    // It counts: with it and one other the cluster goes on, and nothing is missing.
    cluster.kill(0)?;
    cluster.await_agreement()?;
    let mut http = cluster.node(HURT).client();
    for key in 0..200 {
        let response = http.get(&format!("/v1/kv/key-{key}"))?;
        ensure!(response.body == key.to_string().as_bytes(), "key-{key}: {response:?}");
    }
    Ok(())
}
