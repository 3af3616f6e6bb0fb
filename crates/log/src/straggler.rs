//! Keeping the log short: which groups hold back its oldest segment, and what is done about it.
//!
//! Once the log is longer than it should be, its oldest segment should go. Where little in it is still needed, the log
//! reads that back and writes it forward itself; where much is, it asks the groups to be flushed and rebased.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use ringfort_env::{DiskAnswer, DiskError, DiskOperation};
use ringfort_types::GroupId;

use crate::chain::{Chain, Segment};
use crate::format::{BatchRead, Body, Record, Sealer, SegmentId, read_batch};
use crate::group::Group;
use crate::opening::Rewrite;

/// At most this part of a segment's usual size is rewritten; where more is needed, groups are asked for rebases.
const REWRITTEN_SHARE: u64 = 8;
/// The old segment is read in pieces of this size.
const READ_BYTES: usize = 1 << 20;

/// What to do about the oldest segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// The log is short enough, or the oldest segment is about to go, or may not go yet.
    Nothing,
    /// Write forward what is needed of it.
    Rewrite,
    /// Ask for rebases.
    Ask,
}

/// A pure choice: `segments` in the chain, `bytes` in all, and how much is needed of the oldest.
pub(crate) fn choose(
    oldest: &Segment,
    (segments, bytes): (usize, u64),
    target: u64,
    segment_bytes: u64,
) -> Choice {
    // The active segment and the one before it are kept whatever is in them.
    if bytes <= target || segments <= 2 || oldest.live_entries == 0 {
        Choice::Nothing
    } else if oldest.live_bytes <= segment_bytes / REWRITTEN_SHARE {
        Choice::Rewrite
    } else {
        Choice::Ask
    }
}

/// An old segment that is being read.
#[derive(Clone, Copy, Debug)]
struct Reading {
    segment: SegmentId,
    end: u64,
    /// Where the next batch begins.
    offset: u64,
    /// Bytes to read there.
    length: usize,
}

/// The state of it all.
#[derive(Debug)]
pub(crate) struct Stragglers {
    target: u64,
    segment_bytes: u64,
    reading: Option<Reading>,
    /// Read back, and still to be written.
    pub(crate) rewrites: VecDeque<Rewrite>,
    /// A segment that could not be read back, or was read and still has entries needed.
    unreadable: Option<SegmentId>,
    /// Oldest and active segment when rebases were asked for last.
    asked: Option<(SegmentId, SegmentId)>,
    records: Vec<Record>,
}

impl Stragglers {
    pub(crate) fn new(target: u64, segment_bytes: u64) -> Self {
        Self {
            target,
            segment_bytes,
            reading: None,
            rewrites: VecDeque::new(),
            unreadable: None,
            asked: None,
            records: Vec::new(),
        }
    }

    pub(crate) fn set_target(&mut self, bytes: u64) {
        self.target = bytes;
    }

    /// The segment whose entries are being rewritten.
    pub(crate) fn segment(&self) -> Option<SegmentId> {
        self.reading.map(|reading| reading.segment)
    }

    /// A segment is gone.
    pub(crate) fn forget(&mut self, segment: SegmentId) {
        if self.segment() == Some(segment) {
            self.reading = None;
            self.rewrites.clear();
        }
        self.unreadable = self.unreadable.filter(|unreadable| *unreadable != segment);
    }

    /// Begins to rewrite, or says which groups to ask for a rebase; once per oldest and active segment.
    pub(crate) fn decide(
        &mut self,
        chain: &Chain,
        groups: &BTreeMap<GroupId, Group>,
    ) -> Option<Vec<GroupId>> {
        let oldest = *chain.oldest();
        let mut choice =
            choose(&oldest, (chain.len(), chain.bytes()), self.target, self.segment_bytes);
        if choice == Choice::Rewrite && self.unreadable == Some(oldest.id) {
            choice = Choice::Ask;
        }
        match choice {
            Choice::Rewrite if self.reading.is_none() => {
                let Segment { id: segment, end, .. } = oldest;
                self.reading = Some(Reading { segment, end, offset: 0, length: READ_BYTES });
                None
            }
            Choice::Ask if self.asked != Some((oldest.id, chain.active().id)) => {
                self.asked = Some((oldest.id, chain.active().id));
                Some(holding(oldest.id, groups))
            }
            Choice::Nothing | Choice::Rewrite | Choice::Ask => None,
        }
    }

