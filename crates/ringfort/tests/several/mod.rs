//! Clusters of several processes: by `ringfort dev`, by hand with the guide's files, and formed by somebody.

use std::path::PathBuf;
use std::time::Duration;

use ringfort_testkit::http::HttpClient;
use ringfort_testkit::{Process, Signal, free_ports, wait_until};
use serde_json::Value;

use crate::dev::Dev;
use crate::support::{Ran, command, finish};

const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a command against the node with this client port.
fn at(port: u16, arguments: &[&str]) -> Ran {
    let mut command = command(arguments);
    command.env("RINGFORT_ENDPOINT", format!("http://127.0.0.1:{port}"));
    finish(command, b"")
}

/// Awaits that a command ends well.
fn await_done(port: u16, arguments: &[&str]) -> Ran {
    wait_until(&format!("{arguments:?}"), PATIENCE, || {
        let ran = at(port, arguments);
        Ok((ran.code == 0).then_some(ran))
    })
    .unwrap()
}

/// Awaits that a node sees the cluster so, and that the text for people says so too.
fn await_health(port: u16, state: &str, reason: &str) -> Value {
    let what = format!("the cluster to be {state} ({reason})");
    wait_until(&what, PATIENCE, || {
        let ran = at(port, &["cluster", "status", "-o", "json"]);
        if ran.code != 0 {
            return Ok(None);
        }
        let document = ran.json();
        let health = &document["health"];
        let reasons = health["reasons"].to_string();
        Ok((health["state"] == state && reasons.contains(reason)).then_some(document))
    })
    .unwrap()
}

#[test]
fn dev_runs_three_nodes_that_go_on_without_one() {
    let mut dev = Dev::start_nodes(3, &["--set", "cluster.shards=8"]);
    let ports = [dev.port, dev.port + 10, dev.port + 20];
    at(ports[0], &["kv", "put", "k", "v"]).exits(0);
    for port in ports {
        assert_eq!(at(port, &["kv", "get", "k"]).exits(0).text(), "v");
        let document = await_health(port, "healthy", "");
        assert_eq!(document["nodes"].as_array().unwrap().len(), 3, "{document}");
        assert_eq!(document["replication_factor"], 3, "{document}");
    }
    dev.kill_node(2);
    wait_until("the end of n2 to be reported", PATIENCE, || {
        Ok(dev.process.log_text().contains("node n2 has ended: signal: 9").then_some(()))
    })
    .unwrap();
    for port in &ports[..2] {
        for key in ["k", "l", "m", "n", "o", "p", "q"] {
            await_done(*port, &["kv", "put", key, "w"]);
        }
        await_health(*port, "degraded", "node n2 is down");
    }
    let route = at(ports[0], &["cluster", "route", "k"]).exits(0);
    assert!(route.text().contains("n2 (follower, down"), "{route:?}");
    dev.process.signal(Signal::TERM).unwrap();
    assert_eq!(dev.process.wait(PATIENCE).unwrap().code(), Some(0), "{}", dev.process.log_text());
    assert_eq!(dev.leftovers(), Vec::<PathBuf>::new());
}

/// Requests that nodes forwarded so far.
fn forwarded(ports: [u16; 3]) -> u64 {
    let of_line = |line: &str| {
        let (name, count) = line.split_once(' ')?;
        (name == "ringfort_forward_requests_total").then(|| count.parse::<u64>().unwrap())
    };
    let of_node = |port| {
        let metrics = HttpClient::new(port).get("/metrics").unwrap().text();
        metrics.lines().filter_map(of_line).sum::<u64>()
    };
    ports.into_iter().map(of_node).sum()
}

#[test]
fn bench_follows_the_map_where_it_is_told_to() {
    let dev = Dev::start_nodes(3, &["--set", "cluster.shards=8"]);
    let ports = [dev.port, dev.port + 10, dev.port + 20];
    let document = await_health(ports[0], "healthy", "");
    let leads = |node: &usize| document["nodes"][*node]["leaders"].as_u64().unwrap();
    // Most of what it gets is for others.
    let port = ports[(0..3).min_by_key(leads).unwrap()];
    let line = "bench --requests 400 --connections 4 --warmup 1ms -o json";
    let line: Vec<_> = line.split(' ').collect();
    let mut before = forwarded(ports);
    let mut run = |more: &[&str]| {
        at(port, &[&line[..], more].concat()).exits(0);
        let after = forwarded(ports);
        after - std::mem::replace(&mut before, after)
    };
    let (spread, routed) = (run(&[]), run(&["--route"]));
    assert!(spread >= 200, "{spread} of 400 forwarded");
    // A leader may have changed meanwhile.
    assert!(routed <= 40, "{routed} of 400 forwarded with --route");
}

/// The servers of the guide, on ports of their own.
struct ByHand {
    home: tempfile::TempDir,
    /// Client ports of a, b and c.
    ports: [u16; 3],
    running: [Option<Process>; 3],
}

const NAMES: [&str; 3] = ["a", "b", "c"];

