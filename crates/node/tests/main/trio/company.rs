//! Commands wait for company, and not for ever.

use std::time::Duration;

use bytes::Bytes;
use ringfort_types::request::{Condition, Identity, Operation, Write};
use ringfort_types::{Index, Key};

use super::{SHARDS, Trio};
use crate::support::{context, shard_of};

impl Trio {
    /// Has a node that leads the first shard take writes, and do a turn.
    fn ask(&mut self, leader: u16, ids: std::ops::Range<u64>) {
        let now = self.now;
        for id in ids {
            let name = |number: u64| Key::new(format!("company-{id}-{number}")).unwrap();
            let key = (0..).map(name).find(|key| shard_of(key) == SHARDS[0]).unwrap();
            let (value, condition) = (Bytes::from_static(b"v"), Condition::Always);
            let operation = Operation::Put { key, value, ttl: None, condition };
            let write = Write { operation, identity: Identity::None };
            self.node(leader).worker().write(now, &context(now), &write, || id).unwrap();
        }
        self.node(leader).worker().poll(now);
    }

    fn last(&self, node: u16) -> Index {
        self.summary(node, SHARDS[0]).unwrap().status.unwrap().raft.last
    }
}

/// Three writes, 1000 to 1002, are under way: the node that leads, and where its log ended before them. Cut off, it hears
/// nothing of them.
fn with_three_under_way(seed: u64, cut_off: bool) -> (Trio, u16, Index) {
    let mut trio = Trio::new(seed);
    let leader = trio.elect(SHARDS[0]);
    if cut_off {
        trio.cut_off.insert(leader);
    }
    let before = trio.last(leader);
    trio.ask(leader, 1000..1003);
    (trio, leader, before)
}

#[test]
fn what_comes_while_many_are_under_way_waits_until_those_are_applied() {
    let (mut trio, leader, before) = with_three_under_way(21, false);
    assert_eq!(trio.last(leader), before.next(), "nothing was under way: one entry, at once");
    trio.ask(leader, 1003..1005);
    assert_eq!(trio.last(leader), before.next(), "three are under way: two wait");
    let until = trio.look(leader).look().turn_due().expect("somebody waits");
    assert!(until > trio.now && until <= trio.now + Duration::from_millis(1));
    // No time passes: the answers of the others end the wait.
    trio.settle();
    assert!((1000..1005).all(|id| trio.answers.contains_key(&id)), "{:?}", trio.answers);
    assert_eq!(trio.last(leader).0, before.0 + 2, "the two came in one entry");
    assert_eq!(trio.look(leader).look().turn_due(), None);
}

#[test]
fn as_many_as_are_under_way_do_not_wait() {
    let (mut trio, leader, before) = with_three_under_way(22, false);
    trio.ask(leader, 1003..1006);
    assert_eq!(trio.last(leader).0, before.0 + 2);
}

/// Another shard's commands may be under way for as long as its quorum is away.
#[test]
fn the_wait_ends_though_nothing_is_applied() {
    let (mut trio, leader, before) = with_three_under_way(23, true);
    trio.ask(leader, 1003..1004);
    assert_eq!(trio.last(leader), before.next());
    let until = trio.look(leader).look().turn_due().expect("somebody waits");
    trio.now = until;
    trio.ask(leader, 1004..1004);
    assert_eq!(trio.last(leader).0, before.0 + 2);
}

/// The story: a node that stopped handed leadership over before its turn, and refused what waited.
#[test]
fn what_waits_goes_before_leadership_is_handed_over() {
    let (mut trio, leader, _) = with_three_under_way(24, false);
    trio.ask(leader, 1003..1004);
    assert!(trio.look(leader).look().turn_due().is_some(), "somebody waits");
    let now = trio.now;
    assert!(trio.node(leader).worker().hand_over(now, |_| true) > 0);
    trio.settle();
    let answers = &trio.answers;
    let done = |id: &u64| answers.get(id).is_some_and(Result::is_ok);
    assert!((1000..1004).all(|id| done(&id)), "{answers:?}");
}
