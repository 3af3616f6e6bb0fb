//! The point table: records by the hash of their keys, growing a little at a time.
//!
//! Linear hashing (Litwin, 1980) over small hash tables. There are `2^level + split` segments; a hash belongs to the segment
//! that its low `level + 1` bits name, if there is one, else to that of its low `level` bits. Whenever the segments hold
//! more than [`SEGMENT_RECORDS`] on average, the one at `split` gives half of its records to a new last one, and `split`
//! moves on; when they hold less than a quarter of it, the last step is undone:
//!
//! ```text
//!   0    1    2    3         0    1    2    3    4
//!  [##] [##] [##] [##]  →   [# ] [##] [##] [##] [# ]
//!   ↑ split                      ↑ split
//! ```
//!
//! A single table would move every record at once when it grows: a pause of many milliseconds where a store is large. Here
//! no step moves more than a segment.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::hash::KeyHasher;
use super::record::Record;

/// Records that the segments hold on average before the next one is split, which may then hold twice as many: with four
/// standard deviations to spare, no segment outgrows 2,048 buckets, of which 1,792 can be used.
const SEGMENT_RECORDS: usize = 800;

/// Records by key.
pub(super) struct PointTable {
    segments: Vec<HashTable<Record>>,
    level: u32,
    split: usize,
    len: usize,
}

/// The bits of a hash that choose the segment. hashbrown chooses buckets by the lowest bits and tags them with the highest.
#[inline]
fn segment_bits(hash: u64) -> usize {
    (hash >> 32 & ((1 << 25) - 1)) as usize
}

impl PointTable {
    /// An empty table.
    pub(super) fn new() -> Self {
        Self { segments: vec![HashTable::new()], level: 0, split: 0, len: 0 }
    }

    /// A table with room for a number of records.
    pub(super) fn with_capacity(records: usize) -> Self {
        let count = (records / SEGMENT_RECORDS).max(1);
        let level = count.ilog2();
        let split = count - (1 << level);
        let (whole, half) = (records >> level, records >> (level + 1));
        let segment = |number: usize| {
            let halved = number < split || number >= 1 << level;
            let expected = if halved { half } else { whole };
            // Room for chance: four standard deviations.
            HashTable::with_capacity(expected + 4 * expected.isqrt())
        };
        Self { segments: (0..count).map(segment).collect(), level, split, len: 0 }
    }

    #[inline]
    fn place(&self, hash: u64) -> usize {
        let bits = segment_bits(hash);
        let low = bits & ((1 << self.level) - 1);
        if low < self.split { bits & ((2 << self.level) - 1) } else { low }
    }

    /// The record of a key.
    #[inline]
    pub(super) fn find(&self, hash: u64, key: &[u8]) -> Option<&Record> {
        self.segments[self.place(hash)].find(hash, |record| record.key() == key)
    }

    /// Puts a record in and returns the one it replaces.
    pub(super) fn put(&mut self, record: Record, hasher: &KeyHasher) -> Option<Record> {
        let hash = hasher.hash(record.key());
        let segment = self.place(hash);
        let same = |other: &Record| other.key() == record.key();
        let rehash = |other: &Record| hasher.hash(other.key());
        match self.segments[segment].entry(hash, same, rehash) {
            Entry::Occupied(mut place) => Some(std::mem::replace(place.get_mut(), record)),
            Entry::Vacant(place) => {
                place.insert(record);
                self.len += 1;
                self.grow(hasher);
                None
            }
        }
    }

    /// Puts in a record whose key is known to be new.
    pub(super) fn put_new(&mut self, record: Record, hasher: &KeyHasher) {
        let hash = hasher.hash(record.key());
        let segment = self.place(hash);
        self.segments[segment].insert_unique(hash, record, |other| hasher.hash(other.key()));
        self.len += 1;
        self.grow(hasher);
    }

    /// Takes a key's record out.
    pub(super) fn remove(&mut self, key: &[u8], hasher: &KeyHasher) -> Option<Record> {
        let hash = hasher.hash(key);
        let segment = self.place(hash);
        let found = self.segments[segment].find_entry(hash, |record| record.key() == key);
        let (record, _) = found.ok()?.remove();
        self.len -= 1;
        self.shrink(hasher);
        Some(record)
    }

