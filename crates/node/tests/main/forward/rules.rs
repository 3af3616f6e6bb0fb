//! The rules of forwarding, one a test.

use std::collections::BTreeSet;

use ringfort_node::{Forwarder, Replied, Response};
use ringfort_proto::Told;
use ringfort_types::request::{Answered, Consistency, Done, Found, Got, Identity, Item, Page};
use ringfort_types::{
    Code, Epoch, Key, Monotonic, NodeNumber, Outcome, Refusal, ReplicaId, ShardId, Term, Version,
};

use super::support::{
    at, config, forwarder, get, identified, list, on, part, request, shard, write,
};

const S: ShardId = ShardId(0);
const DEADLINE: u64 = 5000;

/// A forwarder with one shard on nodes 1, 2 and 3, which node 1 leads.
fn led() -> Forwarder<u32> {
    let mut forwarder = forwarder(&[&[1, 2, 3]]);
    forwarder.handle_leader(at(0), S, on(1), Term(1));
    forwarder
}

/// What is sent now: where to, and under which id.
fn sent(forwarder: &mut Forwarder<u32>, now: Monotonic) -> Vec<(u16, u64)> {
    std::iter::from_fn(|| forwarder.poll_request(now).map(|sent| (sent.node.0, sent.id))).collect()
}

/// Begins one request and sends it; its id.
fn send(forwarder: &mut Forwarder<u32>, ask: ringfort_proto::Ask) -> u64 {
    forwarder.begin(at(0), request(ask, at(DEADLINE)), || 1).unwrap();
    let sent = sent(forwarder, at(0));
    assert_eq!(sent.len(), 1);
    sent[0].1
}

fn not_leader(leader: Option<ReplicaId>, term: u64) -> Told {
    Told::NotLeader { shard: S, leader, term: Term(term), epoch: Epoch(1) }
}

fn written() -> Answered {
    Answered { done: Done::Put(Version(7)), replayed: false }
}

fn refusal(forwarder: &mut Forwarder<u32>) -> (Code, Option<Outcome>) {
    let (waiter, response) = forwarder.poll_response().unwrap();
    assert_eq!((waiter, forwarder.poll_response()), (1, None));
    let refusal = response.unwrap_err();
    (refusal.code, refusal.outcome)
}

#[test]
fn a_request_goes_to_the_leader_and_its_answer_to_who_waits() {
    let mut forwarder = led();
    forwarder.begin(at(0), request(write(Identity::None), at(DEADLINE)), || 1).unwrap();
    let sent = forwarder.poll_request(at(1)).unwrap();
    assert_eq!((sent.node, sent.replica, sent.epoch), (NodeNumber(1), on(1), Epoch(1)));
    assert_eq!(sent.id >> 48, 3, "the worker");
    let id = sent.id;
    assert!(forwarder.poll_request(at(1)).is_none());
    forwarder.handle_answer(at(2), NodeNumber(2), id, Told::Answered(written()));
    assert_eq!(forwarder.poll_response(), None, "node 2 was not asked");
    forwarder.handle_answer(at(2), NodeNumber(1), id, Told::Answered(written()));
    assert_eq!(forwarder.poll_response(), Some((1, Ok(Replied::One(written())))));
    forwarder.handle_answer(at(2), NodeNumber(1), id, Told::Answered(written()));
    assert_eq!(forwarder.poll_response(), None);
    assert_eq!(forwarder.stats().late_answers, 2);
    assert!(forwarder.is_empty());
    assert_eq!(forwarder.next_deadline(), None);
}

#[test]
fn a_wrong_guess_is_corrected_at_once_under_a_new_id() {
    let mut forwarder = led();
    let first = send(&mut forwarder, write(Identity::None));
    let stale = Told::NotLeader { shard: S, leader: Some(on(2)), term: Term(2), epoch: Epoch(5) };
    forwarder.handle_answer(at(1), NodeNumber(1), first, stale);
    let again = sent(&mut forwarder, at(1));
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].0, 2);
    assert_ne!(again[0].1, first);
    assert_eq!(forwarder.stats().stale_maps, 1);
}

