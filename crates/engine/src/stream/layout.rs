//! Heads and sizes of the stream, and how they are checked. All integers are little endian.

use ringfort_types::{Applied, GroupId, Index, Term};

use super::Fault;
use crate::store::{Generation, STORED_KEY_BYTES_MAX, STORED_VALUE_BYTES_MAX, StoreSize};

/// The version written, and the newest one read.
pub(crate) const FORMAT_VERSION: u16 = 1;

pub(super) const FILE_MAGIC: [u8; 8] = *b"RFSNAPF\n";
pub(super) const STREAM_MAGIC: [u8; 8] = *b"RFSNAPS\n";

/// What file and stream begin with, in this and every later version: magic, version, two zero bytes, CRC.
pub(super) const PROLOGUE_BYTES: usize = 16;
/// The head of a file; the stream follows.
pub(crate) const FILE_HEAD_BYTES: usize = 32;
/// The head of a stream, prologue included.
pub(super) const STREAM_HEAD_BYTES: usize = 64;
/// The head of a frame.
pub(super) const FRAME_HEAD_BYTES: usize = 20;
/// The payload of the tail.
pub(super) const TAIL_BYTES: usize = 40;
/// A frame ends before the record that would make its payload larger than this.
pub(super) const FRAME_PAYLOAD_TARGET: usize = 64 << 10;
/// Two lengths of at most five bytes stand before each record.
pub(super) const RECORD_LENGTHS_BYTES_MAX: usize = 10;
/// A single record may have a frame of its own, however large.
pub(super) const FRAME_PAYLOAD_MAX: usize =
    STORED_KEY_BYTES_MAX + STORED_VALUE_BYTES_MAX + RECORD_LENGTHS_BYTES_MAX;

const _: () = assert!(FRAME_PAYLOAD_TARGET <= FRAME_PAYLOAD_MAX);
const _: () = assert!(FRAME_PAYLOAD_MAX <= u32::MAX as usize);

/// A frame of records.
pub(super) const KIND_RECORDS: u32 = u32::from_le_bytes(*b"RECS");
/// The frame that ends a stream.
pub(super) const KIND_TAIL: u32 = u32::from_le_bytes(*b"TAIL");

/// What a stream holds, told ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamHead {
    /// Whose store.
    pub(crate) group: GroupId,
    /// The position it has applied.
    pub(crate) applied: Applied,
    /// How many records and how many bytes of keys and values.
    pub(crate) size: StoreSize,
}

