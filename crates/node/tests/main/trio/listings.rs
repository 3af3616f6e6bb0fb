//! Listings of shards whose leaders change.

use std::time::Duration;

use bytes::Bytes;
use ringfort_node::{GetAnswer, Replied};
use ringfort_placement::{Replica, Role, ShardPlacement, Wish};
use ringfort_types::request::{Consistency, Get, Identity, List, Operation, Write};
use ringfort_types::{Epoch, Key, NodeId, NodeNumber};

use super::{SHARDS, Trio, replica};
use crate::support::{context, list, shard_of};

/// Every node knows who has what.
pub(super) fn tell_placements(trio: &mut Trio) {
    let on = |node: u16| Replica {
        id: replica(1, node),
        node: NodeId::parse(&format!("n{node}")).unwrap(),
        role: Role::Voter,
        quarantined: false,
    };
    let placed = || ShardPlacement::new((0..3).map(on).collect(), Wish::default());
    let nowhere = || ShardPlacement::new(Vec::new(), Wish::default());
    let shards = [placed(), placed(), nowhere(), nowhere()];
    for node in 0..3 {
        trio.node(node).worker().handle_placements(Epoch(1), &shards);
    }
}

/// The story: a listing waited for the lease of its shard's leader when another node took over. It was answered 503, where any
/// other read would have gone to the new leader.
#[test]
fn a_listing_that_waits_goes_to_the_new_leader() {
    let mut trio = Trio::new(41);
    tell_placements(&mut trio);
    let leader = trio.elect(SHARDS[0]);
    let name = |number: u64| Key::new(format!("{{{number}}}a")).unwrap();
    let key = (0..).map(name).find(|key| shard_of(key) == SHARDS[0]).unwrap();
    let value = Bytes::from_static(b"value");
    let condition = ringfort_types::request::Condition::Always;
    let operation = Operation::Put { key: key.clone(), value, ttl: None, condition };
    let now = trio.now;
    let write = Write { operation, identity: Identity::None };
    trio.node(leader).worker().write(now, &context(now), &write, || 1).unwrap();
    trio.until("it is written", |trio| trio.answers.contains_key(&1));
    trio.cut_off.insert(leader);
    trio.run(Duration::from_millis(900));
    assert_eq!(trio.leader_anyway(SHARDS[0]), Some(leader), "it has not noticed yet");
    let prefix = key.to_bytes().slice(..key.as_bytes().len() - 1);
    let now = trio.now;
    let asked = List { prefix, ..list() };
    trio.node(leader).worker().list(now, &context(now), asked, || 7).unwrap();
    trio.until("another leads, and this one knows", |trio| {
        trio.leader_anyway(SHARDS[0]).is_some_and(|new| new != leader)
            && trio.summary(leader, SHARDS[0]).is_some_and(|shard| !shard.leads)
    });
    // Whatever it sent meanwhile is lost with its connections.
    trio.cut_off.clear();
    let now = trio.now;
    for other in (0..3).filter(|node| *node != leader).map(NodeNumber) {
        trio.node(leader).worker().handle_node_down(now, other);
        trio.node(leader).worker().handle_node_up(other);
    }
    trio.until("the listing is answered", |trio| trio.answers.contains_key(&7));
    match &trio.answers[&7] {
        Ok(Replied::Page(page)) => {
            assert_eq!(page.items.iter().map(|item| &item.key).collect::<Vec<_>>(), [&key]);
        }
        other => panic!("{other:?}"),
    }
}

/// The story: a page left out a key that was due by its leader's clock. That leader lost its quorum before the entry that removes
/// the key was committed, and the next one, whose clock was behind, still had it.
#[test]
fn a_page_without_a_due_key_waits_for_a_quorum() {
    let mut trio = Trio::new(42);
    let leader = trio.elect(SHARDS[0]);
    let name = |number: u64| Key::new(format!("{{{number}}}a")).unwrap();
    let key = (0..).map(name).find(|key| shard_of(key) == SHARDS[0]).unwrap();
    let value = Bytes::from_static(b"value");
    let condition = ringfort_types::request::Condition::Always;
    let ttl = Some(Duration::from_millis(100));
    let operation = Operation::Put { key: key.clone(), value, ttl, condition };
    let (now, write) = (trio.now, Write { operation, identity: Identity::None });
    trio.node(leader).worker().write(now, &context(now), &write, || 1).unwrap();
    trio.until("it is written", |trio| trio.answers.contains_key(&1));
    trio.cut_off.insert(leader);
    trio.run(Duration::from_millis(140));
    let prefix = key.to_bytes().slice(..key.as_bytes().len() - 1);
    let (now, asked) = (trio.now, List { prefix, ..list() });
    trio.node(leader).worker().list(now, &context(now), asked, || 7).unwrap();
    trio.run(Duration::from_millis(100));
    let other =
        (0..).map(name).find(|other| *other != key && shard_of(other) == SHARDS[0]).unwrap();
    let get = Get { key: other, consistency: Consistency::Linearizable };
    let now = trio.now;
    let got = trio.node(leader).worker().get(now, &context(now), &get, || 8);
    assert!(matches!(got, GetAnswer::Now(Ok(_))), "its lease has not run out: {got:?}");
    assert!(!trio.answers.contains_key(&7));
    trio.cut_off.clear();
    trio.until("the page is answered", |trio| trio.answers.contains_key(&7));
    match &trio.answers[&7] {
        Ok(Replied::Page(page)) => assert_eq!(page.items, []),
        other => panic!("{other:?}"),
    }
}
