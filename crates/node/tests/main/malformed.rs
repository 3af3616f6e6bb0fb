//! Stores whose checksums hold and whose bytes are none of ours: they close their shard, and no other.

use bytes::Bytes;
use ringfort_engine::{
    Generation, MemoryEngine, MemoryOptions, StorageEngine, WriteBatch, WriteOperation,
};
use ringfort_env::{Disk, DiskCompletion, DiskOperation, FileName};
use ringfort_sim::SimDisk;
use ringfort_types::{GroupId, ShardId};

use crate::support::{Driver, SHARDS, key, shard_of};

const SHARD: ShardId = ShardId(1);
const GENERATION: Generation = Generation(1);
/// A meta record of format 1 whose revision, the eight bytes behind, is beyond all versions.
const REVISION_BEYOND: [u8; 41] = {
    let mut meta = [0; 41];
    meta[0] = 1;
    meta[8] = 1;
    meta
};

/// A node with a snapshot of the shard, and nothing in the log behind it that would hide what is in the store.
fn history() -> (Driver, FileName) {
    let mut driver = Driver::new(1);
    for _ in 0..60 {
        driver.write();
    }
    driver.node.settle().unwrap();
    driver.node.want_flush(&[SHARD]);
    driver.node.settle().unwrap();
    driver.check("before any change");
    let files = driver.node.disk().list().unwrap();
    let mut snapshots = files.into_iter().filter(|(name, _)| name.as_str().starts_with("snap-"));
    let (file, _) = snapshots.next().unwrap();
    assert!(snapshots.next().is_none());
    (driver, file)
}

/// The snapshot as this engine writes it after one more change, with all its checksums right.
fn forge(disk: &mut SimDisk, file: &FileName, operation: WriteOperation) {
    let group = GroupId::of_shard(SHARD);
    let mut engine = MemoryEngine::new(MemoryOptions { hash_seed: 1 });
    let applied = engine.open(disk, group, GENERATION).unwrap();
    engine.write(group, &WriteBatch { operations: vec![operation], applied }).unwrap();
    // An engine writes no generation twice: it goes as a stream to another, which knows nothing of this one.
    let (snapshot, _) = engine.snapshot(group).unwrap();
    let mut parts: Vec<Bytes> = Vec::new();
    while let Some(part) = engine.read_snapshot(snapshot, 1 << 16).unwrap() {
        parts.push(part);
    }
    let mut other = MemoryEngine::new(MemoryOptions { hash_seed: 1 });
    other.create(group).unwrap();
    other.install(group, &mut parts.into_iter()).unwrap().unwrap();
    disk.execute(&DiskOperation::Delete(file.clone())).unwrap();
    other.flush(group, GENERATION).unwrap();
    while let Some(request) = other.poll_disk() {
        let result = disk.execute(&request.operation);
        other.handle_disk(DiskCompletion { id: request.id, result }).unwrap();
    }
    assert!(other.poll_flushed().unwrap().is_ok());
}

fn put(key: &[u8], value: &'static [u8]) -> WriteOperation {
    let key = Bytes::copy_from_slice(key);
    WriteOperation::Put { key, head: Bytes::new(), body: Bytes::from_static(value) }
}

/// What the shard says when it is closed; every other one holds what it has to.
fn closed_alone(after: &mut Driver, story: &str) -> String {
    let mut reason = None;
    for shard in (0..SHARDS).map(ShardId) {
        match after.state(shard) {
            Ok(found) => after.settle_on(shard, &found, story),
            Err(why) => {
                assert_eq!(shard, SHARD, "{story}: {why}");
                reason = Some(why);
            }
        }
    }
    reason.unwrap_or_else(|| panic!("{story}: the shard is served"))
}

#[test]
fn a_malformed_store_closes_its_shard_at_the_start() {
    let (mut driver, file) = history();
    let none_of_ours: [(&str, WriteOperation); 6] = [
        ("meta of another length", put(&[0], b"none of ours")),
        ("meta of another format", put(&[0], &[9; 41])),
        ("a revision beyond all versions", put(&[0], &REVISION_BEYOND)),
        ("no meta at all", WriteOperation::Delete { key: Bytes::from_static(&[0]) }),
        ("an expiry without a time", put(&[2, 1], b"")),
        ("a forget key without a time", put(&[6, 1], b"")),
    ];
    for (story, operation) in none_of_ours {
        let mut disk = driver.node.disk().clone();
        forge(&mut disk, &file, operation);
        let mut after = driver.restart(disk, 1);
        let reason = closed_alone(&mut after, story);
        assert!(
            reason.contains(file.as_str()) && reason.contains("malformed"),
            "{story}: {reason}"
        );
        let findings = &after.node.findings;
        let told = |finding: &String| {
            finding.contains(&format!("shard {SHARD} is closed")) && finding.contains(file.as_str())
        };
        assert!(findings.iter().any(told), "{story}: {findings:?}");
    }
}

/// Nobody looks at every value at a start: one that is none of ours closes its shard when it is read.
#[test]
fn a_malformed_value_closes_its_shard_when_it_is_read() {
    let (mut driver, file) = history();
    let mine = (0..12).map(key).find(|key| shard_of(key) == SHARD).unwrap();
    let data_key = [&[1, 0, 0, 0, 0], mine.as_bytes()].concat();
    let mut disk = driver.node.disk().clone();
    forge(&mut disk, &file, put(&data_key, b"\x07none of ours"));
    let mut after = driver.restart(disk, 1);
    assert_eq!(after.node.findings, Vec::<String>::new());
    let reason = closed_alone(&mut after, "a value");
    assert!(reason.contains(file.as_str()) && reason.contains("malformed value"), "{reason}");
    let message = after.node.worker().poll_message().unwrap();
    assert!(message.contains(file.as_str()), "{message}");
}
