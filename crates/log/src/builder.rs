//! Builds one batch at a time in a buffer that is used again.

use bytes::{Bytes, BytesMut};
use ringfort_types::GroupId;

use crate::format::{
    BATCH_HEADER_BYTES, BatchHeader, DIRECTORY_ENTRY_BYTES, DirectoryEntry, RECORD_HEADER_BYTES,
    Sealer, SegmentId, Target, aligned, kinds, push_directory,
};

/// Where a segment stands in the chain; the same in each of its batches but for `oldest`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) segment: SegmentId,
    pub(crate) sealer: Sealer,
    pub(crate) previous: SegmentId,
    pub(crate) previous_end: u64,
    /// Flags that all batches carry.
    pub(crate) flags: u16,
}

/// A batch ready to be written.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    /// Its bytes, padding included.
    pub(crate) bytes: Bytes,
    pub(crate) header: BatchHeader,
}

/// The batch that is being built.
#[derive(Debug)]
pub(crate) struct BatchBuilder {
    bytes: BytesMut,
    place: Place,
    offset: u64,
    sequence: u64,
    records: u32,
    directory: Vec<DirectoryEntry>,
}

/// A buffer that grew beyond this for an exceptional batch is given back afterwards.
const BUFFER_KEPT_BYTES_MAX: usize = 8 << 20;

impl BatchBuilder {
    pub(crate) fn new(place: Place) -> Self {
        Self {
            bytes: BytesMut::new(),
            place,
            offset: 0,
            sequence: 0,
            records: 0,
            directory: Vec::new(),
        }
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    pub(crate) fn set_place(&mut self, place: Place) {
        self.place = place;
    }

    /// Begins the batch numbered `sequence` at `offset` of the segment.
    pub(crate) fn begin(&mut self, offset: u64, sequence: u64) {
        self.offset = offset;
        self.sequence = sequence;
        self.records = 0;
        self.directory.clear();
        self.bytes.clear();
        self.bytes.extend_from_slice(&[0; BATCH_HEADER_BYTES]);
    }

    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    pub(crate) fn segment(&self) -> SegmentId {
        self.place.segment
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Bytes of the batch with one more record of `record` bytes, of a group perhaps not named yet; padding included.
    pub(crate) fn length_with(&self, record: usize) -> u64 {
        let named = (self.directory.len() + 1) * DIRECTORY_ENTRY_BYTES;
        let length = self.bytes.len() + record + named + RECORD_HEADER_BYTES;
        aligned(length as u64)
    }

    /// Where the next record goes.
    pub(crate) fn record(&mut self) -> Target<'_> {
        self.records += 1;
        Target { bytes: &mut self.bytes, offset: self.offset, sealer: self.place.sealer }
    }

    /// Names a group in the directory, with its newest sequence. `listed` is the group's memory of its place there.
    pub(crate) fn list(
        &mut self,
        listed: &mut Option<(u64, usize)>,
        group: GroupId,
        kind: u8,
        sequence: u64,
    ) {
        match *listed {
            Some((batch, at)) if batch == self.sequence => {
                let entry = &mut self.directory[at];
                entry.kinds = (entry.kinds & !kinds::GONE) | kind;
                entry.sequence = sequence;
            }
            _ => {
                *listed = Some((self.sequence, self.directory.len()));
                self.directory.push(DirectoryEntry { group, kinds: kind, sequence });
            }
        }
    }

    /// Ends the batch.
    pub(crate) fn finish(&mut self, flags: u16, oldest: SegmentId) -> Batch {
        let mut target =
            Target { bytes: &mut self.bytes, offset: self.offset, sealer: self.place.sealer };
        push_directory(&mut target, self.sequence, &self.directory);
        let length = self.bytes.len();
        let header = BatchHeader {
            flags: flags | self.place.flags,
            segment: self.place.segment,
            offset: self.offset,
            sequence: self.sequence,
            previous: self.place.previous,
            previous_end: self.place.previous_end,
            oldest,
            length: u32::try_from(length).expect("a batch is far below 4 GiB"),
            records: self.records,
        };
        let padded = usize::try_from(header.end() - header.offset).expect("a batch fits in memory");
        self.bytes.resize(padded, 0);
        self.bytes[..BATCH_HEADER_BYTES].copy_from_slice(&header.encode(self.place.sealer));
        // The buffer is one allocation that is used again once the batch's bytes are let go.
        let bytes = self.bytes.split().freeze();
        if padded > BUFFER_KEPT_BYTES_MAX {
            self.bytes = BytesMut::new();
        }
        Batch { bytes, header }
    }
}
