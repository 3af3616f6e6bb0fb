//! Reads one segment file at start, in large pieces; payloads of entries share the pieces' memory.

use bytes::Bytes;
use ringfort_env::{Disk, FileName};

use crate::LogError;
use crate::format::{
    ALIGNMENT, BATCH_HEADER_BYTES, BatchHeader, BatchRead, FORMAT_VERSION, HeaderRead, Record,
    Sealer, SegmentId, has_magic, read_batch, read_header,
};

/// Files are read in pieces of this size.
const PIECE_BYTES: usize = 1 << 20;

/// A segment file that is being read.
pub(super) struct SegmentReader<'a> {
    disk: &'a mut dyn Disk,
    pub(super) segment: SegmentId,
    pub(super) sealer: Sealer,
    file: FileName,
    length: u64,
    piece: Bytes,
    piece_at: u64,
}

impl<'a> SegmentReader<'a> {
    pub(super) fn new(disk: &'a mut dyn Disk, salt: u64, segment: SegmentId, length: u64) -> Self {
        Self {
            disk,
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
        self.piece = self.disk.read(&self.file, offset, want.max(PIECE_BYTES))?;
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

    fn newer(&self, found: u16) -> LogError {
        LogError::NewerFormat { file: self.file.clone(), found, known: FORMAT_VERSION }
    }
}
