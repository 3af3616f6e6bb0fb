//! The suite, and what only this engine can be put through: faults and power losses of its disk, damage to its files.

mod damage;
mod faults;
mod fixture;
mod power;

use ringfort_types::Index;

use super::*;
use crate::store::WriteOperation;
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

#[test]
fn superseded_records_are_kept_only_while_a_snapshot_has_yet_to_read_them() {
    let group = GroupId(1);
    let mut engine = engine();
    engine.create(group).unwrap();
    let mut index = 0;
    let mut write = |engine: &mut MemoryEngine, operations: Vec<WriteOperation>| {
        index += 1;
        let applied = Applied { index: Index(index), ..Applied::default() };
        engine.write(group, &WriteBatch { operations, applied }).unwrap();
    };
    let put_all = || -> Vec<_> {
        let put = |number: u8| WriteOperation::Put {
            key: Bytes::from(vec![number]),
            head: Bytes::from(vec![number; 100]),
            body: Bytes::new(),
        };
        (0..100).map(put).collect()
    };
    let kept = |engine: &MemoryEngine| engine.stats().records_superseded;
    write(&mut engine, put_all());
    write(&mut engine, put_all());
    assert_eq!(kept(&engine), 0, "without a snapshot nothing is kept");
    let (first, _) = engine.snapshot(group).unwrap();
    write(&mut engine, put_all());
    write(&mut engine, put_all());
    assert_eq!(kept(&engine), 100, "what came after the snapshot is not part of it");
    let (second, _) = engine.snapshot(group).unwrap();
    engine.read_snapshot(second, 5100).unwrap().unwrap();
    write(&mut engine, put_all());
    assert!((130..170).contains(&kept(&engine)), "about half was read: {}", kept(&engine));
    write(&mut engine, vec![WriteOperation::Delete { key: Bytes::from_static(&[0]) }]);
    engine.release_snapshot(first);
    assert!((30..70).contains(&kept(&engine)), "the second needs its own: {}", kept(&engine));
    while engine.read_snapshot(second, 5100).unwrap().is_some() {}
    engine.release_snapshot(second);
    assert_eq!(kept(&engine), 0);
}
