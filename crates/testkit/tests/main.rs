//! Tests of the testkit itself.

#![allow(clippy::unwrap_used)] // a test may; its helpers are part of it

mod shim;
mod strace;
