//! Reading a stream that comes in parts of any size. Nothing of it may be believed before [`Decoder::finish`] says so.
//!
//! ```text
//!  prologue → head → frame head → payload ─┐
//!                        ▲                 │ records
//!                        └─────────────────┤
//!                                          └ tail → end
//! ```
//!
//! Each stage wants a known number of bytes. They are parsed where they lie if a part holds them whole, and are gathered
//! first if not. A length is believed only after the checksum of the head it stands in, so that damage cannot make the
//! decoder gather more than the largest record.

use xxhash_rust::xxh3::Xxh3;

use super::layout::{
    FRAME_HEAD_BYTES, FrameHead, KIND_RECORDS, PROLOGUE_BYTES, STREAM_HEAD_BYTES, STREAM_MAGIC,
    StreamHead, Tail, check_prologue, frame_crc, salt_of,
};
use crate::store::{STORED_KEY_BYTES_MAX, STORED_VALUE_BYTES_MAX, StoreSize};

/// Why a stream or file is not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is not what was written.
    Damaged {
        /// Where, in bytes from its start.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
    /// It is intact, and of a format that is not known here.
    Newer {
        /// Its version.
        found: u16,
    },
}

impl Fault {
    pub(super) fn damaged(offset: u64, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self::Damaged { offset, reason }
    }
}

/// Who takes what a stream holds.
pub(crate) trait Sink {
    /// The head, once, first.
    ///
    /// # Errors
    /// The stream is not wanted; why.
    fn head(&mut self, head: &StreamHead) -> Result<(), String>;

    /// A record, in order of keys. `joined` is key and value, one after the other.
    fn record(&mut self, key_len: usize, joined: &[u8]);
}

enum Stage {
    Prologue,
    Head,
    FrameHead,
    Payload(FrameHead),
    End,
}

/// Reads one stream.
pub(crate) struct Decoder {
    stage: Stage,
    /// Bytes of the stage under way that came with earlier parts.
    gathered: Vec<u8>,
    /// Where the stage under way begins, in bytes from the start of the stream.
    offset: u64,
    head_bytes: [u8; STREAM_HEAD_BYTES],
    head: Option<StreamHead>,
    salt: u32,
    frames: u64,
    read: StoreSize,
    last_key: Vec<u8>,
    hash: Box<Xxh3>,
}

impl Decoder {
    /// A decoder at the start of a stream.
    pub(crate) fn new() -> Self {
        Self {
            stage: Stage::Prologue,
            gathered: Vec::new(),
            offset: 0,
            head_bytes: [0; STREAM_HEAD_BYTES],
            head: None,
            salt: 0,
            frames: 0,
            read: StoreSize::default(),
            last_key: Vec::new(),
            hash: Box::default(),
        }
    }

    /// Takes the next part of the stream.
    ///
    /// # Errors
    /// The stream is damaged or not wanted. Nothing more may be pushed.
    pub(crate) fn push(&mut self, mut part: &[u8], sink: &mut dyn Sink) -> Result<(), Fault> {
        while !part.is_empty() {
            let wanted = self.wanted()?;
            let missing = wanted - self.gathered.len();
            if self.gathered.is_empty() && part.len() >= wanted {
                let (whole, rest) = part.split_at(wanted);
                self.take(whole, sink)?;
                part = rest;
                continue;
            }
            let (more, rest) = part.split_at(missing.min(part.len()));
            self.gathered.extend_from_slice(more);
            part = rest;
            if self.gathered.len() == wanted {
                let whole = std::mem::take(&mut self.gathered);
                self.take(&whole, sink)?;
                self.gathered = whole;
                self.gathered.clear();
            }
        }
        Ok(())
    }

    /// The head of the stream, if it has been pushed to its end and everything in it is right.
    ///
    /// # Errors
    /// It ends too early.
    pub(crate) fn finish(self) -> Result<StreamHead, Fault> {
        match (self.stage, self.head) {
            (Stage::End, Some(head)) => Ok(head),
            _ => {
                let end = self.offset + self.gathered.len() as u64;
                Err(Fault::damaged(end, "the stream ends too early"))
            }
        }
    }

    fn damaged(&self, reason: impl Into<String>) -> Fault {
        Fault::damaged(self.offset, reason)
    }

    /// How many bytes the stage under way takes; never 0.
    fn wanted(&self) -> Result<usize, Fault> {
        match &self.stage {
            Stage::Prologue => Ok(PROLOGUE_BYTES),
            Stage::Head => Ok(STREAM_HEAD_BYTES - PROLOGUE_BYTES),
            Stage::FrameHead => Ok(FRAME_HEAD_BYTES),
            Stage::Payload(frame) => Ok(frame.len as usize),
            Stage::End => Err(self.damaged("bytes follow the end of the stream")),
        }
    }