#[test]
fn a_write_without_identity_in_doubt_is_not_sent_again() {
    let mut forwarder = led();
    send(&mut forwarder, write(Identity::None));
    forwarder.handle_node_down(at(1), NodeNumber(1));
    assert_eq!(refusal(&mut forwarder), (Code::Unavailable, Some(Outcome::Unknown)));
    assert!(sent(&mut forwarder, at(100)).is_empty());
}

#[test]
fn what_was_never_handed_to_a_connection_is_sent_elsewhere() {
    let mut forwarder = led();
    let id = send(&mut forwarder, write(Identity::None));
    forwarder.handle_unsent(at(1), id);
    let due = forwarder.next_deadline().unwrap();
    forwarder.handle_tick(due);
    let again = sent(&mut forwarder, due);
    assert_eq!(again.len(), 1);
    assert_ne!(again[0].0, 1, "node 1 is avoided");
    forwarder.handle_tick(at(DEADLINE));
    assert_eq!(refusal(&mut forwarder), (Code::Timeout, Some(Outcome::Unknown)), "under way");
}

/// The story: the first request to a node that was down waited for the connection to it, and when none could be made, the
/// write was said to be in doubt.
#[test]
fn what_waited_for_a_connection_that_never_was_is_not_in_doubt() {
    let mut forwarder = led();
    send(&mut forwarder, write(Identity::None));
    forwarder.handle_node_unreached(at(1), NodeNumber(1));
    let due = forwarder.next_deadline().unwrap();
    forwarder.handle_tick(due);
    let again = sent(&mut forwarder, due);
    assert_eq!(again.len(), 1);
    assert_ne!(again[0].0, 1, "node 1 is avoided");
    forwarder.handle_node_unreached(due, NodeNumber(again[0].0));
    forwarder.handle_tick(at(DEADLINE));
    let (_, outcome) = refusal(&mut forwarder);
    assert_eq!(outcome, Some(Outcome::NotApplied));
}

#[test]
fn doubt_stays_over_all_attempts() {
    let mut forwarder = led();
    send(&mut forwarder, write(identified()));
    forwarder.handle_node_down(at(1), NodeNumber(1));
    forwarder.handle_leader(at(0), S, on(2), Term(2));
    let again = sent(&mut forwarder, at(1));
    let full = Refusal::not_applied(Code::StorageFull, "full");
    forwarder.handle_answer(at(2), NodeNumber(2), again[0].1, Told::Refused(full));
    assert_eq!(refusal(&mut forwarder), (Code::StorageFull, Some(Outcome::Unknown)));
}

#[test]
fn without_a_leader_it_is_503_before_the_time_is_up_and_not_applied() {
    let mut forwarder = forwarder(&[&[1, 2, 3]]);
    forwarder.begin(at(0), request(write(Identity::None), at(1000)), || 1).unwrap();
    let mut now = at(0);
    let mut asked = BTreeSet::new();
    while !forwarder.is_empty() {
        for (node, id) in sent(&mut forwarder, now) {
            asked.insert(node);
            forwarder.handle_answer(now, NodeNumber(node), id, not_leader(None, 0));
        }
        match forwarder.next_deadline() {
            Some(due) => now = due,
            None => break,
        }
        forwarder.handle_tick(now);
    }
    assert!(now >= at(900) && now < at(1000), "{now:?}");
    assert_eq!(refusal(&mut forwarder), (Code::Unavailable, Some(Outcome::NotApplied)));
    assert_eq!(asked, BTreeSet::from([1, 2, 3]));
}

#[test]
fn a_shard_without_a_leader_costs_few_messages_and_its_leader_gets_them_all() {
    let mut forwarder = forwarder(&[&[1, 2, 3]]);
    for waiter in 0..1000 {
        forwarder.begin(at(0), request(write(Identity::None), at(DEADLINE)), || waiter).unwrap();
    }
    let mut messages = 0;
    for ms in 0..2000 {
        forwarder.handle_tick(at(ms));
        for (node, id) in sent(&mut forwarder, at(ms)) {
            messages += 1;
            forwarder.handle_answer(at(ms), NodeNumber(node), id, not_leader(None, 0));
        }
    }
    assert!((10..30).contains(&messages), "{messages}");
    assert_eq!(forwarder.poll_response(), None);
    forwarder.handle_leader(at(0), S, on(2), Term(1));
    let sent = sent(&mut forwarder, at(2000));
    assert_eq!(sent.len(), 1000);
    assert!(sent.iter().all(|(node, _)| *node == 2));
}

