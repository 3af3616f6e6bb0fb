//! `ringfort server`: settings, signals, log, and what it refuses.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use ringfort_testkit::{Signal, wait_until};

use crate::support::{Target, command, finish};

const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until a file says something.
fn await_text(path: &Path, text: &str) -> String {
    wait_until(&format!("{text:?} in {}", path.display()), PATIENCE, || {
        let content = std::fs::read_to_string(path).unwrap_or_default();
        Ok(content.contains(text).then_some(content))
    })
    .unwrap()
}

#[test]
fn a_flag_wins_over_a_variable() {
    let target = Target::with(|options| {
        options
            .set("node.capacity", "2.5")
            .environment("RINGFORT_NODE__ZONE", "environment")
            .environment("RINGFORT_CLUSTER__SHARDS", "2")
            .environment("RINGFORT_NODE__CAPACITY", "9")
    });
    let nodes = target.run(&["cluster", "nodes", "-o", "json"]).exits(0).json();
    assert_eq!(nodes["nodes"][0]["zone"], "environment");
    assert_eq!(nodes["nodes"][0]["capacity"], 2.5);
    let shards = target.run(&["cluster", "shards", "-o", "json"]).exits(0).json();
    assert_eq!(shards["shards"].as_array().unwrap().len(), 2);
}

#[test]
fn sigterm_and_sigint_stop_it_cleanly_and_data_stays() {
    let mut target = Target::start();
    target.run(&["kv", "put", "k", "v"]).exits(0);
    assert_eq!(target.server.terminate().unwrap().code(), Some(0));
    target.server.restart().unwrap();
    assert_eq!(target.run(&["kv", "get", "k"]).exits(0).text(), "v");
    target.server.signal(Signal::INT).unwrap();
    assert_eq!(target.server.wait().unwrap().code(), Some(0));
    assert!(target.server.log_text().contains("SIGINT"), "{}", target.server.log_text());
}

#[test]
fn sighup_reads_the_level_and_opens_the_log_anew() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("node.log");
    let config = dir.path().join("r.toml");
    let write = |level: &str| {
        let text = format!(
            "[logging]\nlevel = \"{level}\"\nformat = \"json\"\noutput = \"{}\"\n",
            log.display()
        );
        std::fs::write(&config, text).unwrap();
    };
    write("info");
    let mut node = Node::start(&dir.path().join("data"), &["--config", config.to_str().unwrap()]);
    let text = await_text(&log, "started");
    for line in text.lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(event["level"].is_string() && event["message"].is_string(), "{event}");
    }
    let moved = dir.path().join("node.log.1");
    std::fs::rename(&log, &moved).unwrap();
    write("debug");
    node.signal(Signal::HUP);
    assert!(await_text(&log, "SIGHUP").contains("\"level\":\"debug\""));
    write("nonsense");
    node.signal(Signal::HUP);
    await_text(&log, "the configuration was read again and is wrong");
    node.signal(Signal::TERM);
    assert_eq!(node.wait(), Some(0));
    assert!(!std::fs::read_to_string(&moved).unwrap().contains("SIGHUP"));
}

#[test]
fn a_log_that_fails_costs_lines_only() {
    let target = Target::with(|options| {
        options.set("logging.output", "/dev/full").set("logging.level", "trace")
    });
    target.run(&["kv", "put", "k", "v"]).exits(0);
    assert_eq!(target.run(&["kv", "get", "k"]).exits(0).text(), "v");
}

#[test]
fn a_data_directory_of_another_is_refused() {
    let mut target = Target::start();
    let data_dir = format!("node.data_dir={}", target.server.data_dir().display());
    let any_port = ["--set", "listen.client=127.0.0.1:0", "--set", "listen.peer=127.0.0.1:0"];
    let arguments = [&["server", "--set", &data_dir][..], &any_port].concat();
    let held = finish(command(&arguments), b"").exits(3);
    assert!(held.stderr.contains("held by another ringfort process"), "{held:?}");
    target.server.terminate().unwrap();
    let other = finish(command(&[&arguments[..], &["--set", "node.id=b"]].concat()), b"").exits(3);
    assert!(other.stderr.contains("belongs to node \"a\""), "{other:?}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("listen.client={}", taken.local_addr().unwrap());
    let ran = finish(command(&[&arguments[..], &["--set", &listen]].concat()), b"").exits(3);
    for expected in
        ["listen.client (--set): ", "Address already in use", "--set listen.client=ADDRESS:PORT"]
    {
        assert!(ran.stderr.contains(expected), "{ran:?}");
    }
}

#[test]
fn a_data_directory_that_is_none_is_refused_as_a_wrong_setting() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let dangling = dir.path().join("dangling");
    std::os::unix::fs::symlink(dir.path().join("nowhere/below"), &dangling).unwrap();
    let is_a_file = format!("{} is a file, not a directory", file.display());
    for (path, expected) in [
        (file.clone(), is_a_file.as_str()),
        (file.join("below"), &is_a_file),
        (dangling, "cannot be used as a directory: No such file"),
    ] {
        let data_dir = format!("node.data_dir={}", path.display());
        let arguments = ["server", "--set", &data_dir, "--set", "listen.client=127.0.0.1:0"];
        let ran = finish(command(&arguments), b"").exits(2);
        assert!(ran.stderr.contains("cannot start: node.data_dir (--set): "), "{ran:?}");
        assert!(ran.stderr.contains(expected), "{ran:?}");
    }
}

