//! A sorted run of packed keys: the leaf of the ordered index.
//!
//! ```text
//!  bytes  | a p p l e | f i g | p e a r |
//!  ends          5        8        12       end of each key, so key i is bytes[ends[i-1]..ends[i]]
//! ```
//!
//! Two bytes per key beside the key itself, binary search, and an insertion moves at most a few KiB.

use crate::store::STORED_KEY_BYTES_MAX;

/// A block of several keys is split when it grows beyond this many bytes.
pub(super) const BLOCK_BYTES_MAX: usize = 4096;

// Before an insertion a block has at most `BLOCK_BYTES_MAX` bytes or one key; after it, ends must still fit 16 bits.
const _: () = assert!(STORED_KEY_BYTES_MAX * 2 <= u16::MAX as usize);
const _: () = assert!(BLOCK_BYTES_MAX + STORED_KEY_BYTES_MAX <= u16::MAX as usize);

/// Sorted keys, each once.
#[derive(Default)]
pub(super) struct Block {
    ends: Vec<u16>,
    bytes: Vec<u8>,
}

impl Block {
    /// Number of keys.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no key.
    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of all keys.
    pub(super) fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it need not be split.
    pub(super) fn fits(&self) -> bool {
        self.bytes.len() <= BLOCK_BYTES_MAX || self.ends.len() <= 1
    }

    fn start(&self, position: usize) -> usize {
        match position {
            0 => 0,
            _ => usize::from(self.ends[position - 1]),
        }
    }

    /// The key at a position; `None` past the last.
    pub(super) fn get(&self, position: usize) -> Option<&[u8]> {
        let end = usize::from(*self.ends.get(position)?);
        Some(&self.bytes[self.start(position)..end])
    }

    /// The last key.
    pub(super) fn last(&self) -> Option<&[u8]> {
        self.get(self.len().checked_sub(1)?)
    }

    /// Where a key is (`Ok`) or would be inserted (`Err`).
    pub(super) fn search(&self, key: &[u8]) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            let found = &self.bytes[self.start(middle)..usize::from(self.ends[middle])];
            match found.cmp(key) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// Inserts a key at the position that [`Block::search`] named.
    pub(super) fn insert(&mut self, position: usize, key: &[u8]) {
        let start = self.start(position);
        let len = end_of(key.len());
        grow(&mut self.ends, 1);
        grow(&mut self.bytes, key.len());
        let old_len = self.bytes.len();
        self.bytes.extend_from_slice(key);
        if start < old_len {
            self.bytes.copy_within(start..old_len, start + key.len());
            self.bytes[start..start + key.len()].copy_from_slice(key);
        }
        self.ends.insert(position, end_of(start));
        for end in &mut self.ends[position..] {
            *end += len;
        }
    }

    /// Removes the key at a position.
    pub(super) fn remove(&mut self, position: usize) {
        let range = self.start(position)..usize::from(self.ends[position]);
        let len = end_of(range.len());
        self.bytes.drain(range);
        self.ends.remove(position);
        for end in &mut self.ends[position..] {
            *end -= len;
        }
        if self.bytes.len() * 2 < self.bytes.capacity() {
            self.shrink();
        }
    }

    /// Appends a key larger than all others.
    pub(super) fn push(&mut self, key: &[u8]) {
        self.bytes.extend_from_slice(key);
        self.ends.push(end_of(self.bytes.len()));
    }

    /// Keeps the keys before a position and returns the others.
    pub(super) fn split_off(&mut self, position: usize) -> Self {
        let mut right = Self::default();
        right.append_range(self, position);
        self.bytes.truncate(self.start(position));
        self.ends.truncate(position);
        self.shrink();
        right
    }

    /// The position that halves the bytes, with at least one key on each side of it.
    pub(super) fn middle(&self) -> usize {
        let half = end_of(self.bytes.len() / 2);
        let position = self.ends.partition_point(|end| *end <= half);
        position.clamp(1, self.len() - 1)
    }

    /// Appends another block, all of whose keys are larger.
    pub(super) fn append(&mut self, other: &Self) {
        self.append_range(other, 0);
    }

    fn append_range(&mut self, other: &Self, from: usize) {
        let start = other.start(from);
        let base = self.bytes.len();
        self.bytes.reserve_exact(other.bytes.len() - start);
        self.bytes.extend_from_slice(&other.bytes[start..]);
        self.ends.reserve_exact(other.len() - from);
        let shifted = other.ends[from..].iter();
        self.ends.extend(shifted.map(|end| end_of(usize::from(*end) - start + base)));
    }

    /// Gives back all that is not used.
    pub(super) fn shrink_to_fit(&mut self) {
        self.bytes.shrink_to_fit();
        self.ends.shrink_to_fit();
    }

    /// Gives back what is allocated beyond an eighth.
    fn shrink(&mut self) {
        self.bytes.shrink_to(self.bytes.len() + self.bytes.len() / 8);
        self.ends.shrink_to(self.ends.len() + self.ends.len() / 8);
    }

    /// Bytes allocated, for the accounting of memory.
    #[cfg(test)]
    pub(super) fn allocated(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * 2
    }
}

/// Makes room in steps of an eighth: doubling would leave a third of the index unused.
fn grow<T>(vec: &mut Vec<T>, more: usize) {
    if vec.capacity() - vec.len() < more {
        vec.reserve_exact(more.max(vec.len() / 8));
    }
}

fn end_of(offset: usize) -> u16 {
    u16::try_from(offset).expect("blocks are split long before 64 KiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(block: &Block) -> Vec<&[u8]> {
        (0..block.len()).filter_map(|i| block.get(i)).collect()
    }

    fn block_of(keys: &[&[u8]]) -> Block {
        let mut block = Block::default();
        for key in keys {
            block.push(key);
        }
        block
    }

    #[test]
    fn keys_are_found_where_they_were_put() {
        let mut block = Block::default();
        for key in [&b"pear"[..], b"apple", b"fig", b"zoo", b"a"] {
            let position = block.search(key).unwrap_err();
            block.insert(position, key);
        }
        assert_eq!(keys(&block), [&b"a"[..], b"apple", b"fig", b"pear", b"zoo"]);
        assert_eq!(block.search(b"fig"), Ok(2));
        assert_eq!(block.search(b"figs"), Err(3));
        assert_eq!(block.last(), Some(&b"zoo"[..]));
        block.remove(2);
        block.remove(0);
        assert_eq!(keys(&block), [&b"apple"[..], b"pear", b"zoo"]);
    }

    #[test]
    fn a_split_keeps_order_and_an_append_undoes_it() {
        let mut left = block_of(&[b"a", b"bb", b"ccc", b"dddd"]);
        assert_eq!(left.middle(), 2);
        let right = left.split_off(2);
        assert_eq!(keys(&left), [&b"a"[..], b"bb"]);
        assert_eq!(keys(&right), [&b"ccc"[..], b"dddd"]);
        left.append(&right);
        assert_eq!(keys(&left), [&b"a"[..], b"bb", b"ccc", b"dddd"]);
    }

    #[test]
    fn two_keys_of_any_size_can_be_split() {
        let long = vec![b'x'; STORED_KEY_BYTES_MAX];
        assert_eq!(block_of(&[b"a", &long]).middle(), 1);
        let longer = vec![b'y'; STORED_KEY_BYTES_MAX];
        assert_eq!(block_of(&[&long, &longer]).middle(), 1);
    }
}
