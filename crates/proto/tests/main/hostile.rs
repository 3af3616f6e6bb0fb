//! What comes from outside may be anything.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use ringfort_proto::cluster::{FormationMessage, Record};
use ringfort_proto::peer::{
    self, All, Append, Consensus, Each, Entry, Frame, Hello, Page, Request, answer,
    consensus as wire, request,
};
use ringfort_proto::{
    DecodeError, FRAME_BYTES_MAX, Forward, FrameError, MESSAGE_BYTES_MAX, Reason, Reply,
    decode_frame, decode_message, put_frame, take_frame,
};
use ringfort_raft::Message;
use ringfort_types::GroupId;
use ringfort_types::limits::{BATCH_OPERATIONS_MAX, LIST_LIMIT_MAX, SHARDS_MAX, TTL_MS_MAX};

use crate::strategies::{consensus, forward, reply};

/// Everything that a node does with a frame before its cores see it.
fn take_in(frame: &Frame) {
    for message in frame.consensus.clone() {
        let _: Result<(GroupId, Message), DecodeError> = message.try_into();
    }
    for request in frame.requests.clone() {
        let _: Result<Forward, DecodeError> = request.try_into();
    }
    for answer in frame.answers.clone() {
        let _: Result<Reply, DecodeError> = answer.try_into();
    }
    for workers in [1, 3] {
        frame.clone().divide(workers, |_, _| ());
    }
}