/// Answers every probe with "I do not lead" and no more, until a request is answered or it is this time. Gives when it was.
fn without_a_leader(forwarder: &mut Forwarder<u32>, from: u64, until: u64) -> Option<u64> {
    for ms in from..until {
        forwarder.handle_tick(at(ms));
        for (node, id) in sent(forwarder, at(ms)) {
            forwarder.handle_answer(at(ms), NodeNumber(node), id, not_leader(None, 1));
        }
        if forwarder.is_empty() {
            return Some(ms);
        }
    }
    None
}

#[test]
fn a_shard_without_a_quorum_refuses_once_an_election_would_be_over() {
    let mut forwarder = forwarder(&[&[1, 2, 3]]);
    let long = 60_000;
    for (begun, refused) in [(0, 3000..3250), (3300, 3300..3301), (3400, 3400..3401)] {
        let ask = request(write(Identity::None), at(begun + long));
        forwarder.begin(at(begun), ask, || 1).unwrap();
        let ended = without_a_leader(&mut forwarder, begun, begun + long).unwrap();
        assert!(refused.contains(&ended), "begun at {begun}, refused at {ended}");
        assert_eq!(refusal(&mut forwarder), (Code::Unavailable, Some(Outcome::NotApplied)));
    }
    // A stale read is any replica's, and waits for none.
    forwarder.begin(at(3500), request(get(Consistency::Stale), at(9000)), || 1).unwrap();
    assert_eq!(sent(&mut forwarder, at(3500)).len(), 1);
}

#[test]
fn an_election_refuses_nothing_however_many_came_before() {
    let mut forwarder = forwarder(&[&[1, 2, 3]]);
    for term in 1..4 {
        let begun = term * 4000;
        let ask = request(write(Identity::None), at(begun + 60_000));
        forwarder.begin(at(begun), ask, || 1).unwrap();
        assert_eq!(without_a_leader(&mut forwarder, begun, begun + 2900), None);
        forwarder.handle_leader(at(begun + 2900), S, on(2), Term(term));
        let again = sent(&mut forwarder, at(begun + 2900));
        assert_eq!((again.len(), again[0].0), (1, 2));
        let answer = Told::Answered(written());
        forwarder.handle_answer(at(begun + 2900), NodeNumber(2), again[0].1, answer);
        assert!(forwarder.poll_response().unwrap().1.is_ok());
    }
}

#[test]
fn a_leader_found_by_asking_gets_all_that_wait() {
    let mut forwarder = led();
    forwarder.handle_node_down(at(0), NodeNumber(1));
    for waiter in 0..10 {
        forwarder.begin(at(0), request(write(Identity::None), at(DEADLINE)), || waiter).unwrap();
    }
    let probe = sent(&mut forwarder, at(0));
    assert_eq!(probe.len(), 1);
    let (node, id) = probe[0];
    forwarder.handle_answer(at(1), NodeNumber(node), id, Told::Answered(written()));
    assert_eq!(sent(&mut forwarder, at(1)).iter().filter(|(to, _)| *to == node).count(), 9);
}

#[test]
fn a_newer_leader_named_by_an_answer_gets_all_that_wait() {
    let mut forwarder = forwarder(&[&[1, 2, 3]]);
    for waiter in 0..10 {
        forwarder.begin(at(0), request(write(Identity::None), at(DEADLINE)), || waiter).unwrap();
    }
    let probe = sent(&mut forwarder, at(0));
    assert_eq!((probe.len(), probe[0].0), (1, 1));
    forwarder.handle_answer(at(1), NodeNumber(1), probe[0].1, not_leader(Some(on(3)), 4));
    let all = sent(&mut forwarder, at(1));
    assert_eq!(all.iter().filter(|(node, _)| *node == 3).count(), 10);
}

