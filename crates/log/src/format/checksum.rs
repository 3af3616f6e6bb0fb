//! Checksums that know where their bytes belong.

use super::SegmentId;

/// Makes the checksums of one segment: CRC-32C over salt, segment id, place and bytes. The part that is the same for the
/// whole segment is computed once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sealer {
    prefix: u32,
}

impl Sealer {
    pub(crate) fn new(salt: u64, segment: SegmentId) -> Self {
        let prefix = crc32c::crc32c(&salt.to_le_bytes());
        let prefix = crc32c::crc32c_append(prefix, &segment.0.to_le_bytes());
        Self { prefix }
    }

    /// The checksum of bytes that belong to a structure beginning at `offset` in the segment.
    pub(crate) fn seal(self, offset: u64, bytes: &[u8]) -> u32 {
        let placed = crc32c::crc32c_append(self.prefix, &offset.to_le_bytes());
        crc32c::crc32c_append(placed, bytes)
    }
}
