//! Accepts connections and runs a door over each.

use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::time::Duration;

use ringfort_door::HttpDoor;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::backend::NodeBackend;
use crate::server::Phase;
use crate::worker_thread::Host;

/// How long accepting pauses after an error that will not go away at once, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A listening socket that several workers accept from.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: TcpListener,
    pub(crate) address: SocketAddr,
}

impl Listener {
    pub(crate) fn bind(address: SocketAddr) -> std::io::Result<Self> {
        let socket = TcpListener::bind(address)?;
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address })
    }

    pub(crate) fn another(&self) -> std::io::Result<TcpListener> {
        self.socket.try_clone()
    }
}

/// Accepts until the server stops, then waits for the connections to end.
pub(crate) async fn serve(
    host: Rc<Host>,
    door: Rc<HttpDoor<NodeBackend>>,
    listener: TcpListener,
    connections_max: usize,
    mut phases: watch::Receiver<Phase>,
) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!("a listener cannot be used: {error}"),
    };
    let mut open = JoinSet::new();
    let for_connections = phases.clone();
    loop {
        tokio::select! {
            biased;
            _ = phases.wait_for(|phase| *phase >= Phase::Stopping) => break,
            Some(_) = open.join_next() => {}
            accepted = listener.accept(), if open.len() < connections_max => match accepted {
                Ok((stream, _)) => {
                    // Answers are written whole: waiting for more only delays them. A socket that is gone says so later.
                    drop(stream.set_nodelay(true));
                    let connection = serve_one(Rc::clone(&host), Rc::clone(&door), stream, for_connections.clone());
                    open.spawn_local(connection);
                }
                Err(error) => {
                    tracing::warn!("a connection could not be accepted: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    while open.join_next().await.is_some() {}
}

async fn serve_one(
    host: Rc<Host>,
    door: Rc<HttpDoor<NodeBackend>>,
    stream: tokio::net::TcpStream,
    mut phases: watch::Receiver<Phase>,
) {
    host.connections.set(host.connections.get() + 1);
    let shutdown = async move {
        // A server that is gone without saying so stops as well.
        drop(phases.wait_for(|phase| *phase >= Phase::Stopping).await);
    };
    if let Err(error) = door.serve_connection(stream, shutdown).await {
        tracing::debug!("a connection ended early: {error}");
    }
    host.connections.set(host.connections.get() - 1);
}
