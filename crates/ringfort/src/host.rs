//! The one place that knows the server crate: settings go in, a running node comes out.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

pub(crate) use ringfort_server::Certificates;
use ringfort_server::{DataDirError, EngineKind, PeerTlsFiles, Server, ServerOptions, StartError};

use crate::config::settings::{Security, Settings};
use crate::exit::Exit;

/// A running node.
pub(crate) type Node = Server;

/// Starts a node; returns once it serves.
///
/// # Errors
/// What keeps it from serving, and what to do about it.
pub(crate) fn start(settings: &Settings, certificates: &Certificates) -> Result<Node, NotStarted> {
    let node =
        Server::start(&options(settings), certificates).map_err(|error| NotStarted::of(&error))?;
    crate::allocator::give_back();
    Ok(node)
}

/// Why a node does not serve.
#[derive(Debug)]
pub(crate) struct NotStarted {
    pub(crate) exit: Exit,
    /// The setting that another value of would help.
    pub(crate) setting: Option<&'static str>,
    pub(crate) what: String,
}

impl NotStarted {
    fn of(error: &StartError) -> Self {
        let known = match error {
            StartError::DataDir(DataDirError::Unusable { path, source }) => {
                let (exit, what) = unusable_data_dir(path, source);
                Some((exit, "node.data_dir", what))
            }
            StartError::Listen { setting, address, source } => {
                let advice = listen_advice(source);
                let what = format!(
                    "{address} cannot be bound: {source}: {advice} with --set {setting}=ADDRESS:PORT"
                );
                Some((Exit::NotDone, *setting, what))
            }
            _ => error.setting().map(|setting| (Exit::Usage, setting, explain(error))),
        };
        match known {
            Some((exit, setting, what)) => Self { exit, setting: Some(setting), what },
            None => Self { exit: Exit::NotDone, setting: None, what: explain(error) },
        }
    }
}

/// What is wrong with a data directory: its name, as a matter of configuration, or the disk.
fn unusable_data_dir(path: &Path, source: &io::Error) -> (Exit, String) {
    // A name below a file leads nowhere either.
    if let Some(file) = path.ancestors().find(|path| path.exists() && !path.is_dir()) {
        let file = file.display();
        return (Exit::Usage, format!("{file} is a file, not a directory: name a directory"));
    }
    let advice = match source.kind() {
        ErrorKind::PermissionDenied => "let the user of this process write there, or name another",
        ErrorKind::ReadOnlyFilesystem => "name one on a file system that can be written",
        ErrorKind::NotFound
        | ErrorKind::NotADirectory
        | ErrorKind::IsADirectory
        | ErrorKind::InvalidFilename
        | ErrorKind::InvalidInput => "name another",
        _ => return (Exit::NotDone, format!("{} cannot be used: {source}", path.display())),
    };
    (Exit::Usage, format!("{} cannot be used as a directory: {source}: {advice}", path.display()))
}

fn listen_advice(source: &io::Error) -> &'static str {
    match source.kind() {
        ErrorKind::AddrInUse => "another process listens there; stop that one, or name another",
        ErrorKind::AddrNotAvailable => "name an address of this machine",
        ErrorKind::PermissionDenied => "name a port from 1024 on",
        _ => "name another",
    }
}

fn options(settings: &Settings) -> ServerOptions {
    let Settings { node, listen, cluster, storage, server, limits, raft, security, .. } =
        settings.clone();
    ServerOptions {
        node_id: node.id,
        zone: node.zone,
        capacity: node.capacity,
        client_listen: listen.client,
        peer_listen: listen.peer,
        health_listen: listen.health,
        advertise_client: listen.advertise_client,
        advertise_peer: listen.advertise_peer,
        bootstrap_expect: cluster.expected(),
        seeds: cluster.seeds,
        peer_tls: peer_tls(security),
        heartbeat: raft.heartbeat,
        election_timeout: raft.election_timeout,
        reads: raft.reads,
        replication_factor: cluster.replication_factor,
        shards: cluster.shards,
        // The other engines are refused before they come here.
        engine: EngineKind::Memory,
        segment_bytes: storage.segment_bytes,
        log_bytes: storage.log_bytes,
        sync_delay_max: Duration::from_micros(storage.sync_delay_max_us),
        workers: server.workers,
        max_value_bytes: limits.max_value_bytes,
        max_request_bytes: limits.max_request_bytes,
        idempotency_bytes: limits.idempotency_bytes,
        inflight_bytes: limits.inflight_bytes,
        inflight_requests: limits.inflight_requests,
        connections: limits.connections,
        snapshot_bytes_per_second: limits.snapshot_bytes_per_second as u64,
        stop_timeout: server.stop_timeout,
        ..ServerOptions::new(node.data_dir)
    }
}

/// The files of TLS between nodes: all three, or none.
fn peer_tls(security: Security) -> Option<PeerTlsFiles> {
    let Security { peer_ca, peer_cert, peer_key, .. } = security;
    Some(PeerTlsFiles { ca: peer_ca?, cert: peer_cert?, key: peer_key? })
}

/// An error with its causes.
fn explain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        // Some errors repeat their cause in their own text.
        if !text.contains(&more) {
            text = text + ": " + &more;
        }
        next = cause.source();
    }
    text
}
