//! Listings where no lease says that the leader still leads.

use std::time::Duration;

use bytes::Bytes;
use ringfort_node::Replied;
use ringfort_raft::Reads;
use ringfort_types::Key;
use ringfort_types::request::{Condition, Identity, List, Operation, Write};

use super::{SHARDS, Trio};
use crate::support::{context, list, shard_of};

const ID: u64 = 1000;

/// A tag of the first shard.
fn tag() -> String {
    let tags = (0..).map(|number| format!("{{tag-{number}}}"));
    tags.into_iter().find(|tag| shard_of(&Key::new(tag.clone()).unwrap()) == SHARDS[0]).unwrap()
}

/// Three nodes without leases, with one key of the tag; and the leader of its shard.
fn trio(seed: u64) -> (Trio, u16) {
    let mut trio = Trio::reading(seed, Reads::Index);
    let leader = trio.elect(SHARDS[0]);
    let operation = Operation::Put {
        key: Key::new(format!("{}a", tag())).unwrap(),
        value: Bytes::from_static(b"v"),
        ttl: None,
        condition: Condition::Always,
    };
    let (now, write) = (trio.now, Write { operation, identity: Identity::None });
    trio.node(leader).worker().write(now, &context(now), &write, || 1).unwrap();
    trio.settle();
    (trio, leader)
}

/// Asks a node for all keys of the tag.
fn begin(trio: &mut Trio, node: u16) {
    let now = trio.now;
    let list = List { prefix: Bytes::from(tag()), ..list() };
    trio.node(node).worker().list(now, &context(now), list, || ID).unwrap();
}

/// The story: with `reads = "read_index"` there is no lease, and listings waited for one until their time had passed.
#[test]
fn a_listing_without_leases_is_confirmed_by_a_round() {
    let (mut trio, leader) = trio(21);
    for _ in 0..2 {
        begin(&mut trio, leader);
        trio.until("the page is there", |trio| trio.answers.contains_key(&ID));
        match trio.answers.remove(&ID) {
            Some(Ok(Replied::Page(page))) => assert_eq!(page.items.len(), 1),
            other => panic!("{other:?}"),
        }
        trio.run(Duration::from_secs(1));
    }
}

/// A leader that nobody hears may not be the leader any more, whatever was confirmed before the listing was asked for.
#[test]
fn a_listing_is_not_answered_by_a_leader_that_cannot_ask() {
    let (mut trio, leader) = trio(22);
    begin(&mut trio, leader);
    trio.until("the page is there", |trio| trio.answers.contains_key(&ID));
    trio.answers.clear();
    // The next one is asked for later.
    trio.run(Duration::from_millis(20));
    trio.cut_off.insert(leader);
    begin(&mut trio, leader);
    trio.run(Duration::from_millis(800));
    assert_eq!(trio.leader_anyway(SHARDS[0]), Some(leader), "it has not noticed yet");
    assert!(!trio.answers.contains_key(&ID), "{:?}", trio.answers[&ID]);
}
