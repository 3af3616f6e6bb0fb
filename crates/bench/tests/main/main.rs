//! The load generator against servers that behave, and servers that do not.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod fake;
mod runs;
