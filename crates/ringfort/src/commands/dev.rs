//! `ringfort dev`: a whole local cluster of separate node processes, for as long as this process lives.
//!
//! ```text
//!   ports free? ──► children ──► /readyz of each ──► "ready" ──► watch ──Ctrl-C, SIGTERM, SIGHUP──► stop all ──► exit 0
//!                      │                               │
//!                      └── one ends before: exit 3     └── one ends: reported, not restarted; the last: exit 3
//! ```

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ringfort_client::{Client, Endpoint};
use tempfile::TempDir;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::node_process::{self, Ended, NodeOptions};
use crate::arguments::DevArguments;
use crate::exit::{Exit, Failure};
use crate::output::say;

/// How often a node that starts is asked whether it is ready.
const ASK_EVERY: Duration = Duration::from_millis(20);

pub(crate) fn run(arguments: &DevArguments) -> Result<Exit, Failure> {
    let data = DataDir::of(arguments.data_dir.as_deref())?;
    let nodes = nodes(arguments, data.path());
    for node in &nodes {
        check_port(node.client_port)?;
        check_port(node.peer_port)?;
    }
    let exit = super::runtime()?.block_on(run_nodes(&nodes));
    data.remove()?;
    exit
}

/// Where the nodes keep their data: a directory of the user's, or one that goes with us.
enum DataDir {
    Given(PathBuf),
    Temporary(TempDir),
}

impl DataDir {
    fn of(given: Option<&Path>) -> Result<Self, Failure> {
        let failed = |error| Failure::not_done(format_args!("no data directory: {error}"));
        match given {
            Some(path) => {
                std::fs::create_dir_all(path).map_err(failed)?;
                // Children may not share our idea of where a relative path begins.
                Ok(Self::Given(std::path::absolute(path).map_err(failed)?))
            }
            None => {
                let made = tempfile::Builder::new().prefix("ringfort-dev-").tempdir();
                Ok(Self::Temporary(made.map_err(failed)?))
            }
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Given(path) => path,
            Self::Temporary(dir) => dir.path(),
        }
    }

    fn remove(self) -> Result<(), Failure> {
        match self {
            Self::Given(_) => Ok(()),
            Self::Temporary(dir) => dir.close().map_err(|error| {
                Failure::not_done(format_args!("the temporary directory stays: {error}"))
            }),
        }
    }
}

/// The nodes, all of them founders: each is told of every one.
fn nodes(arguments: &DevArguments, data_dir: &Path) -> Vec<NodeOptions> {
    let client_port = |position: u16| arguments.base_port + 10 * position;
    let peer_port = |position| client_port(position) + 1;
    let seeds: Vec<_> =
        (0..arguments.nodes).map(|position| node_process::peer(peer_port(position))).collect();
    let node = |position: u16| NodeOptions {
        id: format!("n{position}"),
        client_port: client_port(position),
        peer_port: peer_port(position),
        seeds: seeds.clone(),
        data_dir: data_dir.join(format!("n{position}")),
        engine: arguments.engine.clone(),
        replication_factor: arguments.nodes.min(3),
        settings: arguments.settings.set.clone(),
    };
    (0..arguments.nodes).map(node).collect()
}

/// Somebody else on a port would answer our question whether the node is ready.
fn check_port(port: u16) -> Result<(), Failure> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpListener::bind(address).map(drop).map_err(|error| {
        Failure::not_done(format_args!(
            "{address} cannot be listened on: {error}; choose another --base-port"
        ))
    })
}

/// What asks this process to end.
struct StopSignals([Signal; 3]);

