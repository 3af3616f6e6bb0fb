//! Flushes, starts, and what goes again.

use ringfort_types::{Applied, GroupId};

use super::model::{applied, puts, random_batch};
use super::random::Random;
use super::snapshots::read_on;
use super::{Case, Harness, Model};
use crate::store::{EngineError, Flushed, Generation, StorageEngine};

const GROUP: GroupId = GroupId(3);

pub(super) const CASES: &[Case] = &[
    ("a start comes back to the generation it is told", flush_and_open),
    ("a flush holds the store as it was when it began", flush_beside_writers),
    ("generation 0 opens empty", generation_zero),
    ("a generation that does not exist is damage", missing_generation),
    ("one flush per store at a time, many stores at once", flushes_at_once),
    ("what was installed is durable after the next flush", install_then_flush),
    ("left-overs go, live generations stay", leftovers),
    ("a dropped store can be made anew and comes back empty", dropped_stores),
    ("a store dropped during its flush leaves nothing", dropped_during_flush),
    ("a generation goes though its store is not open", closed_stores),
];

/// A flush to its end.
pub(super) fn flush(
    harness: &mut Harness,
    engine: &mut dyn StorageEngine,
    group: GroupId,
    generation: u64,
) -> Flushed {
    engine.flush(group, Generation(generation)).unwrap();
    let ended = harness.settle(engine);
    let [Ok(flushed)] = ended[..] else {
        panic!("one flush ends well: {ended:?}");
    };
    assert_eq!((flushed.group, flushed.generation), (group, Generation(generation)));
    flushed
}

fn open(
    harness: &mut Harness,
    group: GroupId,
    generation: u64,
) -> (Box<dyn StorageEngine>, Applied) {
    let mut engine = harness.start();
    let applied = engine.open(&mut *harness.disk, group, Generation(generation)).unwrap();
    (engine, applied)
}

fn flush_and_open(harness: &mut Harness) {
    let mut random = Random::new(20);
    let mut model = Model::default();
    let mut engine = harness.start();
    engine.create(GROUP).unwrap();
    let mut durable = Vec::new();
    for generation in 1..6 {
        for index in generation * 100..generation * 100 + 50 {
            let batch = random_batch(&mut random, index);
            engine.write(GROUP, &batch).unwrap();
            model.write(&batch);
        }
        let flushed = flush(harness, &mut *engine, GROUP, generation);
        assert_eq!(flushed.applied, model.applied);
        assert!(flushed.bytes > 0);
        durable.push(model.clone());
    }
    assert_eq!(engine.stats().flushes, 5);
    drop(engine);
    for (generation, model) in (1..).zip(&durable) {
        let (engine, applied) = open(harness, GROUP, generation);
        assert_eq!(applied, model.applied);
        model.check(&*engine, GROUP);
    }
}

fn flush_beside_writers(harness: &mut Harness) {
    let mut random = Random::new(21);
    let mut engine = harness.start();
    engine.create(GROUP).unwrap();
    let mut model = Model::default();
    for index in 1..400 {
        let batch = random_batch(&mut random, index);
        engine.write(GROUP, &batch).unwrap();
        model.write(&batch);
    }
    engine.flush(GROUP, Generation(1)).unwrap();
    let mut index = 400;
    while let Some(request) = engine.poll_disk() {
        for _ in 0..50 {
            engine.write(GROUP, &random_batch(&mut random, index)).unwrap();
            index += 1;
        }
        let result = harness.disk.execute(&request.operation);
        let completion = ringfort_env::DiskCompletion { id: request.id, result };
        engine.handle_disk(completion).unwrap();
    }
    let ended = harness.settle(&mut *engine);
    drop((engine, ended));
    let (engine, applied) = open(harness, GROUP, 1);
    assert_eq!(applied, model.applied);
    model.check(&*engine, GROUP);
}

