//! Power losses at every sync boundary of random traces: no acknowledged write is lost, no entry invented.
//!
//! `RINGFORT_SEEDS=1000` runs the campaign, `RINGFORT_SEED=n` one seed again.

use ringfort_env::{DiskOperation, Lane};
use ringfort_sim::{PowerLoss, SimDisk};

use crate::support::{Driver, seeds};

const ACTIONS: usize = 150;

/// Counts over a campaign.
#[derive(Debug, Default)]
struct Counts {
    boundaries: u64,
    starts: u64,
    flushes: u64,
}

fn next_is_sync(disk: &mut SimDisk) -> bool {
    [Lane::Log, Lane::Background].iter().any(|lane| {
        let front = disk.front(*lane).map(|request| &request.operation);
        matches!(front, Some(DiskOperation::SyncData(_) | DiskOperation::SyncDirectory))
    })
}

/// What the disk gives after the power failed must satisfy the model, and so must what it gives after it failed again, at
/// once or after more writes.
fn lose_power(driver: &mut Driver, seed: u64, pattern: PowerLoss, counts: &mut Counts) {
    driver.collect();
    let mut disk = driver.node.disk().clone();
    disk.reseed(seed);
    disk.power_loss(pattern);
    let story = format!("RINGFORT_SEED={} {pattern:?}", seed >> 16);
    let mut after = driver.restart(disk, seed);
    after.check(&story);
    for _ in 0..10 {
        after.write();
        after.node.step().unwrap();
    }
    // First the process alone, then the machine: what the page cache still held must not have been believed.
    after.collect();
    let mut disk = after.node.disk().clone();
    disk.process_crash();
    let mut again = after.restart(disk, seed + 1);
    let mut disk = again.node.disk().clone();
    disk.power_loss(pattern);
    again.check(&format!("{story}, then a crash"));
    let mut last = again.restart(disk, seed + 2);
    last.check(&format!("{story}, then a crash, then {pattern:?}"));
    let by_key: std::collections::BTreeMap<_, _> = (0..crate::support::SHARDS)
        .flat_map(|shard| last.state(ringfort_types::ShardId(shard)).unwrap())
        .collect();
    assert_eq!(last.listing(), by_key, "{story}: listing and reads differ");
    counts.starts += 3;
}

fn run(seed: u64, counts: &mut Counts) {
    let mut driver = Driver::new(seed);
    for action in 0..ACTIONS {
        driver.act();
        if next_is_sync(driver.node.disk()) {
            let seed = (seed << 16) + (action as u64) * 8;
            for (number, pattern) in [PowerLoss::Torn, PowerLoss::Partial].into_iter().enumerate() {
                lose_power(&mut driver, seed + 4 * number as u64, pattern, counts);
            }
            counts.boundaries += 1;
        }
    }
    driver.node.settle().unwrap();
    driver.check(&format!("RINGFORT_SEED={seed} without a crash"));
    counts.flushes += driver.node.worker().stats().flushes;
}

#[test]
fn power_loss_at_every_sync_loses_nothing_acknowledged() {
    let mut counts = Counts::default();
    let seeds = seeds(12);
    for seed in seeds.clone() {
        run(seed, &mut counts);
    }
    println!("seeds {seeds:?}: {counts:?}");
    assert!(counts.boundaries > 0 && (seeds.end - seeds.start < 10 || counts.flushes > 0));
}
