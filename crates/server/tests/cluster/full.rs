//! Full disks on two nodes of three: no put is taken that a quorum has no room for, and none hangs.
//!
//! All three have small disks with ballast. The node that leads most shards loses its ballast, and so has room when the others
//! have none.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use ringfort_testkit::http::{HttpClient, Response};
use ringfort_testkit::{Cluster, Tmpfs, node_id, wait_until};

use crate::{skip, with_small_segments};

const DISK_BYTES: u64 = 48 << 20;
const BALLAST: &str = "ballast";
const BALLAST_BYTES: usize = 16 << 20;
static VALUE: [u8; 100_000] = [b'.'; 100_000];
const PATIENCE: Duration = Duration::from_secs(60);

/// What became of one put more, which is taken or refused for want of room.
fn put(http: &mut HttpClient, key: &str) -> Result<Response> {
    let response = http.put(key, &VALUE)?;
    let body = response.json();
    let full = response.status == 507
        && body["code"] == "storage_full"
        && body["outcome"] == "not_applied";
    ensure!(response.status == 200 || full, "{key}: {} {body}", response.status);
    Ok(response)
}

/// Nodes whose disks a node warns of.
fn warned_of(cluster: &Cluster, by: usize) -> Result<Vec<usize>> {
    let document = cluster.document(by, "/v1/cluster")?;
    let warnings = document["warnings"].as_array().context("a document without warnings")?;
    let texts: Vec<_> = warnings.iter().filter_map(|warning| warning.as_str()).collect();
    let named = |node: &usize| {
        let start = format!("the disk of {} has no room", node_id(*node));
        texts.iter().any(|text| text.starts_with(&start))
    };
    Ok((0..3).filter(named).collect())
}

fn run(cluster: &Cluster, disks: &[Tmpfs]) -> Result<()> {
    let ballast = |node: usize| disks[node].path().join(BALLAST);
    let roomy = cluster.leads_most()?;
    fs::remove_file(ballast(roomy))?;
    let full: Vec<_> = (0..3).filter(|node| *node != roomy).collect();
    let mut http = cluster.node(roomy).client();
    let mut stored = Vec::new();
    // One that was refused by the node whose own disk has room.
    let refused = wait_until("a quorum to have no room", PATIENCE, || {
        for _ in 0..20 {
            let key = format!("full/{}", stored.len());
            let response = put(&mut http, &key)?;
            match response.status {
                200 => stored.push(key),
                _ if response.text().contains("shard's nodes") => {
                    return Ok((warned_of(cluster, roomy)? == full).then_some(key));
                }
                // Of another leader: the next key may be this node's.
                _ => stored.push(String::new()),
            }
        }
        Ok(None)
    })?;
    stored.retain(|key| !key.is_empty());
    println!("{} puts of {} bytes, then no quorum with room", stored.len(), VALUE.len());
    let [first, .., last] = &stored[..] else { bail!("only {} puts", stored.len()) };
    let got = http.get(&format!("/v1/kv/{last}"))?;
    ensure!(got.status == 200 && got.body == VALUE, "{last}: {}", got.status);
    let deleted = http.call("DELETE", &format!("/v1/kv/{first}"))?;
    ensure!(deleted.status == 200, "{first}: {} {}", deleted.status, deleted.text());
    // One disk more makes a quorum.
    fs::remove_file(ballast(full[0]))?;
    wait_until("a put to be taken again", PATIENCE, || {
        Ok((put(&mut http, &refused)?.status == 200).then_some(()))
    })
}

#[test]
fn a_quorum_of_full_disks_refuses_puts_in_time_and_heals() -> Result<()> {
    if !Tmpfs::permitted() {
        skip("full disks of a quorum", "only root can mount a small tmpfs");
        return Ok(());
    }
    let homes = [tempfile::tempdir()?, tempfile::tempdir()?, tempfile::tempdir()?];
    let mut disks = Vec::new();
    for home in &homes {
        match Tmpfs::mount(home.path(), DISK_BYTES) {
            Ok(disk) => disks.push(disk),
            Err(error) => {
                skip("full disks of a quorum", &format!("{error:#}"));
                return Ok(());
            }
        }
    }
    for disk in &disks {
        fs::write(disk.path().join(BALLAST), vec![1; BALLAST_BYTES])?;
        fs::create_dir(disk.path().join("data"))?;
    }
    let mut cluster = Cluster::start(3, 3, |node, options| {
        with_small_segments(options).data_dir(&disks[node].path().join("data"))
    })?;
    cluster.await_agreement()?;
    let result = run(&cluster, &disks);
    let result = result.with_context(|| {
        let log = |node: usize| format!("{}:\n{}", node_id(node), cluster.node(node).log_text());
        [0, 1, 2].map(log).join("\n")
    });
    cluster.kill_all()?;
    result
}
