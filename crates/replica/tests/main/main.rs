//! The state machine and the replica, over the memory engine.

mod codec;
mod determinism;
mod machine;
mod replica;
mod support;
