//! How nodes talk: length-prefixed protobuf frames over TCP or TLS. The messages are in `docs/formats/peer.md`.
//!
//! ```text
//!   thread of node A                                    any thread of node B
//!   ┌──────────────────────────────┐                    ┌──────────────────────────────┐
//!   │ send ▸ queue ▸ link ═════════╪═ consensus ═══════▶│ read ▸ window ▸ handle_frame │
//!   │        queue ▸ link ═════════╪═ requests ════════▶│                              │
//!   │        queue ▸ link ═════════╪═ snapshots ═══════▶│                              │
//!   │ ask ─────────────────────────┼─ formation ───────▶│ answer                       │
//!   └──────────────────────────────┘                    └──────────────────────────────┘
//! ```
//!
//! Each worker thread has [`PeerLinks`] of its own: for each other node and channel one connection, which it dials when
//! the first frame is sent and keeps up from then on. Frames go one way, from the dialer to the acceptor; answers take the
//! acceptor's own link. So a link has one state, one queue and one end.
//!
//! ```text
//!   dial ▸ TLS, if configured ▸ Hello ▸ HelloAnswer ▸ frame, frame, …
//! ```
//!
//! What always holds:
//! - Sending never waits. What does not fit into the bounded queue, or cannot go because the node is unreachable, comes
//!   back to the caller, and nothing of it was sent.
//! - All that is queued goes out with one write.
//! - Frames of a link arrive in the order in which they were sent, or not at all. When a link breaks, what was queued is
//!   dropped and the caller is told, so that nothing arrives late that was given up.
//! - Nothing is read from a connection while too much of what it brought is still being handled: TCP slows the sender.
//! - No frame is given to the host, and none is sent, before both sides know each other: cluster, node id, incarnation and,
//!   with TLS, a certificate that names the node.
//! - Of two starts of one node that run at the same time, each node lets one in, the one at the address of the catalog's record if
//!   there is one; and a process that any node refuses as the other one sends nothing to anybody. A copy of a data directory is no
//!   second node. It is noticed by its boot id, which a live clone of a virtual machine shares: that one is not noticed.
//! - A handshake has a bound in time and bytes. Nothing that comes from outside can panic the thread.
//!
//! A refusal is explained where a person looks for it: in the log of the node that was refused, once per change.
//!
//! Left out on purpose: what frames mean, whether a node that cannot be reached is dead, and any second attempt at sending.

mod accept;
mod backoff;
mod boots;
mod connection;
mod dial;
mod directory;
mod hello;
mod link;
mod links;
mod notes;
mod queue;
mod standing;
mod stats;
mod tls;

#[cfg(test)]
mod tests;

pub(crate) use directory::{Directory, Own, Peer};
pub(crate) use hello::{Channel, Hello};
pub(crate) use links::{Answered, Loss, PeerHost, PeerLinks, PeerOptions, Received, Room, Unsent};
pub(crate) use stats::{AcceptStats, LinkStats};
pub(crate) use tls::PeerTls;
pub use tls::{PeerTlsFiles, TlsError};
