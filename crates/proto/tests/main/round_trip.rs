//! Every message comes back as it went.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use ringfort_proto::peer::Frame;
use ringfort_proto::{FRAME_BYTES_MAX, Forward, Reply, decode_frame, put_frame, take_frame};
use ringfort_raft::Message;
use ringfort_types::GroupId;

use crate::strategies::{consensus, forward, reply};

/// Through the bytes of a connection.
fn travel(frame: &Frame) -> Frame {
    let mut bytes = BytesMut::new();
    put_frame(frame, &mut bytes).unwrap();
    let taken = take_frame(&mut bytes, FRAME_BYTES_MAX).unwrap().unwrap();
    assert!(bytes.is_empty());
    decode_frame(taken).unwrap()
}

proptest! {
    #[test]
    fn of_consensus(sent in consensus()) {
        let frame = Frame { consensus: vec![sent.clone().into()], ..Frame::default() };
        let mut arrived = travel(&frame);
        let got: (GroupId, Message) = arrived.consensus.remove(0).try_into().unwrap();
        prop_assert_eq!(got, sent);
    }

    /// Types of requests have no equality: their texts are compared, which show every field.
    #[test]
    fn of_requests(sent in forward()) {
        let frame = Frame { requests: vec![sent.clone().into()], ..Frame::default() };
        let got = Forward::try_from(travel(&frame).requests.remove(0)).unwrap();
        prop_assert_eq!(format!("{got:?}"), format!("{sent:?}"));
    }

    #[test]
    fn of_answers(sent in reply()) {
        let frame = Frame { answers: vec![sent.clone().into()], ..Frame::default() };
        let got = Reply::try_from(travel(&frame).answers.remove(0)).unwrap();
        prop_assert_eq!(got, sent);
    }

    #[test]
    fn of_all_at_once(
        messages in proptest::collection::vec(consensus(), 0..3),
        requests in proptest::collection::vec(forward(), 0..3),
        answers in proptest::collection::vec(reply(), 0..3),
    ) {
        let frame = Frame {
            consensus: messages.into_iter().map(Into::into).collect(),
            requests: requests.into_iter().map(Into::into).collect(),
            answers: answers.into_iter().map(Into::into).collect(),
            ..Frame::default()
        };
        prop_assert_eq!(travel(&frame), frame);
    }
}

/// Otherwise every value would be copied once more on each node that it passes.
#[test]
fn values_are_slices_of_what_arrived() {
    use ringfort_proto::peer::{Append, Consensus, Entry, consensus::Body};
    let entry = Entry { term: 1, index: 2, payload: Bytes::from(vec![7; 100]) };
    let append = Append { entries: vec![entry], ..Append::default() };
    let message = Consensus { body: Some(Body::Append(append)), ..Consensus::default() };
    let mut bytes = BytesMut::new();
    put_frame(&Frame { consensus: vec![message], ..Frame::default() }, &mut bytes).unwrap();
    let taken = take_frame(&mut bytes, FRAME_BYTES_MAX).unwrap().unwrap();
    let within = taken.as_ptr_range();
    let mut frame = decode_frame(taken).unwrap();
    let (_, message): (GroupId, Message) = frame.consensus.remove(0).try_into().unwrap();
    let ringfort_raft::Body::Append { entries, .. } = message.body else { panic!("an append") };
    assert!(within.contains(&entries[0].payload.as_ptr()));
}

/// Half a millisecond that is left is none: the answer would come too late.
#[test]
fn what_is_left_of_a_requests_time_is_rounded_down() {
    use ringfort_proto::peer::Request;
    use std::time::Duration;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let any = forward().new_tree(&mut runner).unwrap().current();
    for (left, ms) in [
        (Duration::from_micros(999), 0),
        (Duration::from_micros(5_999), 5),
        (Duration::MAX, u32::MAX),
    ] {
        let request = Request::from(Forward { timeout: left, ..any.clone() });
        assert_eq!(request.timeout_ms, ms);
    }
}