#[test]
fn a_node_that_lets_requests_pass_is_avoided() {
    let mut forwarder = led();
    for _ in 0..ringfort_route::TIMEOUTS_MAX {
        forwarder.begin(at(0), request(write(Identity::None), at(100)), || 1).unwrap();
        assert_eq!(sent(&mut forwarder, at(0))[0].0, 1);
    }
    forwarder.handle_tick(at(100));
    assert_eq!(std::iter::from_fn(|| forwarder.poll_response()).count(), 3);
    forwarder.begin(at(100), request(write(Identity::None), at(DEADLINE)), || 1).unwrap();
    assert_ne!(sent(&mut forwarder, at(100))[0].0, 1);
}

#[test]
fn a_late_answer_is_not_taken_for_that_of_a_request_in_the_same_place() {
    let mut forwarder = led();
    let answer = || Told::Answered(written());
    let first = send(&mut forwarder, write(Identity::None));
    forwarder.handle_answer(at(0), NodeNumber(1), first, answer());
    for _ in 0..1000 {
        let next = send(&mut forwarder, write(Identity::None));
        let late = forwarder.stats().late_answers;
        forwarder.handle_answer(at(0), NodeNumber(1), first, answer());
        assert_eq!((forwarder.stats().late_answers, forwarder.len()), (late + 1, 1));
        forwarder.handle_answer(at(0), NodeNumber(1), next, answer());
    }
}

#[test]
fn what_this_node_leads_comes_back_with_its_doubt() {
    let mut forwarder = led();
    send(&mut forwarder, write(identified()));
    forwarder.handle_node_down(at(1), NodeNumber(1));
    forwarder.handle_leader(at(0), S, on(0), Term(2));
    assert!(sent(&mut forwarder, at(1)).is_empty());
    let local = forwarder.poll_local().unwrap();
    assert!(forwarder.is_empty());
    assert_eq!((local.waiter, local.forwarded.deadline), (1, at(DEADLINE)));
    let full = Refusal::not_applied(Code::StorageFull, "");
    assert_eq!(local.attempts.settle(full).outcome, Some(Outcome::Unknown));
    // Its replica has lost the leadership meanwhile, and knows to whom.
    forwarder.handle_not_local(at(2), local, Some((on(3), Term(3))));
    let again = sent(&mut forwarder, at(2));
    assert_eq!((again.len(), again[0].0), (1, 3));
    let refused = Told::Refused(Refusal::not_applied(Code::StorageFull, ""));
    forwarder.handle_answer(at(3), NodeNumber(3), again[0].1, refused);
    assert_eq!(refusal(&mut forwarder), (Code::StorageFull, Some(Outcome::Unknown)));
}

#[test]
fn a_replica_here_that_does_not_lead_after_all_is_not_asked_again_at_once() {
    let mut forwarder = forwarder(&[&[0, 1, 2]]);
    forwarder.handle_leader(at(0), S, on(0), Term(1));
    forwarder.begin(at(0), request(write(Identity::None), at(DEADLINE)), || 1).unwrap();
    assert!(forwarder.poll_request(at(0)).is_none());
    let local = forwarder.poll_local().unwrap();
    forwarder.handle_not_local(at(0), local, None);
    assert!(sent(&mut forwarder, at(0)).is_empty());
    assert!(forwarder.poll_local().is_none());
    let due = forwarder.next_deadline().unwrap();
    forwarder.handle_tick(due);
    assert_ne!(sent(&mut forwarder, due)[0].0, 0);
}

