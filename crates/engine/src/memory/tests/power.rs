//! Power losses and crashes: what the log may name is whole, and nothing stays behind.

use std::cell::RefCell;
use std::rc::Rc;

use ringfort_env::{DiskAnswer, DiskErrorKind};
use ringfort_sim::{PowerLoss, SimDisk};

use super::*;
use crate::store::WriteOperation;
use crate::suite::{Random, differential_with};

const GROUP: GroupId = GroupId(1);

const PATTERNS: [PowerLoss; 5] =
    [PowerLoss::LoseAll, PowerLoss::Torn, PowerLoss::Partial, PowerLoss::KeepAll, PowerLoss::Any];

/// A disk that the test reaches while an engine's harness holds it.
#[derive(Clone)]
struct Shared(Rc<RefCell<SimDisk>>);

impl Disk for Shared {
    fn execute(&mut self, operation: &DiskOperation) -> Result<DiskAnswer, DiskError> {
        self.0.borrow_mut().execute(operation)
    }
}

#[test]
fn random_operations_with_power_losses_agree_with_ordered_maps() {
    for seed in 200..230 {
        let disk = Shared(Rc::new(RefCell::new(SimDisk::new(seed))));
        let mut harness =
            Harness { make: Box::new(|| Box::new(engine())), disk: Box::new(disk.clone()) };
        differential_with(&mut harness, &Differential::new(seed), &mut |_, choice| {
            let mut disk = disk.0.borrow_mut();
            disk.reseed(choice);
            disk.power_loss(PowerLoss::Any);
        });
    }
}

fn batch(random: &mut Random, index: u64) -> WriteBatch {
    let operations = (0..150).map(|_| WriteOperation::Put {
        key: Bytes::from(format!("key {:04}", random.below(900))),
        head: random.bytes(1000).into(),
        body: Bytes::new(),
    });
    WriteBatch {
        operations: operations.collect(),
        applied: Applied { index: ringfort_types::Index(index), term: ringfort_types::Term(1) },
    }
}

/// Flushes generation 1, then 2, and loses power after so many operations of the second. Returns whether it got that far.
fn lose_power_after(operations: usize, pattern: PowerLoss, seed: u64) -> bool {
    let mut disk = SimDisk::new(seed);
    let mut random = Random::new(seed);
    let mut engine = engine();
    engine.create(GROUP).unwrap();
    let mut logged = Generation(0);
    let mut executed = 0;
    for generation in [Generation(1), Generation(2)] {
        engine.write(GROUP, &batch(&mut random, generation.0)).unwrap();
        engine.flush(GROUP, generation).unwrap();
        while let Some(request) = engine.poll_disk() {
            if generation == Generation(2) {
                if executed == operations {
                    break;
                }
                executed += 1;
            }
            let result = disk.execute(&request.operation);
            engine.handle_disk(DiskCompletion { id: request.id, result }).unwrap();
            if let Some(flushed) = engine.poll_flushed() {
                let before = std::mem::replace(&mut logged, flushed.unwrap().generation);
                engine.remove_generation(GROUP, before);
            }
        }
    }
    disk.power_loss(pattern);
    let mut second = super::engine();
    let applied = second.open(&mut disk, GROUP, logged).unwrap();
    assert_eq!(applied.index.0, logged.0);
    second.remove_leftovers(&mut disk, &[(GROUP, logged)]).unwrap();
    assert_eq!(disk.list().unwrap().len(), 1);
    // What it opened is durable: it is still there after the next loss.
    disk.power_loss(PowerLoss::LoseAll);
    let mut third = super::engine();
    assert_eq!(third.open(&mut disk, GROUP, logged).unwrap(), applied);
    assert_eq!(disk.list().unwrap().len(), 1, "removals were synced");
    executed == operations
}

#[test]
fn a_power_loss_at_any_operation_of_a_flush_leaves_one_generation_whole() {
    for pattern in PATTERNS {
        for seed in 0..6 {
            let mut operations = 0;
            while lose_power_after(operations, pattern, seed) {
                operations += 1;
            }
            assert!(operations >= 8, "creation, writes, sync, rename, sync, removal: {operations}");
        }
    }
}

#[test]
fn a_full_disk_fails_the_flush_and_is_as_empty_as_before() {
    let mut disk = SimDisk::new(1);
    let mut engine = engine();
    engine.create(GROUP).unwrap();
    engine.write(GROUP, &batch(&mut Random::new(1), 1)).unwrap();
    disk.set_capacity(Some(50_000));
    let settle = |engine: &mut MemoryEngine, disk: &mut SimDisk| {
        while let Some(request) = engine.poll_disk() {
            let result = disk.execute(&request.operation);
            engine.handle_disk(DiskCompletion { id: request.id, result }).unwrap();
        }
        engine.poll_flushed().unwrap()
    };
    engine.flush(GROUP, Generation(1)).unwrap();
    let (_, error) = settle(&mut engine, &mut disk).unwrap_err();
    let EngineError::Disk(error) = error else {
        panic!("{error}");
    };
    assert_eq!(error.kind, DiskErrorKind::Full);
    assert_eq!(disk.used(), 0);
    disk.set_capacity(None);
    engine.flush(GROUP, Generation(2)).unwrap();
    settle(&mut engine, &mut disk).unwrap();
}
