//! What another node sends is looked at before it is believed.

use std::time::Duration;

use bytes::Bytes;
use ringfort_node::control::Founded;
use ringfort_proto::peer::Frame;
use ringfort_proto::{Ask, Forward, Reply, RequestId, Told};
use ringfort_sim::{SimDisk, SimNode};
use ringfort_types::request::{Condition, Done, Identity, Operation, Principal, Trace, Write};
use ringfort_types::{Code, Epoch, Key, Monotonic, NodeNumber, Outcome, ShardId};

use crate::support::{SHARDS, key, options, shard_of};

const FROM: NodeNumber = NodeNumber(1);

/// What a node answers to another one's put of a key, as one for this shard.
fn put(node: &mut SimNode, key: Key, shard: ShardId) -> Told {
    let (value, condition) = (Bytes::from_static(b"v"), Condition::Always);
    let operation = Operation::Put { key, value, ttl: None, condition };
    let forward = Forward {
        id: RequestId::new(0, 7),
        shard,
        replica: None,
        epoch: Epoch(1),
        timeout: Duration::from_secs(5),
        principal: Principal::default(),
        trace: Trace::default(),
        ask: Ask::Write(Write { operation, identity: Identity::None }),
    };
    let frame = Frame { requests: vec![forward.into()], ..Frame::default() };
    let now = node.now;
    node.worker().handle_frame(now, FROM, frame);
    node.settle().unwrap();
    let (to, _, mut frame) = node.worker().poll_frame().expect("an answer");
    assert_eq!((to, frame.answers.len()), (FROM, 1));
    Reply::try_from(frame.answers.remove(0)).unwrap().told
}

/// A key in another shard's store would not be found again.
#[test]
fn a_request_whose_key_is_of_another_shard_is_refused() {
    let mut node =
        SimNode::start(SimDisk::new(3), options(Founded::Nothing), Monotonic(1)).unwrap();
    node.settle().unwrap();
    let key = key(1);
    let shard = shard_of(&key);
    let other = ShardId((shard.0 + 1) % SHARDS);
    let Told::Refused(refusal) = put(&mut node, key.clone(), other) else { panic!("refused") };
    assert_eq!((refusal.code, refusal.outcome), (Code::Internal, Some(Outcome::NotApplied)));
    let Told::Answered(answered) = put(&mut node, key, shard) else { panic!("taken") };
    assert!(matches!(answered.done, Done::Put(_)));
}
