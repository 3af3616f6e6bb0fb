//! Accepts connections, and runs a door over each.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use ringfort_door::HttpDoor;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::backend::NodeBackend;
use crate::server::{Phase, reached};
use crate::worker_thread::Host;

/// How long accepting pauses after an error that will not go away at once, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Connections that were accepted elsewhere.
pub(crate) type Handed = mpsc::Receiver<std::net::TcpStream>;

/// Nobody hands any connection over.
pub(crate) fn nobody() -> Handed {
    mpsc::channel(1).1
}

/// A listening socket that several threads accept from.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: std::net::TcpListener,
    pub(crate) address: SocketAddr,
}

impl Listener {
    pub(crate) fn bind(address: SocketAddr) -> std::io::Result<Self> {
        let socket = std::net::TcpListener::bind(address)?;
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address })
    }

    pub(crate) fn another(&self) -> std::io::Result<std::net::TcpListener> {
        self.socket.try_clone()
    }
}

/// Accepts until told otherwise, no more connections at once than this, then waits for them to end.
pub(crate) async fn accept<F: Future<Output = ()> + 'static>(
    socket: std::net::TcpListener,
    mut handed: Handed,
    connections_max: usize,
    until: impl Future<Output = ()>,
    serve_one: impl Fn(TcpStream) -> F,
) {
    let listener = match TcpListener::from_std(socket) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!("a listener cannot be used: {error}"),
    };
    let mut until = pin!(until);
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut until => break,
            Some(_) = open.join_next() => continue,
            Some(stream) = handed.recv(), if open.len() < connections_max => {
                TcpStream::from_std(stream)
            }
            accepted = listener.accept(), if open.len() < connections_max => {
                accepted.map(|(stream, _)| stream)
            }
        };
        match accepted {
            Ok(stream) => {
                // Answers are written whole: waiting for more only delays them. A socket that is gone says so later.
                drop(stream.set_nodelay(true));
                open.spawn_local(serve_one(stream));
            }
            Err(error) => {
                tracing::warn!("a connection could not be accepted: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    while open.join_next().await.is_some() {}
}

/// Serves one connection of a worker, until the server stops.
pub(crate) async fn serve_one(
    host: Rc<Host>,
    door: Rc<HttpDoor<NodeBackend>>,
    stream: TcpStream,
    phases: watch::Receiver<Phase>,
) {
    host.connections.set(host.connections.get() + 1);
    if let Err(error) = door.serve_connection(stream, reached(phases, Phase::Stopping)).await {
        tracing::debug!("a connection ended early: {error}");
    }
    host.connections.set(host.connections.get() - 1);
}
