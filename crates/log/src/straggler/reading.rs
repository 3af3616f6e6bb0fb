//! Reads an old segment back for what is still needed of it, and gets past what is damaged.
//!
//! ```text
//!   | batch | batch | damaged ......... | batch | batch |
//!   '-- records ----'-- records that --'---- records ---'
//!                       are intact
//! ```
//! What cannot be read counts as zeros, after a try in smaller pieces: entries in it are not found, the others are.

use bytes::{Bytes, BytesMut};
use ringfort_env::{DiskAnswer, DiskError, DiskOperation};

use crate::format::{
    ALIGNMENT, BatchRead, HeaderRead, Record, Sealer, SegmentId, intact_records, read_batch,
    read_header,
};
use crate::pieces::{PIECE_BYTES, Pieces};

/// An old segment that is being read.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) segment: SegmentId,
    end: u64,
    /// Where `bytes` begin: with a batch, or a damaged place.
    offset: u64,
    bytes: BytesMut,
    /// So many bytes must be there before they are looked at.
    wanted: usize,
    pieces: Pieces,
    /// Bytes of the read under way.
    under_way: Option<usize>,
}

impl Reading {
    pub(super) fn new(segment: SegmentId, end: u64) -> Self {
        Self {
            segment,
            end,
            offset: 0,
            bytes: BytesMut::new(),
            wanted: PIECE_BYTES,
            pieces: Pieces::new(),
            under_way: None,
        }
    }

    /// Whether all of it was read.
    pub(super) fn is_done(&self) -> bool {
        self.offset >= self.end
    }

    /// The next read.
    pub(super) fn poll(&mut self) -> DiskOperation {
        let offset = self.offset + self.bytes.len() as u64;
        let len = self.pieces.next(offset, self.missing());
        self.under_way = Some(len);
        DiskOperation::Read { file: self.segment.file(), offset, len }
    }

    /// Bytes to read before the next look.
    fn missing(&self) -> usize {
        let rest = usize::try_from(self.end.saturating_sub(self.offset)).unwrap_or(usize::MAX);
        self.wanted.min(rest).saturating_sub(self.bytes.len())
    }

    /// Takes the end of a read, and hands out records of what was read so far.
    pub(super) fn handle(
        &mut self,
        result: Result<DiskAnswer, DiskError>,
        salt: u64,
        visit: &mut dyn FnMut(Record),
    ) {
        // The read of a segment that was freed in the meantime is none of this one's.
        let Some(len) = self.under_way.take() else {
            return;
        };
        if let Ok(DiskAnswer::Read(bytes)) = result {
            self.pieces.succeeded();
            let read = &bytes[..len.min(bytes.len())];
            self.bytes.extend_from_slice(read);
            // A file that is too short counts as zeros, too.
            self.bytes.resize(self.bytes.len() + len - read.len(), 0);
        } else if self.pieces.failed() {
            self.bytes.resize(self.bytes.len() + len, 0);
        }
        if self.missing() == 0 {
            self.look(salt, visit);
        }
    }

    /// Takes apart what is there, up to a place that needs more.
    fn look(&mut self, salt: u64, visit: &mut dyn FnMut(Record)) {
        let sealer = Sealer::new(salt, self.segment);
        let bytes = std::mem::take(&mut self.bytes).freeze();
        let last = self.offset + bytes.len() as u64 >= self.end;
        let mut records = Vec::new();
        let mut at = 0;
        self.wanted = PIECE_BYTES;
        while at < bytes.len() {
            let rest = bytes.slice(at..);
            let offset = self.offset + at as u64;
            let length = match read_batch(&rest, sealer, self.segment, offset, &mut records) {
                BatchRead::Valid(header) => header.end() - offset,
                BatchRead::Short(header) if !last => {
                    self.wanted = PIECE_BYTES.max(header.length as usize);
                    break;
                }
                BatchRead::Short(header) | BatchRead::Damaged(header) => {
                    let length = header.end() - offset;
                    records = salvage(&rest, length, sealer, offset);
                    length
                }
                BatchRead::Invalid | BatchRead::Newer(_) => {
                    let next = self.next_header(&rest, sealer, offset);
                    if next.is_none() && !last {
                        // Perhaps only a part of a header was read, or the next one is further on.
                        self.wanted = PIECE_BYTES.max(2 * rest.len());
                        break;
                    }
                    let length = next.unwrap_or(rest.len() as u64);
                    records = salvage(&rest, length, sealer, offset);
                    length
                }
            };
            records.drain(..).for_each(&mut *visit);
            at = at.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
        }
        self.offset += at as u64;
        self.bytes.extend_from_slice(bytes.get(at..).unwrap_or_default());
    }

    /// How far behind the beginning of `bytes` the next valid header is.
    fn next_header(&self, bytes: &Bytes, sealer: Sealer, offset: u64) -> Option<u64> {
        let places = (ALIGNMENT..bytes.len() as u64).step_by(512);
        let mut places = places.map(|place| (place, usize::try_from(place).unwrap_or(usize::MAX)));
        let found = places.find(|(place, at)| {
            let bytes = bytes.get(*at..).unwrap_or_default();
            let header = read_header(bytes, sealer, self.segment, offset + place);
            matches!(header, HeaderRead::Valid(_))
        });
        found.map(|(place, _)| place)
    }
}

/// Intact records in the first `length` bytes.
fn salvage(bytes: &Bytes, length: u64, sealer: Sealer, offset: u64) -> Vec<Record> {
    let length = usize::try_from(length).unwrap_or(usize::MAX).min(bytes.len());
    intact_records(&bytes.slice(..length), sealer, offset)
}
