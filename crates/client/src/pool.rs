//! Keep-alive connections to one endpoint.
//!
//! ```text
//!   take ──► idle connection that is still open ──┐
//!        └─► dial ────────────────────────────────┴──► one request ──► answer read whole ──► give back
//!                                                                 └──► anything else ─────► closed
//! ```
//!
//! A connection belongs to one request at a time: nothing is pipelined, so a failure concerns one request only.

use std::io;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::endpoint::Endpoint;

/// Idle connections kept per endpoint; more are closed after their answer.
const IDLE_MAX: usize = 256;

/// A connection that can carry one request at a time.
pub(crate) type Connection = SendRequest<Full<Bytes>>;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Http(#[from] hyper::Error),
}

/// The connections to one endpoint.
pub(crate) struct Pool {
    endpoint: Endpoint,
    authority: http::HeaderValue,
    idle: Mutex<Vec<Connection>>,
}

impl Pool {
    /// A pool without connections.
    ///
    /// # Errors
    /// The endpoint's name cannot stand in a header.
    pub(crate) fn new(endpoint: Endpoint) -> Result<Self, http::header::InvalidHeaderValue> {
        Ok(Self {
            authority: http::HeaderValue::try_from(endpoint.authority())?,
            endpoint,
            idle: Mutex::default(),
        })
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The value of the `Host` header.
    pub(crate) fn authority(&self) -> http::HeaderValue {
        self.authority.clone()
    }

    /// The idle connection that was used last and is still open. The server may be closing it at this moment: only
    /// sending shows.
    pub(crate) async fn take_idle(&self) -> Option<Connection> {
        loop {
            let mut connection = self.lock().pop()?;
            if connection.ready().await.is_ok() {
                return Some(connection);
            }
        }
    }

    /// A new connection. Its driver runs as a task of its own and ends with the connection.
    pub(crate) async fn dial(&self) -> Result<Connection, DialError> {
        let stream = TcpStream::connect((self.endpoint.host(), self.endpoint.port())).await?;
        stream.set_nodelay(true)?;
        let (connection, driver) = http1::handshake(TokioIo::new(stream)).await?;
        // A failure of the driver reaches the request under way; without one there is nobody to tell.
        tokio::spawn(async move { driver.await.unwrap_or_default() });
        Ok(connection)
    }

    /// Takes a connection back after its answer was read whole.
    pub(crate) fn give_back(&self, connection: Connection) {
        let mut idle = self.lock();
        if !connection.is_closed() && idle.len() < IDLE_MAX {
            idle.push(connection);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        // A list of connections cannot be left half-changed: a poisoned lock is as good as any.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
