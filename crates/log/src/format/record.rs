//! Records: what a batch is made of.
//!
//! A record's first checksum covers all of it but the payload; an entry's payload has one of its own. So damage to a
//! payload, which is where most bytes are, leaves no doubt about which entry it hit.

use bytes::{Bytes, BytesMut};
use ringfort_types::{Applied, Entry, GroupId, HardState, Index, ReplicaId, Term};

use super::{FORMAT_VERSION, Fields, Sealer, StateRecord, state};
use crate::Base;
use crate::opening::Rewrite;

/// Bytes of every record before its body.
pub(crate) const RECORD_HEADER_BYTES: usize = 22;
/// Bytes of an entry before its payload.
pub(crate) const ENTRY_HEADER_BYTES: usize = RECORD_HEADER_BYTES + 20;
/// Bytes of one group in a directory.
pub(crate) const DIRECTORY_ENTRY_BYTES: usize = 13;
/// Version of the records this executable writes.
const VERSION: u8 = {
    assert!(FORMAT_VERSION < 256);
    FORMAT_VERSION.to_le_bytes()[0]
};

/// Kinds of records.
mod kind {
    pub(super) const APPEND: u8 = 1;
    pub(super) const REWRITTEN: u8 = 2;
    pub(super) const HARD_STATE: u8 = 3;
    pub(super) const CREATE: u8 = 4;
    pub(super) const REBASE: u8 = 5;
    pub(super) const DROP: u8 = 6;
    pub(super) const STATE: u8 = 7;
    pub(super) const DIRECTORY: u8 = 8;
}

/// Bits of [`DirectoryEntry::kinds`]: which numbered records of the group the batch holds.
pub(crate) mod kinds {
    pub(crate) const APPEND: u8 = 1;
    pub(crate) const HARD_STATE: u8 = 2;
    pub(crate) const CREATE: u8 = 4;
    pub(crate) const REBASE: u8 = 8;
    pub(crate) const DROP: u8 = 16;
    /// The group's full state stands in the batch.
    pub(crate) const STATE: u8 = 32;
    /// The group does not exist at the batch's end.
    pub(crate) const GONE: u8 = 64;
}

/// One group in a batch's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DirectoryEntry {
    pub(crate) group: GroupId,
    /// Bits of [`kinds`].
    pub(crate) kinds: u8,
    /// Sequence of the group's last record in the batch; in an opening, its last one before the segment.
    pub(crate) sequence: u64,
}

/// What a record says.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    /// An entry that follows the group's last one, or replaces everything from its index on.
    Append {
        index: Index,
        term: Term,
        /// `None` if its checksum does not hold.
        payload: Option<Bytes>,
    },
    /// An entry that stands in an older segment too, under the number it has there. It counts only where the group's log has this term at this index.
    Rewritten {
        index: Index,
        term: Term,
        /// `None` if its checksum does not hold.
        payload: Option<Bytes>,
    },
    HardState(HardState),
    Create(ReplicaId),
    Rebase(Base),
    Drop,
    /// Everything about a group but its entries' payloads. Takes no sequence number; carries the last one.
    State(Box<StateRecord>),
    /// The last record of each batch. Its sequence is the batch's.
    Directory(Vec<DirectoryEntry>),
}

/// A record whose first checksum holds.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// Where it begins in its segment.
    pub(crate) offset: u64,
    /// Its bytes, payload included.
    pub(crate) length: usize,
    pub(crate) group: GroupId,
    /// Number among the group's records, without gaps.
    pub(crate) sequence: u64,
    pub(crate) body: Body,
}

impl Record {
    /// Whether nothing of it is damaged.
    pub(crate) fn intact(&self) -> bool {
        !matches!(
            self.body,
            Body::Append { payload: None, .. } | Body::Rewritten { payload: None, .. }
        )
    }

    pub(crate) fn is_directory(&self) -> bool {
        matches!(self.body, Body::Directory(_))
    }
}

/// What stands where a record may be.
#[derive(Debug)]
pub(crate) enum RecordRead {
    Valid(Record),
    /// A record of ours, in a format we do not know.
    Newer(u16),
    Invalid,
}

/// Whether a record of a kind and version known here may begin with these bytes: a cheap look before a checksum.
pub(crate) fn may_begin_record(bytes: &[u8]) -> bool {
    let known = kind::APPEND..=kind::DIRECTORY;
    bytes.get(8).is_some_and(|kind| known.contains(kind)) && bytes.get(9) == Some(&VERSION)
}

/// Reads the record at position `at` of `bytes`, which is at `offset` in its segment.
pub(crate) fn read_record(bytes: &Bytes, at: usize, sealer: Sealer, offset: u64) -> RecordRead {
    parse(bytes, at, sealer, offset).unwrap_or(RecordRead::Invalid)
}

