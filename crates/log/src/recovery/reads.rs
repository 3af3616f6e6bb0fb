//! Reads at start that get past places which cannot be read: they count as zeros, page by page, and are damage like any
//! other. A page once given up stays so for the whole start, so that all passes over a file see the same.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use ringfort_env::{Disk, DiskError, DiskErrorKind};

use crate::LogError;
use crate::format::SegmentId;
use crate::pieces::{PAGE_BYTES, Pieces};

/// Where more than this part of a file, and more than a few pages, cannot be read, it is the disk that fails: no start.
const UNREADABLE_SHARE: u64 = 16;
const FEW_PAGES: u64 = 4;

const PAGE: u64 = PAGE_BYTES as u64;

/// What cannot be read of one segment file.
#[derive(Debug)]
struct Unreadable {
    /// Where its pages begin.
    pages: BTreeSet<u64>,
    /// What the disk said first.
    error: DiskError,
}

/// The data directory, for reading.
pub(super) struct Reads<'a> {
    disk: &'a mut dyn Disk,
    unreadable: BTreeMap<SegmentId, Unreadable>,
}

impl<'a> Reads<'a> {
    pub(super) fn new(disk: &'a mut dyn Disk) -> Self {
        Self { disk, unreadable: BTreeMap::new() }
    }

    /// Reads from a segment's file, which has `length` bytes; fewer than `want` only at its end.
    pub(super) fn read(
        &mut self,
        segment: SegmentId,
        length: u64,
        offset: u64,
        want: usize,
    ) -> Result<Bytes, LogError> {
        let rest = usize::try_from(length.saturating_sub(offset)).unwrap_or(usize::MAX);
        let want = want.min(rest);
        if self.unreadable_in(segment, offset..offset + want as u64).is_none() {
            match self.disk.read(&segment.file(), offset, want) {
                Err(error) if error.kind == DiskErrorKind::Other => {}
                read => return Ok(read?),
            }
        }
        self.read_in_pieces(segment, length, offset, want)
    }

    fn read_in_pieces(
        &mut self,
        segment: SegmentId,
        length: u64,
        offset: u64,
        want: usize,
    ) -> Result<Bytes, LogError> {
        let mut bytes = BytesMut::with_capacity(want);
        let mut pieces = Pieces::new();
        while bytes.len() < want {
            let at = offset + bytes.len() as u64;
            let mut piece = pieces.next(at, want - bytes.len());
            let known = self.unreadable_in(segment, at..at + piece as u64);
            if let Some(page) = known {
                // Up to a page that is known, or that page.
                let until = if page > at { page } else { page + PAGE };
                piece = piece.min(usize::try_from(until - at).unwrap_or(PAGE_BYTES));
                if page <= at {
                    bytes.resize(bytes.len() + piece, 0);
                    continue;
                }
            }
            match self.disk.read(&segment.file(), at, piece) {
                Ok(read) if read.is_empty() => break,
                Ok(read) => {
                    pieces.succeeded();
                    bytes.extend_from_slice(&read);
                }
                Err(error) if error.kind == DiskErrorKind::Other => {
                    if pieces.failed() {
                        self.give_up(segment, length, at, error)?;
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(bytes.freeze())
    }

    /// Remembers a page that cannot be read.
    fn give_up(
        &mut self,
        segment: SegmentId,
        length: u64,
        at: u64,
        error: DiskError,
    ) -> Result<(), LogError> {
        let of_segment = self.unreadable.entry(segment);
        let of_segment = of_segment
            .or_insert_with(|| Unreadable { pages: BTreeSet::new(), error: error.clone() });
        of_segment.pages.insert(at / PAGE * PAGE);
        let pages = of_segment.pages.len() as u64;
        let bytes = (pages * PAGE).min(length);
        let damage = bytes < length && bytes <= (length / UNREADABLE_SHARE).max(FEW_PAGES * PAGE);
        if damage { Ok(()) } else { Err(error.into()) }
    }

    /// The first page that cannot be read and has a part in the range.
    pub(super) fn unreadable_in(&self, segment: SegmentId, range: Range<u64>) -> Option<u64> {
        let pages = &self.unreadable.get(&segment)?.pages;
        if range.is_empty() {
            return None;
        }
        pages.range(range.start / PAGE * PAGE..range.end).next().copied()
    }

    /// The end of the pages that cannot be read and follow one another from the one at `page` on.
    pub(super) fn unreadable_end(&self, segment: SegmentId, page: u64) -> u64 {
        let mut end = page + PAGE;
        while self.unreadable_in(segment, end..end + 1).is_some() {
            end += PAGE;
        }
        end
    }

    /// Segments of which something cannot be read.
    pub(super) fn unreadable_segments(&self) -> BTreeSet<SegmentId> {
        self.unreadable.keys().copied().collect()
    }

    /// What cannot be read, for people.
    pub(super) fn findings(&self) -> Vec<String> {
        let mut findings = Vec::new();
        for (segment, Unreadable { pages, error }) in &self.unreadable {
            let file = segment.file();
            let mut done = 0;
            for &page in pages {
                if page < done {
                    continue;
                }
                done = self.unreadable_end(*segment, page);
                findings.push(format!(
                    "{file}: {} bytes at offset {page} cannot be read ({}); they count as damaged",
                    done - page,
                    error.message
                ));
            }
        }
        findings
    }
}
