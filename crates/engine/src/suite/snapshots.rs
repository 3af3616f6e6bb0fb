//! Snapshots as streams: exact, several at once, beside writers; and what is not taken.

use bytes::Bytes;
use ringfort_types::GroupId;

use super::model::{applied, delete, puts, random_batch};
use super::random::Random;
use super::{Case, Harness, Model};
use crate::store::{EngineError, SnapshotId, StorageEngine, WriteBatch};

const GROUP: GroupId = GroupId(3);

pub(super) const CASES: &[Case] = &[
    ("an empty store has a snapshot too", empty_snapshot),
    ("a snapshot shows one moment, whatever is written while it is read", one_moment),
    ("snapshots of several moments are read side by side", many_moments),
    ("the parts of a stream keep to the size that is asked for", part_sizes),
    ("a snapshot ends with its store, or when it is released", snapshots_end),
    ("installing replaces everything, and snapshots of what was before go on", install_replaces),
    ("a damaged stream is refused and changes nothing", damaged_streams),
    ("a stream of another group is refused", foreign_stream),
];

fn filled(harness: &mut Harness, seed: u64, batches: u64) -> (Box<dyn StorageEngine>, Model) {
    let mut engine = harness.start();
    engine.create(GROUP).unwrap();
    let mut model = Model::default();
    let mut random = Random::new(seed);
    for index in 1..=batches {
        let batch = random_batch(&mut random, index);
        engine.write(GROUP, &batch).unwrap();
        model.write(&batch);
    }
    (engine, model)
}

/// The rest of a snapshot.
pub(super) fn read_on(engine: &mut dyn StorageEngine, id: SnapshotId, part: usize) -> Vec<Bytes> {
    std::iter::from_fn(|| engine.read_snapshot(id, part).unwrap()).collect()
}

/// That a stream holds exactly what a model does.
pub(super) fn check_stream(engine: &mut dyn StorageEngine, stream: Vec<Bytes>, model: &Model) {
    // The same group in a store beside it is not to be had: install here, compare, and put back what was there.
    let (kept, _) = engine.snapshot(GROUP).unwrap();
    let before = read_on(engine, kept, 1 << 20);
    engine.release_snapshot(kept);
    let taken = engine.install(GROUP, &mut stream.into_iter()).unwrap();
    assert_eq!(taken, Ok(model.applied));
    model.check(engine, GROUP);
    engine.install(GROUP, &mut before.into_iter()).unwrap().unwrap();
}

fn empty_snapshot(harness: &mut Harness) {
    let mut engine = harness.start();
    engine.create(GROUP).unwrap();
    let batch = WriteBatch { operations: vec![], applied: applied(9) };
    engine.write(GROUP, &batch).unwrap();
    let (id, at) = engine.snapshot(GROUP).unwrap();
    assert_eq!(at, applied(9));
    let stream = read_on(&mut *engine, id, 4096);
    assert!(!stream.is_empty());
    assert!(engine.read_snapshot(id, 4096).unwrap().is_none());
    engine.release_snapshot(id);
    engine.write(GROUP, &puts(10, &[("a", "1")])).unwrap();
    let taken = engine.install(GROUP, &mut stream.into_iter()).unwrap();
    assert_eq!(taken, Ok(applied(9)));
    assert_eq!(engine.size(GROUP).unwrap().keys, 0);
}

fn one_moment(harness: &mut Harness) {
    let (mut engine, mut model) = filled(harness, 2, 300);
    let then = model.clone();
    let (id, at) = engine.snapshot(GROUP).unwrap();
    assert_eq!(at, then.applied);
    let mut random = Random::new(3);
    let mut stream = Vec::new();
    let mut index = 300;
    while let Some(part) = engine.read_snapshot(id, 3000).unwrap() {
        stream.push(part);
        for _ in 0..20 {
            index += 1;
            let batch = random_batch(&mut random, index);
            engine.write(GROUP, &batch).unwrap();
            model.write(&batch);
        }
    }
    engine.release_snapshot(id);
    model.check(&*engine, GROUP);
    check_stream(&mut *engine, stream, &then);
    model.check(&*engine, GROUP);
}

fn many_moments(harness: &mut Harness) {
    let (mut engine, mut model) = filled(harness, 4, 50);
    let mut random = Random::new(5);
    let mut open: Vec<(SnapshotId, Model, Vec<Bytes>)> = Vec::new();
    let mut done = Vec::new();
    for index in 51..2000 {
        let batch = random_batch(&mut random, index);
        engine.write(GROUP, &batch).unwrap();
        model.write(&batch);
        if open.len() < 6 && random.percent(10) {
            let (id, at) = engine.snapshot(GROUP).unwrap();
            assert_eq!(at, model.applied);
            open.push((id, model.clone(), Vec::new()));
        }
        if open.is_empty() {
            continue;
        }
        let chosen = random.below(open.len());
        if random.percent(3) {
            let (id, ..) = open.swap_remove(chosen);
            engine.release_snapshot(id);
            continue;
        }
        let (id, _, stream) = &mut open[chosen];
        let size = 1 + random.below(40_000);
        if let Some(part) = engine.read_snapshot(*id, size).unwrap() {
            stream.push(part);
        } else {
            let (id, then, stream) = open.swap_remove(chosen);
            engine.release_snapshot(id);
            done.push((then, stream));
        }
    }
    for (id, then, mut stream) in open {
        stream.extend(read_on(&mut *engine, id, 1 << 20));
        engine.release_snapshot(id);
        done.push((then, stream));
    }
    assert!(done.len() > 10, "{} snapshots", done.len());
    assert_eq!(engine.stats().snapshots, 0);
    assert_eq!(engine.stats().records_superseded, 0, "nothing is kept for snapshots that are gone");
    for (then, stream) in done {
        check_stream(&mut *engine, stream, &then);
    }
    model.check(&*engine, GROUP);
}

