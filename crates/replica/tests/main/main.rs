//! The state machine and the replica, over the memory engine.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]
#![expect(clippy::disallowed_methods, reason = "tests take their size from the environment")]

mod cluster;
mod codec;
mod counting;
mod determinism;
mod machine;
mod replica;
mod support;
