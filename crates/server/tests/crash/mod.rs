//! `kill -9` at random moments under concurrent load, under a shim that takes from the process what no sync has covered.
//!
//! Each cycle starts the server on what the last kill left, reads every key, loads it until a random number of writes is
//! acknowledged, and kills it. In the end the whole history must be that of a store that loses nothing: every acknowledged
//! write is there or was overwritten, no value is read that nobody put, and versions never repeat.

mod cycles;

use anyhow::{Result, ensure};
use ringfort_check::Rule;
use ringfort_testkit::{binary, seed_from_environment};

use cycles::{Crashes, Plan};

fn cycles_from_environment() -> Result<u64> {
    let cycles = std::env::var("RINGFORT_CRASH_CYCLES");
    Ok(cycles.map_or(Ok(20), |cycles| cycles.parse())?)
}

#[test]
fn no_acknowledged_write_is_lost_to_kill_9() -> Result<()> {
    let plan = Plan {
        binary: binary::ringfort()?,
        cycles: cycles_from_environment()?,
        seed: seed_from_environment()?,
        skips_syncs: false,
    };
    let Plan { cycles, seed, .. } = plan;
    println!("RINGFORT_SEED={seed} RINGFORT_CRASH_CYCLES={cycles} makes the same choices again");
    let mut crashes = Crashes::new(plan)?;
    for cycle in 0..cycles {
        crashes.cycle(cycle)?;
        if cycle % 25 == 24 {
            crashes.require_clean()?;
        }
    }
    crashes.read_after_clean_stop()?;
    let report = crashes.require_clean()?;
    println!("{}", crashes.summary(&report));
    ensure!(report.acknowledged as u64 > cycles * 20, "too little load to prove anything");
    ensure!(crashes.shim_stats().held_bytes > 0, "no kill took anything with it");
    // Every start that finds something to replay leaves new segments; the rest are rolls and flushes.
    ensure!(crashes.files_seen() as u64 > 2 * cycles, "hardly a segment rolled");
    Ok(())
}

/// A server that acknowledges without syncing must be found out, or the test above proves nothing.
#[test]
fn a_server_that_skips_syncs_is_found_out() -> Result<()> {
    const CYCLES_MAX: u64 = 10;
    let plan = Plan {
        binary: binary::ringfort_that_skips_syncs()?,
        cycles: CYCLES_MAX,
        seed: seed_from_environment()?,
        skips_syncs: true,
    };
    println!("RINGFORT_SEED={}", plan.seed);
    let mut crashes = Crashes::new(plan)?;
    crashes.found_cluster()?;
    for cycle in 0..CYCLES_MAX {
        crashes.cycle(cycle)?;
        crashes.read_all()?;
        let report = crashes.check();
        // What was lost is gone, or its version was given again.
        if report.breaks(Rule::Linearizable) || report.breaks(Rule::OneVersionPerWrite) {
            let lost = report.violations.len();
            println!("found out after {} cycles: {lost} violations", cycle + 1);
            return Ok(());
        }
    }
    anyhow::bail!("no loss found: {}", crashes.summary(&crashes.check()))
}