fn generation_zero(harness: &mut Harness) {
    let (mut engine, at) = open(harness, GROUP, 0);
    assert_eq!(at, Applied::default());
    engine.write(GROUP, &puts(1, &[("a", "1")])).unwrap();
    drop(engine);
    let (engine, _) = open(harness, GROUP, 0);
    assert_eq!(engine.size(GROUP).unwrap().keys, 0);
}

fn missing_generation(harness: &mut Harness) {
    let mut engine = harness.start();
    let opened = engine.open(&mut *harness.disk, GROUP, Generation(5));
    assert!(matches!(opened, Err(EngineError::Damaged { .. })), "{opened:?}");
    assert!(matches!(engine.applied(GROUP), Err(EngineError::NoStore(_))));
    engine.create(GROUP).unwrap();
}

fn flushes_at_once(harness: &mut Harness) {
    let mut engine = harness.start();
    let groups = (0..20).map(GroupId);
    for group in groups.clone() {
        engine.create(group).unwrap();
        let value = group.to_string();
        engine.write(group, &puts(1, &[("group", &value)])).unwrap();
        engine.flush(group, Generation(1)).unwrap();
        let second = engine.flush(group, Generation(2));
        assert!(matches!(second, Err(EngineError::FlushUnderWay(_))));
        engine.write(group, &puts(2, &[("group", "later")])).unwrap();
    }
    let ended = harness.settle(&mut *engine);
    assert_eq!(ended.iter().filter(|end| end.is_ok()).count(), 20);
    drop(engine);
    let mut engine = harness.start();
    for group in groups {
        let at = engine.open(&mut *harness.disk, group, Generation(1)).unwrap();
        assert_eq!(at, applied(1));
        let value = engine.get(group, b"group").unwrap().unwrap();
        assert_eq!(&value[..], group.to_string().as_bytes());
    }
}

fn install_then_flush(harness: &mut Harness) {
    let mut engine = harness.start();
    engine.create(GROUP).unwrap();
    engine.write(GROUP, &puts(50, &[("a", "1"), ("b", "2")])).unwrap();
    let (id, _) = engine.snapshot(GROUP).unwrap();
    let stream = read_on(&mut *engine, id, 1000);
    engine.release_snapshot(id);
    engine.drop_store(GROUP);
    engine.create(GROUP).unwrap();
    engine.write(GROUP, &puts(10, &[("old", "x")])).unwrap();
    flush(harness, &mut *engine, GROUP, 1);
    engine.install(GROUP, &mut stream.into_iter()).unwrap().unwrap();
    let flushed = flush(harness, &mut *engine, GROUP, 2);
    assert_eq!(flushed.applied, applied(50));
    drop(engine);
    let (engine, at) = open(harness, GROUP, 2);
    assert_eq!(at, applied(50));
    assert!(engine.get(GROUP, b"old").unwrap().is_none());
    assert_eq!(engine.size(GROUP).unwrap().keys, 2);
}

fn leftovers(harness: &mut Harness) {
    let mut engine = harness.start();
    let other = GroupId(4);
    for group in [GROUP, other] {
        engine.create(group).unwrap();
        engine.write(group, &puts(1, &[("a", "1")])).unwrap();
        flush(harness, &mut *engine, group, 1);
    }
    flush(harness, &mut *engine, GROUP, 2);
    engine.remove_generation(GROUP, Generation(1));
    engine.remove_generation(GROUP, Generation(1));
    engine.remove_generation(GROUP, Generation(9));
    harness.settle(&mut *engine);
    flush(harness, &mut *engine, GROUP, 3);
    drop(engine);
    // The log knows generation 2 of this group; 3 was flushed and never recorded; the other group is gone.
    let (mut engine, _) = open(harness, GROUP, 2);
    let live = [(GROUP, Generation(2))];
    let removed = engine.remove_leftovers(&mut *harness.disk, &live).unwrap();
    assert_eq!(removed, 2);
    assert_eq!(engine.remove_leftovers(&mut *harness.disk, &live).unwrap(), 0);
    assert!(engine.open(&mut *harness.disk, other, Generation(1)).is_err());
    // The number of the generation that never counted may come again.
    engine.write(GROUP, &puts(2, &[("b", "2")])).unwrap();
    flush(harness, &mut *engine, GROUP, 3);
    drop(engine);
    let (engine, at) = open(harness, GROUP, 3);
    assert_eq!(at, applied(2));
    assert_eq!(engine.size(GROUP).unwrap().keys, 2);
}

