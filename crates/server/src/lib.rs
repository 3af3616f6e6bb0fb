//! Hosts a node: real disks, sockets, clocks and threads around the pure cores.
//!
//! ```text
//!   worker thread (one or more)          log thread            background thread
//!   ┌─────────────────────────┐    ┌──────────────────┐     ┌──────────────────┐
//!   │ connections ▸ HTTP door │    │ FileLog          │     │ prepares segments│
//!   │        │                │    │  one write, one  │     │ snapshots,       │
//!   │  node::Worker ──────────┼──▶ │  fdatasync for   │ ──▶ │ deletions        │
//!   │  shards, engine         │ ◀──┼─ all that waits  │ ◀── │                  │
//!   └─────────────────────────┘    └──────────────────┘     └──────────────────┘
//! ```
//!
//! A request for a shard of the worker that owns its connection is served without leaving the thread. Everything else
//! goes through inboxes: one for each worker, one for the log, one for the background thread. What is in them is bounded
//! by what is under way: a worker admits a bounded number of requests, and a core has a bounded number of disk operations.
//!
//! While the node starts, a thread of its own answers clients (see `greeter`); then the workers accept their connections.
//!
//! A failed write or sync of the log ends the process at once: nothing may be acknowledged after it.

mod backend;
mod background;
mod certificates;
mod claim;
mod clock;
mod data_dir;
mod disk;
mod entrance;
mod fatal;
mod formation;
mod greeter;
mod identity;
mod inbox;
mod limits;
mod listen;
mod log_thread;
mod metrics;
mod options;
mod peer_host;
mod peers;
mod server;
mod settings;
mod view;
mod worker_thread;

pub use certificates::Certificates;
pub use data_dir::DataDirError;
pub use fatal::EXIT_DISK_FAILED;
pub use options::{EngineKind, Reads, ServerOptions};
pub use peers::{PeerTlsFiles, TlsError};
pub use server::{Server, StartError};
