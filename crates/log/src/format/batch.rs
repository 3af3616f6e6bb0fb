//! Batch headers, and batches as a whole.

use bytes::Bytes;

use super::{
    ALIGNMENT, FORMAT_VERSION, Fields, Record, RecordRead, Sealer, SegmentId, aligned, read_record,
};

/// First bytes of every batch.
const MAGIC: [u8; 8] = *b"RingfLog";
/// Bytes of a batch header.
pub(crate) const BATCH_HEADER_BYTES: usize = 72;
/// Where the bytes begin that a header's checksum covers.
const SEALED_FROM: usize = 12;

/// Bits of [`BatchHeader::flags`].
pub(crate) mod flags {
    /// The batch belongs to its segment's opening: group states, after a start also entries brought along.
    pub(crate) const OPENING: u16 = 1;
    /// The opening goes on in the next batch. A segment counts only once its opening is complete.
    pub(crate) const MORE: u16 = 2;
    /// Damage may have hidden groups once; every batch says so from then on.
    pub(crate) const HIDDEN: u16 = 4;
}

/// What a batch says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    /// Bits of [`flags`].
    pub(crate) flags: u16,
    /// The segment it was written for.
    pub(crate) segment: SegmentId,
    /// Where in that segment; everything before it was durable when it was written.
    pub(crate) offset: u64,
    /// Number of the batch, without gaps along the chain of segments.
    pub(crate) sequence: u64,
    /// The segment before this one in the chain; 0: none.
    pub(crate) previous: SegmentId,
    /// Where that one ends.
    pub(crate) previous_end: u64,
    /// The oldest segment that recovery still needs.
    pub(crate) oldest: SegmentId,
    /// Bytes of header, records and directory, without padding.
    pub(crate) length: u32,
    /// Records, the directory not counted.
    pub(crate) records: u32,
}

impl BatchHeader {
    /// Whether the batch belongs to its segment's opening.
    pub(crate) fn is_opening(&self) -> bool {
        self.flags & flags::OPENING != 0
    }

    /// Whether the segment's opening goes on after this batch.
    pub(crate) fn more_opening(&self) -> bool {
        self.flags & flags::MORE != 0
    }

    /// Where the next batch begins.
    pub(crate) fn end(&self) -> u64 {
        self.offset.saturating_add(aligned(u64::from(self.length)))
    }

    /// The header as it stands in the file.
    pub(crate) fn encode(&self, sealer: Sealer) -> [u8; BATCH_HEADER_BYTES] {
        let mut bytes = [0; BATCH_HEADER_BYTES];
        let mut at = SEALED_FROM;
        let mut put = |field: &[u8]| {
            bytes[at..at + field.len()].copy_from_slice(field);
            at += field.len();
        };
        put(&FORMAT_VERSION.to_le_bytes());
        put(&self.flags.to_le_bytes());
        put(&self.segment.0.to_le_bytes());
        put(&self.offset.to_le_bytes());
        put(&self.sequence.to_le_bytes());
        put(&self.previous.0.to_le_bytes());
        put(&self.previous_end.to_le_bytes());
        put(&self.oldest.0.to_le_bytes());
        put(&self.length.to_le_bytes());
        put(&self.records.to_le_bytes());
        let crc = sealer.seal(self.offset, &bytes[SEALED_FROM..]);
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..SEALED_FROM].copy_from_slice(&crc.to_le_bytes());
        bytes
    }
}

/// What stands where a batch header may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderRead {
    /// A header whose checksum holds.
    Valid(BatchHeader),
    /// A header that is ours, in a format we do not know.
    Newer(u16),
    /// Something else.
    Invalid,
}

/// Whether bytes begin with what is left of a header that was written for this segment, or with this number: one of the two
/// survives wherever less than both is damaged. What stood there in the file's earlier life has neither.
pub(crate) fn was_header(bytes: &[u8], segment: SegmentId, sequence: Option<u64>) -> bool {
    const SEGMENT: usize = SEALED_FROM + 4;
    const SEQUENCE: usize = SEGMENT + 16;
    let stands = |at: usize, number: u64| bytes.get(at..at + 8) == Some(&number.to_le_bytes()[..]);
    stands(SEGMENT, segment.0) || sequence.is_some_and(|sequence| stands(SEQUENCE, sequence))
}

