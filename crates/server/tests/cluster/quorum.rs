//! One loss too many: what needs a quorum is refused, truly and in time; stale reads go on; nodes that come back heal it all
//! without a hand.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ringfort_testkit::http::{HttpClient, Request, Response};
use ringfort_testkit::{Cluster, node_id, wait_until};

/// The bound of requests that cannot be served: longer than it takes to notice the loss.
const BOUND: Duration = Duration::from_millis(1_500);
/// The bound of requests that wait for nothing.
const LONG: Duration = Duration::from_secs(30);
/// How much later than its bound an answer may come on a shared machine.
const SLACK: Duration = Duration::from_secs(4);
const PATIENCE: Duration = Duration::from_secs(60);
/// Enough for every shard to have some: of eight shards, 24 keys miss none.
const KEYS: usize = 24;

fn key(number: usize) -> String {
    format!("key-{number}")
}

fn bounded(port: u16) -> HttpClient {
    let bound = BOUND.as_millis().to_string();
    HttpClient::new(port).with_header("Ringfort-Timeout-Ms", &bound)
}

/// Sends a request that cannot be served, or may just so; nothing hangs.
fn in_time(http: &mut HttpClient, method: &str, target: &str, body: &[u8]) -> Result<Response> {
    let begun = Instant::now();
    let response = http.send(&Request { method, target, body, ..Request::default() })?;
    let took = begun.elapsed();
    ensure!(took <= BOUND + SLACK, "{method} {target} took {took:?}: {}", response.text());
    Ok(response)
}

/// What each key may hold: the last acknowledged value, and all later ones of unknown outcome.
#[derive(Default)]
struct Possible(BTreeMap<String, BTreeSet<String>>);

impl Possible {
    /// Puts a value and notes what the answer says. Gives the answer's status and outcome.
    fn put(&mut self, http: &mut HttpClient, key: &str, value: &str) -> Result<(u16, String)> {
        let response = in_time(http, "PUT", &format!("/v1/kv/{key}"), value.as_bytes())?;
        let outcome = response.json()["outcome"].as_str().unwrap_or_default().to_owned();
        let values = self.0.entry(key.to_owned()).or_default();
        match (response.status, outcome.as_str()) {
            (200, _) => *values = BTreeSet::from([value.to_owned()]),
            (503 | 504, "unknown") => drop(values.insert(value.to_owned())),
            (503 | 504, "not_applied") => {}
            _ => bail!("PUT {key}: {} {}", response.status, response.text()),
        }
        Ok((response.status, outcome))
    }

    fn holds(&self, key: &str, value: &str) -> bool {
        self.0.get(key).is_some_and(|values| values.contains(value))
    }

    /// Every key holds a value that it may hold.
    fn require(&self, http: &mut HttpClient) -> Result<()> {
        for key in self.0.keys() {
            let response = http.get(&format!("/v1/kv/{key}"))?;
            let value = response.text();
            ensure!(response.status == 200, "GET {key}: {} {value}", response.status);
            ensure!(self.holds(key, &value), "{key} holds {value}, of {:?}", self.0[key]);
        }
        Ok(())
    }
}

/// Puts every key through one node until it is acknowledged.
fn fill(possible: &mut Possible, port: u16, word: &str) -> Result<()> {
    let mut http = bounded(port);
    for number in 0..KEYS {
        wait_until("a write to be acknowledged", PATIENCE, || {
            let (status, _) = possible.put(&mut http, &key(number), &format!("{word}-{number}"))?;
            Ok((status == 200).then_some(()))
        })?;
    }
    Ok(())
}

fn read_stale(http: &mut HttpClient, key: &str) -> Result<(String, u64)> {
    let response = in_time(http, "GET", &format!("/v1/kv/{key}?consistency=stale"), b"")?;
    let text = response.text();
    ensure!(response.status == 200, "stale GET {key}: {} {text}", response.status);
    let bound = response.header("ringfort-staleness-ms").context("no bound")?;
    Ok((text, bound.parse()?))
}

/// As many nodes as replicas; those named go, and what is left is no quorum.
fn without_a_quorum(nodes: usize, lost: &[usize]) -> Result<()> {
    let mut cluster = Cluster::start(nodes, nodes, |_, options| options)?;
    cluster.await_agreement()?;
    let mut possible = Possible::default();
    let left = cluster.node(0).port();
    fill(&mut possible, left, "before")?;
    let mut http = bounded(left);
    for number in 0..KEYS {
        read_stale(&mut http, &key(number))?;
    }
    for node in lost {
        cluster.kill(*node)?;
    }
    // Each key has a client of its own, as each of them waits for most of its bound.
    let refused = std::thread::scope(|scope| {
        let client = |number| scope.spawn(move || refuses(left, number));
        let clients: Vec<_> = (0..KEYS).map(client).collect();
        let joined = clients.into_iter().map(std::thread::ScopedJoinHandle::join);
        joined.map(|result| result.map_err(|_| anyhow::anyhow!("a client panicked"))?).collect()
    });
    let refused: Result<Vec<Possible>> = refused;
    for doubtful in refused? {
        for (key, values) in doubtful.0 {
            possible.0.entry(key).or_default().extend(values);
        }
    }
    cluster.start_all()?;
    cluster.await_agreement()?;
    for port in cluster.ports() {
        possible.require(&mut bounded(port))?;
    }
    fill(&mut possible, left, "after")?;
    for port in cluster.ports() {
        possible.require(&mut bounded(port))?;
    }
    Ok(())
}

