//! Reads one segment file at start, in large pieces; payloads of entries share the pieces' memory.

use std::ops::Range;

use bytes::Bytes;
use ringfort_env::FileName;

use super::reads::Reads;
use crate::LogError;
use crate::format::{
    ALIGNMENT, BATCH_HEADER_BYTES, BatchHeader, BatchRead, FORMAT_VERSION, HeaderRead, Record,
    Sealer, SegmentId, has_magic, intact_records, read_batch, read_header, was_header,
};
use crate::pieces::{PAGE_BYTES, PIECE_BYTES};

/// What is left of batches is looked for in so many bytes.
const SALVAGED_BYTES_MAX: usize = 8 << 20;

/// A segment file that is being read.
pub(super) struct SegmentReader<'a, 'd> {
    reads: &'a mut Reads<'d>,
    pub(super) segment: SegmentId,
    pub(super) sealer: Sealer,
    file: FileName,
    length: u64,
    piece: Bytes,
    piece_at: u64,
}

impl<'a, 'd> SegmentReader<'a, 'd> {
    pub(super) fn new(
        reads: &'a mut Reads<'d>,
        salt: u64,
        segment: SegmentId,
        length: u64,
    ) -> Self {
        Self {
            reads,
            segment,
            sealer: Sealer::new(salt, segment),
            file: segment.file(),
            length,
            piece: Bytes::new(),
            piece_at: 0,
        }
    }

    /// At least `want` bytes at `offset`; fewer only at the file's end.
    pub(super) fn window(&mut self, offset: u64, want: usize) -> Result<Bytes, LogError> {
        let rest = usize::try_from(self.length.saturating_sub(offset)).unwrap_or(usize::MAX);
        let want = want.min(rest);
        let inside = offset.checked_sub(self.piece_at).and_then(|at| usize::try_from(at).ok());
        if let Some(at) = inside
            && at + want <= self.piece.len()
        {
            return Ok(self.piece.slice(at..));
        }
        self.piece = self.reads.read(self.segment, self.length, offset, want.max(PIECE_BYTES))?;
        self.piece_at = offset;
        Ok(self.piece.clone())
    }

    /// What stands at `offset`; never [`BatchRead::Short`] or [`BatchRead::Newer`].
    pub(super) fn batch_at(
        &mut self,
        offset: u64,
        records: &mut Vec<Record>,
    ) -> Result<BatchRead, LogError> {
        let mut want = BATCH_HEADER_BYTES;
        loop {
            let bytes = self.window(offset, want)?;
            match read_batch(&bytes, self.sealer, self.segment, offset, records) {
                BatchRead::Short(header) if want == header.length as usize => {
                    // The file ends before the batch does.
                    return Ok(BatchRead::Damaged(header));
                }
                BatchRead::Short(header) => want = header.length as usize,
                BatchRead::Newer(found) => return Err(self.newer(found)),
                read => return Ok(read),
            }
        }
    }

    /// The first valid header at or after `offset`, before `end`.
    pub(super) fn header_from(
        &mut self,
        offset: u64,
        end: u64,
    ) -> Result<Option<BatchHeader>, LogError> {
        let mut at = offset.next_multiple_of(ALIGNMENT);
        let end = end.min(self.length);
        while at < end {
            let bytes = self.window(at, BATCH_HEADER_BYTES)?;
            match read_header(&bytes, self.sealer, self.segment, at) {
                HeaderRead::Valid(header) => return Ok(Some(header)),
                HeaderRead::Newer(found) => return Err(self.newer(found)),
                HeaderRead::Invalid => at += ALIGNMENT,
            }
        }
        Ok(None)
    }

    /// Whether anything at or after `offset` looks like a batch of whatever log.
    pub(super) fn any_magic_from(&mut self, offset: u64) -> Result<bool, LogError> {
        let mut at = offset.next_multiple_of(ALIGNMENT);
        while at < self.length {
            if has_magic(&self.window(at, BATCH_HEADER_BYTES)?) {
                return Ok(true);
            }
            at += ALIGNMENT;
        }
        Ok(false)
    }

    /// Whether batches may be hidden in a place that cannot be read behind `offset`, where nothing valid stands: one was begun
    /// there, by what is left of it, or too little stands between the two to tell. Bytes of the file's earlier life count for
    /// nothing, nor do zeros: it may never have been written so far.
    pub(super) fn may_hide_batches(
        &mut self,
        offset: u64,
        sequence: Option<u64>,
    ) -> Result<bool, LogError> {
        let Some(page) = self.reads.unreadable_in(self.segment, offset..self.length) else {
            return Ok(false);
        };
        let between = page.saturating_sub(offset);
        if between < PAGE_BYTES as u64 {
            return Ok(true);
        }
        let length = usize::try_from(between).unwrap_or(usize::MAX).min(SALVAGED_BYTES_MAX);
        let bytes = self.window(offset, length)?;
        let bytes = bytes.slice(..length.min(bytes.len()));
        Ok(was_header(&bytes, self.segment, sequence)
            || !intact_records(&bytes, self.sealer, offset).is_empty())
    }

    /// The end of what cannot be read from the first such place in the range on.
    pub(super) fn unreadable_from(&self, range: Range<u64>) -> Option<u64> {
        let range = range.start..range.end.min(self.length);
        let page = self.reads.unreadable_in(self.segment, range)?;
        Some(self.reads.unreadable_end(self.segment, page).min(self.length))
    }

    /// Whether a segment that does not count, as far as can be read, may count all the same: its opening, at its beginning,
    /// cannot be read, or it was begun and something else of it cannot.
    pub(super) fn may_count(&mut self) -> Result<bool, LogError> {
        if self.header_from(0, u64::MAX)?.is_some() {
            return Ok(self.unreadable_from(0..self.length).is_some());
        }
        self.may_hide_batches(0, None)
    }

    fn newer(&self, found: u16) -> LogError {
        LogError::NewerFormat { file: self.file.clone(), found, known: FORMAT_VERSION }
    }
}
