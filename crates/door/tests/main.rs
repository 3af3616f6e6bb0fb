//! The HTTP door against a backend in memory, through streams in memory, in virtual time: what a test waits for, it awaits,
//! and a timeout of seconds takes no time.

// Helpers of tests are tests.
#![allow(clippy::unwrap_used)]

mod batch;
mod client;
mod cluster;
mod documents;
mod fake;
mod http2;
mod kv;
mod list;
mod overload;
mod property;
mod raw;
mod refused;
mod slow;
