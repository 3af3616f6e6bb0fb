//! Operations of one batch keep their order, also where a get cannot be answered at once.

use std::time::Duration;

use bytes::Bytes;
use ringfort_node::Replied;
use ringfort_types::Key;
use ringfort_types::request::{Condition, Done, Identity, Operation};

use super::{SHARDS, Trio};
use crate::support::{context, shard_of};

/// The story: a leader whose lease had run out took a get and a put of one key in one batch. The get waited for a round of
/// heartbeats and was then answered from what stood: the put of its own batch.
#[test]
fn a_get_that_waits_sees_nothing_of_the_puts_behind_it() {
    let mut trio = Trio::new(11);
    let leader = trio.elect(SHARDS[0]);
    trio.cut_off.insert(leader);
    trio.run(Duration::from_millis(900));
    assert_eq!(trio.leader_anyway(SHARDS[0]), Some(leader), "it has not noticed yet");
    let name = |number: u64| Key::new(format!("batch-{number}")).unwrap();
    let key = (0..).map(name).find(|key| shard_of(key) == SHARDS[0]).unwrap();
    let put = |value: &'static str| Operation::Put {
        key: key.clone(),
        value: Bytes::from(value),
        ttl: None,
        condition: Condition::Always,
    };
    let get = Operation::Get { key: key.clone() };
    let operations =
        [(0, get.clone()), (1, put("first")), (2, get.clone()), (3, put("second")), (4, get)];
    let now = trio.now;
    let mut ids = 1000..;
    let waiter = || ids.next().unwrap();
    let worker = trio.node(leader).worker();
    let started = worker.batch(now, &context(now), &Identity::None, &operations, waiter);
    assert!(started.iter().all(Option::is_none), "{started:?}");
    trio.cut_off.clear();
    trio.until("all are answered", |trio| (1000..1005).all(|id| trio.answers.contains_key(&id)));
    let value = |id: u64| match &trio.answers[&id] {
        Ok(Replied::One(answered)) => match &answered.done {
            Done::Got(found) => found.as_ref().map(|found| found.value.clone()),
            done => panic!("{done:?}"),
        },
        other => panic!("{other:?}"),
    };
    assert_eq!(value(1000), None);
    assert_eq!(value(1002).as_deref(), Some(&b"first"[..]));
    assert_eq!(value(1004).as_deref(), Some(&b"second"[..]));
}