proptest! {
    #[test]
    fn random_bytes_do_no_harm(bytes in vec(any::<u8>(), 0..200)) {
        let mut arrived = BytesMut::from(&bytes[..]);
        let _ = take_frame(&mut arrived, FRAME_BYTES_MAX);
        let bytes = Bytes::from(bytes);
        let _ = decode_message::<Hello>(bytes.clone());
        let _ = decode_message::<FormationMessage>(bytes.clone());
        if let Ok(frame) = decode_frame(bytes) {
            take_in(&frame);
        }
    }

    #[test]
    fn flipped_bits_do_no_harm(
        message in consensus(),
        request in forward(),
        answer in reply(),
        flips in vec(any::<prop::sample::Index>(), 1..4),
    ) {
        let frame = Frame {
            consensus: vec![message.into()],
            requests: vec![request.into()],
            answers: vec![answer.into()],
            ..Frame::default()
        };
        let mut bytes = BytesMut::new();
        put_frame(&frame, &mut bytes).unwrap();
        bytes.advance(4);
        for flip in flips {
            let bit = flip.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        if let Ok(frame) = decode_frame(bytes.freeze()) {
            take_in(&frame);
        }
    }
}

#[test]
fn a_frame_is_taken_once_it_is_there() {
    let frame = Frame { gossip: Some(peer::Gossip::default()), ..Frame::default() };
    let mut sent = BytesMut::new();
    put_frame(&frame, &mut sent).unwrap();
    put_frame(&Frame::default(), &mut sent).unwrap();
    assert_eq!(&sent[..], [0, 0, 0, 2, 0x22, 0, 0, 0, 0, 0]);
    let mut arrived = BytesMut::new();
    let mut taken = Vec::new();
    for byte in sent {
        arrived.put_u8(byte);
        while let Some(bytes) = take_frame(&mut arrived, FRAME_BYTES_MAX).unwrap() {
            taken.push(decode_frame(bytes).unwrap());
        }
    }
    assert_eq!(taken, [frame, Frame::default()]);
}

#[test]
fn what_is_too_long_is_refused_before_it_has_arrived() {
    for (bytes_max, length) in [
        (FRAME_BYTES_MAX, u32::MAX),
        (FRAME_BYTES_MAX, 32 * 1024 * 1024 + 1),
        (MESSAGE_BYTES_MAX, 1024 * 1024 + 1),
    ] {
        let mut arrived = BytesMut::from(&length.to_be_bytes()[..]);
        let refused = take_frame(&mut arrived, bytes_max);
        assert_eq!(refused, Err(FrameError::TooLong { bytes: length as usize, bytes_max }));
        let mut arrived = BytesMut::new();
        arrived.put_u32(u32::try_from(bytes_max).unwrap());
        assert_eq!(take_frame(&mut arrived, bytes_max), Ok(None));
        assert!(arrived.capacity() < 1024, "reserved for what has not arrived");
    }
    let long = Bytes::from(vec![0; MESSAGE_BYTES_MAX + 1]);
    assert!(matches!(decode_message::<Hello>(long), Err(FrameError::TooLong { .. })));
    let long = Bytes::from(vec![0; FRAME_BYTES_MAX + 1]);
    assert!(matches!(decode_frame(long), Err(FrameError::TooLong { .. })));
}

#[test]
fn a_frame_that_is_too_long_is_not_written() {
    let entry = Entry { payload: Bytes::from(vec![0; FRAME_BYTES_MAX]), ..Entry::default() };
    let mut out = BytesMut::from(&b"before"[..]);
    let refused = put_frame(&entry, &mut out);
    assert!(matches!(refused, Err(FrameError::TooLong { .. })), "{refused:?}");
    assert_eq!(&out[..], b"before");
}

/// A field that holds other bytes.
fn within(field: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![field << 3 | 2];
    prost::encoding::encode_varint(content.len() as u64, &mut out);
    out.extend_from_slice(content);
    out
}

/// The field of the items, what one holds, the fields that they stand in from the innermost, the memory that one takes, and
/// what the outermost holder takes.
type Case<'a> = (u8, &'a [u8], &'a [u8], usize, usize);

/// Items of next to no content, of each kind that a frame holds: far more memory than bytes.
#[test]
fn a_frame_of_nothing_but_items_is_refused() {
    let message = size_of::<peer::Consensus>();
    let request = size_of::<peer::Request>();
    let operation = size_of::<peer::Operation>();
    let answer = size_of::<peer::Answer>();
    let each = size_of::<peer::Each>();
    let refusal = size_of::<peer::Refusal>();
    let cases: [Case<'_>; 16] = [
        (1, &[], &[], message, 0),
        (3, &[], &[9, 1], size_of::<peer::Entry>(), message),
        (1, &within(14, &[]), &[], message + size_of::<peer::Snapshot>(), 0),
        (2, &[], &[], request, 0),
        (1, &[], &[12, 2], operation, request),
        (1, &[], &[14, 2], operation, request),
        (2, &within(13, &[]), &[], request + size_of::<peer::List>(), 0),
        (3, &[], &[], answer, 0),
        (3, &within(6, &[]), &[], answer + refusal, 0),
        (1, &[], &[4, 3], each, answer),
        (1, &within(2, &[]), &[4, 3], each + refusal, answer),
        (1, &[], &[5, 3], size_of::<peer::Item>(), answer),
        (3, &[], &[5], size_of::<Record>(), 0),
        (3, &[], &[6], size_of::<peer::Led>(), 0),
        (7, &[], &[], size_of::<peer::PairHeartbeatAck>(), 0),
        // With a number that does not matter.
        (2, &[24, 0], &[], request, 0),
    ];
    for (field, item, holders, one, holder) in cases {
        let item = within(field, item);
        // As many as are too heavy for 8 MiB and 8 times their bytes.
        let items = (9 << 20) / (one - 8 * item.len());
        let mut frame = item.repeat(items);
        for holder in holders {
            frame = within(*holder, &frame);
        }
        let (bytes, weight) = (frame.len(), items * one + holder);
        let refused = decode_frame(frame.into()).err();
        let heavy = Some(FrameError::TooHeavy { bytes, weight });
        assert_eq!(refused, heavy, "{field} {item:?} {holders:?}");
    }
}

/// A frame that is short is not looked through: it cannot do harm.
#[test]
fn a_short_frame_may_hold_nothing_but_items() {
    let bytes = within(1, &[]).repeat(20_000);
    assert_eq!(decode_frame(bytes.into()).unwrap().consensus.len(), 20_000);
}

/// The smallest items that a node may send, as many as fit: they are not taken for an attack.
#[test]
fn frames_of_small_items_pass() {
    let entry = Entry { term: 1, index: 1, payload: Bytes::from_static(b"a command of few bytes") };
    let append = Append { entries: vec![entry; 800_000], ..Append::default() };
    let message = Consensus { body: Some(wire::Body::Append(append)), ..Consensus::default() };
    let frame = Frame { consensus: vec![message], ..Frame::default() };
    let mut bytes = BytesMut::new();
    put_frame(&frame, &mut bytes).unwrap();
    bytes.advance(4);
    assert!(decode_frame(bytes.freeze()).unwrap() == frame);
}

/// The field that each request is refused for.
fn refused(what: request::What) -> (&'static str, Reason) {
    let request = Request { what: Some(what), ..Request::default() };
    let error = Forward::try_from(request).unwrap_err();
    (error.field, error.reason)
}

fn put(key: &'static [u8], change: impl FnOnce(&mut peer::Put)) -> peer::Operation {
    let mut put = peer::Put::default();
    change(&mut put);
    peer::Operation { key: Bytes::from_static(key), what: Some(peer::operation::What::Put(put)) }
}

fn written(
    operation: peer::Operation,
    identity: Option<peer::identity::Identity>,
) -> request::What {
    let identity = identity.map(|identity| peer::Identity { identity: Some(identity) });
    request::What::Write(peer::Write { operation: Some(operation), identity })
}

#[test]
fn a_request_that_no_node_sends_is_refused_by_its_field() {
    use peer::identity::Identity;
    use request::What;
    let read = peer::Operation {
        key: Bytes::from_static(b"k"),
        what: Some(peer::operation::What::Read(peer::Read {})),
    };
    let fine = || put(b"k", |_| ());
    let key = |key: &'static [u8]| Some(Identity::IdempotencyKey(Bytes::from_static(key)));
    let unknown = peer::Condition { kind: 9, versions: Vec::new() };
    let part = |positions| {
        What::Part(peer::Operations { operations: vec![fine()], positions, identity: None })
    };
    let operations = |count| {
        let operations = vec![fine(); count];
        What::Atomic(peer::Operations { operations, ..Default::default() })
    };
    let list = |change: fn(&mut peer::List)| {
        let mut list = peer::List { limit: 1, ..peer::List::default() };
        change(&mut list);
        What::List(Box::new(list))
    };
    for (what, field) in [
        (What::Get(peer::Get::default()), "get.key"),
        (What::Write(peer::Write::default()), "write.operation"),
        (written(read, None), "write.operation"),
        (written(put(&[0; 4097], |_| ()), None), "operation.key"),
        (written(peer::Operation { what: None, ..fine() }, None), "operation.what"),
        (written(put(b"k", |put| put.ttl_ms = Some(0)), None), "operation.put.ttl_ms"),
        (written(put(b"k", |put| put.ttl_ms = Some(TTL_MS_MAX + 1)), None), "operation.put.ttl_ms"),
        (written(put(b"k", |put| put.condition = Some(unknown)), None), "operation.condition.kind"),
        (written(fine(), key(b"")), "identity.idempotency_key"),
        (written(fine(), key(&[b'k'; 65])), "identity.idempotency_key"),
        (written(fine(), key(b"a b")), "identity.idempotency_key"),
        (
            written(fine(), Some(Identity::Session(peer::Session::default()))),
            "identity.session.sequence",
        ),
        (operations(0), "operations.operations"),
        (operations(BATCH_OPERATIONS_MAX + 1), "operations.operations"),
        (part(vec![]), "operations.positions"),
        (part(vec![0, 1]), "operations.positions"),
        (part(vec![1000]), "operations.positions"),
        (list(|list| list.limit = 0), "list.limit"),
        (list(|list| list.limit = 10_001), "list.limit"),
        (list(|list| list.after = vec![0; 4097].into()), "list.after"),
        (list(|list| list.shards = vec![0; SHARDS_MAX as usize + 1]), "list.shards"),
        (list(|list| list.shards = vec![u32::MAX]), "list.shards"),
    ] {
        assert_eq!(refused(what).0, field);
    }
    assert_eq!(Forward::try_from(Request::default()).unwrap_err().field, "request.what");
}

#[test]
fn an_answer_that_no_node_sends_is_refused_by_its_field() {
    use answer::What;
    let refusal = |change: fn(&mut peer::Refusal)| {
        let mut refusal = peer::Refusal { code: "timeout".to_owned(), ..Default::default() };
        change(&mut refusal);
        What::Refusal(Box::new(refusal))
    };
    let each = |count| What::All(All { each: vec![Each::default(); count] });
    let page = |page| What::Page(page);
    let items =
        |count| vec![peer::Item { key: Bytes::from_static(b"k"), ..Default::default() }; count];
    for (what, field) in [
        (What::Answered(peer::Answered::default()), "answered.done"),
        (each(1), "all.each.result"),
        (each(BATCH_OPERATIONS_MAX + 1), "all.each"),
        (refusal(|refusal| refusal.code = "new".to_owned()), "refusal.code"),
        (refusal(|refusal| refusal.outcome = 3), "refusal.outcome"),
        (page(Page { items: vec![peer::Item::default()], ..Page::default() }), "page.items.key"),
        (page(Page { items: items(LIST_LIMIT_MAX + 1), ..Page::default() }), "page.items"),
        (page(Page { shards: vec![0; SHARDS_MAX as usize + 1], ..Page::default() }), "page.shards"),
    ] {
        let answer = peer::Answer { id: 1, what: Some(what) };
        assert_eq!(Reply::try_from(answer).unwrap_err().field, field);
    }
    assert_eq!(Reply::try_from(peer::Answer::default()).unwrap_err().field, "answer.what");
}

#[test]
fn a_raft_message_that_no_node_sends_is_refused_by_its_field() {
    let blank = peer::Snapshot::default();
    let reject = peer::AppendReject { lost: 3, ..Default::default() };
    for (body, field) in [
        (None, "consensus.body"),
        (Some(wire::Body::AppendReject(reject)), "consensus.append_reject.lost"),
        // A replica that was never told who its group is has no snapshot.
        (Some(wire::Body::Snapshot(Box::new(blank))), "consensus.snapshot.configuration"),
    ] {
        let message = Consensus { body, ..Consensus::default() };
        let error = <(GroupId, Message)>::try_from(message).unwrap_err();
        assert_eq!(error.field, field);
    }
}

#[test]
fn a_refusal_says_which_field_and_why() {
    let error = Forward::try_from(Request {
        what: Some(request::What::Get(peer::Get::default())),
        ..Request::default()
    })
    .unwrap_err();
    assert_eq!(error.to_string(), "get.key: the key is empty; a key is 1 to 4096 bytes");
}
