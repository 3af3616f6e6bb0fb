//! `ringfort dev`: a local cluster for as long as it runs.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ringfort_testkit::{Process, Signal, free_port_range, wait_until};
use rustix::process::{Pid, kill_process};

use crate::support::{Ran, command, finish, run};

const PATIENCE: Duration = Duration::from_secs(60);

/// A running `ringfort dev`, with temporary files in a directory of its own.
pub(crate) struct Dev {
    pub(crate) process: Process,
    pub(crate) port: u16,
    home: tempfile::TempDir,
}

impl Dev {
    fn start(arguments: &[&str]) -> Self {
        Self::start_nodes(1, arguments)
    }

    pub(crate) fn start_nodes(nodes: u16, arguments: &[&str]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let port = base_port(nodes);
        let count = nodes.to_string();
        let arguments = &[&["--nodes", &count], arguments].concat();
        let process = spawn(home.path(), port, arguments);
        let mut dev = Self { process, port, home };
        dev.await_line("ready");
        dev
    }

    fn await_line(&mut self, line: &str) {
        wait_until(&format!("a line {line:?} of ringfort dev"), PATIENCE, || {
            Ok(self.process.log_text().lines().any(|said| said == line).then_some(()))
        })
        .unwrap();
    }

    fn kv(&self, arguments: &[&str]) -> Ran {
        let mut command = command(&[&["kv"], arguments].concat());
        command.env("RINGFORT_ENDPOINT", format!("http://127.0.0.1:{}", self.port));
        finish(command, b"")
    }

    pub(crate) fn leftovers(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.home.path().join("tmp")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// Kills the process of a node.
    pub(crate) fn kill_node(&self, node: u16) {
        let lock = self.leftovers()[0].join(format!("n{node}/LOCK"));
        let pid = std::fs::read_to_string(lock).unwrap().trim().parse().unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    }
}

fn spawn(home: &Path, port: u16, arguments: &[&str]) -> Process {
    let port = port.to_string();
    let mut command = command(&[&["dev", "--base-port", &port], arguments].concat());
    let temporary = home.join("tmp");
    std::fs::create_dir_all(&temporary).unwrap();
    command.env("TMPDIR", temporary);
    Process::start(command, &home.join("dev.log")).unwrap()
}

/// A port that is free together with all others of so many nodes, and that no other test gets.
fn base_port(nodes: u16) -> u16 {
    free_port_range(10 * nodes).unwrap()
}

#[test]
fn it_serves_until_it_is_told_to_stop_and_leaves_nothing() {
    let mut dev = Dev::start(&[]);
    dev.kv(&["put", "k", "v"]).exits(0);
    assert_eq!(dev.kv(&["get", "k"]).exits(0).text(), "v");
    assert_eq!(dev.leftovers().len(), 1);
    dev.process.signal(Signal::TERM).unwrap();
    let status = dev.process.wait(PATIENCE).unwrap();
    assert_eq!(status.code(), Some(0), "{}", dev.process.log_text());
    assert_eq!(dev.leftovers(), Vec::<PathBuf>::new());
    assert!(TcpStream::connect(("127.0.0.1", dev.port)).is_err());
}

#[test]
fn a_data_directory_of_the_users_stays() {
    let data = tempfile::tempdir().unwrap();
    let data_dir = data.path().join("d");
    let arguments = [
        "--data-dir",
        data_dir.to_str().unwrap(),
        "--engine",
        "memory",
        "--set",
        "cluster.shards=2",
    ];
    let mut dev = Dev::start(&arguments);
    dev.kv(&["put", "k", "v"]).exits(0);
    dev.process.signal(Signal::INT).unwrap();
    assert_eq!(dev.process.wait(PATIENCE).unwrap().code(), Some(0));
    let dev = Dev::start(&arguments);
    assert_eq!(dev.kv(&["get", "k"]).exits(0).text(), "v");
}

#[test]
fn a_node_that_dies_is_reported_and_not_restarted() {
    let mut dev = Dev::start(&[]);
    dev.kill_node(0);
    assert_eq!(dev.process.wait(PATIENCE).unwrap().code(), Some(3));
    let said = dev.process.log_text();
    assert!(said.contains("node n0 has ended: signal: 9"), "{said}");
    assert_eq!(dev.leftovers(), Vec::<PathBuf>::new());
}

#[test]
fn nodes_do_not_outlive_it() {
    let mut dev = Dev::start(&[]);
    dev.process.kill().unwrap();
    let port = dev.port;
    wait_until("the node to stop", PATIENCE, || {
        Ok(TcpStream::connect(("127.0.0.1", port)).is_err().then_some(()))
    })
    .unwrap();
}

#[test]
fn what_cannot_work_is_said_at_once() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    if let Ok(1..=65_000) = port.parse() {
        let ran = run(&["dev", "--base-port", &port]).exits(3);
        assert!(ran.stderr.contains("choose another --base-port"), "{ran:?}");
    }
    let port = base_port(1).to_string();
    let ran = run(&["dev", "--base-port", &port, "--engine", "lsm"]).exits(2);
    assert!(ran.stderr.contains("storage.engine: this engine is not available"), "{ran:?}");
    let ran = run(&["dev", "--base-port", &port, "--data-dir", "/dev/null/x"]).exits(3);
    assert!(ran.stderr.contains("no data directory"), "{ran:?}");
}
