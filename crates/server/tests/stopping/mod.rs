//! Signals to a node of a cluster: it hands its leadership over before it stops, and reads its certificates again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use ringfort_testkit::http::HttpClient;
use ringfort_testkit::{Server, ServerOptions, Signal, free_ports, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);
/// Without a leader for this long, and up to twice that, a group elects another one.
const ELECTION_TIMEOUT: Duration = Duration::from_secs(4);
/// What a stop may cost a key: far from an election, and room for a machine that does much else.
const GAP_MAX: Duration = Duration::from_secs(2);
const SHARDS: usize = 8;
const NAMES: [&str; 3] = ["a", "b", "c"];

/// Three nodes that formed a cluster.
fn three() -> Result<Vec<Server>> {
    let peers: Vec<_> =
        free_ports(3)?.into_iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let mut nodes = Vec::new();
    for (name, peer) in NAMES.into_iter().zip(&peers) {
        let options = ServerOptions::new()
            .set("node.id", name)
            .set("listen.peer", peer)
            .set("cluster.seeds", &peers.join(","))
            .set("cluster.bootstrap_expect", "3")
            .set("cluster.shards", &SHARDS.to_string())
            .set("raft.election_timeout", &format!("{}s", ELECTION_TIMEOUT.as_secs()));
        let mut node = options.prepare()?;
        node.spawn()?;
        nodes.push(node);
    }
    nodes.iter_mut().try_for_each(Server::await_ready)?;
    Ok(nodes)
}

/// How many shards each node leads, as one of them sees it.
fn leaders(node: &Server) -> Result<[usize; 3]> {
    let document = node.client().get("/v1/cluster")?.json();
    let shards = document["shards"].as_array().context("no shards")?;
    let led_by = |name| shards.iter().filter(|shard| shard["leader"] == name).count();
    Ok(NAMES.map(led_by))
}

/// Somebody who puts a key again and again, and knows the longest time between two puts that were acknowledged.
struct Writer {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Result<Duration>>,
}

impl Writer {
    fn start(port: u16, key: String) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            let mut client = HttpClient::new(port);
            let (mut acknowledged, mut longest) = (Instant::now(), Duration::ZERO);
            while !until.load(Ordering::Relaxed) {
                // What is refused or in doubt is put again: the time goes on.
                if client.put(&key, b"value")?.status == 200 {
                    longest = longest.max(acknowledged.elapsed());
                    acknowledged = Instant::now();
                }
            }
            Ok(longest.max(acknowledged.elapsed()))
        });
        Self { over, thread }
    }

    fn stop(self) -> Result<Duration> {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("a writer panicked"))?
    }
}

/// The story: a node that was stopped took its leadership along, and the keys of its shards waited for an election.
#[test]
fn a_node_that_stops_hands_its_leadership_over() -> Result<()> {
    let mut nodes = three()?;
    let led = leaders(&nodes[0])?;
    let (most, count) = led.into_iter().enumerate().max_by_key(|(_, count)| *count).unwrap();
    ensure!(count > 0, "nobody leads: {led:?}");
    let others: Vec<_> = (0..3).filter(|node| *node != most).collect();
    // Keys of all shards, most likely; which ones does not matter, as some are led by whoever leads most.
    let writers: Vec<_> = (0..4 * SHARDS)
        .map(|number| Writer::start(nodes[others[number % 2]].port(), format!("key-{number}")))
        .collect();
    let mut client = nodes[others[0]].client();
    wait_until("all keys to be written", PATIENCE, || {
        for number in 0..4 * SHARDS {
            if client.get(&format!("/v1/kv/key-{number}"))?.status != 200 {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })?;
    let began = Instant::now();
    let status = nodes[most].terminate()?;
    let stopped = began.elapsed();
    ensure!(status.success(), "{status}\n{}", nodes[most].log_text());
    wait_until("the others to lead everything", PATIENCE, || {
        let led = leaders(&nodes[others[0]])?;
        Ok((led[most] == 0 && led.iter().sum::<usize>() == SHARDS).then_some(()))
    })?;
    let gaps: Result<Vec<_>> = writers.into_iter().map(Writer::stop).collect();
    let longest = gaps?.into_iter().max().unwrap();
    eprintln!(
        "{count} shards handed over; stopped in {stopped:?}; longest gap of a key {longest:?}"
    );
    ensure!(longest < GAP_MAX, "a key waited {longest:?}\n{}", nodes[most].log_text());
    Ok(())
}

/// A certificate for node `a`, signed by itself, as certificate and key in PEM.
fn certificate() -> Result<[String; 2]> {
    let key = rcgen::KeyPair::generate()?;
    let certificate = rcgen::CertificateParams::new(["a".to_owned()])?.self_signed(&key)?;
    Ok([certificate.pem(), key.serialize_pem()])
}

#[test]
fn sighup_reads_the_certificates_again() -> Result<()> {
    let home = tempfile::tempdir()?;
    let (cert, key) = (home.path().join("a.pem"), home.path().join("a.key"));
    let write = |certificate: [String; 2]| -> Result<()> {
        std::fs::write(&cert, &certificate[0])?;
        Ok(std::fs::write(&key, &certificate[1])?)
    };
    write(certificate()?)?;
    let options = ServerOptions::new()
        .set("node.id", "a")
        .set("security.peer_ca", &cert.display().to_string())
        .set("security.peer_cert", &cert.display().to_string())
        .set("security.peer_key", &key.display().to_string());
    let mut node = options.start()?;
    let says = |node: &mut Server, what: &str| {
        node.signal(Signal::HUP)?;
        wait_until(what, PATIENCE, || Ok(node.log_text().contains(what).then_some(())))
    };
    std::fs::write(&cert, "nonsense")?;
    says(&mut node, "SIGHUP: the certificates stay as they were: ")?;
    let again = "SIGHUP: the certificates were read again";
    ensure!(!node.log_text().contains(again), "{}", node.log_text());
    write(certificate()?)?;
    says(&mut node, again)?;
    ensure!(node.terminate()?.success());
    Ok(())
}
