//! Writing a stream, part by part.

use xxhash_rust::xxh3::Xxh3;

use super::layout::{
    FRAME_HEAD_BYTES, FRAME_PAYLOAD_TARGET, FrameHead, KIND_RECORDS, KIND_TAIL,
    RECORD_LENGTHS_BYTES_MAX, StreamHead, TAIL_BYTES, Tail, frame_crc, salt_of,
};
use crate::store::StoreSize;

/// Writes one stream. Knows what it has written, not what comes next: the caller hands it records in order.
pub(crate) struct Encoder {
    head: StreamHead,
    salt: u32,
    frames: u64,
    written: StoreSize,
    len: u64,
    hash: Box<Xxh3>,
}

/// A frame being filled at the end of a part.
pub(crate) struct Frame {
    start: usize,
    records: u32,
}

impl Encoder {
    /// Bytes of the frame that ends it.
    pub(crate) const TAIL_BYTES: usize = FRAME_HEAD_BYTES + TAIL_BYTES;
    /// Bytes that a frame adds to its records.
    pub(crate) const FRAME_BYTES: usize = FRAME_HEAD_BYTES;

    /// An encoder of the stream with this head.
    pub(crate) fn new(head: StreamHead) -> Self {
        Self {
            head,
            salt: salt_of(&head.encode()),
            frames: 0,
            written: StoreSize::default(),
            len: 0,
            hash: Box::default(),
        }
    }

    /// More bytes than the whole stream has, as parts of any size.
    pub(crate) fn stream_bytes_max(&self) -> u64 {
        let StoreSize { keys, bytes } = self.head.size;
        // At worst each record has a frame of its own.
        bytes + keys * 40 + 256
    }

    /// Writes the stream's head. First.
    pub(crate) fn put_head(&mut self, part: &mut Vec<u8>) {
        let start = part.len();
        part.extend_from_slice(&self.head.encode());
        self.account(&part[start..]);
    }

    /// Begins a frame of records.
    pub(crate) fn begin_frame(part: &mut Vec<u8>) -> Frame {
        let start = part.len();
        part.extend_from_slice(&[0; FRAME_HEAD_BYTES]);
        Frame { start, records: 0 }
    }

    /// Most bytes that a record of this length takes within a frame.
    pub(crate) fn record_bytes_max(joined_len: usize) -> usize {
        joined_len + RECORD_LENGTHS_BYTES_MAX
    }

    /// Whether a frame takes one more record of this length. An empty one takes any.
    pub(crate) fn takes(frame: &Frame, part: &[u8], joined_len: usize) -> bool {
        let payload = part.len() - frame.start - FRAME_HEAD_BYTES;
        frame.records == 0 || payload + Self::record_bytes_max(joined_len) <= FRAME_PAYLOAD_TARGET
    }

    /// Writes a record; `joined` is key and value, one after the other.
    pub(crate) fn put_record(
        &mut self,
        frame: &mut Frame,
        part: &mut Vec<u8>,
        key_len: usize,
        joined: &[u8],
    ) {
        put_varint(part, key_len);
        put_varint(part, joined.len() - key_len);
        part.extend_from_slice(joined);
        frame.records += 1;
        self.written.keys += 1;
        self.written.bytes += joined.len() as u64;
    }

    /// Ends a frame; one without records is taken back.
    #[expect(clippy::needless_pass_by_value, reason = "a frame ends once")]
    pub(crate) fn end_frame(&mut self, frame: Frame, part: &mut Vec<u8>) {
        if frame.records == 0 {
            part.truncate(frame.start);
            return;
        }
        self.seal(KIND_RECORDS, frame.records, &mut part[frame.start..]);
        self.account(&part[frame.start..]);
    }

    /// Writes the tail. Last.
    ///
    /// # Panics
    /// The records written are not those that the head promised.
    pub(crate) fn put_tail(&mut self, part: &mut Vec<u8>) {
        assert_eq!(self.written, self.head.size, "a snapshot holds what its store held");
        let tail = Tail {
            frames: self.frames,
            size: self.written,
            stream_len: self.len + Self::TAIL_BYTES as u64,
            stream_hash: self.hash.digest(),
        };
        let start = part.len();
        part.extend_from_slice(&[0; FRAME_HEAD_BYTES]);
        part.extend_from_slice(&tail.encode());
        self.seal(KIND_TAIL, 0, &mut part[start..]);
        self.len += Self::TAIL_BYTES as u64;
    }

    /// Fills in the head of a frame whose payload stands.
    fn seal(&mut self, kind: u32, records: u32, frame: &mut [u8]) {
        let (place, payload) = frame.split_at_mut(FRAME_HEAD_BYTES);
        let head = FrameHead {
            kind,
            len: u32::try_from(payload.len()).expect("records are far below 4 GiB"),
            records,
            payload_crc: frame_crc(self.salt, self.frames, payload),
        };
        place.copy_from_slice(&head.encode(self.salt, self.frames));
        self.frames += 1;
    }

    fn account(&mut self, bytes: &[u8]) {
        self.len += bytes.len() as u64;
        self.hash.update(bytes);
    }
}

/// LEB128: seven bits a byte, low ones first, the high bit set on all but the last.
fn put_varint(part: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        part.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    part.push(value.to_le_bytes()[0]);
}
