//! What a store should hold.

use std::collections::BTreeMap;

use bytes::Bytes;
use ringfort_types::{Applied, GroupId, Index, Term};

use super::random::Random;
use crate::store::{Range, ScanControl, StorageEngine, StoreSize, WriteBatch, WriteOperation};

/// A store as an ordered map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    /// Keys and values.
    pub records: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The position applied.
    pub applied: Applied,
}

impl Model {
    /// Applies a batch.
    pub fn write(&mut self, batch: &WriteBatch) {
        for operation in &batch.operations {
            match operation {
                WriteOperation::Put { key, head, body } => {
                    let value = [&head[..], body].concat();
                    self.records.insert(key.to_vec(), value);
                }
                WriteOperation::Delete { key } => {
                    self.records.remove(&key[..]);
                }
            }
        }
        self.applied = batch.applied;
    }

    /// Its size.
    #[must_use]
    pub fn size(&self) -> StoreSize {
        let bytes = self.records.iter().map(|(key, value)| key.len() + value.len());
        StoreSize { keys: self.records.len() as u64, bytes: bytes.sum::<usize>() as u64 }
    }

    /// That a store holds exactly this, by every way of reading it.
    ///
    /// # Panics
    /// It does not.
    pub fn check(&self, engine: &dyn StorageEngine, group: GroupId) {
        assert_eq!(engine.applied(group).unwrap(), self.applied);
        assert_eq!(engine.size(group).unwrap(), self.size());
        let mut expected = self.records.iter();
        let mut visitor = |key: &[u8], value: &[u8]| {
            let (expected_key, expected_value) = expected.next().expect("no key too many");
            assert_eq!(key.escape_ascii().to_string(), expected_key.escape_ascii().to_string());
            assert!(value == expected_value, "value of {}", key.escape_ascii());
            ScanControl::Continue
        };
        engine.scan(group, Range::default(), &mut visitor).unwrap();
        assert_eq!(expected.next(), None, "no key too few");
        for key in self.records.keys() {
            self.check_key(engine, group, key);
        }
    }

    /// That a store agrees about one key.
    ///
    /// # Panics
    /// It does not.
    pub fn check_key(&self, engine: &dyn StorageEngine, group: GroupId, key: &[u8]) {
        let value = engine.get(group, key).unwrap();
        let expected = self.records.get(key).map(Vec::as_slice);
        assert!(value.as_deref() == expected, "value of {}", key.escape_ascii());
    }

    /// That a store agrees about a range, read up to a number of items.
    ///
    /// # Panics
    /// It does not.
    pub fn check_range(
        &self,
        engine: &dyn StorageEngine,
        group: GroupId,
        range: Range<'_>,
        limit: usize,
    ) {
        let mut found = Vec::new();
        let mut visitor = |key: &[u8], value: &[u8]| {
            found.push((key.to_vec(), value.to_vec()));
            if found.len() < limit { ScanControl::Continue } else { ScanControl::Stop }
        };
        engine.scan(group, range, &mut visitor).unwrap();
        let from = self.records.range(range.start.to_vec()..);
        let within = from.take_while(|(key, _)| range.end.is_none_or(|end| &key[..] < end));
        let expected = within.take(limit.max(1)).map(|(key, value)| (key.clone(), value.clone()));
        assert!(found.iter().cloned().eq(expected), "range {range:?}, limit {limit}");
    }
}

/// The position of an index.
#[must_use]
pub(super) fn applied(index: u64) -> Applied {
    Applied { index: Index(index), term: Term(index / 100 + 1) }
}

/// A batch that puts these at a position.
pub(super) fn puts(index: u64, records: &[(&str, &str)]) -> WriteBatch {
    let put = |(key, value): &(&str, &str)| put(key.as_bytes(), value.as_bytes());
    WriteBatch { operations: records.iter().map(put).collect(), applied: applied(index) }
}

pub(super) fn put(key: &[u8], value: &[u8]) -> WriteOperation {
    // Where the value is cut must not matter: cut it at a place that depends on its length.
    let (head, body) = value.split_at(value.len() / 3);
    WriteOperation::Put {
        key: Bytes::copy_from_slice(key),
        head: Bytes::copy_from_slice(head),
        body: Bytes::copy_from_slice(body),
    }
}

pub(super) fn delete(key: &[u8]) -> WriteOperation {
    let key = Bytes::copy_from_slice(key);
    WriteOperation::Delete { key }
}

/// One of some hundred keys: short ones with shared prefixes, a few very long ones, all byte values.
pub(super) fn random_key(random: &mut Random) -> Vec<u8> {
    let number = random.below(400);
    match number {
        0..20 => vec![u8::try_from(number * 13 % 256).unwrap_or(0); 1 + number % 3],
        20..30 => [vec![b'l'; 2000 + number * 100], number.to_le_bytes().to_vec()].concat(),
        _ => format!("user:{:04}:{}", number * 7 % 400, number % 5).into_bytes(),
    }
}

/// Mostly short values, some empty, a few larger than a frame of a snapshot.
pub(super) fn random_value(random: &mut Random) -> Vec<u8> {
    let len = match random.below(100) {
        0..10 => 0,
        10..90 => random.below(300),
        90..99 => random.below(5000),
        _ => random.below(200_000),
    };
    random.bytes(len)
}

/// A batch of a few operations at a position.
pub(super) fn random_batch(random: &mut Random, index: u64) -> WriteBatch {
    let operations = (0..random.below(9)).map(|_| {
        let key = random_key(random);
        if random.percent(30) { delete(&key) } else { put(&key, &random_value(random)) }
    });
    WriteBatch { operations: operations.collect(), applied: applied(index) }
}