    /// Takes all bytes of the stage under way.
    fn take(&mut self, bytes: &[u8], sink: &mut dyn Sink) -> Result<(), Fault> {
        self.stage = match self.stage {
            Stage::Prologue => {
                check_prologue(bytes, STREAM_MAGIC)?;
                self.head_bytes[..PROLOGUE_BYTES].copy_from_slice(bytes);
                self.hash.update(bytes);
                Stage::Head
            }
            Stage::Head => self.take_head(bytes, sink)?,
            Stage::FrameHead => {
                let frame = FrameHead::decode(bytes, self.salt, self.frames)
                    .map_err(|reason| self.damaged(reason))?;
                if frame.kind == KIND_RECORDS {
                    self.hash.update(bytes);
                }
                Stage::Payload(frame)
            }
            Stage::Payload(frame) => {
                if frame_crc(self.salt, self.frames, bytes) != frame.payload_crc {
                    return Err(self.damaged("the checksum of a frame is wrong"));
                }
                self.frames += 1;
                if frame.kind == KIND_RECORDS {
                    self.hash.update(bytes);
                    self.take_records(bytes, frame.records, sink)?;
                    Stage::FrameHead
                } else {
                    self.take_tail(bytes)?;
                    Stage::End
                }
            }
            Stage::End => Stage::End,
        };
        self.offset += bytes.len() as u64;
        Ok(())
    }

    fn take_head(&mut self, bytes: &[u8], sink: &mut dyn Sink) -> Result<Stage, Fault> {
        self.head_bytes[PROLOGUE_BYTES..].copy_from_slice(bytes);
        let head = StreamHead::decode(&self.head_bytes)?;
        sink.head(&head).map_err(|reason| self.damaged(reason))?;
        self.salt = salt_of(&self.head_bytes);
        self.head = Some(head);
        self.hash.update(bytes);
        Ok(Stage::FrameHead)
    }

    fn take_records(
        &mut self,
        payload: &[u8],
        records: u32,
        sink: &mut dyn Sink,
    ) -> Result<(), Fault> {
        let mut at = 0;
        let previous = std::mem::take(&mut self.last_key);
        let mut last_key = previous.as_slice();
        for _ in 0..records {
            let (key_len, joined, end) = record_at(payload, at)
                .ok_or_else(|| self.damaged("a record does not fit its frame"))?;
            let key = &joined[..key_len];
            if key <= last_key {
                return Err(self.damaged("records are out of order"));
            }
            sink.record(key_len, joined);
            self.read.keys += 1;
            self.read.bytes += joined.len() as u64;
            (last_key, at) = (key, end);
        }
        if at != payload.len() {
            return Err(self.damaged("a frame holds more than its records"));
        }
        self.last_key = last_key.to_vec();
        Ok(())
    }

    fn take_tail(&mut self, payload: &[u8]) -> Result<(), Fault> {
        let tail = Tail {
            frames: self.frames - 1,
            size: self.read,
            stream_len: self.offset + payload.len() as u64,
            stream_hash: self.hash.digest(),
        };
        if payload != tail.encode() {
            return Err(self.damaged("the tail does not agree with the stream before it"));
        }
        if self.head.map(|head| head.size) != Some(self.read) {
            return Err(self.damaged("the head does not agree with the records"));
        }
        Ok(())
    }
}

/// The record at an offset: length of its key, key and value, and where it ends.
fn record_at(payload: &[u8], at: usize) -> Option<(usize, &[u8], usize)> {
    let (key_len, at) = varint_at(payload, at)?;
    let (value_len, at) = varint_at(payload, at)?;
    if !(1..=STORED_KEY_BYTES_MAX).contains(&key_len) || value_len > STORED_VALUE_BYTES_MAX {
        return None;
    }
    let end = at + key_len + value_len;
    Some((key_len, payload.get(at..end)?, end))
}

/// A length in the shortest form of LEB128, of at most five bytes, and where it ends.
fn varint_at(bytes: &[u8], mut at: usize) -> Option<(usize, usize)> {
    let mut value = 0_u64;
    for shift in (0..35).step_by(7) {
        let byte = *bytes.get(at)?;
        at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            let shortest = byte != 0 || shift == 0;
            return shortest.then_some((usize::try_from(value).ok()?, at));
        }
    }
    None
}