fn parse(bytes: &Bytes, at: usize, sealer: Sealer, offset: u64) -> Option<RecordRead> {
    let rest = bytes.get(at..)?;
    let mut fields = Fields(rest.get(..RECORD_HEADER_BYTES)?);
    let crc = fields.u32()?;
    let length = fields.u32()? as usize;
    let kind = fields.u8()?;
    let version = fields.u8()?;
    let group = GroupId(fields.u32()?);
    let sequence = fields.u64()?;
    let whole = rest.get(..length)?;
    let is_entry = matches!(kind, kind::APPEND | kind::REWRITTEN);
    let sealed = if is_entry { ENTRY_HEADER_BYTES } else { length };
    if crc != sealer.seal(offset, whole.get(4..sealed)?) {
        return None;
    }
    if version > VERSION {
        return Some(RecordRead::Newer(u16::from(version)));
    }
    let body = if is_entry {
        let payload = bytes.slice(at + ENTRY_HEADER_BYTES..at + length);
        parse_entry(kind, whole.get(RECORD_HEADER_BYTES..)?, payload)?
    } else {
        parse_body(kind, whole.get(RECORD_HEADER_BYTES..)?)?
    };
    let record = Record { offset, length, group, sequence, body };
    Some(RecordRead::Valid(record))
}

fn parse_entry(kind: u8, body: &[u8], payload: Bytes) -> Option<Body> {
    let mut fields = Fields(body);
    let index = Index(fields.u64()?);
    let term = Term(fields.u64()?);
    let crc = fields.u32()?;
    let payload = (crc32c::crc32c(&payload) == crc).then_some(payload);
    Some(if kind == kind::APPEND {
        Body::Append { index, term, payload }
    } else {
        Body::Rewritten { index, term, payload }
    })
}

fn parse_body(kind: u8, body: &[u8]) -> Option<Body> {
    let mut fields = Fields(body);
    let body = match kind {
        kind::HARD_STATE => Body::HardState(read_hard_state(&mut fields)?),
        kind::CREATE => Body::Create(ReplicaId(fields.u64()?)),
        kind::REBASE => Body::Rebase(read_base(&mut fields)?),
        kind::DROP => Body::Drop,
        kind::STATE => Body::State(Box::new(state::read(&mut fields)?)),
        kind::DIRECTORY => Body::Directory(read_directory(&mut fields)?),
        _ => return None,
    };
    fields.0.is_empty().then_some(body)
}

pub(super) fn read_hard_state(fields: &mut Fields<'_>) -> Option<HardState> {
    let term = Term(fields.u64()?);
    let vote = fields.u64()?;
    let commit = Index(fields.u64()?);
    let vote = (vote != 0).then_some(ReplicaId(vote));
    Some(HardState { term, vote, commit })
}

pub(super) fn read_base(fields: &mut Fields<'_>) -> Option<Base> {
    let index = Index(fields.u64()?);
    let term = Term(fields.u64()?);
    let generation = fields.u64()?;
    Some(Base { applied: Applied { index, term }, generation })
}

fn read_directory(fields: &mut Fields<'_>) -> Option<Vec<DirectoryEntry>> {
    let mut entries = Vec::with_capacity(fields.0.len() / DIRECTORY_ENTRY_BYTES);
    while !fields.0.is_empty() {
        entries.push(DirectoryEntry {
            group: GroupId(fields.u32()?),
            kinds: fields.u8()?,
            sequence: fields.u64()?,
        });
    }
    Some(entries)
}

/// Where a record is written: at the end of a batch that begins at `offset` of its segment.
pub(crate) struct Target<'a> {
    /// The batch so far, its header's room included.
    pub(crate) bytes: &'a mut BytesMut,
    /// Where the batch begins in its segment.
    pub(crate) offset: u64,
    /// The segment's.
    pub(crate) sealer: Sealer,
}

