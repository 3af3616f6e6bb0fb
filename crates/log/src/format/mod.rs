//! The bytes of the log, version 1. `docs/formats/log.md` describes them one by one; this module writes and reads them.
//!
//! ```text
//! segment file   | batch | batch | ... | zeros, or bytes of an earlier life |
//!                  each begins on a multiple of 512
//! batch          | header 72 | record | record | ... | directory | zeros up to 512 |
//! record         | crc length kind version group sequence | body | payload |
//! ```
//!
//! # Invariants
//! - Every checksum covers the node's salt, the segment's id and the place in the segment, so that bytes of an earlier
//!   life of a recycled file, bytes written to the wrong place and bytes made by a client never parse.
//! - A batch is valid if its header and every one of its records are. A valid header proves, by its mere existence, that
//!   everything before it was durable: a batch is written only once the one before it is synced.
//! - The directory at a batch's end names every group with records in it, so that damage to a record touches that group
//!   alone.

mod batch;
mod checksum;
mod record;
mod salvage;
mod state;

pub(crate) use batch::{
    BATCH_HEADER_BYTES, BatchHeader, BatchRead, HeaderRead, flags, has_magic, read_batch,
    read_header, was_header,
};
pub(crate) use checksum::Sealer;
pub(crate) use record::{
    Body, DIRECTORY_ENTRY_BYTES, DirectoryEntry, ENTRY_HEADER_BYTES, RECORD_HEADER_BYTES, Record,
    RecordRead, Target, kinds, may_begin_record, push_append, push_create, push_directory,
    push_drop, push_hard_state, push_rebase, push_rewritten, push_state, read_record,
};
pub(crate) use salvage::intact_records;
pub(crate) use state::{StateRecord, TermRun, state_bytes};

use ringfort_env::FileName;

/// Version of batches and records that this executable writes, and the newest it reads.
pub const FORMAT_VERSION: u16 = 1;

/// Batches begin on multiples of this: the unit in which disks keep or lose what was not synced.
pub(crate) const ALIGNMENT: u64 = 512;

/// Numbers the segments of one log; never used twice. 0 names none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SegmentId(pub(crate) u64);

impl SegmentId {
    /// The segment's file: `log-<16 hexadecimal digits>.seg`.
    pub(crate) fn file(self) -> FileName {
        FileName::new(&format!("log-{:016x}.seg", self.0))
    }

    /// The segment whose file this is; `None` if the file is none of the log's.
    pub(crate) fn of_file(name: &FileName) -> Option<Self> {
        let digits = name.as_str().strip_prefix("log-")?.strip_suffix(".seg")?;
        let lower = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        if digits.len() != 16 || !digits.bytes().all(lower) {
            return None;
        }
        let id = u64::from_str_radix(digits, 16).ok()?;
        (id > 0).then_some(Self(id))
    }
}

/// The next multiple of [`ALIGNMENT`].
pub(crate) fn aligned(bytes: u64) -> u64 {
    bytes.next_multiple_of(ALIGNMENT)
}

/// Reads fixed fields from the front of a slice; every field of every structure goes through it.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.take().map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }
}
