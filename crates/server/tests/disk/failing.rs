//! A failed sync or write ends the process before anything else is acknowledged.
//!
//! The shim loses what the failed sync should have covered, and a later sync does not bring it back, as on Linux. So an
//! acknowledgement after the failure is a write that is missing after the restart.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ringfort_check::check;
use ringfort_testkit::load::{LoadOptions, Recorder};
use ringfort_testkit::{ServerOptions, ShimOptions, seed_from_environment};

use crate::with_small_segments;

/// What the process prints and how it exits when its disk fails.
const EXIT_DISK_FAILED: i32 = 3;

/// Fails one operation of a server under load, and returns whether that was before it was ready.
fn fail(shim: &ShimOptions, load_seed: u64) -> Result<bool> {
    let load = LoadOptions { seed: load_seed, ..LoadOptions::default() };
    let mut recorder = Recorder::default();
    let mut server = with_small_segments(ServerOptions::new()).prepare()?;
    // A cluster is founded and some data written before anything fails.
    server.restart()?;
    let first = recorder.start_load(server.port(), &load);
    first.await_acknowledged(50, Duration::from_secs(30))?;
    recorder.stop_load(first)?;
    ensure!(server.terminate()?.success());

    server.restart_with(|options| options.shim(ShimOptions::default()))?;
    let syncs_at_start = server.shim_stats()?.syncs;
    let writes_at_start = server.shim_stats()?.writes;
    ensure!(server.terminate()?.success());

    let injected = ShimOptions {
        fail_sync: if shim.fail_sync > 0 { syncs_at_start + shim.fail_sync } else { 0 },
        fail_write: if shim.fail_write > 0 { writes_at_start + shim.fail_write } else { 0 },
        ..ShimOptions::default()
    };
    let started = server.restart_with(|options| options.shim(injected));
    if let Err(error) = &started {
        ensure!(server.shim_stats()?.failures_injected == 1, "{error:#}");
    } else {
        let second = recorder.start_load(server.port(), &load);
        let status = server.wait();
        recorder.stop_load(second)?;
        let status = status?;
        ensure!(status.code() == Some(EXIT_DISK_FAILED), "{status}");
    }
    let stats = server.shim_stats()?;
    ensure!(stats.failures_injected == 1, "{stats:?}");
    let log = server.log_text();
    ensure!(log.contains("Input/output error"), "the log does not say why:\n{log}");

    server.restart_with(|_| with_small_segments(ServerOptions::new()))?;
    recorder.read_all(server.port(), &load)?;
    let report = check(&recorder.history());
    ensure!(report.is_clean(), "{report}");
    println!("{report}; {stats:?}");
    Ok(started.is_err())
}

#[test]
fn a_failed_sync_ends_the_process_without_another_acknowledgement() -> Result<()> {
    let seed = seed_from_environment()?;
    println!("RINGFORT_SEED={seed}");
    let mut under_load = 0;
    for fail_sync in [3, 20, 150] {
        let shim = ShimOptions { fail_sync, ..ShimOptions::default() };
        let early =
            fail(&shim, seed).with_context(|| format!("sync {fail_sync} after the start"))?;
        under_load += u32::from(!early);
    }
    ensure!(under_load > 0, "every failure came before there was load");
    Ok(())
}

#[test]
fn a_failed_write_ends_the_process_without_another_acknowledgement() -> Result<()> {
    let seed = seed_from_environment()?;
    println!("RINGFORT_SEED={seed}");
    let shim = ShimOptions { fail_write: 100, ..ShimOptions::default() };
    let early = fail(&shim, seed)?;
    ensure!(!early, "the failure came before there was load");
    Ok(())
}
