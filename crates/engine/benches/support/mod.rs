//! What the benches and the footprint example share: keys, values and a disk in memory.

use std::collections::BTreeMap;

use bytes::Bytes;
use ringfort_engine::{
    Flushed, Generation, MemoryEngine, MemoryOptions, StorageEngine, WriteBatch, WriteOperation,
};
use ringfort_env::{
    Disk, DiskAnswer, DiskCompletion, DiskError, DiskErrorKind, DiskOperation, FileName,
};
use ringfort_types::{Applied, GroupId, Index, Term};

/// Groups of a node with the default number of shards.
pub const GROUPS: u32 = 64;
/// Bytes of a value: 256 of a client's and 9 of the state machine's.
pub const VALUE_BYTES: usize = 265;

/// A key of 21 bytes as the state machine makes it: 5 of its own, 16 of the client's. Scattered, each once.
pub fn key(number: u64) -> [u8; 21] {
    let scattered = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut key = *b"d\0\0\0\0................";
    for (place, nibble) in key[5..].iter_mut().zip((0..16).rev()) {
        *place = b"0123456789abcdef"[usize::try_from(scattered >> (nibble * 4) & 15).unwrap_or(0)];
    }
    key
}

/// A key's group.
pub fn group(number: u64) -> GroupId {
    GroupId(u32::try_from(number % u64::from(GROUPS)).unwrap_or(0) + 1)
}

/// A batch of one put.
pub fn put(number: u64, value: &Bytes, index: u64) -> WriteBatch {
    let operation = WriteOperation::Put {
        key: Bytes::copy_from_slice(&key(number)),
        head: value.slice(..9),
        body: value.slice(9..),
    };
    WriteBatch {
        operations: vec![operation],
        applied: Applied { index: Index(index), term: Term(1) },
    }
}

/// An engine with empty stores.
pub fn engine() -> MemoryEngine {
    let mut engine = MemoryEngine::new(MemoryOptions { hash_seed: 1 });
    for group in 1..=GROUPS {
        engine.create(GroupId(group)).expect("it is new");
    }
    engine
}

/// An engine with records 0 to `records`, exclusive.
pub fn filled(records: u64) -> MemoryEngine {
    let mut engine = engine();
    let value = Bytes::from(vec![b'v'; VALUE_BYTES]);
    for number in 0..records {
        let batch = put(number, &value, number);
        engine.write(group(number), &batch).expect("it exists");
    }
    engine
}

/// Files in memory, shared with their readers.
#[derive(Default)]
pub struct Files(BTreeMap<FileName, Vec<Bytes>>);

impl Disk for Files {
    fn execute(&mut self, operation: &DiskOperation) -> Result<DiskAnswer, DiskError> {
        match operation {
            DiskOperation::Create(file) => {
                self.0.insert(file.clone(), Vec::new());
            }
            DiskOperation::WriteAt { file, bytes, .. } => {
                self.0.entry(file.clone()).or_default().push(bytes.clone());
            }
            DiskOperation::Rename { from, to } => {
                let parts = self.0.remove(from).unwrap_or_default();
                self.0.insert(to.clone(), vec![parts.concat().into()]);
            }
            DiskOperation::Read { file, offset, len } => {
                let missing = || operation.error(DiskErrorKind::NotFound, "no such file");
                let whole = &self.0.get(file).ok_or_else(missing)?[0];
                let start = usize::try_from(*offset).unwrap_or(usize::MAX).min(whole.len());
                let end = whole.len().min(start + len);
                // Copied, as a read from the page cache is.
                let bytes = Bytes::copy_from_slice(&whole[start..end]);
                return Ok(DiskAnswer::Read(bytes));
            }
            _ => {}
        }
        Ok(DiskAnswer::Done)
    }
}

/// Flushes every store as generation 1.
pub fn flush_all(engine: &mut MemoryEngine, files: &mut dyn Disk) -> Vec<Flushed> {
    for group in 1..=GROUPS {
        engine.flush(GroupId(group), Generation(1)).expect("none is under way");
    }
    let mut flushed = Vec::new();
    while let Some(request) = engine.poll_disk() {
        let result = files.execute(&request.operation);
        let completion = DiskCompletion { id: request.id, result };
        engine.handle_disk(completion).expect("no sync fails");
        while let Some(end) = engine.poll_flushed() {
            flushed.push(end.expect("no write fails"));
        }
    }
    flushed
}

/// An engine that has opened what was flushed.
pub fn opened(files: &mut dyn Disk) -> MemoryEngine {
    let mut engine = MemoryEngine::new(MemoryOptions { hash_seed: 2 });
    for group in 1..=GROUPS {
        engine.open(files, GroupId(group), Generation(1)).expect("it was flushed");
    }
    engine
}
