//! Doors: what speaks HTTP to clients, over one [`Backend`] trait. A door knows its protocol and nothing of storage; what
//! stands behind the trait knows no protocol.

mod backend;

pub use backend::{Backend, Observation, OperationKind};
