//! The ordered index: all keys of a store, sorted and packed. It holds no values and no pointers, so an overwrite does not
//! touch it, and it costs little more than the bytes of the keys.
//!
//! ```text
//!  separator   block
//!  ""       →  | apple | apricot | fig |
//!  "k"      →  | kiwi | lemon |              a separator is at most the first key of its block
//!  "p"      →  | pear | plum | quince |      and larger than every key before it
//! ```
//!
//! Invariants: the first separator is empty; no block is empty; a block of several keys has at most [`BLOCK_BYTES_MAX`]
//! bytes. A block that shrinks below a quarter of that is merged with a neighbour where the two fit three quarters, so
//! that deletions give memory back and a split is never undone at once.

use std::collections::BTreeMap;
use std::collections::btree_map;
use std::ops::Bound;

use super::block::{BLOCK_BYTES_MAX, Block};

const MERGE_BELOW: usize = BLOCK_BYTES_MAX / 4;
const MERGED_BYTES_MAX: usize = BLOCK_BYTES_MAX / 4 * 3;

/// Sorted keys, each once.
#[derive(Default)]
pub(super) struct OrderedIndex {
    blocks: BTreeMap<Box<[u8]>, Block>,
}

impl OrderedIndex {
    /// Inserts a key that is not there.
    pub(super) fn insert(&mut self, key: &[u8]) {
        let Some(block) = self.block_mut(key) else {
            let mut block = Block::default();
            block.insert(0, key);
            self.blocks.insert(Box::default(), block);
            return;
        };
        let Err(position) = block.search(key) else {
            unreachable!("a key new to the records is new to the index");
        };
        block.insert(position, key);
        if !block.fits() {
            // Keys that come in order fill their blocks; others halve them.
            let appended = position + 1 == block.len();
            let at = if appended { position } else { block.middle() };
            let mut separators = Vec::new();
            split(block, at, &mut separators);
            self.blocks.extend(separators);
        }
    }

    /// Removes a key that is there.
    pub(super) fn remove(&mut self, key: &[u8]) {
        let found = self.block_mut(key).and_then(|block| Some((block.search(key).ok()?, block)));
        let Some((position, block)) = found else {
            unreachable!("a key of the records is in the index");
        };
        block.remove(position);
        if block.is_empty() {
            self.remove_block_of(key);
        } else if block.byte_len() < MERGE_BELOW {
            self.merge_block_of(key);
        }
    }

