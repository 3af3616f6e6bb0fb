//! Streams whose checksums are right and whose content is not: what only a bug, here or elsewhere, can have written.

use ringfort_types::{Applied, GroupId, Index, Term};
use xxhash_rust::xxh3::xxh3_64;

use super::layout::{FrameHead, KIND_RECORDS, KIND_TAIL, Tail, frame_crc, prologue, salt_of};
use super::*;
use crate::store::{STORED_KEY_BYTES_MAX, StoreSize};

/// Takes what it is given.
#[derive(Default)]
struct Collected(Vec<(Vec<u8>, Vec<u8>)>);

impl Sink for Collected {
    fn head(&mut self, _: &StreamHead) -> Result<(), String> {
        Ok(())
    }

    fn record(&mut self, key_len: usize, joined: &[u8]) {
        let (key, value) = joined.split_at(key_len);
        self.0.push((key.to_vec(), value.to_vec()));
    }
}

fn decode(stream: &[u8]) -> Result<Collected, Fault> {
    let mut collected = Collected::default();
    let mut decoder = Decoder::new();
    decoder.push(stream, &mut collected)?;
    decoder.finish()?;
    Ok(collected)
}

fn head(keys: u64, bytes: u64) -> StreamHead {
    StreamHead {
        group: GroupId(9),
        applied: Applied { index: Index(8), term: Term(7) },
        size: StoreSize { keys, bytes },
    }
}

/// A stream put together by hand, all checksums right.
struct Forged {
    head: StreamHead,
    salt: u32,
    bytes: Vec<u8>,
    frames: u64,
    size: StoreSize,
}

impl Forged {
    fn new(head: StreamHead) -> Self {
        let bytes = head.encode().to_vec();
        let (salt, frames, size) = (salt_of(&bytes), 0, head.size);
        Self { head, salt, bytes, frames, size }
    }

    fn frame(mut self, kind: u32, records: u32, payload: &[u8]) -> Self {
        let frame = FrameHead {
            kind,
            len: u32::try_from(payload.len()).unwrap(),
            records,
            payload_crc: frame_crc(self.salt, self.frames, payload),
        };
        self.bytes.extend(frame.encode(self.salt, self.frames));
        self.bytes.extend(payload);
        self.frames += 1;
        self
    }

    fn records(self, records: u32, payload: &[u8]) -> Self {
        self.frame(KIND_RECORDS, records, payload)
    }

    fn tail(self, change: impl FnOnce(&mut Tail)) -> Vec<u8> {
        let mut tail = Tail {
            frames: self.frames,
            size: self.size,
            stream_len: self.bytes.len() as u64 + 60,
            stream_hash: xxh3_64(&self.bytes),
        };
        change(&mut tail);
        let payload = tail.encode();
        assert_eq!(self.head.group, GroupId(9));
        self.frame(KIND_TAIL, 0, &payload).bytes
    }

    fn refused(self, reason: &str) {
        refused(&self.tail(|_| {}), reason);
    }
}

fn refused(stream: &[u8], reason: &str) {
    match decode(stream) {
        Err(Fault::Damaged { reason: found, .. }) => assert_eq!(found, reason),
        Err(other) => panic!("{other:?}"),
        Ok(collected) => panic!("taken: {} records, not {reason}", collected.0.len()),
    }
}

#[test]
fn what_is_right_is_taken() {
    let stream = Forged::new(head(2, 5)).records(2, b"\x01\x01a1\x02\x01ab2").tail(|_| {});
    let records = decode(&stream).unwrap().0;
    assert_eq!(records, [(b"a".to_vec(), b"1".to_vec()), (b"ab".to_vec(), b"2".to_vec())]);
    assert_eq!(decode(&Forged::new(head(0, 0)).tail(|_| {})).unwrap().0, []);
}

#[test]
fn the_encoder_writes_what_the_rules_say() {
    let mut encoder = Encoder::new(head(2, 5));
    let mut part = Vec::new();
    encoder.put_head(&mut part);
    let mut frame = Encoder::begin_frame(&mut part);
    encoder.put_record(&mut frame, &mut part, 1, b"a1");
    encoder.put_record(&mut frame, &mut part, 2, b"ab2");
    encoder.end_frame(frame, &mut part);
    let frame = Encoder::begin_frame(&mut part);
    encoder.end_frame(frame, &mut part);
    encoder.put_tail(&mut part);
    let forged = Forged::new(head(2, 5)).records(2, b"\x01\x01a1\x02\x01ab2");
    assert_eq!(part, forged.tail(|_| {}));
}

