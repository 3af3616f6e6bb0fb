//! Raft groups without nodes around them: many replicas of one group in one thread, their disks, their network and their
//! clocks under control, and what must always hold checked after every step.
//!
//! - [`Cluster`]: executes what the replicas ask for, one small step at a time, in whatever order its user chooses.
//! - [`Violation`]: what was found broken, by name.
//!
//! The state machine of these groups is a hash over all that was applied, so that equal logs have equal states.

pub mod campaign;
mod checks;
mod cluster;
mod disk;
mod node;

pub use checks::{Checks, Violation};
pub use cluster::{Cluster, ClusterOptions, InFlight};
pub use disk::GroupDisk;
pub use node::{Crash, Machine, Node, ReadState};
