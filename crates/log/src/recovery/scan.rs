//! Reads the part of a segment that must be whole, and what is left of the places that are not.

use std::collections::BTreeSet;

use super::reader::SegmentReader;
use crate::LogError;
use crate::format::{
    ALIGNMENT, BATCH_HEADER_BYTES, BatchHeader, BatchRead, Body, Record, intact_records,
};

/// A place of which something is damaged, from a batch's beginning to the next valid one's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Region {
    pub(super) from: u64,
    pub(super) to: u64,
    /// What the region held is known: every batch's directory, or all of its records.
    pub(super) accounted: bool,
}

/// One step of a scan; its records come with it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Batch(BatchHeader),
    Damaged(Region),
}

/// Scans `range` of a segment.
pub(super) struct Scan<'a, 'b, 'disk> {
    pub(super) reader: &'a mut SegmentReader<'b, 'disk>,
    /// Where to begin, and where the part ends that must be whole.
    pub(super) range: std::ops::Range<u64>,
    /// Number of the batch expected next, if known; it is when the scan has ended.
    pub(super) expected: Option<u64>,
    /// Number of the first batch after the range, if known.
    pub(super) after: Option<u64>,
}

impl Scan<'_, '_, '_> {
    /// Visits batches and damaged regions in order. Returns the number of the batch expected next, if known.
    pub(super) fn run(
        mut self,
        visit: &mut dyn FnMut(Step, &mut Vec<Record>),
    ) -> Result<Option<u64>, LogError> {
        let mut records = Vec::new();
        let mut offset = self.range.start;
        let end = self.range.end;
        while offset < end {
            match self.reader.batch_at(offset, &mut records)? {
                BatchRead::Valid(header) if header.end() <= end => {
                    if self.expected.is_some_and(|expected| expected != header.sequence) {
                        // Batches are missing without a trace of their bytes.
                        let region = Region { from: offset, to: offset, accounted: false };
                        visit(Step::Damaged(region), &mut Vec::new());
                    }
                    self.expected = Some(header.sequence + 1);
                    offset = header.end();
                    visit(Step::Batch(header), &mut records);
                }
                read => {
                    let region = self.salvage(offset, &read, &mut records)?;
                    visit(Step::Damaged(region), &mut records);
                    offset = region.to;
                }
            }
        }
        Ok(self.expected)
    }

    /// Collects the intact records of the damaged region that begins at `from`.
    fn salvage(
        &mut self,
        from: u64,
        read: &BatchRead,
        records: &mut Vec<Record>,
    ) -> Result<Region, LogError> {
        let end = self.range.end;
        let header = match read {
            BatchRead::Damaged(header) => Some(*header),
            _ => None,
        };
        let behind = header.map_or(from + ALIGNMENT, |header| header.end());
        let next = self.reader.header_from(behind, end)?;
        let to = next.map_or(end, |header| header.offset);
        let length = usize::try_from(to - from).unwrap_or(usize::MAX);
        let bytes = self.reader.window(from, length)?;
        let bytes = bytes.slice(..length.min(bytes.len()));
        *records = intact_records(&bytes, self.reader.sealer, from);
        let after = next.map_or(self.after, |header| Some(header.sequence));
        let of_header = header.map(|header| header.sequence);
        let first = self.expected.or(of_header).or_else(|| first_sequence(from, records));
        let accounted = match (first, after) {
            (Some(first), Some(after)) => accounted(first, after, header.as_ref(), records),
            _ => false,
        };
        self.expected = after;
        Ok(Region { from, to, accounted })
    }
}

/// Whether it is known what the batches numbered from `first` up to `after`, exclusive, held.
fn accounted(first: u64, after: u64, header: Option<&BatchHeader>, records: &[Record]) -> bool {
    let mut known: BTreeSet<u64> = records
        .iter()
        .filter(|record| record.is_directory())
        .map(|record| record.sequence)
        .collect();
    if let Some(header) = header {
        let inside = |record: &&Record| {
            record.offset < header.end() && record.intact() && !record.is_directory()
        };
        if records.iter().filter(inside).count() == header.records as usize {
            known.insert(header.sequence);
        }
    }
    (first..after).all(|sequence| known.contains(&sequence))
}

/// The sequence of the batch that begins at `from`, by its directory: its header is damaged, all else is there.
fn first_sequence(from: u64, records: &[Record]) -> Option<u64> {
    let mut at = from + BATCH_HEADER_BYTES as u64;
    for record in records {
        if record.offset != at {
            return None;
        }
        if record.is_directory() {
            return Some(record.sequence);
        }
        at += record.length as u64;
    }
    None
}

/// Numbered records are those that count in their group's sequence.
pub(super) fn is_numbered(body: &Body) -> bool {
    !matches!(body, Body::State(_) | Body::Rewritten { .. } | Body::Directory(_))
}
