//! Bits that flip in what is durable: never a wrong value, no shard closed but the one the bit belongs to, all others served.
//!
//! `RINGFORT_FLIPS=10000` runs the campaign, `RINGFORT_SEED=n` one seed again.

use std::time::Duration;

use ringfort_env::{Disk, FileName};
use ringfort_sim::SimDisk;
use ringfort_types::ShardId;

use crate::owner::owners;
use crate::support::{Driver, SHARDS, number};

#[derive(Debug, Default)]
struct Counts {
    flips_in_log: u64,
    /// Of those in the log.
    flips_in_records: u64,
    flips_in_snapshots: u64,
    shards_closed: u64,
    shards_closed_by_log: u64,
    reported: u64,
    without_effect: u64,
}

/// A node with snapshots and a log behind them, everything proven durable.
fn history(seed: u64) -> (Driver, SimDisk) {
    let mut driver = Driver::new(seed);
    for round in 0..4 {
        for _ in 0..25 {
            driver.write();
            if driver.random.one_in(3) {
                driver.node.settle().unwrap();
            }
        }
        driver.node.settle().unwrap();
        if round % 2 == 0 {
            driver.node.want_flush(&[ShardId(0), ShardId(1), ShardId(2)]);
            driver.node.settle().unwrap();
        }
    }
    // The idle log marks its last batch durable: everything is proven.
    for _ in 0..4 {
        driver.node.pass(Duration::from_secs(1)).unwrap();
        driver.node.settle().unwrap();
    }
    driver.check("before any flip");
    let disk = driver.node.disk().clone();
    (driver, disk)
}

/// The files of a kind with a byte that is not zero at a random place of each.
fn place(driver: &mut Driver, disk: &mut SimDisk, prefix: &str) -> (FileName, u64) {
    let files: Vec<_> = disk
        .list()
        .unwrap()
        .into_iter()
        .filter(|(name, _)| name.as_str().starts_with(prefix))
        .collect();
    loop {
        let (file, len) = &files[driver.random.index(files.len())];
        let content = disk.content(file).unwrap();
        // Nearly all of a segment is zeros that nobody reads: bytes in use are where bytes are.
        let used = content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1);
        let offset = driver.random.below((*len).min(used.max(1)));
        if content[offset as usize] != 0 {
            return (file.clone(), offset);
        }
    }
}

fn flip(driver: &mut Driver, disk: &SimDisk, prefix: &str, story: &str, counts: &mut Counts) {
    let mut disk = disk.clone();
    let (file, offset) = place(driver, &mut disk, prefix);
    let bit = driver.random.below(8) as u8;
    assert!(disk.flip_bit(&file, offset, bit));
    let story = format!("{story}: bit {bit} of {file} at {offset}");
    let touched = owners(&file, driver.node.disk().content(&file).unwrap(), offset as usize);
    let mut after = driver.restart(disk, 1);
    let mut closed = 0;
    for shard in (0..SHARDS).map(ShardId) {
        match after.state(shard) {
            Ok(found) => after.settle_on(shard, &found, &story),
            Err(why) => {
                assert!(why.contains("closed"), "{story}: shard {shard}: {why}");
                assert!(why.contains(file.as_str()), "{story}: shard {shard}: {why}");
                assert!(touched.contains(&shard), "{story}: {shard} is closed, not {touched:?}");
                closed += 1;
            }
        }
    }
    let reported = after.node.findings.iter().any(|finding| finding.contains(file.as_str()));
    assert!(closed == 0 || reported, "{story}: {closed} shards closed, {:?}", after.node.findings);
    if prefix == "snap-" {
        assert!(closed == 1 && reported, "{story}: {closed} closed, {:?}", after.node.findings);
    }
    counts.shards_closed += closed;
    if prefix == "log-" {
        counts.flips_in_records += touched.len() as u64;
        counts.shards_closed_by_log += closed;
    }
    counts.reported += u64::from(reported);
    counts.without_effect += u64::from(!reported);
}

#[test]
fn flipped_bits_are_never_served() {
    let flips = number("RINGFORT_FLIPS").unwrap_or(300);
    let mut counts = Counts::default();
    let first = number("RINGFORT_SEED").unwrap_or(0);
    for seed in first..first + flips.div_ceil(100) {
        let (mut driver, disk) = history(seed);
        for _ in 0..flips.min(100) {
            let prefix = if driver.random.one_in(3) { "snap-" } else { "log-" };
            let count = if prefix == "snap-" {
                &mut counts.flips_in_snapshots
            } else {
                &mut counts.flips_in_log
            };
            *count += 1;
            flip(&mut driver, &disk, prefix, &format!("RINGFORT_SEED={seed}"), &mut counts);
        }
    }
    println!("{counts:?}");
    assert!(counts.shards_closed_by_log > 0);
    assert!(
        counts.shards_closed_by_log < counts.flips_in_records,
        "a state heals what is before it"
    );
}
