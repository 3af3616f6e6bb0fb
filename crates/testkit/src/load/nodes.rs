//! The nodes that one client of a load knows.

use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;

use crate::http::HttpClient;
use crate::wait_until;

/// How long a node of several may take for a request: short, so that one that is paused is soon left.
const TIMEOUT_MS: u64 = 2_000;
/// How long a client waits for an answer beyond that.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(TIMEOUT_MS + 1_000);
/// Longest wait until some node accepts connections.
const ANY_DEADLINE: Duration = Duration::from_secs(120);

/// The nodes, and the one that is asked now.
#[derive(Debug)]
pub(super) struct Nodes {
    ports: Vec<u16>,
    clients: Vec<HttpClient>,
    at: usize,
}

impl Nodes {
    /// Those on these ports; client `number` begins at one of them.
    pub(super) fn new(ports: &[u16], number: u32) -> Self {
        let several = ports.len() > 1;
        let client = |port: &u16| match several {
            true => HttpClient::new(*port)
                .with_timeout(ANSWER_TIMEOUT)
                .with_header("Ringfort-Timeout-Ms", &TIMEOUT_MS.to_string()),
            false => HttpClient::new(*port),
        };
        let clients = ports.iter().map(client).collect();
        Self { ports: ports.to_vec(), clients, at: number as usize % ports.len().max(1) }
    }

    pub(super) fn are_several(&self) -> bool {
        self.clients.len() > 1
    }

    /// The client of the node that is asked now.
    pub(super) fn http(&mut self) -> &mut HttpClient {
        &mut self.clients[self.at]
    }

    /// Leaves the node that is asked now for the next one.
    pub(super) fn leave(&mut self) {
        self.at = (self.at + 1) % self.clients.len();
    }

    /// Goes to the next node that accepts connections; awaits one if there is none, unless the load is over.
    pub(super) fn await_another(&mut self, stop: &AtomicBool) -> Result<()> {
        wait_until("a node that accepts connections", ANY_DEADLINE, || {
            for _ in 0..self.ports.len() {
                self.leave();
                if TcpStream::connect((Ipv4Addr::LOCALHOST, self.ports[self.at])).is_ok() {
                    return Ok(Some(()));
                }
            }
            Ok(stop.load(Ordering::Relaxed).then_some(()))
        })
    }
}
