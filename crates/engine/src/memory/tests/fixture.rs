//! A snapshot file of format version 1, kept for ever: later versions read it, and as long as version 1 is written, it is
//! written like this to the byte.

use ringfort_types::{Index, Term};

use super::*;
use crate::store::WriteOperation;
use crate::suite::MemoryDisk;

const FIXTURE: &[u8] = include_bytes!("../../../fixtures/snapshot-v1.snap");
const GROUP: GroupId = GroupId(7);
const GENERATION: Generation = Generation(42);

fn records() -> Vec<(Vec<u8>, Vec<u8>)> {
    let pattern = |len: usize| (0..=250).cycle().take(len).collect::<Vec<u8>>();
    vec![
        (vec![0], vec![]),
        (b"apple".to_vec(), b"1".to_vec()),
        (b"fig".to_vec(), pattern(200)),
        (pattern(300), b"a long key".to_vec()),
        (b"large".to_vec(), pattern(66_000)),
        (vec![0xff; 3], vec![0xff]),
    ]
}

fn applied() -> Applied {
    Applied { index: Index(1000), term: Term(3) }
}

#[test]
fn version_1_is_read() {
    let mut disk = MemoryDisk::default();
    disk.put(files::whole(GROUP, GENERATION), FIXTURE.to_vec());
    let mut engine = engine();
    let opened = engine.open(&mut disk, GROUP, GENERATION).unwrap();
    assert_eq!(opened, applied());
    for (key, value) in records() {
        assert_eq!(&engine.get(GROUP, &key).unwrap().unwrap()[..], value);
    }
    assert_eq!(engine.size(GROUP).unwrap().keys, 6);
}

#[test]
fn version_1_is_written() {
    assert_eq!(written(), FIXTURE);
}

fn written() -> Vec<u8> {
    let mut engine = engine();
    engine.create(GROUP).unwrap();
    let put = |(key, value): (Vec<u8>, Vec<u8>)| WriteOperation::Put {
        key: key.into(),
        head: Bytes::new(),
        body: value.into(),
    };
    let operations = records().into_iter().map(put).collect();
    engine.write(GROUP, &WriteBatch { operations, applied: applied() }).unwrap();
    engine.flush(GROUP, GENERATION).unwrap();
    let mut disk = MemoryDisk::default();
    while let Some(request) = engine.poll_disk() {
        let result = disk.execute(&request.operation);
        engine.handle_disk(DiskCompletion { id: request.id, result }).unwrap();
    }
    disk.file_mut(&files::whole(GROUP, GENERATION)).unwrap().clone()
}
