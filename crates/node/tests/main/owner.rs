//! Whose a byte of the disk is, after docs/formats/log.md and the names of snapshots: an independent reading, which checks no
//! checksum and is used on intact files only.

use std::collections::BTreeSet;

use ringfort_env::FileName;
use ringfort_types::{GroupId, ShardId};

const HEADER_BYTES: usize = 72;
const DIRECTORY: u8 = 8;

fn number<const N: usize>(bytes: &[u8], at: usize) -> usize {
    let mut field = [0; 8];
    field[..N].copy_from_slice(&bytes[at..at + N]);
    usize::try_from(u64::from_le_bytes(field)).unwrap()
}

/// The shards that a byte belongs to: one for a record and its payload, and for a snapshot; none for headers, directories,
/// padding, and what an earlier life of the file has left.
pub(crate) fn owners(file: &FileName, content: &[u8], offset: usize) -> BTreeSet<ShardId> {
    if let Some(rest) = file.as_str().strip_prefix("snap-") {
        return GroupId(u32::from_str_radix(&rest[..8], 16).unwrap()).shard().into_iter().collect();
    }
    let segment = usize::from_str_radix(&file.as_str()["log-".len()..][..16], 16).unwrap();
    let mut batch = 0;
    while is_batch(content, batch, segment) {
        let end = batch + number::<4>(content, batch + 64);
        if offset < end {
            return record_at(content, batch + HEADER_BYTES, offset).into_iter().collect();
        }
        batch = end.next_multiple_of(512);
        if offset < batch {
            break;
        }
    }
    BTreeSet::new()
}

fn is_batch(content: &[u8], at: usize, segment: usize) -> bool {
    let header = content.get(at..at + HEADER_BYTES);
    header
        .is_some_and(|header| header.starts_with(b"RingfLog") && number::<8>(header, 16) == segment)
}

/// The shard of the record that holds `offset`, if a record does: the first one begins at `record`.
fn record_at(content: &[u8], mut record: usize, offset: usize) -> Option<ShardId> {
    if offset < record {
        return None;
    }
    loop {
        let end = record + number::<4>(content, record + 4);
        if offset < end {
            let group = GroupId(u32::try_from(number::<4>(content, record + 10)).unwrap());
            return (content[record + 8] != DIRECTORY).then(|| group.shard()).flatten();
        }
        record = end;
    }
}
