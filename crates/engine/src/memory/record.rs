//! One stored key and value, in one allocation that snapshots can share.
//!
//! ```text
//!  8 bytes   reference count
//!  8 bytes   sequence of the write << 16 | length of the key      (Head)
//!  8 bytes   length of key and value together
//!  n bytes   key, then value
//! ```
//!
//! 24 bytes of overhead, and no more: with a 21-byte key and a 265-byte value the whole is 310 bytes, which an allocator
//! with size classes of an eighth to a quarter puts into 320. Eleven bytes more would cost the next class, 384.

use triomphe::ThinArc;

use crate::store::{STORED_KEY_BYTES_MAX, STORED_VALUE_BYTES_MAX};

const KEY_LEN_BITS: u32 = 16;
const KEY_LEN_MASK: u64 = (1 << KEY_LEN_BITS) - 1;

const _: () = assert!(STORED_KEY_BYTES_MAX < 1 << KEY_LEN_BITS);

/// The number of a batch within one content, from 1; 0 wrote what was loaded. 48 bits: a million batches a second would
/// take nine years to use them up, and a start begins again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Sequence(u64);

impl Sequence {
    /// The batch that follows.
    pub(crate) fn next(self) -> Self {
        let next = self.0 + 1;
        assert!(next < 1 << (64 - KEY_LEN_BITS), "batches of one start are used up");
        Self(next)
    }
}

#[derive(Clone, Copy)]
struct Head(u64);

/// A key with its value, immutable. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Record(ThinArc<Head, u8>);

impl Record {
    /// Makes a record of a key and the two parts of its value. `scratch` is where they are joined; it keeps its capacity,
    /// within reason, so that one serves all writes.
    pub(crate) fn new(
        sequence: Sequence,
        key: &[u8],
        value: [&[u8]; 2],
        scratch: &mut Vec<u8>,
    ) -> Self {
        const SCRATCH_BYTES_KEPT: usize = 64 << 10;
        scratch.clear();
        scratch.extend_from_slice(key);
        for part in value {
            scratch.extend_from_slice(part);
        }
        let record = Self::from_joined(sequence, key.len(), scratch);
        if scratch.capacity() > SCRATCH_BYTES_KEPT {
            *scratch = Vec::new();
        }
        record
    }

    /// Makes a record of a key and value that stand one after the other.
    ///
    /// # Panics
    /// The key is empty or longer than [`STORED_KEY_BYTES_MAX`], or the value longer than [`STORED_VALUE_BYTES_MAX`].
    pub(crate) fn from_joined(sequence: Sequence, key_len: usize, joined: &[u8]) -> Self {
        assert!(
            (1..=STORED_KEY_BYTES_MAX).contains(&key_len),
            "a stored key has 1 to {STORED_KEY_BYTES_MAX} bytes, this one {key_len}"
        );
        assert!(
            joined.len() - key_len <= STORED_VALUE_BYTES_MAX,
            "a stored value has at most {STORED_VALUE_BYTES_MAX} bytes, this one {}",
            joined.len() - key_len
        );
        let head = Head(sequence.0 << KEY_LEN_BITS | key_len as u64);
        Self(ThinArc::from_header_and_slice(head, joined))
    }

    /// Which batch wrote it.
    pub(crate) fn sequence(&self) -> Sequence {
        Sequence(self.0.header.header.0 >> KEY_LEN_BITS)
    }

    /// The key.
    #[inline]
    pub(crate) fn key(&self) -> &[u8] {
        &self.0.slice[..self.key_len()]
    }

    /// The value.
    #[inline]
    pub(crate) fn value(&self) -> &[u8] {
        &self.0.slice[self.key_len()..]
    }

    /// Key and value, one after the other.
    pub(crate) fn joined(&self) -> &[u8] {
        &self.0.slice
    }

    /// Length of the key in bytes.
    #[inline]
    pub(crate) fn key_len(&self) -> usize {
        (self.0.header.header.0 & KEY_LEN_MASK) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_gives_back_its_parts() {
        let mut scratch = Vec::new();
        let sequence = Sequence::default().next().next();
        for (key, head, body) in [
            (&b"k"[..], &b""[..], &b""[..]),
            (b"key", b"he", b"body"),
            (&[7; STORED_KEY_BYTES_MAX], b"", b"b"),
        ] {
            let record = Record::new(sequence, key, [head, body], &mut scratch);
            assert_eq!(record.key(), key);
            assert_eq!(record.value(), [head, body].concat());
            assert_eq!(record.joined(), [key, head, body].concat());
            assert_eq!(record.sequence(), sequence);
        }
    }

    #[test]
    fn a_large_value_does_not_keep_its_scratch() {
        let mut scratch = Vec::new();
        let value = vec![1; 1 << 20];
        Record::new(Sequence::default(), b"k", [&value, b""], &mut scratch);
        assert_eq!(scratch.capacity(), 0);
    }

    #[test]
    #[should_panic(expected = "a stored key has 1 to")]
    fn an_empty_key_is_our_bug() {
        Record::from_joined(Sequence::default(), 0, b"v");
    }
}
