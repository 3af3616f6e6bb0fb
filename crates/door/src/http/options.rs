//! What the operator decides about a door.

use std::time::Duration;

/// Which routes a listener serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Surface {
    /// Every route.
    #[default]
    Client,
    /// `/livez`, `/readyz` and `/metrics` only: for a listener without credentials.
    Health,
}

/// Which host names a request may be addressed to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Hosts {
    /// Any: for listeners that are not on loopback.
    #[default]
    Any,
    /// `localhost`, 127.0.0.0/8 and `[::1]` with any port, and these names (without port, compared without case). For a
    /// listener on loopback: a web page that has its own name resolve to 127.0.0.1 is refused with 421.
    Loopback(Vec<String>),
}

/// What `/version` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuildInfo {
    /// Version of the executable.
    pub version: String,
    /// The source revision it was built from; `unknown` where that is not known.
    pub revision: String,
    /// The target it was built for, such as `x86_64-unknown-linux-gnu`.
    pub target: String,
}

/// Settings of an [`HttpDoor`](crate::HttpDoor). [`Default`] suits a client listener on a private network.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// Which routes are served.
    pub surface: Surface,
    /// Which host names are answered.
    pub hosts: Hosts,
    /// What `/version` says.
    pub build: BuildInfo,
    /// The node is only just starting, and another door will soon take this one's place: every 503 says when to try again
    /// (`Retry-After`), and a connection ends with its first answer (over HTTP/2: with those to the requests that are under
    /// way by then), so that the next request reaches the other door. Default false.
    pub starting: bool,
    /// Where this door's request ids begin: 64 random bits, different for every door and start, so that ids of different
    /// workers and starts hardly ever meet.
    pub request_id_seed: u64,
    /// How long a client may take over the head of a request, from its first byte on (checked in steps of this length,
    /// so up to twice as long may pass); also how long an answer may wait without the client taking one byte of it.
    /// Default 15 s.
    pub head_timeout: Duration,
    /// How long a connection may stay open without a request. Default 5 min. Longer than most clients keep unused
    /// connections, so that it is rarely the server that closes one just when a request is on its way.
    pub idle_timeout: Duration,
    /// Largest head of an HTTP/1 request, in bytes (at least 8,192), and largest list of headers over HTTP/2. A head that
    /// is longer by less than a read may pass. Default 96 KiB: the longest path and query that mean anything, three
    /// bytes for each of a key's, fit well.
    pub head_bytes_max: usize,
    /// Requests that one HTTP/2 connection may have open. Default 256. More wait at the client.
    pub streams_max: u32,
    /// Bytes of a body that one HTTP/2 stream may send ahead of its reader. Default 256 KiB.
    pub stream_window_bytes: u32,
    /// The same for a whole HTTP/2 connection. Default 1 MiB: what a connection can hold of bodies that were not yet
    /// admitted.
    pub connection_window_bytes: u32,
    /// How often a silent HTTP/2 peer is asked whether it still lives. Default 30 s.
    pub ping_interval: Duration,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            surface: Surface::Client,
            hosts: Hosts::Any,
            build: BuildInfo::default(),
            starting: false,
            request_id_seed: 0,
            head_timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(300),
            head_bytes_max: 96 << 10,
            streams_max: 256,
            stream_window_bytes: 256 << 10,
            connection_window_bytes: 1 << 20,
            ping_interval: Duration::from_secs(30),
        }
    }
}
