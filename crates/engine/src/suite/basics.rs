//! Writing and reading.

use bytes::Bytes;
use ringfort_types::{Applied, GroupId};

use super::model::{applied, delete, put, puts, random_batch, random_key};
use super::random::Random;
use super::{Case, Harness, Model};
use crate::store::{
    EngineError, Range, STORED_KEY_BYTES_MAX, StoreSize, WriteBatch, WriteOperation,
};

const GROUP: GroupId = GroupId(3);

pub(super) const CASES: &[Case] = &[
    ("a new store is empty", new_store_is_empty),
    ("a group without a store is an error, and so is a second one", missing_and_double_stores),
    ("a batch takes effect in order and as a whole", batches_in_order),
    ("keys and values are any bytes of any permitted length", any_bytes),
    ("size counts live keys and values to the byte", sizes_are_exact),
    ("a scan is ordered, begins inclusively and ends exclusively", scans),
    ("groups do not see each other", groups_are_apart),
    ("random batches and reads agree with an ordered map", random_batches),
];

fn new_store_is_empty(harness: &mut Harness) {
    let mut engine = harness.start();
    engine.create(GROUP).unwrap();
    assert_eq!(engine.applied(GROUP).unwrap(), Applied::default());
    assert_eq!(engine.size(GROUP).unwrap(), StoreSize::default());
    Model::default().check(&*engine, GROUP);
    assert!(engine.get(GROUP, b"a").unwrap().is_none());
}

fn missing_and_double_stores(harness: &mut Harness) {
    let mut engine = harness.start();
    let missing = Err(EngineError::NoStore(GROUP));
    let same = |a: Result<(), EngineError>, b: &Result<(), EngineError>| {
        assert_eq!(format!("{a:?}"), format!("{b:?}"));
    };
    same(engine.applied(GROUP).map(|_| ()), &missing);
    same(engine.write(GROUP, &puts(1, &[("a", "1")])), &missing);
    same(engine.get(GROUP, b"a").map(|_| ()), &missing);
    same(engine.size(GROUP).map(|_| ()), &missing);
    same(engine.snapshot(GROUP).map(|_| ()), &missing);
    same(engine.flush(GROUP, crate::Generation(1)), &missing);
    let mut nothing = std::iter::empty::<Bytes>();
    same(engine.install(GROUP, &mut nothing).map(|_| ()), &missing);
    engine.drop_store(GROUP);
    engine.remove_generation(GROUP, crate::Generation(1));
    engine.create(GROUP).unwrap();
    let exists = Err(EngineError::StoreExists(GROUP));
    same(engine.create(GROUP), &exists);
    let generation = crate::Generation(0);
    let opened = engine.open(&mut *harness.disk, GROUP, generation);
    same(opened.map(|_| ()), &exists);
}

fn batches_in_order(harness: &mut Harness) {
    let mut engine = harness.start();
    engine.create(GROUP).unwrap();
    let mut model = Model::default();
    let operations = vec![
        put(b"a", b"first"),
        put(b"a", b"second"),
        put(b"b", b"gone"),
        delete(b"b"),
        delete(b"never"),
        delete(b"c"),
        put(b"c", b"back"),
    ];
    for batch in [
        puts(1, &[("c", "old"), ("d", "stays")]),
        WriteBatch { operations, applied: applied(2) },
        WriteBatch { operations: vec![], applied: applied(7) },
    ] {
        engine.write(GROUP, &batch).unwrap();
        model.write(&batch);
        model.check(&*engine, GROUP);
    }
    assert_eq!(model.records[&b"a"[..]], b"second");
    assert_eq!(model.records[&b"c"[..]], b"back");
    assert_eq!(model.records.len(), 3);
}

fn any_bytes(harness: &mut Harness) {
    let mut engine = harness.start();
    engine.create(GROUP).unwrap();
    let mut model = Model::default();
    let operations = [
        put(&[0], b""),
        put(&[0, 0], &[0; 300]),
        put(&[0xff; 3], &[0xff]),
        put(&vec![7; STORED_KEY_BYTES_MAX], b"longest"),
        put(b"large", &vec![9; 9 << 20]),
        WriteOperation::Put {
            key: Bytes::from_static(b"head only"),
            head: Bytes::from_static(b"head"),
            body: Bytes::new(),
        },
    ];
    let batch = WriteBatch { operations: operations.into(), applied: applied(1) };
    engine.write(GROUP, &batch).unwrap();
    model.write(&batch);
    model.check(&*engine, GROUP);
}

fn sizes_are_exact(harness: &mut Harness) {
    let mut engine = harness.start();
    engine.create(GROUP).unwrap();
    let mut write = |index, operations, keys, bytes| {
        let batch = WriteBatch { operations, applied: applied(index) };
        engine.write(GROUP, &batch).unwrap();
        assert_eq!(engine.size(GROUP).unwrap(), StoreSize { keys, bytes });
    };
    write(1, vec![put(b"ab", b"123")], 1, 5);
    write(2, vec![put(b"ab", b"1")], 1, 3);
    write(3, vec![put(b"c", b"")], 2, 4);
    write(4, vec![delete(b"x"), delete(b"ab")], 1, 1);
    write(5, vec![put(b"c", b"22"), delete(b"c"), put(b"c", b"4444")], 1, 5);
    write(6, vec![delete(b"c")], 0, 0);
}

fn scans(harness: &mut Harness) {
    let mut engine = harness.start();
    engine.create(GROUP).unwrap();
    let mut model = Model::default();
    for index in 1..500 {
        let key = format!("k{:03}", index * 37 % 500);
        let batch = puts(index, &[(&key, "value")]);
        engine.write(GROUP, &batch).unwrap();
        model.write(&batch);
    }
    let bounds = [&b""[..], b"a", b"k", b"k000", b"k001", b"k100", b"k1005", b"k499", b"l"];
    for start in bounds {
        for end in bounds.map(Some).into_iter().chain([None]) {
            for limit in [1, 3, 1000] {
                model.check_range(&*engine, GROUP, Range { start, end }, limit);
            }
        }
    }
}

fn groups_are_apart(harness: &mut Harness) {
    let mut engine = harness.start();
    let groups = [GroupId(0), GroupId(1), GroupId(u32::MAX)];
    for group in groups {
        engine.create(group).unwrap();
    }
    for (group, value) in groups.into_iter().zip(["x", "yy", "zzz"]) {
        engine.write(group, &puts(1, &[("same", value), (value, "")])).unwrap();
    }
    engine.drop_store(groups[1]);
    assert!(engine.get(groups[1], b"same").is_err());
    for (group, value) in [(groups[0], "x"), (groups[2], "zzz")] {
        let mut model = Model::default();
        model.write(&puts(1, &[("same", value), (value, "")]));
        model.check(&*engine, group);
    }
}

fn random_batches(harness: &mut Harness) {
    let mut engine = harness.start();
    engine.create(GROUP).unwrap();
    let mut random = Random::new(1);
    let mut model = Model::default();
    for index in 1..2000 {
        let batch = random_batch(&mut random, index);
        engine.write(GROUP, &batch).unwrap();
        model.write(&batch);
        model.check_key(&*engine, GROUP, &random_key(&mut random));
        let (start, end) = (random_key(&mut random), random_key(&mut random));
        let range = Range { start: &start, end: Some(&end) };
        model.check_range(&*engine, GROUP, range, random.below(50));
    }
    model.check(&*engine, GROUP);
}