fn part_sizes(harness: &mut Harness) {
    let (mut engine, model) = filled(harness, 6, 400);
    let largest = model.records.iter().map(|(key, value)| key.len() + value.len());
    // Heads, lengths and checksums around one record.
    let around = 512;
    let largest = largest.max().unwrap_or(0) + around;
    for size in [1, 100, 5000, 64 << 10, 300_000, usize::MAX] {
        let (id, _) = engine.snapshot(GROUP).unwrap();
        let stream = read_on(&mut *engine, id, size);
        engine.release_snapshot(id);
        for part in &stream {
            assert!(!part.is_empty());
            assert!(part.len() <= size.max(largest), "{} of {size}", part.len());
        }
        check_stream(&mut *engine, stream, &model);
    }
}

fn snapshots_end(harness: &mut Harness) {
    let (mut engine, _) = filled(harness, 7, 50);
    let (released, _) = engine.snapshot(GROUP).unwrap();
    engine.read_snapshot(released, 100).unwrap().unwrap();
    engine.release_snapshot(released);
    engine.release_snapshot(released);
    let gone = |result| matches!(result, Err(EngineError::NoSnapshot(_)));
    assert!(gone(engine.read_snapshot(released, 100)));
    let (dropped, _) = engine.snapshot(GROUP).unwrap();
    assert_ne!(dropped, released);
    engine.drop_store(GROUP);
    assert!(gone(engine.read_snapshot(dropped, 100)));
    engine.create(GROUP).unwrap();
    assert!(gone(engine.read_snapshot(dropped, 100)));
    engine.release_snapshot(dropped);
}

fn install_replaces(harness: &mut Harness) {
    let (mut engine, model) = filled(harness, 8, 100);
    let (first, _) = engine.snapshot(GROUP).unwrap();
    let stream = read_on(&mut *engine, first, 10_000);
    engine.release_snapshot(first);
    let mut later = model.clone();
    let keys: Vec<_> = model.records.keys().take(20).map(|key| delete(key)).collect();
    let batch = WriteBatch { operations: keys, applied: applied(101) };
    let more = puts(102, &[("new", "value"), ("zz", "1")]);
    for batch in [batch, more] {
        engine.write(GROUP, &batch).unwrap();
        later.write(&batch);
    }
    let (second, _) = engine.snapshot(GROUP).unwrap();
    let mut second_stream = vec![engine.read_snapshot(second, 1000).unwrap().unwrap()];
    let taken = engine.install(GROUP, &mut stream.into_iter()).unwrap();
    assert_eq!(taken, Ok(model.applied));
    model.check(&*engine, GROUP);
    engine.write(GROUP, &puts(103, &[("zz", "2")])).unwrap();
    second_stream.extend(read_on(&mut *engine, second, 1000));
    engine.release_snapshot(second);
    check_stream(&mut *engine, second_stream, &later);
    assert_eq!(&engine.get(GROUP, b"zz").unwrap().unwrap()[..], b"2");
}

fn damaged_streams(harness: &mut Harness) {
    let (mut engine, model) = filled(harness, 9, 60);
    let (id, _) = engine.snapshot(GROUP).unwrap();
    let stream = read_on(&mut *engine, id, 5000);
    engine.release_snapshot(id);
    let whole: Vec<u8> = stream.concat();
    let mut random = Random::new(10);
    let mut refused = |parts: Vec<Bytes>, how: &str| {
        let result = engine.install(GROUP, &mut parts.into_iter()).unwrap();
        assert!(result.is_err(), "{how} was taken");
    };
    refused(vec![], "nothing");
    for _ in 0..200 {
        let len = random.below(whole.len());
        refused(vec![whole[..len].to_vec().into()], "a shortened stream");
        let mut flipped = whole.clone();
        flipped[random.below(whole.len())] ^= 1 << random.below(8);
        refused(vec![flipped.into()], "a flipped bit");
        let mut cut = stream.clone();
        cut.remove(random.below(cut.len()));
        refused(cut, "a missing part");
        let mut swapped = stream.clone();
        let first = random.below(swapped.len() - 1);
        swapped.swap(first, first + 1);
        refused(swapped, "two parts in the wrong order");
        let mut doubled = stream.clone();
        let part = random.below(doubled.len());
        doubled.insert(part, doubled[part].clone());
        refused(doubled, "a part twice");
    }
    refused(vec![whole.clone().into(), Bytes::from_static(b"\0")], "a byte too many");
    refused(vec![[&whole[..], &whole].concat().into()], "a stream twice");
    refused(vec![random.bytes(100_000).into()], "noise");
    model.check(&*engine, GROUP);
    // Byte by byte it is still the same stream.
    let bytes = whole.iter().map(|byte| Bytes::copy_from_slice(&[*byte]));
    let taken = engine.install(GROUP, &mut { bytes }).unwrap();
    assert_eq!(taken, Ok(model.applied));
    model.check(&*engine, GROUP);
}

fn foreign_stream(harness: &mut Harness) {
    let (mut engine, model) = filled(harness, 11, 20);
    let other = GroupId(4);
    engine.create(other).unwrap();
    engine.write(other, &puts(1, &[("other", "group")])).unwrap();
    let (id, _) = engine.snapshot(other).unwrap();
    let stream = read_on(&mut *engine, id, 5000);
    engine.release_snapshot(id);
    let result = engine.install(GROUP, &mut stream.into_iter()).unwrap();
    assert!(result.is_err());
    model.check(&*engine, GROUP);
}
