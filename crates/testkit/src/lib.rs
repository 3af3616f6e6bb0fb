//! Real processes for tests: starts servers, awaits them, kills and pauses them, loads them, and takes from them what no
//! sync has made durable.
//!
//! # Parts
//! - [`Server`]: a `ringfort server` in a process group and a data directory of its own, built on demand by [`binary`].
//! - [`Cluster`]: several of them that form one cluster.
//! - [`certificates`]: an authority that signs the certificates of nodes.
//! - [`shim`]: a preloaded page cache that a kill empties, so that `kill -9` is as hard as a power loss.
//! - [`http`]: a plain client that says exactly whether bytes left. It shares no code with the client that is shipped, so
//!   that a mistake there cannot hide one in the server.
//! - [`load`]: concurrent clients that record a history for `ringfort-check`.
//! - [`strace`]: reads traces, and checks that no answer leaves before the sync that covers it.
//! - [`transcript`]: runs the commands of a document and compares what they print.
//!
//! # Rules
//! Everything ends: each wait has a deadline and names what it waited for. Nothing is left behind: processes and
//! directories go when their owner is dropped, also when a test panics. Nothing depends on timing but how soon a test ends.

pub mod binary;
pub mod certificates;
mod cluster;
pub mod http;
pub mod load;
mod ports;
mod process;
mod random;
mod server;
pub mod shim;
pub mod strace;
mod tmpfs;
pub mod transcript;
mod wait;

pub use cluster::{Cluster, Leaders, node_id};
pub use ports::{free_port_range, free_ports};
pub use process::{Process, Signal};
pub use random::{Random, seed_from_environment};
pub use server::{Server, ServerOptions};
pub use shim::{Shim, ShimOptions, ShimStats};
pub use tmpfs::Tmpfs;
pub use wait::wait_until;