    /// Keys from a bound on, in order.
    pub(super) fn range(&self, from: Bound<&[u8]>) -> Keys<'_> {
        let start = match from {
            Bound::Included(key) | Bound::Excluded(key) => key,
            Bound::Unbounded => &[],
        };
        let Some((separator, _)) = self.entry_at(start) else {
            return Keys { blocks: self.blocks.range::<[u8], _>(..), current: None };
        };
        let from_block = (Bound::Included(separator), Bound::Unbounded);
        let mut blocks = self.blocks.range::<[u8], _>(from_block);
        let current = blocks.next().map(|(_, block)| {
            let position = match (block.search(start), from) {
                (Ok(position), Bound::Excluded(_)) => position + 1,
                (Ok(position) | Err(position), _) => position,
            };
            (block, position)
        });
        Keys { blocks, current }
    }

    fn entry_at(&self, key: &[u8]) -> Option<(&[u8], &Block)> {
        let up_to = (Bound::Unbounded, Bound::Included(key));
        let (separator, block) = self.blocks.range::<[u8], _>(up_to).next_back()?;
        Some((separator, block))
    }

    fn block_mut(&mut self, key: &[u8]) -> Option<&mut Block> {
        let up_to = (Bound::Unbounded, Bound::Included(key));
        let (_, block) = self.blocks.range_mut::<[u8], _>(up_to).next_back()?;
        Some(block)
    }

    fn remove_block_of(&mut self, key: &[u8]) {
        let Some((separator, _)) = self.entry_at(key) else {
            return;
        };
        let separator: Box<[u8]> = separator.into();
        self.blocks.remove(&separator);
        if separator.is_empty()
            && let Some((_, first)) = self.blocks.pop_first()
        {
            self.blocks.insert(Box::default(), first);
        }
    }

    /// Merges the small block that a key belongs to with its successor or else its predecessor, if they fit.
    fn merge_block_of(&mut self, key: &[u8]) {
        let Some((separator, block)) = self.entry_at(key) else {
            return;
        };
        let fits = |other: &Block| block.byte_len() + other.byte_len() <= MERGED_BYTES_MAX;
        let after = (Bound::Excluded(separator), Bound::Unbounded);
        let before = (Bound::Unbounded, Bound::Excluded(separator));
        let next = self.blocks.range::<[u8], _>(after).next();
        let previous = self.blocks.range::<[u8], _>(before).next_back();
        let (left, right): (Box<[u8]>, Box<[u8]>) = match (next, previous) {
            (Some((next, other)), _) if fits(other) => (separator.into(), next.clone()),
            (_, Some((previous, other))) if fits(other) => (previous.clone(), separator.into()),
            _ => return,
        };
        if let Some(right) = self.blocks.remove(&right)
            && let Some(left) = self.blocks.get_mut(&left)
        {
            left.append(&right);
        }
    }

    /// Bytes allocated for keys, without the tree's own nodes.
    #[cfg(test)]
    fn allocated(&self) -> usize {
        self.blocks.values().map(Block::allocated).sum()
    }

    #[cfg(test)]
    fn check(&self) {
        let mut last: Option<Vec<u8>> = None;
        for (number, (separator, block)) in self.blocks.iter().enumerate() {
            assert_eq!(separator.is_empty(), number == 0);
            assert!(!block.is_empty());
            assert!(block.fits());
            assert!(last.as_deref() < Some(separator) || number == 0);
            for position in 0..block.len() {
                let key = block.get(position).unwrap();
                assert!(key >= &**separator);
                assert!(last.as_deref() < Some(key));
                last = Some(key.to_vec());
            }
        }
    }
}

/// Splits a block at a position, and again while a part is too large: a very long key may leave one.
fn split(left: &mut Block, at: usize, parts: &mut Vec<(Box<[u8]>, Block)>) {
    let mut right = left.split_off(at);
    let separator = separator_between(left, &right);
    for part in [left, &mut right] {
        if !part.fits() {
            split(part, part.middle(), parts);
        }
    }
    parts.push((separator, right));
}

/// The shortest text that is larger than every key on the left and not larger than any on the right.
fn separator_between(left: &Block, right: &Block) -> Box<[u8]> {
    let (last, first) = (left.last().unwrap_or_default(), right.get(0).unwrap_or_default());
    let common = last.iter().zip(first).take_while(|(a, b)| a == b).count();
    first[..common + 1].into()
}

/// Keys in order; made by [`OrderedIndex::range`].
pub(super) struct Keys<'a> {
    blocks: btree_map::Range<'a, Box<[u8]>, Block>,
    current: Option<(&'a Block, usize)>,
}

impl<'a> Iterator for Keys<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let (block, position) = self.current.as_mut()?;
            if let Some(key) = block.get(*position) {
                *position += 1;
                return Some(key);
            }
            self.current = self.blocks.next().map(|(_, block)| (block, 0));
        }
    }
}

/// Builds an index from keys that come in order. Its blocks are full: the first insertion splits one, and leaves room in both.
#[derive(Default)]
pub(super) struct IndexBuilder {
    index: OrderedIndex,
    separator: Box<[u8]>,
    block: Block,
}

impl IndexBuilder {
    /// Appends a key larger than all others.
    pub(super) fn push(&mut self, key: &[u8]) {
        if self.block.byte_len() + key.len() > BLOCK_BYTES_MAX && !self.block.is_empty() {
            let mut next = Block::default();
            next.push(key);
            let separator = separator_between(&self.block, &next);
            self.seal();
            (self.separator, self.block) = (separator, next);
        } else {
            self.block.push(key);
        }
    }

    fn seal(&mut self) {
        let mut block = std::mem::take(&mut self.block);
        block.shrink_to_fit();
        let separator = std::mem::take(&mut self.separator);
        self.index.blocks.insert(separator, block);
    }

    /// The index of all keys.
    pub(super) fn finish(mut self) -> OrderedIndex {
        if !self.block.is_empty() {
            self.seal();
        }
        self.index
    }
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
