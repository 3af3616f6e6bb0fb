//! Integration tests of the log: one binary.
//!
//! Campaigns run a small number of seeds by default and the full one with `RINGFORT_CAMPAIGN=full`. A failure prints its
//! seed; `RINGFORT_SEED=<seed>` runs that one alone.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // tests panic, and read fixtures and the environment

mod batches;
mod crash;
mod fixtures;
mod flips;
mod pinned;
mod ready;
mod space;
mod start;
mod support;