#[test]
fn more_shards_than_segments_can_hold_are_refused_before_they_are_fixed() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = format!("node.data_dir={}", dir.path().display());
    let any_port = ["listen.client=127.0.0.1:0", "listen.peer=127.0.0.1:0"];
    let small = ["cluster.shards=4096", "storage.segment_bytes=512KiB"];
    let bounds = ["limits.max_request_bytes=64KiB", "limits.max_value_bytes=64KiB"];
    let mut arguments = vec!["server", "--set", &data_dir];
    let all = any_port.iter().chain(&small).chain(&bounds);
    arguments.extend(all.flat_map(|setting| ["--set", setting]));
    let ran = finish(command(&arguments), b"").exits(2);
    let expected = "cannot start: storage.segment_bytes (--set): ";
    assert!(ran.stderr.contains(expected), "{ran:?}");
    let (_, least) = ran.stderr.split_once("set at least ").unwrap();
    let least = least.trim().parse::<u64>().unwrap();
    // What it says is enough, and the number of shards is still open.
    let enough = format!("storage.segment_bytes={least}");
    arguments.extend(["--set", &enough, "--set", "cluster.shards=4096"]);
    let mut node = Node::start(dir.path(), &arguments[3..]);
    wait_until("the node to be formed", PATIENCE, || {
        let identity = std::fs::read_to_string(dir.path().join("identity.json"));
        let formed =
            identity.ok().filter(|identity| identity.contains("\"founded\": \"everything\""));
        Ok(formed.inspect(|identity| assert!(identity.contains("\"shards\": 4096"), "{identity}")))
    })
    .unwrap();
    node.signal(Signal::TERM);
    assert_eq!(node.wait(), Some(0));
}

#[test]
fn it_stops_when_its_parent_closes_the_pipe() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("node.log");
    let output = format!("logging.output={}", log.display());
    let mut node = Node::start(&dir.path().join("data"), &["--stop-with-stdin", "--set", &output]);
    await_text(&log, "started");
    node.close_input();
    assert_eq!(node.wait(), Some(0));
    assert!(std::fs::read_to_string(&log).unwrap().contains("the parent process ended"));
}

/// A server with its standard input held open. Killed when dropped.
struct Node(std::process::Child);

impl Node {
    fn start(data_dir: &Path, arguments: &[&str]) -> Self {
        let settings = ["listen.client=127.0.0.1:0", "listen.peer=127.0.0.1:0", "cluster.shards=1"];
        let mut command = command(&["server"]);
        command.args(settings.iter().flat_map(|setting| ["--set", setting]));
        command.arg("--set").arg(format!("node.data_dir={}", data_dir.display())).args(arguments);
        Self(command.stdin(Stdio::piped()).spawn().unwrap())
    }

    fn signal(&self, signal: Signal) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    fn close_input(&mut self) {
        drop(self.0.stdin.take());
    }

    fn wait(&mut self) -> Option<i32> {
        wait_until("the end of the server", PATIENCE, || Ok(self.0.try_wait()?)).unwrap().code()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended already.
        self.0.kill().unwrap_or_default();
        self.0.wait().map(drop).unwrap_or_default();
    }
}

#[test]
fn a_paused_server_times_out_as_unknown() {
    let mut target = Target::start();
    target.server.pause().unwrap();
    target.run(&["kv", "put", "k", "v", "--timeout", "300ms"]).exits(4);
    target.run(&["kv", "get", "k", "--timeout", "300ms"]).exits(3);
    target.server.resume().unwrap();
}