#[test]
fn admission_is_bounded_in_number_and_bytes() {
    let small = ringfort_node::ForwardConfig { requests_max: 2, ..config(1) };
    let mut forwarder = Forwarder::new(at(0), small);
    let ask = |identity| request(write(identity), at(DEADLINE));
    for waiter in 0..2 {
        forwarder.begin(at(0), ask(Identity::None), || waiter).unwrap();
    }
    let refused = forwarder.begin(at(0), ask(Identity::None), || 9).unwrap_err();
    assert_eq!((refused.code, refused.outcome), (Code::Overloaded, Some(Outcome::NotApplied)));
    let read = request(get(Consistency::Linearizable), at(DEADLINE));
    assert_eq!(forwarder.begin(at(0), read, || 9).unwrap_err().outcome, None);

    let small = ringfort_node::ForwardConfig { bytes_max: 300, ..config(1) };
    let mut forwarder = Forwarder::new(at(0), small);
    forwarder.handle_map(Epoch(1), &[shard(&[1])]);
    for round in 0..10 {
        let mut admitted = 0;
        while forwarder.begin(at(round), ask(Identity::None), || 1).is_ok() {
            admitted += 1;
        }
        assert!((1..=2).contains(&admitted), "{admitted}");
        for (node, id) in sent(&mut forwarder, at(round)) {
            let answer = Told::Answered(written());
            forwarder.handle_answer(at(round), NodeNumber(node), id, answer);
        }
        // The one that waits for its turn to ask.
        forwarder.handle_leader(at(0), S, on(1), Term(1));
        for (node, id) in sent(&mut forwarder, at(round)) {
            let answer = Told::Answered(written());
            forwarder.handle_answer(at(round), NodeNumber(node), id, answer);
        }
        assert!(forwarder.is_empty());
    }
}

#[test]
fn a_stale_read_takes_any_replica_and_its_refusal_at_once() {
    let mut forwarder = forwarder(&[&[1, 2, 3]]);
    let first = send(&mut forwarder, get(Consistency::Stale));
    let found = Some(Found { version: Version(3), value: "v".into(), ttl_ms: None });
    let got = Got { found, staleness_ms: Some(12) };
    forwarder.handle_answer(at(1), NodeNumber(1), first, Told::Got(got.clone()));
    assert_eq!(forwarder.poll_response(), Some((1, Ok(Replied::Got(got)))));
    let second = send(&mut forwarder, get(Consistency::Stale));
    let unbound = Told::Refused(Refusal::new(Code::Unavailable, "no bound"));
    forwarder.handle_answer(at(1), NodeNumber(2), second, unbound);
    assert_eq!(refusal(&mut forwarder), (Code::Unavailable, None));
}

#[test]
fn a_part_of_a_batch_has_an_answer_for_each_operation() {
    let each = |response: Response| match response.unwrap() {
        Replied::Each(each) => each,
        other => panic!("{other:?}"),
    };
    let mut forwarder = led();
    let id = send(&mut forwarder, part(identified()));
    let all = vec![
        Ok(Answered { done: Done::Got(None), replayed: false }),
        Err(Refusal::not_applied(Code::StorageFull, "")),
    ];
    forwarder.handle_answer(at(1), NodeNumber(1), id, Told::All(all.clone()));
    assert_eq!(each(forwarder.poll_response().unwrap().1), all);

    // What an earlier attempt may have done counts for each write.
    send(&mut forwarder, part(identified()));
    forwarder.handle_node_down(at(1), NodeNumber(1));
    forwarder.handle_leader(at(0), S, on(2), Term(2));
    let id = sent(&mut forwarder, at(1))[0].1;
    forwarder.handle_answer(at(2), NodeNumber(2), id, Told::All(all.clone()));
    let refusal = each(forwarder.poll_response().unwrap().1).pop().unwrap().unwrap_err();
    assert_eq!(refusal.outcome, Some(Outcome::Unknown));
    forwarder.handle_leader(at(0), S, on(1), Term(3));
    forwarder.handle_node_up(NodeNumber(1));

    // A refusal of the whole is one of each; only a write has an outcome.
    send(&mut forwarder, part(Identity::None));
    forwarder.handle_node_down(at(1), NodeNumber(1));
    let outcomes: Vec<_> = each(forwarder.poll_response().unwrap().1)
        .into_iter()
        .map(|result| result.unwrap_err().outcome)
        .collect();
    assert_eq!(outcomes, [None, Some(Outcome::Unknown)]);

    // An answer to another number of operations is none.
    forwarder.handle_node_up(NodeNumber(1));
    let id = send(&mut forwarder, part(Identity::None));
    forwarder.handle_answer(at(1), NodeNumber(1), id, Told::All(all[..1].to_vec()));
    let refusals = each(forwarder.poll_response().unwrap().1);
    let refusal = refusals[1].as_ref().unwrap_err();
    assert_eq!((refusal.code, refusal.outcome), (Code::Internal, Some(Outcome::Unknown)));
}

