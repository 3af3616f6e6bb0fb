//! Failing disks: what a flush leaves behind, what it reports, and what ends the process.

use std::cell::RefCell;
use std::rc::Rc;

use ringfort_env::{DiskAnswer, DiskErrorKind, FileName};

use super::*;
use crate::store::WriteOperation;
use crate::suite::{MemoryDisk, Random};

const GROUP: GroupId = GroupId(1);

/// Fails the operations that a rule names; does nothing of them.
struct Faulty<F> {
    disk: MemoryDisk,
    rule: F,
    operations: usize,
}

impl<F: FnMut(usize, &DiskOperation) -> bool> Disk for Faulty<F> {
    fn execute(&mut self, operation: &DiskOperation) -> Result<DiskAnswer, DiskError> {
        self.operations += 1;
        if (self.rule)(self.operations, operation) {
            let (kind, message) = match operation {
                DiskOperation::Read { .. } => (DiskErrorKind::Other, "input/output error"),
                _ => (DiskErrorKind::Full, "no space left on device"),
            };
            return Err(operation.error(kind, message));
        }
        self.disk.execute(operation)
    }
}

fn filled_engine() -> MemoryEngine {
    let mut engine = engine();
    engine.create(GROUP).unwrap();
    let mut random = Random::new(1);
    let operations = (0..6000).map(|number: u32| WriteOperation::Put {
        key: Bytes::from(format!("key {number:06}")),
        head: random.bytes(400).into(),
        body: Bytes::new(),
    });
    let batch = WriteBatch { operations: operations.collect(), applied: Applied::default() };
    engine.write(GROUP, &batch).unwrap();
    engine
}

type FlushEnd = Result<Flushed, (GroupId, EngineError)>;

fn settle(engine: &mut MemoryEngine, disk: &mut dyn Disk) -> Result<Vec<FlushEnd>, DiskError> {
    while let Some(request) = engine.poll_disk() {
        let result = disk.execute(&request.operation);
        engine.handle_disk(DiskCompletion { id: request.id, result })?;
    }
    Ok(std::iter::from_fn(|| engine.poll_flushed()).collect())
}

/// The disk would take long over a whole file at once, and what else is synced meanwhile would wait for it.
#[test]
fn a_flush_is_synced_piece_by_piece() {
    let mut engine = filled_engine();
    let (mut unsynced, mut longest, mut written) = (0, 0, 0);
    let watch = |_: usize, operation: &DiskOperation| {
        match operation {
            DiskOperation::WriteAt { bytes, .. } => {
                unsynced += bytes.len();
                written += bytes.len();
            }
            DiskOperation::SyncData(_) => longest = longest.max(std::mem::take(&mut unsynced)),
            DiskOperation::Rename { .. } => assert_eq!(unsynced, 0, "what is whole is synced"),
            _ => {}
        }
        false
    };
    let mut disk = Faulty { disk: MemoryDisk::default(), rule: watch, operations: 0 };
    engine.flush(GROUP, Generation(1)).unwrap();
    let ended = settle(&mut engine, &mut disk).unwrap();
    assert!(matches!(ended[..], [Ok(_)]), "{ended:?}");
    assert!(written > 2 << 20 && longest < (1 << 20) + (512 << 10), "{longest} of {written}");
}

#[test]
fn a_flush_that_fails_anywhere_is_given_up_and_may_be_tried_again() {
    let mut failed = 0;
    for at in 1.. {
        let mut engine = filled_engine();
        let mut disk = Faulty {
            disk: MemoryDisk::default(),
            rule: |number: usize, operation: &DiskOperation| {
                number == at && operation.verb() != "sync"
            },
            operations: 0,
        };
        engine.flush(GROUP, Generation(1)).unwrap();
        let ended = settle(&mut engine, &mut disk).unwrap();
        if let [Ok(_)] = ended[..] {
            if disk.operations < at {
                break;
            }
            continue;
        }
        let [Err((GROUP, EngineError::Disk(error)))] = &ended[..] else {
            panic!("operation {at}: {ended:?}");
        };
        assert_eq!(error.kind, DiskErrorKind::Full);
        failed += 1;
        assert_eq!(disk.disk.list().unwrap(), [], "nothing is left of operation {at}");
        assert_eq!(engine.stats().snapshots, 0);
        assert_eq!(engine.stats().flushes_failed, 1);
        engine.flush(GROUP, Generation(1)).unwrap();
        let ended = settle(&mut engine, &mut disk).unwrap();
        assert!(matches!(ended[..], [Ok(_)]), "{ended:?}");
        let mut second = super::engine();
        second.open(&mut disk, GROUP, Generation(1)).unwrap();
        assert_eq!(second.size(GROUP).unwrap(), engine.size(GROUP).unwrap());
    }
    assert!(failed >= 5, "creation, writes and rename: {failed}");
}

