//! The suite, and what only this engine can be put through: faults and power losses of its disk, damage to its files.

mod damage;
mod faults;
mod fixture;
mod power;

use super::*;
use crate::suite::{self, Differential, Harness, MemoryDisk};

fn engine() -> MemoryEngine {
    MemoryEngine::new(MemoryOptions { hash_seed: 7 })
}

fn harness() -> Harness {
    Harness { make: Box::new(|| Box::new(engine())), disk: Box::new(MemoryDisk::default()) }
}

#[test]
fn the_suite() {
    suite::run(&mut harness);
}

#[test]
fn random_operations_agree_with_ordered_maps() {
    for seed in 100..140 {
        suite::differential(&mut harness(), &Differential::new(seed));
    }
}