    fn grow(&mut self, hasher: &KeyHasher) {
        if self.len <= self.segments.len() * SEGMENT_RECORDS {
            return;
        }
        let full = std::mem::take(&mut self.segments[self.split]);
        let new_bit = 1 << self.level;
        let half = full.len() / 2;
        let mut parts = [(); 2].map(|()| HashTable::with_capacity(half + 4 * half.isqrt()));
        for record in full {
            let hash = hasher.hash(record.key());
            let part = &mut parts[usize::from(segment_bits(hash) & new_bit != 0)];
            part.insert_unique(hash, record, |other: &Record| hasher.hash(other.key()));
        }
        let [stays, goes] = parts;
        self.segments[self.split] = stays;
        self.segments.push(goes);
        self.split += 1;
        if self.split == 1 << self.level {
            (self.level, self.split) = (self.level + 1, 0);
        }
    }

    fn shrink(&mut self, hasher: &KeyHasher) {
        if self.segments.len() == 1 || self.len >= self.segments.len() * (SEGMENT_RECORDS / 4) {
            return;
        }
        let Some(last) = self.segments.pop() else {
            return;
        };
        if self.split == 0 {
            self.level -= 1;
            self.split = 1 << self.level;
        }
        self.split -= 1;
        let segment = &mut self.segments[self.split];
        let rehash = |record: &Record| hasher.hash(record.key());
        segment.shrink_to(segment.len() + last.len(), rehash);
        for record in last {
            segment.insert_unique(hasher.hash(record.key()), record, rehash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::record::Sequence;

    fn record(number: u32) -> Record {
        let key = number.to_be_bytes();
        Record::from_joined(Sequence::default(), key.len(), &key)
    }

    fn check(table: &PointTable, hasher: &KeyHasher, range: std::ops::Range<u32>) {
        assert_eq!(table.len, range.len());
        assert_eq!(table.segments.iter().map(HashTable::len).sum::<usize>(), table.len);
        for number in range {
            let key = number.to_be_bytes();
            let found = table.find(hasher.hash(&key), &key);
            assert_eq!(found.map(Record::key), Some(&key[..]));
        }
    }

    #[test]
    fn records_are_found_while_it_grows_and_shrinks() {
        let hasher = KeyHasher::new(1);
        let mut table = PointTable::new();
        let count = 30_000;
        for number in 0..count {
            assert!(table.put(record(number), &hasher).is_none());
            assert!(table.put(record(number), &hasher).is_some());
            if number % 3000 == 0 {
                check(&table, &hasher, 0..number + 1);
            }
        }
        check(&table, &hasher, 0..count);
        let segments = table.segments.len();
        assert!(segments >= 30_000 / SEGMENT_RECORDS, "{segments} segments");
        assert!(table.segments.iter().all(|segment| segment.num_buckets() <= 2048));
        for number in 0..count {
            assert!(table.remove(&number.to_be_bytes(), &hasher).is_some());
            assert!(table.remove(&number.to_be_bytes(), &hasher).is_none());
            if number % 3000 == 0 {
                check(&table, &hasher, number + 1..count);
            }
        }
        assert_eq!(table.segments.len(), 1);
    }

    #[test]
    fn a_table_made_for_a_number_of_records_does_not_grow() {
        let hasher = KeyHasher::new(2);
        for count in [0, 1, 799, 800, 801, 5000, 15_625] {
            let records = usize::try_from(count).unwrap();
            let mut table = PointTable::with_capacity(records);
            let buckets = |table: &PointTable| -> Vec<_> {
                table.segments.iter().map(HashTable::num_buckets).collect()
            };
            let before = buckets(&table);
            for number in 0..count {
                table.put_new(record(number), &hasher);
            }
            check(&table, &hasher, 0..count);
            let grown = before.iter().zip(buckets(&table)).filter(|(a, b)| **a != *b).count();
            assert!(grown <= before.len() / 8 + 1, "{grown} of {}", before.len());
        }
    }
}
