//! One shard's replica: the state machine, its commands, and the glue between Raft, log and engine.
//!
//! ```text
//!   request ──▶ command ──encoded once──▶ payload ──▶ Raft ──▶ log, peers
//!                                                      │ committed
//!   answer ◀── Answer ◀── Machine::apply ◀─────────────┘
//!                              │ one WriteBatch: data, applied index, remembered answers
//!                              ▼
//!                           engine
//! ```
//!
//! - [`command`]: what is replicated, and its bytes.
//! - [`Machine`]: applies entries. Deterministic: the same entries give the same state and the same answers on every
//!   replica; no clock, no setting of a node, no order of a hash map enters.
//! - [`Replica`]: drives one Raft group over one machine.
//!
//! Nothing outside this crate knows how a value is stored.

mod batches;
mod boundary;
pub mod command;
mod layout;
mod machine;
mod meta;
mod read;
mod replica;
mod retry;
mod staged;

pub use boundary::{ChunkWanted, Install, Load, Output, ReplicaConfig, ReplicaStatus, Ticket};
pub use machine::{
    Answer, Applying, Effect, EffectKind, Machine, MachineError, Reply, stored_configuration,
};
pub use read::{ListQuery, Listed, Reading, list};
pub use replica::{Probed, Replica};