#[test]
fn answers_of_another_kind_are_none() {
    let answers = [
        Told::Got(Got::default()),
        Told::All(Vec::new()),
        Told::Page { page: Page::default(), shards: vec![S] },
        Told::NotLeader { shard: ShardId(1), leader: None, term: Term(1), epoch: Epoch(1) },
    ];
    for answer in answers {
        let mut forwarder = led();
        let id = send(&mut forwarder, write(identified()));
        forwarder.handle_answer(at(1), NodeNumber(1), id, answer);
        assert_eq!(refusal(&mut forwarder), (Code::Internal, Some(Outcome::Unknown)));
    }
}

fn page(keys: &[&str], more: bool, shards: &[u32]) -> Told {
    let item = |key: &&str| Item {
        key: Key::new((*key).to_owned()).unwrap(),
        version: Version(1),
        value: bytes::Bytes::new(),
        ttl_ms: None,
    };
    let page = Page { items: keys.iter().map(item).collect(), more, staleness_ms: None };
    Told::Page { page, shards: shards.iter().copied().map(ShardId).collect() }
}

/// Three shards; node 1 leads the first two, and node 2 the last.
fn three() -> Forwarder<u32> {
    let mut forwarder = forwarder(&[&[1, 2], &[1, 2], &[1, 2]]);
    for (shard, node) in [(0, 1), (1, 1), (2, 2)] {
        forwarder.handle_leader(at(0), ShardId(shard), on(node), Term(1));
    }
    forwarder
}

#[test]
fn a_listing_collects_the_pages_of_all_its_shards() {
    let mut forwarder = three();
    let id = send(&mut forwarder, list(&[0, 1]));
    forwarder.handle_answer(at(1), NodeNumber(1), id, page(&["b", "d"], false, &[1]));
    assert_eq!(forwarder.poll_response(), None);
    forwarder.handle_answer(at(2), NodeNumber(1), id, page(&["a", "c"], false, &[0]));
    let Some((1, Ok(Replied::Page(page)))) = forwarder.poll_response() else { panic!("a page") };
    let keys: Vec<_> = page.items.iter().map(|item| item.key.as_bytes()).collect();
    assert_eq!((keys, page.more), (vec![&b"a"[..], b"b", b"c"], true));
}

#[test]
fn a_listing_begins_anew_where_one_of_its_shards_moved() {
    let mut forwarder = three();
    let id = send(&mut forwarder, list(&[0, 1]));
    forwarder.handle_answer(at(1), NodeNumber(1), id, page(&["b"], false, &[1]));
    let moved =
        Told::NotLeader { shard: ShardId(1), leader: Some(on(2)), term: Term(2), epoch: Epoch(1) };
    forwarder.handle_answer(at(2), NodeNumber(1), id, moved);
    assert!(sent(&mut forwarder, at(2)).is_empty(), "two leaders now");
    let returned = forwarder.poll_local().unwrap();
    assert_eq!(returned.waiter, 1);
    let parts = forwarder.divide(&[0, 1, 2].map(ShardId));
    let (first, second) = (vec![ShardId(0)], vec![ShardId(1), ShardId(2)]);
    assert_eq!(parts, [(Some(NodeNumber(1)), first), (Some(NodeNumber(2)), second)]);
    forwarder.handle_node_down(at(3), NodeNumber(2));
    let parts = forwarder.divide(&[1, 2].map(ShardId));
    assert_eq!(parts, [(None, vec![ShardId(1)]), (None, vec![ShardId(2)])]);
    // Each by itself finds its way, or says that there is none.
    let id = send(&mut forwarder, list(&[1]));
    forwarder.handle_answer(at(3), NodeNumber(1), id, page(&["b"], false, &[1]));
    assert!(matches!(forwarder.poll_response(), Some((1, Ok(Replied::Page(_))))));
}

