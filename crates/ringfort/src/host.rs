//! The one place that knows the server crate: settings go in, a running node comes out.

use std::error::Error;
use std::time::Duration;

use ringfort_server::{EngineKind, Server, ServerOptions, StartError};

use crate::config::settings::Settings;

/// A running node.
pub(crate) type Node = Server;

/// Starts a node; returns once it serves.
///
/// # Errors
/// What keeps it from serving, and what to do about it.
pub(crate) fn start(settings: &Settings) -> Result<Node, StartError> {
    let node = Server::start(&options(settings))?;
    crate::allocator::give_back();
    Ok(node)
}

fn options(settings: &Settings) -> ServerOptions {
    let Settings { node, listen, cluster, storage, server, limits, .. } = settings.clone();
    ServerOptions {
        node_id: node.id,
        zone: node.zone,
        capacity: node.capacity,
        client_listen: listen.client,
        peer_listen: listen.peer,
        health_listen: listen.health,
        advertise_client: listen.advertise_client,
        advertise_peer: listen.advertise_peer,
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
        stop_timeout: server.stop_timeout,
        ..ServerOptions::new(node.data_dir)
    }
}

/// An error with its causes.
pub(crate) fn explain(error: &(dyn Error + 'static)) -> String {
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
