//! Full disks: a shard grows only while a quorum of its nodes has room.

use std::time::Duration;

use bytes::Bytes;
use ringfort_types::request::{Condition, Identity, Operation, Write};
use ringfort_types::{Code, Key, NodeNumber, Outcome, Refusal};

use super::listings::tell_placements;
use super::{SHARDS, Trio};
use crate::support::{context, shard_of};

/// Has everybody know who else there is, and the first shard a leader. Gives it, and the others.
fn begin(seed: u64) -> (Trio, u16, [u16; 2]) {
    let mut trio = Trio::new(seed);
    tell_placements(&mut trio);
    let leader = trio.elect(SHARDS[0]);
    let mut others = (0..3).filter(|node| *node != leader);
    let others = [others.next().unwrap(), others.next().unwrap()];
    (trio, leader, others)
}

/// Gives a node so many bytes to grow by, and waits until the others may have heard it.
fn give_room(trio: &mut Trio, node: u16, bytes: u64) {
    trio.node(node).worker().handle_room(bytes);
    trio.run(Duration::from_millis(60));
}

fn write(trio: &mut Trio, leader: u16, operation: Operation) -> Result<(), Refusal> {
    let (now, id) = (trio.now, trio.writes + 1);
    trio.writes = id;
    let key = operation.key().clone();
    let write = Write { operation, identity: Identity::None };
    trio.node(leader).worker().write(now, &context(now), &write, || id)?;
    trio.asked.insert(id, key.clone());
    trio.settle();
    assert_eq!(trio.answered.last(), Some(&key), "what was taken is committed");
    Ok(())
}

fn a_key() -> Key {
    let name = |number: u64| Key::new(format!("key-{number}")).unwrap();
    (0..).map(name).find(|key| shard_of(key) == SHARDS[0]).unwrap()
}

fn put(trio: &mut Trio, leader: u16, bytes: usize) -> Result<(), Refusal> {
    let value = Bytes::from(vec![7; bytes]);
    write(
        trio,
        leader,
        Operation::Put { key: a_key(), value, ttl: None, condition: Condition::Always },
    )
}

fn refused(answer: Result<(), Refusal>) -> String {
    let refusal = answer.unwrap_err();
    assert_eq!((refusal.code, refusal.outcome), (Code::StorageFull, Some(Outcome::NotApplied)));
    refusal.detail.into_owned()
}

#[test]
fn a_shard_grows_while_a_quorum_of_disks_has_room() {
    let (mut trio, leader, [one, other]) = begin(70);
    put(&mut trio, leader, 100).unwrap();
    give_room(&mut trio, one, 0);
    put(&mut trio, leader, 100).unwrap();
    give_room(&mut trio, other, 0);
    let detail = refused(put(&mut trio, leader, 100));
    assert!(detail.contains("shard's nodes"), "{detail}");
    assert!(!trio.node(leader).worker().handle_room(u64::MAX), "this disk has room");
    write(&mut trio, leader, Operation::Delete { key: a_key(), condition: Condition::Always })
        .unwrap();
    write(&mut trio, leader, Operation::Get { key: a_key() }).unwrap();
    // It heals by itself.
    give_room(&mut trio, one, 1 << 20);
    put(&mut trio, leader, 100).unwrap();
    // The leader's own counts whatever others have.
    give_room(&mut trio, other, 1 << 20);
    give_room(&mut trio, leader, 0);
    let detail = refused(put(&mut trio, leader, 100));
    assert!(detail.contains("the disk is full"), "{detail}");
}

#[test]
fn what_is_let_in_uses_up_the_room_of_others() {
    let (mut trio, leader, others) = begin(71);
    for node in others {
        give_room(&mut trio, node, 10_000);
    }
    // As long as some is left, it is told once a second.
    trio.run(Duration::from_secs(1));
    for _ in 0..4 {
        put(&mut trio, leader, 1_000).unwrap();
    }
    refused(put(&mut trio, leader, 1_000));
    // Each has some: whoever asks why that was refused is told whose disks it was all the same.
    assert_eq!(trio.node(leader).worker().full_nodes(), others.map(NodeNumber));
    put(&mut trio, leader, 100).unwrap();
    // They say again what they have, which their hosts have not measured since.
    trio.run(Duration::from_millis(1_100));
    put(&mut trio, leader, 1_000).unwrap();
    for node in others {
        give_room(&mut trio, node, 1 << 20);
    }
    trio.run(Duration::from_secs(1));
    assert!(trio.node(leader).worker().full_nodes().is_empty());
}

#[test]
fn a_node_that_is_down_is_no_reason_to_refuse_while_two_have_room() {
    let (mut trio, leader, [one, _]) = begin(72);
    give_room(&mut trio, one, 0);
    trio.kill(one);
    trio.run(Duration::from_secs(2));
    let leads = trio.elect(SHARDS[0]);
    assert_eq!(leads, leader);
    put(&mut trio, leader, 100).unwrap();
}

/// What it last said of its disk is nothing that a quorum without it can count on.
#[test]
fn the_room_of_a_node_that_is_down_counts_for_nobody() {
    let (mut trio, leader, [one, other]) = begin(73);
    trio.kill(one);
    trio.run(Duration::from_secs(6));
    assert_eq!(trio.elect(SHARDS[0]), leader);
    put(&mut trio, leader, 100).unwrap();
    give_room(&mut trio, other, 0);
    refused(put(&mut trio, leader, 100));
    give_room(&mut trio, other, 1 << 20);
    put(&mut trio, leader, 100).unwrap();
}