pub(super) fn prologue(magic: [u8; 8]) -> [u8; PROLOGUE_BYTES] {
    let mut bytes = [0; PROLOGUE_BYTES];
    bytes[..8].copy_from_slice(&magic);
    bytes[8..10].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..12]);
    bytes[12..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Checks a prologue. Its checksum is what tells a newer format from a damaged one.
pub(super) fn check_prologue(bytes: &[u8], magic: [u8; 8]) -> Result<(), Fault> {
    if bytes[..8] != magic {
        return Err(Fault::damaged(0, "this is no snapshot"));
    }
    if crc32c::crc32c(&bytes[..12]) != u32_at(bytes, 12) {
        return Err(Fault::damaged(8, "the checksum of the format version is wrong"));
    }
    match u16_at(bytes, 8) {
        FORMAT_VERSION if u16_at(bytes, 10) == 0 => Ok(()),
        FORMAT_VERSION => Err(Fault::damaged(10, "reserved bytes are not zero")),
        0 => Err(Fault::damaged(8, "there is no format version 0")),
        found => Err(Fault::Newer { found }),
    }
}

/// The head of a file.
///
/// ```text
///  0 prologue  16 group u32  20 generation u64  28 CRC of 0..28
/// ```
pub(crate) fn file_head(group: GroupId, generation: Generation) -> [u8; FILE_HEAD_BYTES] {
    let mut bytes = [0; FILE_HEAD_BYTES];
    bytes[..PROLOGUE_BYTES].copy_from_slice(&prologue(FILE_MAGIC));
    bytes[16..20].copy_from_slice(&group.0.to_le_bytes());
    bytes[20..28].copy_from_slice(&generation.0.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..28]);
    bytes[28..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Checks that a file begins as the file of this group and generation does.
pub(crate) fn check_file_head(
    bytes: &[u8],
    group: GroupId,
    generation: Generation,
) -> Result<(), Fault> {
    if bytes.len() < PROLOGUE_BYTES {
        return Err(Fault::damaged(bytes.len() as u64, "the file ends in its head"));
    }
    check_prologue(bytes, FILE_MAGIC)?;
    if bytes.len() < FILE_HEAD_BYTES {
        return Err(Fault::damaged(bytes.len() as u64, "the file ends in its head"));
    }
    if crc32c::crc32c(&bytes[..28]) != u32_at(bytes, 28) {
        return Err(Fault::damaged(16, "the checksum of the file's head is wrong"));
    }
    let found = (u32_at(bytes, 16), u64_at(bytes, 20));
    if found != (group.0, generation.0) {
        let reason = format!("it holds group {}, generation {}", found.0, found.1);
        return Err(Fault::damaged(16, reason));
    }
    Ok(())
}

impl StreamHead {
    /// ```text
    ///  0 prologue  16 group u32  20 zero u32  24 applied index u64  32 applied term u64
    ///  40 records u64  48 bytes of keys and values u64  56 zero u32  60 CRC of 0..60
    /// ```
    pub(super) fn encode(&self) -> [u8; STREAM_HEAD_BYTES] {
        let mut bytes = [0; STREAM_HEAD_BYTES];
        bytes[..PROLOGUE_BYTES].copy_from_slice(&prologue(STREAM_MAGIC));
        bytes[16..20].copy_from_slice(&self.group.0.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.applied.index.0.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.applied.term.0.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.size.keys.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.size.bytes.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Decodes a head whose prologue has been checked.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        let at = PROLOGUE_BYTES as u64;
        if salt_of(bytes) != u32_at(bytes, 60) {
            return Err(Fault::damaged(at, "the checksum of the stream's head is wrong"));
        }
        if u32_at(bytes, 20) != 0 || u32_at(bytes, 56) != 0 {
            return Err(Fault::damaged(at, "reserved bytes of the head are not zero"));
        }
        Ok(Self {
            group: GroupId(u32_at(bytes, 16)),
            applied: Applied { index: Index(u64_at(bytes, 24)), term: Term(u64_at(bytes, 32)) },
            size: StoreSize { keys: u64_at(bytes, 40), bytes: u64_at(bytes, 48) },
        })
    }
}

/// What sets the frames of one stream apart from those of others: the checksum of its head.
pub(super) fn salt_of(head: &[u8]) -> u32 {
    crc32c::crc32c(&head[..60])
}

/// The checksum of a part of frame `number` in the stream with this salt.
pub(super) fn frame_crc(salt: u32, number: u64, bytes: &[u8]) -> u32 {
    let mut place = [0; 12];
    place[..4].copy_from_slice(&salt.to_le_bytes());
    place[4..].copy_from_slice(&number.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c(&place), bytes)
}

/// ```text
///  0 kind u32  4 length of the payload u32  8 records u32  12 CRC of the payload u32  16 CRC of 0..16
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHead {
    pub(super) kind: u32,
    pub(super) len: u32,
    pub(super) records: u32,
    pub(super) payload_crc: u32,
}

impl FrameHead {
    pub(super) fn encode(&self, salt: u32, number: u64) -> [u8; FRAME_HEAD_BYTES] {
        let mut bytes = [0; FRAME_HEAD_BYTES];
        bytes[..4].copy_from_slice(&self.kind.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.len.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.records.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.payload_crc.to_le_bytes());
        let crc = frame_crc(salt, number, &bytes[..16]);
        bytes[16..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The reason is told without an offset, which the caller knows.
    pub(super) fn decode(bytes: &[u8], salt: u32, number: u64) -> Result<Self, &'static str> {
        if frame_crc(salt, number, &bytes[..16]) != u32_at(bytes, 16) {
            return Err("the checksum of a frame's head is wrong");
        }
        let head = Self {
            kind: u32_at(bytes, 0),
            len: u32_at(bytes, 4),
            records: u32_at(bytes, 8),
            payload_crc: u32_at(bytes, 12),
        };
        let len = head.len as usize;
        match head.kind {
            KIND_RECORDS if head.records > 0 && (1..=FRAME_PAYLOAD_MAX).contains(&len) => Ok(head),
            KIND_TAIL if head.records == 0 && len == TAIL_BYTES => Ok(head),
            KIND_RECORDS | KIND_TAIL => Err("the length of a frame is impossible"),
            _ => Err("a frame is of an unknown kind"),
        }
    }
}

/// ```text
///  0 frames of records u64  8 records u64  16 bytes of keys and values u64
///  24 length of the stream u64  32 XXH3-64 of all bytes before the tail
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tail {
    pub(super) frames: u64,
    pub(super) size: StoreSize,
    pub(super) stream_len: u64,
    pub(super) stream_hash: u64,
}

impl Tail {
    pub(super) fn encode(&self) -> [u8; TAIL_BYTES] {
        let words =
            [self.frames, self.size.keys, self.size.bytes, self.stream_len, self.stream_hash];
        let mut bytes = [0; TAIL_BYTES];
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}
