//! The load generator behind `ringfort bench`: drives Ringfort over HTTP, etcd over gRPC and Redis over RESP with the same
//! workload, and says what an operation cost the server.
//!
//! # Model
//! One thread, because the server under test shares the machine. Each connection is a *lane*: a task that takes the next
//! operation, sends it, waits for the whole answer, checks it, and records how long it took. A lane has one operation in
//! flight.
//!
//! ```text
//!  workload ──operation──► lane 0 ──► connection ──► server
//!     ▲                    lane 1 ──► …
//!   pacer (open loop)      lane n ──► …
//!                            └──► recorder: histogram per kind, errors by code
//! ```
//!
//! # Invariants
//! - Every answer is checked: its status, the length of a value and that it belongs to the key; an answer that is not as
//!   expected counts as an error under its code, never as an operation.
//! - In a closed loop a latency counts from the moment the request is handed to the socket. In an open loop (`--rate`) it
//!   counts from the moment the operation was *due*, so that a stalled server cannot hide the requests it kept from being
//!   sent (no coordinated omission).
//! - What is measured is what starts after the warm-up, and all of it: operations in flight at the end are awaited, and
//!   the time that takes belongs to the run. Costs of the server are read at the same two moments.
//!
//! # Left out on purpose
//! Pipelining (an application waits for its answers), TLS, and more than one thread.

mod arguments;
mod command;
mod cost;
mod drive;
mod pace;
mod progress;
mod record;
mod report;
mod target;
mod workload;

pub use arguments::{Arguments, Distribution, Output, TargetKind, UsageError, Workload};
pub use command::{execute, run};
pub use report::{Latency, Report, ServerCost};