/// Whether bytes begin like a batch of whatever log.
pub(crate) fn has_magic(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// Reads the header at `offset` of a segment from bytes that begin there.
pub(crate) fn read_header(
    bytes: &[u8],
    sealer: Sealer,
    segment: SegmentId,
    offset: u64,
) -> HeaderRead {
    let Some((bytes, _)) = bytes.split_first_chunk::<BATCH_HEADER_BYTES>() else {
        return HeaderRead::Invalid;
    };
    if !has_magic(bytes) {
        return HeaderRead::Invalid;
    }
    parse_header(bytes, sealer, segment, offset).unwrap_or(HeaderRead::Invalid)
}

fn parse_header(
    bytes: &[u8; BATCH_HEADER_BYTES],
    sealer: Sealer,
    segment: SegmentId,
    offset: u64,
) -> Option<HeaderRead> {
    let mut fields = Fields(&bytes[8..]);
    let crc = fields.u32()?;
    if crc != sealer.seal(offset, &bytes[SEALED_FROM..]) {
        return None;
    }
    let version = fields.u16()?;
    if version > FORMAT_VERSION {
        return Some(HeaderRead::Newer(version));
    }
    let header = BatchHeader {
        flags: fields.u16()?,
        segment: SegmentId(fields.u64()?),
        offset: fields.u64()?,
        sequence: fields.u64()?,
        previous: SegmentId(fields.u64()?),
        previous_end: fields.u64()?,
        oldest: SegmentId(fields.u64()?),
        length: fields.u32()?,
        records: fields.u32()?,
    };
    let in_place = header.segment == segment
        && header.offset == offset
        && header.previous < segment
        && header.length as usize >= BATCH_HEADER_BYTES;
    in_place.then_some(HeaderRead::Valid(header))
}

/// What stands where a batch may be.
#[derive(Debug)]
pub(crate) enum BatchRead {
    /// A batch of which header and all records are intact.
    Valid(BatchHeader),
    /// A valid header with something missing or damaged behind it.
    Damaged(BatchHeader),
    /// A batch or record of ours, in a format we do not know.
    Newer(u16),
    /// No batch header.
    Invalid,
    /// The batch is longer than the bytes given.
    Short(BatchHeader),
}

/// Reads the batch at `offset` of a segment from bytes that begin there, and its records, the directory last, into
/// `records`, which is emptied first.
pub(crate) fn read_batch(
    bytes: &Bytes,
    sealer: Sealer,
    segment: SegmentId,
    offset: u64,
    records: &mut Vec<Record>,
) -> BatchRead {
    records.clear();
    let header = match read_header(bytes, sealer, segment, offset) {
        HeaderRead::Valid(header) => header,
        HeaderRead::Newer(version) => return BatchRead::Newer(version),
        HeaderRead::Invalid => return BatchRead::Invalid,
    };
    let length = header.length as usize;
    if bytes.len() < length {
        return BatchRead::Short(header);
    }
    let bytes = bytes.slice(..length);
    let mut at = BATCH_HEADER_BYTES;
    while at < length {
        match read_record(&bytes, at, sealer, offset + at as u64) {
            RecordRead::Valid(record) if record.intact() => {
                at += record.length;
                records.push(record);
            }
            RecordRead::Newer(version) => return BatchRead::Newer(version),
            RecordRead::Valid(_) | RecordRead::Invalid => return BatchRead::Damaged(header),
        }
    }
    let complete = records.len() == header.records as usize + 1
        && records.last().is_some_and(Record::is_directory);
    if complete { BatchRead::Valid(header) } else { BatchRead::Damaged(header) }
}

const _: () = assert!((BATCH_HEADER_BYTES as u64) < ALIGNMENT);

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> BatchHeader {
        BatchHeader {
            flags: flags::OPENING,
            segment: SegmentId(7),
            offset: 1024,
            sequence: 9,
            previous: SegmentId(5),
            previous_end: 4096,
            oldest: SegmentId(4),
            length: 600,
            records: 3,
        }
    }

    #[test]
    fn a_header_reads_back_in_its_place_only() {
        let sealer = Sealer::new(1, SegmentId(7));
        let bytes = header().encode(sealer);
        let read = |sealer, segment, offset| read_header(&bytes, sealer, segment, offset);
        assert_eq!(read(sealer, SegmentId(7), 1024), HeaderRead::Valid(header()));
        assert_eq!(read(sealer, SegmentId(7), 512), HeaderRead::Invalid);
        assert_eq!(read(sealer, SegmentId(8), 1024), HeaderRead::Invalid);
        let other_segment = Sealer::new(1, SegmentId(8));
        assert_eq!(read(other_segment, SegmentId(8), 1024), HeaderRead::Invalid);
        let other_salt = Sealer::new(2, SegmentId(7));
        assert_eq!(read(other_salt, SegmentId(7), 1024), HeaderRead::Invalid);
    }

    #[test]
    fn a_newer_version_is_told_from_damage() {
        let sealer = Sealer::new(1, SegmentId(7));
        let mut bytes = header().encode(sealer);
        bytes[SEALED_FROM] = 2;
        assert_eq!(read_header(&bytes, sealer, SegmentId(7), 1024), HeaderRead::Invalid);
        let crc = sealer.seal(1024, &bytes[SEALED_FROM..]);
        bytes[8..12].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(read_header(&bytes, sealer, SegmentId(7), 1024), HeaderRead::Newer(2));
    }
}
