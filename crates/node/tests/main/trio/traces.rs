//! Requests that belong to a trace.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use ringfort_types::Key;
use ringfort_types::request::{Condition, Context, Identity, Operation, Trace, Write};

use super::listings::tell_placements;
use super::{SHARDS, Trio};
use crate::support::{context, shard_of};

#[test]
fn a_forwarded_request_keeps_its_trace() {
    let mut trio = Trio::new(70);
    tell_placements(&mut trio);
    let leader = trio.elect(SHARDS[0]);
    let other = (0..3).find(|node| *node != leader).unwrap();
    let seen: Rc<RefCell<Vec<Bytes>>> = Rc::default();
    let heard = Rc::clone(&seen);
    trio.tamper = Some(Box::new(move |_, _, frame| {
        heard.borrow_mut().extend(frame.requests.iter().map(|request| request.trace.clone()));
        true
    }));
    let trace = Trace::parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    for (id, trace) in [(1, trace.clone()), (2, Trace::default())] {
        let name = |number: u64| Key::new(format!("trace-{number}")).unwrap();
        let key = (0..).map(name).find(|key| shard_of(key) == SHARDS[0]).unwrap();
        let (value, condition) = (Bytes::from_static(b"v"), Condition::Always);
        let operation = Operation::Put { key, value, ttl: None, condition };
        let write = Write { operation, identity: Identity::None };
        let now = trio.now;
        let context = Context { trace, ..context(now) };
        trio.node(other).worker().write(now, &context, &write, || id).unwrap();
        trio.until("it is written", |trio| trio.answers.contains_key(&id));
    }
    assert_eq!(*seen.borrow(), [trace.0, Bytes::new()]);
}