impl ByHand {
    fn prepare(more: &[&str]) -> (Self, Vec<String>) {
        let home = tempfile::tempdir().unwrap();
        let free = free_ports(6).unwrap();
        for (name, text) in crate::guide::files() {
            // Marked first, so that no port of ours is taken for one of the guide's.
            let guide = [7400, 7401, 7410, 7411, 7420, 7421];
            let marked = guide.iter().enumerate().fold(text, |text, (number, port)| {
                text.replace(&format!("127.0.0.1:{port}"), &format!("127.0.0.1:<{number}>"))
            });
            let moved = free.iter().enumerate().fold(marked, |text, (number, port)| {
                text.replace(&format!("<{number}>"), &port.to_string())
            });
            std::fs::write(home.path().join(name), moved).unwrap();
        }
        let more = more.iter().flat_map(|setting| ["--set".to_owned(), (*setting).to_owned()]);
        let ports = [free[0], free[2], free[4]];
        (Self { home, ports, running: [None, None, None] }, more.collect())
    }

    fn start(&mut self, node: usize, more: &[String]) {
        let name = NAMES[node];
        let mut command = command(&["server", "--config", &format!("{name}.toml")]);
        command.args(more).current_dir(self.home.path());
        let log = self.home.path().join(format!("{name}.log"));
        self.running[node] = Some(Process::start(command, &log).unwrap());
    }

    fn kill(&mut self, node: usize) {
        self.running[node].take().unwrap().kill().unwrap();
    }
}

#[test]
fn three_servers_by_hand_form_one_cluster_and_refuse_truly_without_a_majority() {
    let (mut cluster, more) = ByHand::prepare(&["cluster.shards=8"]);
    let ports = cluster.ports;
    for node in [2, 0, 1] {
        cluster.start(node, &more);
    }
    let ids: Vec<_> =
        ports.iter().map(|port| await_health(*port, "healthy", "")["cluster_id"].clone()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    for port in ports {
        wait_until("every node to have said its version and epoch", PATIENCE, || {
            let document = at(port, &["cluster", "status", "-o", "json"]).json();
            let says = |node: &Value| {
                node["version"] == env!("CARGO_PKG_VERSION")
                    && node["epoch"] == document["epoch"]
                    && node["heard_ms"].as_u64().is_none_or(|millis| millis < 5_000)
            };
            Ok(document["nodes"].as_array().unwrap().iter().all(says).then_some(()))
        })
        .unwrap();
    }
    at(ports[1], &["kv", "put", "greeting", "hello"]).exits(0);
    assert_eq!(at(ports[2], &["kv", "get", "greeting"]).exits(0).text(), "hello");

    cluster.kill(1);
    await_health(ports[0], "degraded", "node b is down");
    await_done(ports[2], &["kv", "put", "greeting", "hello again"]);
    cluster.kill(2);
    // The loss of the nodes is noticed before that of each shard's leader.
    wait_until("every shard to be without a leader", PATIENCE, || {
        let document = await_health(ports[0], "unavailable", "no quorum");
        Ok((document["shards"]["states"]["no_leader"] == 8).then_some(()))
    })
    .unwrap();
    let refused = at(ports[0], &["kv", "put", "greeting", "alone", "-o", "json"]).exits(3);
    let error: Value = serde_json::from_str(&refused.stderr).unwrap();
    assert_eq!((&error["code"], &error["outcome"]), (&"unavailable".into(), &"not_applied".into()));
    let route = at(ports[0], &["cluster", "route", "greeting"]).exits(0);
    assert!(route.text().contains("Start the nodes again that are down"), "{route:?}");

    cluster.start(1, &more);
    cluster.start(2, &more);
    await_health(ports[0], "healthy", "");
    for port in ports {
        assert_eq!(at(port, &["kv", "get", "greeting"]).exits(0).text(), "hello again");
    }
}

#[test]
fn nodes_that_expect_nobody_wait_until_they_are_told() {
    let (mut cluster, more) = ByHand::prepare(&["cluster.shards=8", "cluster.bootstrap_expect=0"]);
    let ports = cluster.ports;
    for node in 0..3 {
        cluster.start(node, &more);
    }
    for port in ports {
        wait_until("a node that waits", PATIENCE, || {
            let status = at(port, &["cluster", "status"]);
            Ok((status.code == 3 && status.stderr.contains("joined")).then_some(()))
        })
        .unwrap();
        at(port, &["kv", "put", "k", "v"]).exits(3);
    }
    // One that has not met the others yet refuses, and may be asked again.
    let formed = await_done(ports[1], &["cluster", "init", "--yes", "-o", "json"]).json();
    for port in ports {
        let document = await_health(port, "healthy", "");
        assert_eq!(document["cluster_id"], formed["cluster_id"]);
        assert_eq!(document["nodes"].as_array().unwrap().len(), 3, "{document}");
        let again = at(port, &["cluster", "init", "--yes"]).exits(3);
        assert!(again.stderr.contains("already; nothing was changed"), "{again:?}");
    }
}
