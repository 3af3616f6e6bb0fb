//! The server as a real process: killed at random moments, on a disk that fails or is full, traced, stopped, as the
//! guide says, and several of them as one cluster.
//!
//! The executable is built on demand (see `ringfort_testkit::binary`). Variables:
//!
//! - `RINGFORT_CRASH_CYCLES`: kills of the crash test; default 20.
//! - `RINGFORT_CRASH_SECONDS`: length of the same with three nodes; default 20.
//! - `RINGFORT_SEED`: of all choices; default another each time, printed.
//! - `RINGFORT_TEST_BINARY`, `RINGFORT_TEST_MUTANT`: executables to take instead of building them.
//! - `RINGFORT_TEST_REQUIRE_ALL`: a test that cannot run here, for want of `strace` or of root, fails instead of being
//!   skipped.

#![allow(clippy::unwrap_used)] // a test may; its helpers are part of it

mod cluster;
mod crash;
mod disk;
mod guide;
mod lifecycle;
mod listing;
mod metrics;
mod starting;
mod stopping;
mod trace;

use ringfort_testkit::ServerOptions;

/// Settings under which segments roll, are recycled, and stores are flushed within seconds.
fn with_small_segments(options: ServerOptions) -> ServerOptions {
    options
        .set("storage.segment_bytes", "1MiB")
        .set("storage.log_bytes", "4MiB")
        .set("limits.max_request_bytes", "256KiB")
        .set("limits.max_value_bytes", "256KiB")
}

/// Says loudly that a test did not run; with `RINGFORT_TEST_REQUIRE_ALL` set, as in CI, that is a failure.
fn skip(what: &str, why: &str) {
    eprintln!("\n*** SKIPPED: {what}: {why} ***\n");
    assert!(std::env::var_os("RINGFORT_TEST_REQUIRE_ALL").is_none(), "{what}: {why}");
}
