//! How committed entries are cut into batches of the engine: a pure policy.
//!
//! In a turn a few entries are committed; after a start it is the whole log behind the base. What a batch stages, and the
//! answers that nobody waits for any more, are in memory until it is written, beside the log and the data.

use ringfort_types::Entry;

/// Entries of one batch at most.
const ENTRIES_MAX: usize = 128;
/// Bytes of payloads of one batch at most, unless a single entry has more.
const PAYLOAD_BYTES_MAX: usize = 1 << 20;

/// The entries of the next batch, and those behind it. The batch is empty only where there is no entry.
pub(crate) fn split(entries: &[Entry]) -> (&[Entry], &[Entry]) {
    let mut bytes = 0;
    let fits = |entry: &&Entry| {
        bytes += entry.payload.len();
        bytes <= PAYLOAD_BYTES_MAX
    };
    let count = entries.iter().take(ENTRIES_MAX).take_while(fits).count().max(1);
    entries.split_at(count.min(entries.len()))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use ringfort_types::{Index, Term};

    use super::*;

    fn lengths(payloads: &[usize]) -> Vec<usize> {
        let entry = |bytes: &usize| Entry {
            term: Term(1),
            index: Index(1),
            payload: Bytes::from(vec![0; *bytes]),
        };
        let entries: Vec<_> = payloads.iter().map(entry).collect();
        let mut rest = &entries[..];
        let mut lengths = Vec::new();
        while !rest.is_empty() {
            let (batch, behind) = split(rest);
            lengths.push(batch.len());
            rest = behind;
        }
        lengths
    }

    #[test]
    fn batches_are_bounded_in_entries_and_bytes() {
        const MIB: usize = 1 << 20;
        assert_eq!(lengths(&[]), []);
        assert_eq!(lengths(&[0; 300]), [128, 128, 44]);
        assert_eq!(lengths(&[MIB / 2, MIB / 2, 1]), [2, 1]);
        assert_eq!(lengths(&[1, 5 * MIB, 5 * MIB, 1]), [1, 1, 1, 1]);
    }
}