fn dropped_stores(harness: &mut Harness) {
    let mut engine = harness.start();
    engine.create(GROUP).unwrap();
    engine.write(GROUP, &puts(1, &[("a", "1")])).unwrap();
    flush(harness, &mut *engine, GROUP, 1);
    engine.drop_store(GROUP);
    assert!(matches!(engine.size(GROUP), Err(EngineError::NoStore(_))));
    harness.settle(&mut *engine);
    engine.create(GROUP).unwrap();
    assert_eq!(engine.size(GROUP).unwrap().keys, 0);
    assert_eq!(engine.applied(GROUP).unwrap(), Applied::default());
    drop(engine);
    let mut engine = harness.start();
    assert_eq!(engine.remove_leftovers(&mut *harness.disk, &[]).unwrap(), 0);
    assert!(engine.open(&mut *harness.disk, GROUP, Generation(1)).is_err());
}

fn dropped_during_flush(harness: &mut Harness) {
    // The flush is dropped after each number of operations that it takes, its end taken note of or not.
    for (steps, polls) in (0..10).flat_map(|steps| [(steps, true), (steps, false)]) {
        let mut engine = harness.start();
        engine.create(GROUP).unwrap();
        engine.write(GROUP, &puts(1, &[("a", "1")])).unwrap();
        engine.flush(GROUP, Generation(1)).unwrap();
        let mut under_way = None;
        for _ in 0..=steps {
            if let Some(completion) = under_way.take() {
                engine.handle_disk(completion).unwrap();
            }
            let Some(request) = engine.poll_disk() else {
                break;
            };
            let result = harness.disk.execute(&request.operation);
            under_way = Some(ringfort_env::DiskCompletion { id: request.id, result });
        }
        let told = polls && engine.poll_flushed().is_some();
        engine.drop_store(GROUP);
        engine.create(GROUP).unwrap();
        engine.write(GROUP, &puts(2, &[("b", "2")])).unwrap();
        engine.flush(GROUP, Generation(1)).unwrap();
        if let Some(completion) = under_way.take() {
            engine.handle_disk(completion).unwrap();
        }
        let ended = harness.settle(&mut *engine);
        let [Ok(flushed)] = ended[..] else {
            panic!("after {steps} steps, told {told}: {ended:?}");
        };
        assert_eq!(flushed.applied, applied(2), "after {steps} steps, told {told}");
        drop(engine);
        let mut engine = harness.start();
        let at = engine.open(&mut *harness.disk, GROUP, Generation(1)).unwrap();
        assert_eq!(at, applied(2));
        let live = [(GROUP, Generation(1))];
        assert_eq!(engine.remove_leftovers(&mut *harness.disk, &live).unwrap(), 0);
        engine.remove_leftovers(&mut *harness.disk, &[]).unwrap();
    }
}

fn closed_stores(harness: &mut Harness) {
    let mut engine = harness.start();
    engine.create(GROUP).unwrap();
    engine.write(GROUP, &puts(1, &[("a", "1")])).unwrap();
    flush(harness, &mut *engine, GROUP, 1);
    drop(engine);
    let mut engine = harness.start();
    engine.remove_generation(GROUP, Generation(0));
    engine.remove_generation(GROUP, Generation(1));
    engine.create(GROUP).unwrap();
    harness.settle(&mut *engine);
    assert!(harness.disk.list().unwrap().is_empty());
}