/// Writes and reads one key until both are refused for good; then nothing is served, nothing is in doubt, and the old value is
/// shown with its age. Gives the values whose writes are in doubt.
fn refuses(port: u16, number: usize) -> Result<Possible> {
    let (mut http, key, mut tried) = (bounded(port), key(number), 0);
    let before = format!("before-{number}");
    let mut possible = Possible::default();
    let refused = (503, "not_applied".to_owned());
    wait_until("writes to be refused", PATIENCE, || {
        tried += 1;
        let answer = possible.put(&mut http, &key, &format!("doubt-{number}-{tried}"))?;
        ensure!(answer.0 != 200, "PUT {key}: acknowledged without a quorum");
        Ok((answer == refused).then_some(()))
    })?;
    // While a lease runs, reads are served.
    wait_until("reads to be refused", PATIENCE, || {
        let response = in_time(&mut http, "GET", &format!("/v1/kv/{key}"), b"")?;
        let value = response.text();
        match response.status {
            200 => ensure!(value == before, "GET {key}: {value}"),
            status => ensure!(matches!(status, 503 | 504), "GET {key}: {status} {value}"),
        }
        Ok((response.status == 503).then_some(()))
    })?;
    // Once it is known that there is no quorum nobody waits for one, whatever the bound.
    let patient = LONG.as_millis().to_string();
    let mut patient = HttpClient::new(port).with_header("Ringfort-Timeout-Ms", &patient);
    let mut age_ms = 1;
    for _ in 0..2 {
        let begun = Instant::now();
        let answer = possible.put(&mut patient, &key, &format!("lost-{number}"))?;
        ensure!(answer == refused, "PUT {key}: {answer:?}");
        ensure!(begun.elapsed() < LONG / 2, "PUT {key} waited for {:?}", begun.elapsed());
        let response = in_time(&mut http, "GET", &format!("/v1/kv/{key}"), b"")?;
        ensure!(response.status == 503, "GET {key}: {} {}", response.status, response.text());
        let (value, bound_ms) = read_stale(&mut http, &key)?;
        ensure!(value == before, "stale GET {key}: {value}");
        // Refusals take no time: both reads may fall into one millisecond.
        ensure!(bound_ms >= age_ms, "stale GET {key}: {bound_ms} ms old, and was {age_ms}");
        age_ms = bound_ms;
    }
    Ok(possible)
}

#[test]
fn two_of_three_lost_refuses_and_heals() -> Result<()> {
    without_a_quorum(3, &[1, 2])
}

#[test]
fn three_of_five_lost_refuses_and_heals() -> Result<()> {
    without_a_quorum(5, &[1, 3, 4])
}

#[test]
fn with_one_replica_the_shards_of_other_nodes_serve() -> Result<()> {
    let mut cluster = Cluster::start(3, 1, |_, options| options)?;
    cluster.await_agreement()?;
    let mut possible = Possible::default();
    fill(&mut possible, cluster.node(0).port(), "before")?;
    let mut on_lost = BTreeSet::new();
    for number in 0..KEYS {
        let route = cluster.document(0, &format!("/v1/cluster/route?key={}", key(number)))?;
        ensure!(route["replicas"].as_array().map(Vec::len) == Some(1), "{route}");
        if route["leader"] == node_id(1).as_str() {
            on_lost.insert(key(number));
        }
    }
    ensure!(!on_lost.is_empty() && on_lost.len() < KEYS, "keys on n1: {on_lost:?}");
    cluster.kill(1)?;
    for node in [0, 2] {
        let mut http = bounded(cluster.node(node).port());
        for number in 0..KEYS {
            let key = key(number);
            let value = format!("without-{node}-{number}");
            let (status, outcome) = possible.put(&mut http, &key, &value)?;
            let read = in_time(&mut http, "GET", &format!("/v1/kv/{key}"), b"")?;
            match on_lost.contains(&key) {
                true => {
                    ensure!(matches!(status, 503 | 504), "PUT {key}: {status} {outcome}");
                    ensure!(matches!(read.status, 503 | 504), "GET {key}: {}", read.status);
                }
                false => ensure!(
                    (status, read.status) == (200, 200) && read.text() == value,
                    "{key}: {status} {outcome}, {} {}",
                    read.status,
                    read.text()
                ),
            }
        }
    }
    cluster.await_agreement()?;
    cluster.start_all()?;
    cluster.await_agreement()?;
    for port in cluster.ports() {
        possible.require(&mut bounded(port))?;
    }
    Ok(())
}

#[test]
fn after_each_failover_all_maps_agree() -> Result<()> {
    let mut cluster = Cluster::start(3, 3, |_, options| options)?;
    let mut possible = Possible::default();
    for turn in 0..3 {
        let node = cluster.leads_most()?;
        cluster.kill(node)?;
        let leaders = cluster.await_agreement()?;
        ensure!(leaders.len() == 8, "{leaders:?}");
        ensure!(leaders.values().all(|(leader, _)| *leader != node_id(node)), "{leaders:?}");
        for other in cluster.live() {
            fill(&mut possible, cluster.node(other).port(), &format!("turn-{turn}"))?;
        }
        cluster.start_all()?;
        cluster.await_agreement()?;
        possible.require(&mut bounded(cluster.node(node).port()))?;
    }
    Ok(())
}