    /// The next read, once everything read before is written.
    pub(crate) fn poll(&mut self) -> Option<DiskOperation> {
        let reading = self.reading?;
        if !self.rewrites.is_empty() {
            return None;
        }
        if reading.offset >= reading.end {
            // Read to its end and all written. If anything is still needed there, it was not found.
            self.unreadable = Some(reading.segment);
            self.reading = None;
            return None;
        }
        let file = reading.segment.file();
        Some(DiskOperation::Read { file, offset: reading.offset, len: reading.length })
    }

    /// Takes the end of a read.
    pub(crate) fn handle(
        &mut self,
        result: Result<DiskAnswer, DiskError>,
        groups: &BTreeMap<GroupId, Group>,
        salt: u64,
    ) {
        let Some(reading) = self.reading else {
            return;
        };
        let next = match result {
            Ok(DiskAnswer::Read(bytes)) => self.take(&bytes, reading, groups, salt),
            Ok(_) | Err(_) => None,
        };
        if next.is_none() {
            // What is damaged or cannot be read is left alone: the groups are asked for rebases instead.
            self.unreadable = Some(reading.segment);
            self.rewrites.clear();
        }
        self.reading = next;
    }

    /// Picks what is needed from the batches at the front of `bytes`.
    fn take(
        &mut self,
        bytes: &Bytes,
        mut reading: Reading,
        groups: &BTreeMap<GroupId, Group>,
        salt: u64,
    ) -> Option<Reading> {
        let sealer = Sealer::new(salt, reading.segment);
        let begin = reading.offset;
        while reading.offset < reading.end {
            let at = usize::try_from(reading.offset - begin).ok()?;
            if at >= bytes.len() {
                break;
            }
            let rest = bytes.slice(at..);
            let records = &mut self.records;
            match read_batch(&rest, sealer, reading.segment, reading.offset, records) {
                BatchRead::Valid(header) => {
                    reading.offset = header.end();
                    reading.length = READ_BYTES;
                }
                BatchRead::Short(header) if at > 0 || header.length as usize > reading.length => {
                    reading.length = READ_BYTES.max(header.length as usize);
                    break;
                }
                BatchRead::Invalid if at > 0 => {
                    // Perhaps only a part of its header was read.
                    reading.length = READ_BYTES;
                    break;
                }
                _ => return None,
            }
            for record in self.records.drain(..) {
                self.rewrites.extend(needed(record, reading.segment, groups));
            }
        }
        (reading.offset > begin || reading.length > bytes.len()).then_some(reading)
    }
}

/// The record as something to rewrite, if it is a live entry that stands in `segment`.
fn needed(
    record: Record,
    segment: SegmentId,
    groups: &BTreeMap<GroupId, Group>,
) -> Option<Rewrite> {
    let Record { group, sequence, .. } = record;
    let (Body::Append { index, term, payload: Some(payload) }
    | Body::Rewritten { index, term, payload: Some(payload) }) = record.body
    else {
        return None;
    };
    let entry = Rewrite { group, sequence, index, term, payload };
    groups.get(&group)?.stands_in(&entry, segment).then_some(entry)
}

/// Groups with live entries in a segment, those with most bytes first.
fn holding(segment: SegmentId, groups: &BTreeMap<GroupId, Group>) -> Vec<GroupId> {
    let mut holders: Vec<(u64, GroupId)> = groups
        .iter()
        .filter_map(|(id, group)| {
            let homes = group.live.homes().filter(|home| home.segment == segment);
            let bytes: u64 = homes.map(|home| home.bytes).sum();
            (bytes > 0).then_some((bytes, *id))
        })
        .collect();
    holders.sort_by_key(|(bytes, id)| (std::cmp::Reverse(*bytes), *id));
    holders.into_iter().map(|(_, id)| id).collect()
}