#[test]
#[should_panic(expected = "a snapshot holds what its store held")]
fn a_snapshot_that_lost_a_record_is_our_bug() {
    let mut encoder = Encoder::new(head(1, 5));
    encoder.put_tail(&mut Vec::new());
}

#[test]
fn records_must_ascend() {
    let reason = "records are out of order";
    Forged::new(head(2, 2)).records(2, b"\x01\0b\x01\0a").refused(reason);
    Forged::new(head(2, 2)).records(2, b"\x01\0a\x01\0a").refused(reason);
    let frames = Forged::new(head(2, 2)).records(1, b"\x01\0b").records(1, b"\x01\0a");
    frames.refused(reason);
}

#[test]
fn records_must_fill_their_frame() {
    let reason = "a record does not fit its frame";
    for payload in [
        &b"\0\0"[..],
        b"\x01\x01a",
        b"\x01",
        b"\x81",
        b"\x01\x80",
        b"\x81\x00\x00a",
        b"\x01\x80\x00a",
        b"\xff\xff\xff\xff\xff\x01\0a",
        b"\x01\xff\xff\xff\xff\x7fa",
    ] {
        Forged::new(head(1, 1)).records(1, payload).refused(reason);
    }
    let long = STORED_KEY_BYTES_MAX + 1;
    let payload = [&[0x81, 0x80, 0x01, 0][..], &vec![b'k'; long]].concat();
    Forged::new(head(1, long as u64)).records(1, &payload).refused(reason);
    let more = Forged::new(head(1, 1)).records(1, b"\x01\0a\0");
    more.refused("a frame holds more than its records");
}

#[test]
fn frames_must_be_of_a_known_kind_and_a_possible_length() {
    let impossible = "the length of a frame is impossible";
    Forged::new(head(0, 0)).records(0, b"").refused(impossible);
    Forged::new(head(0, 0)).records(0, b"\x01\0a").refused(impossible);
    Forged::new(head(0, 0)).frame(KIND_TAIL, 0, b"").refused(impossible);
    Forged::new(head(0, 0)).frame(KIND_TAIL, 1, &[0; 40]).refused(impossible);
    let unknown = Forged::new(head(0, 0)).frame(7, 1, b"\x01\0a");
    unknown.refused("a frame is of an unknown kind");
}

#[test]
fn head_and_tail_must_agree_with_the_records() {
    let forged = || Forged::new(head(1, 1)).records(1, b"\x01\0a");
    let reason = "the tail does not agree with the stream before it";
    let changes: [fn(&mut Tail); 5] = [
        |tail| tail.frames += 1,
        |tail| tail.size.keys += 1,
        |tail| tail.size.bytes -= 1,
        |tail| tail.stream_len += 1,
        |tail| tail.stream_hash ^= 1,
    ];
    for change in changes {
        refused(&forged().tail(change), reason);
    }
    let mut promised = Forged::new(head(2, 1)).records(1, b"\x01\0a");
    promised.size.keys = 1;
    promised.refused("the head does not agree with the records");
}

#[test]
fn reserved_bytes_must_be_zero_and_newer_versions_are_named() {
    let forge = |at: usize, byte: u8, crc_at: usize| {
        let mut bytes = head(0, 0).encode();
        bytes[at] = byte;
        let crc = crc32c::crc32c(&bytes[..crc_at]);
        bytes[crc_at..crc_at + 4].copy_from_slice(&crc.to_le_bytes());
        bytes
    };
    for at in [20, 23, 56, 59] {
        refused(&forge(at, 1, 60), "reserved bytes of the head are not zero");
    }
    refused(&forge(10, 1, 12), "reserved bytes are not zero");
    refused(&forge(8, 0, 12), "there is no format version 0");
    assert_eq!(decode(&forge(8, 9, 12)).err(), Some(Fault::Newer { found: 9 }));
    assert_eq!(
        decode(&prologue(*b"RFSNAPF\n")).err(),
        Some(Fault::damaged(0, "this is no snapshot"))
    );
}