impl StopSignals {
    fn take() -> std::io::Result<Self> {
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    async fn recv(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

async fn run_nodes(nodes: &[NodeOptions]) -> Result<Exit, Failure> {
    let signals = StopSignals::take();
    let mut signals = signals
        .map_err(|error| Failure::not_done(format_args!("signals cannot be watched: {error}")))?;
    let (stop, stopped) = watch::channel(false);
    let mut running = JoinSet::new();
    let ended = tokio::select! {
        () = signals.recv() => Ok(Exit::Done),
        ended = start_and_watch(nodes, &mut running, &stopped) => ended,
    };
    stop.send_replace(true);
    let mut clean = true;
    while let Some(ended) = running.join_next().await {
        clean &= ended.is_ok_and(|ended| stopped_well(&ended));
    }
    match ended? {
        Exit::Done if !clean => Ok(Exit::NotDone),
        exit => Ok(exit),
    }
}

/// Starts the nodes, and watches them until none is left.
async fn start_and_watch(
    nodes: &[NodeOptions],
    running: &mut JoinSet<Ended>,
    stopped: &watch::Receiver<bool>,
) -> Result<Exit, Failure> {
    for node in nodes {
        let (id, port, data_dir) = (&node.id, node.client_port, node.data_dir.display());
        say(&format!("node {id}: http://127.0.0.1:{port}, data in {data_dir}"));
        running.spawn(node_process::watch(id.clone(), node.spawn()?, stopped.clone()));
    }
    watch_nodes(nodes, running).await
}

/// Waits until all are ready, says so, and goes on until none is left.
async fn watch_nodes(nodes: &[NodeOptions], running: &mut JoinSet<Ended>) -> Result<Exit, Failure> {
    tokio::select! {
        ready = await_ready(nodes) => ready?,
        Some(ended) = running.join_next() => {
            let exit = ended.as_ref().map_or(Exit::NotDone, exit_before_ready);
            ended.iter().for_each(report);
            return Ok(exit);
        }
    }
    crate::output::print_line("ready")?;
    while let Some(ended) = running.join_next().await {
        ended.iter().for_each(report);
    }
    say("no node is left");
    Ok(Exit::NotDone)
}

/// A node that refuses its configuration has said what is wrong with it.
fn exit_before_ready(ended: &Ended) -> Exit {
    let code = ended.status.as_ref().ok().and_then(std::process::ExitStatus::code);
    if code == Some(Exit::Usage as i32) { Exit::Usage } else { Exit::NotDone }
}

async fn await_ready(nodes: &[NodeOptions]) -> Result<(), Failure> {
    for node in nodes {
        let client = Client::of(Endpoint::new("127.0.0.1", node.client_port));
        let client = client.map_err(Failure::not_done)?;
        while !client.ready().await.is_ok_and(|readiness| readiness.ready) {
            tokio::time::sleep(ASK_EVERY).await;
        }
    }
    Ok(())
}

fn report(ended: &Ended) {
    let status = match &ended.status {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    };
    say(&format!("node {} has ended: {status}", ended.id));
}

/// Whether a node that was asked to stop did so; one that did not is reported.
fn stopped_well(ended: &Ended) -> bool {
    let well = ended.asked && ended.status.as_ref().is_ok_and(std::process::ExitStatus::success);
    if !well {
        report(ended);
    }
    well
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::SettingArguments;

    /// What each node of a cluster is started with, one after the other.
    fn started(nodes: u16, set: &[&str]) -> Vec<Vec<String>> {
        let settings = SettingArguments { set: set.iter().map(ToString::to_string).collect() };
        let (base_port, engine) = (8400, "memory".to_owned());
        let arguments = DevArguments { nodes, base_port, data_dir: None, engine, settings };
        super::nodes(&arguments, Path::new("/d")).iter().map(NodeOptions::settings).collect()
    }

    #[test]
    fn every_node_is_told_of_all_and_may_be_told_otherwise() {
        let all = started(3, &["cluster.shards=8", "cluster.seeds=127.0.0.1:1"]);
        assert_eq!(
            all[1],
            [
                "node.id=n1",
                "listen.client=127.0.0.1:8410",
                "listen.peer=127.0.0.1:8411",
                "cluster.seeds=127.0.0.1:8401,127.0.0.1:8411,127.0.0.1:8421",
                "cluster.bootstrap_expect=3",
                "cluster.replication_factor=3",
                "storage.engine=memory",
                "logging.level=warn",
                "cluster.shards=8",
                "cluster.seeds=127.0.0.1:1",
            ]
        );
        assert_eq!(all.len(), 3);
        let named = |name: &str, nodes| {
            let first = started(nodes, &[]).swap_remove(0);
            first.into_iter().find(|setting| setting.starts_with(name)).unwrap()
        };
        for (nodes, factor) in [(1, 1), (2, 2), (10, 3)] {
            assert_eq!(
                named("cluster.replication_factor", nodes),
                format!("cluster.replication_factor={factor}")
            );
            assert_eq!(
                named("cluster.bootstrap_expect", nodes),
                format!("cluster.bootstrap_expect={nodes}")
            );
            let seeds = named("cluster.seeds", nodes).split(',').count();
            assert_eq!(seeds, usize::from(nodes));
        }
    }
}