impl Target<'_> {
    /// Begins a record; [`Target::end`] fills in what is not known yet.
    fn begin(&mut self, kind: u8, group: GroupId, sequence: u64) -> usize {
        let start = self.bytes.len();
        let mut header = [0; RECORD_HEADER_BYTES];
        header[8] = kind;
        header[9] = VERSION;
        header[10..14].copy_from_slice(&group.0.to_le_bytes());
        header[14..22].copy_from_slice(&sequence.to_le_bytes());
        self.bytes.extend_from_slice(&header);
        start
    }

    /// Fills in length and checksum of the record that begins at `start` and, but for `payload` bytes to come, is whole.
    fn end(&mut self, start: usize, payload: usize) {
        let record = &mut self.bytes[start..];
        let length = u32::try_from(record.len() + payload).expect("a record is far below 4 GiB");
        record[4..8].copy_from_slice(&length.to_le_bytes());
        let crc = self.sealer.seal(self.offset + start as u64, &record[4..]);
        record[..4].copy_from_slice(&crc.to_le_bytes());
    }

    fn put(&mut self, field: u64) {
        self.bytes.extend_from_slice(&field.to_le_bytes());
    }

    pub(super) fn put_hard_state(&mut self, hard_state: &HardState) {
        self.put(hard_state.term.0);
        self.put(hard_state.vote.map_or(0, |replica| replica.0));
        self.put(hard_state.commit.0);
    }

    pub(super) fn put_base(&mut self, base: &Base) {
        self.put(base.applied.index.0);
        self.put(base.applied.term.0);
        self.put(base.generation);
    }
}

/// Writes an entry.
pub(crate) fn push_append(target: &mut Target<'_>, group: GroupId, sequence: u64, entry: &Entry) {
    let at = (entry.index, entry.term);
    push_entry(target, kind::APPEND, (group, sequence), at, &entry.payload);
}

/// Writes an entry of an older segment again; it keeps the number it had there.
pub(crate) fn push_rewritten(target: &mut Target<'_>, entry: &Rewrite) {
    let at = (entry.index, entry.term);
    push_entry(target, kind::REWRITTEN, (entry.group, entry.sequence), at, &entry.payload);
}

fn push_entry(
    target: &mut Target<'_>,
    kind: u8,
    (group, sequence): (GroupId, u64),
    (index, term): (Index, Term),
    payload: &[u8],
) {
    // The hot path: the head is put together on the stack and copied once.
    let mut head = [0; ENTRY_HEADER_BYTES];
    let start = target.offset + target.bytes.len() as u64;
    let length = u32::try_from(ENTRY_HEADER_BYTES + payload.len());
    let length = length.expect("a record is far below 4 GiB");
    head[4..8].copy_from_slice(&length.to_le_bytes());
    head[8] = kind;
    head[9] = VERSION;
    head[10..14].copy_from_slice(&group.0.to_le_bytes());
    head[14..22].copy_from_slice(&sequence.to_le_bytes());
    head[22..30].copy_from_slice(&index.0.to_le_bytes());
    head[30..38].copy_from_slice(&term.0.to_le_bytes());
    head[38..].copy_from_slice(&crc32c::crc32c(payload).to_le_bytes());
    let crc = target.sealer.seal(start, &head[4..]);
    head[..4].copy_from_slice(&crc.to_le_bytes());
    target.bytes.extend_from_slice(&head);
    target.bytes.extend_from_slice(payload);
}

pub(crate) fn push_hard_state(
    target: &mut Target<'_>,
    group: GroupId,
    sequence: u64,
    hard_state: &HardState,
) {
    let start = target.begin(kind::HARD_STATE, group, sequence);
    target.put_hard_state(hard_state);
    target.end(start, 0);
}

pub(crate) fn push_create(
    target: &mut Target<'_>,
    group: GroupId,
    sequence: u64,
    replica: ReplicaId,
) {
    let start = target.begin(kind::CREATE, group, sequence);
    target.put(replica.0);
    target.end(start, 0);
}

pub(crate) fn push_rebase(target: &mut Target<'_>, group: GroupId, sequence: u64, base: &Base) {
    let start = target.begin(kind::REBASE, group, sequence);
    target.put_base(base);
    target.end(start, 0);
}

pub(crate) fn push_drop(target: &mut Target<'_>, group: GroupId, sequence: u64) {
    let start = target.begin(kind::DROP, group, sequence);
    target.end(start, 0);
}

/// Writes a group's full state; `sequence` is that of its last record.
pub(crate) fn push_state(
    target: &mut Target<'_>,
    group: GroupId,
    sequence: u64,
    state: &StateRecord,
) {
    let start = target.begin(kind::STATE, group, sequence);
    state::write(target, state);
    target.end(start, 0);
}

/// Writes the directory that ends the batch numbered `batch`.
pub(crate) fn push_directory(target: &mut Target<'_>, batch: u64, entries: &[DirectoryEntry]) {
    let start = target.begin(kind::DIRECTORY, GroupId(0), batch);
    for entry in entries {
        let mut bytes = [0; DIRECTORY_ENTRY_BYTES];
        bytes[..4].copy_from_slice(&entry.group.0.to_le_bytes());
        bytes[4] = entry.kinds;
        bytes[5..].copy_from_slice(&entry.sequence.to_le_bytes());
        target.bytes.extend_from_slice(&bytes);
    }
    target.end(start, 0);
}
