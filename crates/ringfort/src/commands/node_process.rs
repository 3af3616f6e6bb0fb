//! A node as a child process: started, watched, stopped.
//!
//! The child holds the other end of a pipe as its standard input: however this process ends, the child notices and stops.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use crate::exit::Failure;

/// How long a node may take to stop before it is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(20);

/// What a local node is started with.
pub(super) struct NodeOptions {
    pub(super) id: String,
    pub(super) client_port: u16,
    pub(super) peer_port: u16,
    /// Where the peer listeners of all nodes are, its own among them.
    pub(super) seeds: Vec<String>,
    pub(super) data_dir: PathBuf,
    pub(super) engine: String,
    pub(super) replication_factor: u16,
    /// More settings, which win.
    pub(super) settings: Vec<String>,
}

/// How a node's process ended.
pub(super) struct Ended {
    pub(super) id: String,
    /// What the system says; or what kept it from being known.
    pub(super) status: std::io::Result<ExitStatus>,
    /// It had been asked to.
    pub(super) asked: bool,
}

/// Where the peer listener of a local node is.
pub(super) fn peer(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

impl NodeOptions {
    /// The settings of the node but for its data directory, the later ones over the earlier.
    pub(super) fn settings(&self) -> Vec<String> {
        let own = [
            format!("node.id={}", self.id),
            format!("listen.client=127.0.0.1:{}", self.client_port),
            format!("listen.peer={}", peer(self.peer_port)),
            format!("cluster.seeds={}", self.seeds.join(",")),
            format!("cluster.bootstrap_expect={}", self.seeds.len()),
            format!("cluster.replication_factor={}", self.replication_factor),
            format!("storage.engine={}", self.engine),
            "logging.level=warn".into(),
        ];
        own.into_iter().chain(self.settings.iter().cloned()).collect()
    }

    fn command(&self, executable: &Path) -> Command {
        let mut command = Command::new(executable);
        command.args(["server", "--stop-with-stdin"]);
        for setting in self.settings() {
            command.arg("--set").arg(setting);
        }
        let mut data_dir = std::ffi::OsString::from("node.data_dir=");
        data_dir.push(&self.data_dir);
        command.arg("--set").arg(data_dir);
        // Its own group: Ctrl-C on the terminal comes to us alone, and we stop it once.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0).kill_on_drop(true);
        command
    }

    /// Starts the process.
    pub(super) fn spawn(&self) -> Result<Child, Failure> {
        let failed =
            |error| Failure::not_done(format_args!("node {} cannot be started: {error}", self.id));
        let executable = std::env::current_exe().map_err(failed)?;
        self.command(&executable).spawn().map_err(failed)
    }
}

/// Watches a node to its end; asks it to stop once `stop` turns true, and kills it where it does not.
pub(super) async fn watch(id: String, mut child: Child, mut stop: watch::Receiver<bool>) -> Ended {
    // Held until the end: closing it would stop the node.
    let input = child.stdin.take();
    let by_itself = tokio::select! {
        status = child.wait() => Some(status),
        _ = stop.wait_for(|stop| *stop) => None,
    };
    if let Some(status) = by_itself {
        return Ended { id, status, asked: false };
    }
    terminate(&child);
    let status = match tokio::time::timeout(STOP_PATIENCE, child.wait()).await {
        Ok(status) => status,
        Err(_) => {
            crate::output::say(&format!("node {id} does not stop and is killed"));
            match child.kill().await {
                Ok(()) => child.wait().await,
                Err(error) => Err(error),
            }
        }
    };
    drop(input);
    Ended { id, status, asked: true }
}

/// Sends SIGTERM. A process that has ended meanwhile needs none: it is not reaped before `wait` says so, and its id
/// cannot have been given to another.
fn terminate(child: &Child) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        kill_process(pid, Signal::TERM).unwrap_or_default();
    }
}
