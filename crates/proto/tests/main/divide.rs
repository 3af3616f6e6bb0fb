//! A frame that arrives is divided among a node's workers.

use ringfort_proto::RequestId;
use ringfort_proto::peer::{
    Answer, CatalogDelta, Consensus, Frame, Get, Gossip, List, PairHeartbeat, PairHeartbeatAck,
    Request, Room, request::What,
};

fn divided(frame: Frame, workers: u16) -> Vec<(u16, Frame)> {
    let mut parts = Vec::new();
    frame.divide(workers, |worker, part| parts.push((worker, part)));
    parts
}

fn message(group: u32, term: u64) -> Consensus {
    Consensus { group, term, ..Consensus::default() }
}

fn get(id: u64, shard: u32) -> Request {
    Request { id, shard, what: Some(What::Get(Get::default())), ..Request::default() }
}

fn list(id: u64, shards: Vec<u32>) -> Request {
    let list = List { shards, limit: 7, ..List::default() };
    Request { id, what: Some(What::List(Box::new(list))), ..Request::default() }
}

/// A worker and a counter, as an answer names them.
fn answer(worker: u16, counter: u64) -> Answer {
    Answer { id: RequestId::new(worker, counter).0, what: None }
}

#[test]
fn what_belongs_to_a_shard_goes_to_its_worker_in_order() {
    let frame = Frame {
        // The catalog, shards 0, 1, 2, 3, 1.
        consensus: [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (2, 6)]
            .map(|(group, term)| message(group, term))
            .into(),
        requests: vec![get(1, 5), get(2, 3), get(3, 2)],
        ..Frame::default()
    };
    let parts = divided(frame, 3);
    let seen: Vec<_> = parts
        .iter()
        .map(|(worker, part)| {
            let terms: Vec<_> = part.consensus.iter().map(|message| message.term).collect();
            let ids: Vec<_> = part.requests.iter().map(|request| request.id).collect();
            (*worker, terms, ids)
        })
        .collect();
    assert_eq!(
        seen,
        [(0, vec![1, 2, 5], vec![2]), (1, vec![3, 6], vec![]), (2, vec![4], vec![1, 3])]
    );
}

#[test]
fn answers_go_to_who_asked() {
    let asked = [(1, 10), (0, 11), (1, 12), (7, 13)];
    let answers = asked.map(|(worker, counter)| answer(worker, counter)).into();
    let parts = divided(Frame { answers, ..Frame::default() }, 2);
    assert_eq!(parts.len(), 2);
    assert_eq!(parts[0].1.answers, [answer(0, 11)]);
    // That of a worker that there is not must go somewhere.
    assert_eq!(parts[1].1.answers, [answer(1, 10), answer(1, 12), answer(7, 13)]);
}

#[test]
fn gossip_and_the_catalog_go_to_worker_0() {
    let frame = Frame {
        gossip: Some(Gossip::default()),
        delta: Some(CatalogDelta::default()),
        ..Frame::default()
    };
    assert_eq!(divided(frame.clone(), 4), [(0, frame)]);
}

#[test]
fn a_heartbeat_is_every_workers_and_its_acknowledgement_whoever_sent_it() {
    let heartbeat = PairHeartbeat { round: 7, ..PairHeartbeat::default() };
    let frame = Frame { heartbeat: Some(heartbeat), ..Frame::default() };
    assert_eq!(divided(frame.clone(), 2), [(0, frame.clone()), (1, frame)]);
    let ack = PairHeartbeatAck { worker: 1, ..PairHeartbeatAck::default() };
    let frame = Frame { heartbeat_acks: vec![ack], ..Frame::default() };
    assert_eq!(divided(frame.clone(), 2), [(1, frame)]);
}

#[test]
fn word_of_room_is_every_workers() {
    let frame = Frame { room: Some(Room { bytes: 7, ..Room::default() }), ..Frame::default() };
    assert_eq!(divided(frame.clone(), 2), [(0, frame.clone()), (1, frame)]);
}

#[test]
fn a_listing_goes_to_each_worker_with_its_shards() {
    let frame = Frame { requests: vec![list(9, vec![1, 2, 3, 5])], ..Frame::default() };
    let seen: Vec<_> = divided(frame, 4)
        .into_iter()
        .map(|(worker, mut part)| {
            assert_eq!(part.requests.len(), 1);
            let request = part.requests.remove(0);
            let Some(What::List(list)) = request.what else { panic!("a listing") };
            assert_eq!((request.id, list.limit), (9, 7));
            (worker, request.shard, list.shards)
        })
        .collect();
    assert_eq!(seen, [(1, 1, vec![1, 5]), (2, 2, vec![2]), (3, 3, vec![3])]);
}

#[test]
fn nothing_is_said_with_an_empty_frame() {
    for workers in [1, 2] {
        assert_eq!(divided(Frame::default(), workers), []);
    }
}

/// One worker is the usual case on two cores.
#[test]
fn with_one_worker_nothing_is_copied() {
    let frame = Frame {
        consensus: vec![message(9, 1)],
        requests: vec![list(1, vec![3, 4])],
        ..Frame::default()
    };
    let (consensus, requests) = (frame.consensus.as_ptr(), frame.requests.as_ptr());
    let parts = divided(frame, 1);
    assert_eq!(parts.len(), 1);
    assert_eq!(
        (parts[0].1.consensus.as_ptr(), parts[0].1.requests.as_ptr()),
        (consensus, requests)
    );
}

#[test]
fn a_request_id_names_its_worker() {
    let id = RequestId::new(u16::MAX, RequestId::COUNTER_MAX);
    assert_eq!((id.0, id.worker(), id.counter()), (u64::MAX, u16::MAX, RequestId::COUNTER_MAX));
    assert_eq!(RequestId::new(2, RequestId::COUNTER_MAX + 6), RequestId::new(2, 5));
    assert_eq!(RequestId::new(3, 5).to_string(), "3:5");
}
