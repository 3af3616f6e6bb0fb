//! Logging: what is said (`tracing`), in which format, and where it goes.
//!
//! # Model
//! ```text
//!   event ──filter──► formatter ──line──► queue (bounded) ──► writer thread ──► stderr | journald | file
//!             ▲                                                      ▲
//!             └──────────── SIGHUP: new level ── SIGHUP: reopen ─────┘
//! ```
//!
//! # Invariants
//! - Who logs never waits for a sink and never fails for its sake: a terminal that is stopped, a full disk or a dead
//!   journal costs lines, which are counted, and said once lines get through again. The one exception are the last words
//!   of a process that ends at once: they wait up to 2 s to be written.
//! - The queue is bounded in lines and bytes.
//! - A file is appended to, and opened anew on SIGHUP, so that logrotate can move it away.

mod choice;
mod queue;
mod sink;
mod subscriber;

pub(crate) use choice::{Filter, Format, Output};
pub(crate) use subscriber::{Logging, install};