#[test]
fn a_listing_that_is_sent_again_keeps_nothing_of_its_first_attempt() {
    let mut forwarder = three();
    let id = send(&mut forwarder, list(&[0, 1]));
    forwarder.handle_answer(at(1), NodeNumber(1), id, page(&["old"], false, &[1]));
    let refused = Told::Refused(Refusal::new(Code::Unavailable, ""));
    forwarder.handle_answer(at(2), NodeNumber(1), id, refused);
    forwarder.handle_tick(at(100));
    let id = sent(&mut forwarder, at(100))[0].1;
    forwarder.handle_answer(at(101), NodeNumber(1), id, page(&["new"], false, &[0, 1]));
    let Some((1, Ok(Replied::Page(page)))) = forwarder.poll_response() else { panic!("a page") };
    assert_eq!(page.items.len(), 1);
    assert_eq!(page.items[0].key.as_bytes(), b"new");
}

#[test]
fn pages_of_shards_that_were_not_asked_for_are_not_taken() {
    for shards in [&[2][..], &[0, 0], &[0, 1, 2]] {
        let mut forwarder = three();
        let id = send(&mut forwarder, list(&[0, 1]));
        forwarder.handle_answer(at(1), NodeNumber(1), id, page(&["b"], false, shards));
        assert_eq!(refusal(&mut forwarder), (Code::Internal, None), "{shards:?}");
    }
}

#[test]
fn ids_differ_between_starts_and_are_never_used_again() {
    let mut seen = BTreeSet::new();
    for seed in [1, u64::MAX / 3, u64::MAX] {
        let mut forwarder = Forwarder::new(at(0), config(seed));
        forwarder.handle_map(Epoch(1), &[shard(&[1])]);
        forwarder.handle_leader(at(0), S, on(1), Term(1));
        // One stays under way while many come and go.
        forwarder.begin(at(0), request(write(Identity::None), at(DEADLINE)), || 0).unwrap();
        assert!(seen.insert(sent(&mut forwarder, at(0))[0].1));
        for waiter in 1..500 {
            forwarder
                .begin(at(0), request(write(Identity::None), at(DEADLINE)), || waiter)
                .unwrap();
            let (node, id) = sent(&mut forwarder, at(0))[0];
            assert!(seen.insert(id), "{id:x}");
            assert_eq!(id >> 48, 3);
            let answer = Told::Answered(written());
            forwarder.handle_answer(at(0), NodeNumber(node), id, answer);
        }
        assert_eq!(forwarder.len(), 1);
    }
}

#[test]
fn what_a_deposed_leader_was_asked_is_soon_given_up_or_asked_again() {
    let mut forwarder = led();
    forwarder.begin(at(0), request(get(Consistency::Linearizable), at(DEADLINE)), || 1).unwrap();
    forwarder.begin(at(0), request(write(Identity::None), at(DEADLINE)), || 2).unwrap();
    let first = sent(&mut forwarder, at(0));
    assert_eq!(first.iter().map(|(node, _)| *node).collect::<Vec<_>>(), [1, 1]);
    forwarder.handle_leader(at(1000), S, on(2), Term(2));
    forwarder.handle_tick(at(1100));
    assert!(forwarder.poll_response().is_none(), "its answer may be under way");
    forwarder.handle_tick(at(1250));
    let (waiter, response) = forwarder.poll_response().unwrap();
    let refusal = response.unwrap_err();
    assert_eq!(
        (waiter, refusal.code, refusal.outcome),
        (2, Code::Unavailable, Some(Outcome::Unknown))
    );
    forwarder.handle_tick(at(1500));
    let again = sent(&mut forwarder, at(1500));
    assert_eq!(again.iter().map(|(node, _)| *node).collect::<Vec<_>>(), [2], "the read goes on");
}