#[test]
fn a_disk_that_stays_full_keeps_nothing_but_what_it_cannot_remove() {
    let mut engine = filled_engine();
    let full = Rc::new(RefCell::new(true));
    let rule = Rc::clone(&full);
    let mut disk = Faulty {
        disk: MemoryDisk::default(),
        rule: move |_, operation: &DiskOperation| {
            *rule.borrow() && matches!(operation.verb(), "write" | "delete")
        },
        operations: 0,
    };
    for generation in 1..4 {
        engine.flush(GROUP, Generation(generation)).unwrap();
        let ended = settle(&mut engine, &mut disk).unwrap();
        let [Err((_, error))] = &ended[..] else {
            panic!("{ended:?}");
        };
        let message = error.to_string();
        assert!(message.contains("write of") && message.contains("then delete of"), "{message}");
    }
    assert_eq!(engine.stats().removals_failed, 3);
    *full.borrow_mut() = false;
    engine.flush(GROUP, Generation(4)).unwrap();
    let ended = settle(&mut engine, &mut disk).unwrap();
    assert!(matches!(ended[..], [Ok(_)]));
    let names: Vec<_> = disk.list().unwrap().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, [FileName::new("snap-00000001-0000000000000004.snap")]);
    assert_eq!(engine.stats().removals_failed, 0);
}

#[test]
fn a_failed_sync_is_the_end() {
    for which in 1..=2 {
        let mut engine = filled_engine();
        let mut syncs = 0;
        let mut disk = Faulty {
            disk: MemoryDisk::default(),
            rule: |_, operation: &DiskOperation| {
                syncs += usize::from(operation.verb() == "sync");
                syncs == which
            },
            operations: 0,
        };
        engine.flush(GROUP, Generation(1)).unwrap();
        let error = settle(&mut engine, &mut disk).unwrap_err();
        assert_eq!(error.operation, "sync");
        assert!(engine.poll_flushed().is_none(), "nothing is told durable");
    }
}

#[test]
fn one_part_at_a_time_is_encoded_and_written() {
    let mut engine = filled_engine();
    engine.flush(GROUP, Generation(1)).unwrap();
    let mut disk = MemoryDisk::default();
    let mut writes = 0;
    while let Some(request) = engine.poll_disk() {
        assert!(engine.poll_disk().is_none(), "one operation at a time");
        assert_eq!(request.lane, ringfort_env::Lane::Background);
        if let DiskOperation::WriteAt { bytes, .. } = &request.operation {
            assert!(bytes.len() <= (256 << 10) + 1024);
            writes += 1;
        }
        let result = disk.execute(&request.operation);
        engine.handle_disk(DiskCompletion { id: request.id, result }).unwrap();
    }
    assert!(writes > 2);
}

#[test]
fn a_file_that_cannot_be_read_costs_its_own_store_only() {
    let (other, generation) = (GroupId(2), Generation(1));
    let mut engine = filled_engine();
    engine.create(other).unwrap();
    let mut disk = MemoryDisk::default();
    for group in [GROUP, other] {
        engine.flush(group, generation).unwrap();
        settle(&mut engine, &mut disk).unwrap();
    }
    let unreadable = files::whole(GROUP, generation);
    let live = [(GROUP, generation), (other, generation)];
    let mut refused = Vec::new();
    for failing in 1.. {
        let mut reads = 0;
        let mut disk = Faulty {
            disk: disk.clone(),
            rule: |_, operation: &DiskOperation| {
                let hit = operation.verb() == "read" && operation.file() == Some(&unreadable);
                reads += usize::from(hit);
                hit && reads == failing
            },
            operations: 0,
        };
        let mut second = super::engine();
        let opened = second.open(&mut disk, GROUP, generation);
        second.open(&mut disk, other, generation).unwrap();
        assert_eq!(second.remove_leftovers(&mut disk, &live).unwrap(), 0, "it may be readable yet");
        match opened {
            Ok(_) => break,
            Err(EngineError::Damaged { file, offset, reason }) => {
                assert_eq!(file, unreadable);
                assert_eq!(reason, "it cannot be read: input/output error");
                assert!(matches!(second.size(GROUP), Err(EngineError::NoStore(_))));
                refused.push(offset);
            }
            Err(error) => panic!("read {failing}: {error}"),
        }
    }
    // The head, every part, and the end; each is named.
    assert!(refused.len() > 4 && refused.is_sorted(), "{refused:?}");
}

#[test]
fn a_removal_that_failed_is_not_tried_again_on_the_file_of_a_successor() {
    let mut engine = filled_engine();
    let mut disk = MemoryDisk::default();
    engine.flush(GROUP, Generation(1)).unwrap();
    settle(&mut engine, &mut disk).unwrap();
    // The old store's file cannot be removed; the new store uses the same number while that is not known yet.
    engine.drop_store(GROUP);
    engine.create(GROUP).unwrap();
    engine.flush(GROUP, Generation(1)).unwrap();
    let removal = engine.poll_disk().unwrap();
    assert_eq!(removal.operation.verb(), "delete");
    let error = removal.operation.error(DiskErrorKind::Other, "busy");
    let creation = engine.poll_disk().unwrap();
    let result = disk.execute(&creation.operation);
    engine.handle_disk(DiskCompletion { id: creation.id, result }).unwrap();
    engine.handle_disk(DiskCompletion { id: removal.id, result: Err(error) }).unwrap();
    assert!(matches!(settle(&mut engine, &mut disk).unwrap()[..], [Ok(_)]));
    engine.create(GroupId(2)).unwrap();
    engine.flush(GroupId(2), Generation(1)).unwrap();
    assert!(matches!(settle(&mut engine, &mut disk).unwrap()[..], [Ok(_)]));
    let mut second = super::engine();
    second.open(&mut disk, GROUP, Generation(1)).unwrap();
    assert_eq!(second.size(GROUP).unwrap().keys, 0);
}
