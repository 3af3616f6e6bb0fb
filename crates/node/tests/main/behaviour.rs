//! What a worker does at its bounds.

use std::time::Duration;

use ringfort_env::Lane;
use ringfort_node::Response;
use ringfort_node::control::Founded;
use ringfort_sim::{SimDisk, SimNode, SimNodeOptions};
use ringfort_types::request::{Condition, Identity, Operation, Write};
use ringfort_types::{Code, GroupId, Monotonic, Outcome, ShardId};

use crate::support::{Driver, SHARDS, code, context, key, options, shard_of};

fn put(number: u64) -> Write {
    let operation = Operation::Put {
        key: key(number),
        value: bytes::Bytes::from_static(b"v"),
        ttl: None,
        condition: Condition::Always,
    };
    Write { operation, identity: Identity::None }
}

#[test]
fn a_write_whose_time_passes_under_way_is_of_unknown_outcome() {
    let mut driver = Driver::new(1);
    driver.node.disk().stall(Lane::Log, true);
    let now = driver.node.now;
    let mut context = context(now);
    context.deadline = now + Duration::from_secs(5);
    driver.node.worker().write(now, &context, &put(1), || 7).unwrap();
    driver.node.settle().unwrap();
    driver.node.pass(Duration::from_millis(4999)).unwrap();
    assert!(driver.node.answers.is_empty());
    driver.node.pass(Duration::from_millis(1)).unwrap();
    let (waiter, response) = driver.node.answers.pop().unwrap();
    let refusal = response.unwrap_err();
    assert_eq!((waiter, refusal.code, refusal.outcome), (7, Code::Timeout, Some(Outcome::Unknown)));
    // It happens yet, and nobody is answered twice.
    driver.node.disk().stall(Lane::Log, false);
    driver.node.settle().unwrap();
    assert!(driver.node.answers.is_empty());
    assert_eq!(driver.listing().len(), 1);
}

/// The story: a full disk took the delete of a batch and not the put before it. The batch was repeated under its key: the put was
/// done, and the delete answered from memory. In the end the key was there, which the batch had deleted.
#[test]
fn behind_a_refused_write_a_batch_writes_nothing_to_that_key() {
    let mut driver = Driver::new(4);
    let delete = |number| Operation::Delete { key: key(number), condition: Condition::Always };
    let put = |number| put(number).operation;
    let operations: Vec<_> = (0..).zip([put(1), delete(2), delete(1), put(3), put(1)]).collect();
    let identity = Identity::IdempotencyKey("repeated".into());
    let batch = |driver: &mut Driver| {
        let now = driver.node.now;
        let worker = driver.node.worker();
        worker.batch(now, &context(now), &identity, &operations, || 1)
    };
    driver.node.worker().handle_room(0);
    let refused = |answer: &Option<Response>| match answer {
        Some(Err(refusal)) => {
            assert_eq!(refusal.outcome, Some(Outcome::NotApplied));
            assert_eq!(refusal.code, Code::StorageFull);
            true
        }
        _ => false,
    };
    let answers = batch(&mut driver);
    let all: Vec<_> = answers.iter().map(refused).collect();
    assert_eq!(all, [true, false, true, true, true]);
    driver.node.settle().unwrap();
    driver.node.worker().handle_room(1 << 20);
    assert!(batch(&mut driver).iter().all(Option::is_none));
    driver.node.settle().unwrap();
    let listed: Vec<_> = driver.listing().into_keys().collect();
    assert_eq!(listed, [key(1), key(3)]);
}

/// The story, by buggify (seed 300,129): too much was not committed for the put of a batch, which was refused as it was to be
/// proposed, in the middle of the batch; for the small delete behind it there was room. Repeated under its key, the put was done
/// last, and a delete had overtaken it.
#[test]
fn behind_a_write_that_is_not_proposed_a_batch_writes_nothing() {
    let mut small = options(Founded::Nothing);
    small.raft.uncommitted_bytes_max = 30_000;
    let mut node = SimNode::start(SimDisk::new(1), small, Monotonic(1)).unwrap();
    node.settle().unwrap();
    node.pass(Duration::from_secs(5)).unwrap();
    node.settle().unwrap();
    node.disk().stall(Lane::Log, true);
    let put = || Operation::Put {
        key: key(1),
        value: bytes::Bytes::from(vec![7; 20_000]),
        ttl: None,
        condition: Condition::Always,
    };
    let now = node.now;
    let write = Write { operation: put(), identity: Identity::None };
    node.worker().write(now, &context(now), &write, || 1).unwrap();
    let delete = Operation::Delete { key: key(1), condition: Condition::Always };
    let operations = [(0, put()), (1, delete)];
    let identity = Identity::IdempotencyKey("repeated".into());
    let mut waiters = 2..;
    let waiter = || waiters.next().unwrap_or_default();
    let answers = node.worker().batch(now, &context(now), &identity, &operations, waiter);
    assert!(answers.iter().all(Option::is_none), "they are admitted");
    node.settle().unwrap();
    node.disk().stall(Lane::Log, false);
    node.settle().unwrap();
    node.answers.sort_by_key(|(waiter, _)| *waiter);
    let codes: Vec<_> =
        node.answers.iter().map(|(waiter, response)| (*waiter, code(response))).collect();
    assert_eq!(codes, [(1, None), (2, Some("overloaded")), (3, Some("overloaded"))]);
    // The next turn takes what there is room for.
    let now = node.now;
    node.worker().write(now, &context(now), &write, || 4).unwrap();
    node.settle().unwrap();
    assert_eq!(
        node.answers.last().map(|(waiter, response)| (*waiter, code(response))),
        Some((4, None))
    );
}

#[test]
fn a_full_disk_refuses_growth_and_takes_deletes() {
    let mut driver = Driver::new(2);
    driver.node.worker().handle_room(0);
    let now = driver.node.now;
    let refusal = driver.node.worker().write(now, &context(now), &put(1), || 1).unwrap_err();
    assert_eq!((refusal.code, refusal.outcome), (Code::StorageFull, Some(Outcome::NotApplied)));
    let delete = Operation::Delete { key: key(1), condition: Condition::Always };
    let delete = Write { operation: delete, identity: Identity::None };
    driver.node.worker().write(now, &context(now), &delete, || 2).unwrap();
    driver.node.worker().handle_room(1 << 20);
    driver.node.worker().write(now, &context(now), &put(1), || 3).unwrap();
    driver.node.settle().unwrap();
    let answers: Vec<_> =
        driver.node.answers.iter().map(|(id, response)| (*id, code(response))).collect();
    assert_eq!(answers.len(), 2, "{answers:?}");
    assert!(answers.iter().all(|(_, code)| code.is_none()));
}

/// A quota, say: free space tells nothing of it. No request waits for a segment that does not come.
#[test]
fn segments_that_cannot_be_made_refuse_growth_then_everything_and_heal() {
    let mut driver = Driver::new(9);
    let value = bytes::Bytes::from(vec![7; 20_000]);
    let put = |number| Write {
        operation: Operation::Put {
            key: key(number),
            value: value.clone(),
            ttl: None,
            condition: Condition::Always,
        },
        identity: Identity::None,
    };
    let delete = |number| Write {
        operation: Operation::Delete { key: key(number), condition: Condition::Always },
        identity: Identity::None,
    };
    // Hands one write in and lets the node do what it can: refused, or answered.
    let mut id = 0;
    let mut try_write = |driver: &mut Driver, write: &Write| {
        id += 1;
        let now = driver.node.now;
        driver.node.worker().write(now, &context(now), write, || id)?;
        driver.node.settle().unwrap();
        driver.node.pass(Duration::from_millis(20)).unwrap();
        driver.node.settle().unwrap();
        let answered = driver.node.answers.pop().map(|(answered, _)| answered);
        assert_eq!(answered, Some(id), "a write that was taken waits");
        Ok::<_, ringfort_types::Refusal>(())
    };
    try_write(&mut driver, &put(0)).unwrap();
    let used = driver.node.disk().used();
    driver.node.disk().set_capacity(Some(used + (200 << 10)));
    let refused = (0..1000).find_map(|number| try_write(&mut driver, &put(number % 12)).err());
    let refused = refused.unwrap();
    assert_eq!((refused.code, refused.outcome), (Code::StorageFull, Some(Outcome::NotApplied)));
    for number in 0..12 {
        try_write(&mut driver, &delete(number)).unwrap();
    }
    assert_eq!(driver.listing().len(), 0, "reads go on");
    // Now not even a flush fits that would let the log recycle a segment.
    driver.node.disk().set_capacity(Some(0));
    let refused = (0..100_000).find_map(|_| try_write(&mut driver, &delete(1)).err()).unwrap();
    assert_eq!((refused.code, refused.outcome), (Code::StorageFull, Some(Outcome::NotApplied)));
    assert_eq!(driver.listing().len(), 0, "reads go on");
    driver.node.disk().set_capacity(None);
    // The log tries again by itself.
    driver.node.pass(Duration::from_secs(2)).unwrap();
    driver.node.settle().unwrap();
    try_write(&mut driver, &put(1)).unwrap();
    assert_eq!(driver.listing().len(), 1);
}

#[test]
fn a_failed_sync_ends_the_node_without_another_answer() {
    let mut driver = Driver::new(3);
    driver.node.disk().fail_sync_in(0);
    let now = driver.node.now;
    driver.node.worker().write(now, &context(now), &put(1), || 1).unwrap();
    assert!(driver.node.settle().is_err());
    assert!(driver.node.answers.is_empty());
}

#[test]
fn a_flush_that_finds_the_disk_full_is_given_up_and_tried_again() {
    let mut driver = Driver::new(4);
    for _ in 0..40 {
        driver.write();
        driver.node.settle().unwrap();
    }
    let used = driver.node.disk().used();
    driver.node.disk().set_capacity(Some(used));
    driver.node.want_flush(&[ShardId(0)]);
    driver.node.settle().unwrap();
    let stats = driver.node.worker().stats();
    assert_eq!((stats.flushes, stats.flushes_failed), (0, 1));
    driver.check("while the disk is full");
    driver.node.disk().set_capacity(None);
    assert_eq!(driver.node.worker().stats().flushes, 0);
    // Nobody has to ask again.
    driver.node.pass(Duration::from_secs(2)).unwrap();
    driver.node.settle().unwrap();
    assert_eq!(driver.node.worker().stats().flushes, 1);
    driver.check("once there is room");
}

#[test]
fn too_many_requests_are_refused_early() {
    let mut driver = Driver::new(5);
    driver.node.disk().stall(Lane::Log, true);
    let now = driver.node.now;
    let mut refused = None;
    for id in 0..20_000 {
        if let Err(refusal) = driver.node.worker().write(now, &context(now), &put(id % 12), || id) {
            refused = Some(refusal);
            break;
        }
    }
    let refusal = refused.unwrap();
    assert_eq!((refusal.code, refusal.outcome), (Code::Overloaded, Some(Outcome::NotApplied)));
    driver.node.disk().stall(Lane::Log, false);
    driver.node.settle().unwrap();
    assert_eq!(driver.node.answers.len(), 10_000);
}

#[test]
fn what_nobody_waits_for_any_more_still_counts() {
    let mut driver = Driver::new(7);
    driver.node.disk().stall(Lane::Log, true);
    let mut admitted = 0;
    let refusal = loop {
        let now = driver.node.now;
        let mut context = context(now);
        context.deadline = now + Duration::from_millis(1);
        let value = vec![1; 60_000];
        let operation = Operation::Put {
            key: key(1),
            value: value.into(),
            ttl: None,
            condition: Condition::Always,
        };
        let write = Write { operation, identity: Identity::None };
        match driver.node.worker().write(now, &context, &write, || 1) {
            Ok(()) => admitted += 60_000,
            Err(refusal) => break refusal,
        }
        // Every request times out; what it left behind stays until the disk goes on.
        driver.node.pass(Duration::from_millis(2)).unwrap();
    };
    assert_eq!(refusal.code, Code::Overloaded);
    assert!((16_000_000..18_000_000).contains(&admitted), "{admitted}");
    driver.node.disk().stall(Lane::Log, false);
    driver.node.settle().unwrap();
    let now = driver.node.now;
    driver.node.worker().write(now, &context(now), &put(2), || 2).unwrap();
    driver.node.settle().unwrap();
    assert!(matches!(driver.node.answers.last(), Some((2, Ok(_)))));
}

#[test]
fn remembered_answers_are_forgotten_without_traffic() {
    let mut driver = Driver::new(8);
    let keyed = Write { identity: Identity::IdempotencyKey("k".into()), ..put(1) };
    let now = driver.node.now;
    driver.node.worker().write(now, &context(now), &keyed, || 1).unwrap();
    driver.node.settle().unwrap();
    let remembered = |driver: &mut Driver| {
        let shards = driver.node.worker().shards();
        shards.iter().filter_map(|shard| Some(shard.status.as_ref()?.retry_bytes)).sum::<u64>()
    };
    assert!(remembered(&mut driver) > 0);
    driver.node.pass(Duration::from_secs(599)).unwrap();
    driver.node.settle().unwrap();
    assert!(remembered(&mut driver) > 0);
    driver.node.pass(Duration::from_secs(2)).unwrap();
    driver.node.settle().unwrap();
    assert_eq!(remembered(&mut driver), 0);
}

#[test]
fn the_values_that_one_batch_reads_are_bounded() {
    let mut driver = Driver::new(6);
    let now = driver.node.now;
    let large = Operation::Put {
        key: key(1),
        value: vec![7; 60_000].into(),
        ttl: None,
        condition: Condition::Always,
    };
    let large = Write { operation: large, identity: Identity::None };
    driver.node.worker().write(now, &context(now), &large, || 1).unwrap();
    driver.node.settle().unwrap();
    let gets: Vec<_> =
        (0..1000).map(|position| (position, Operation::Get { key: key(1) })).collect();
    let answers = driver.node.worker().batch(now, &context(now), &Identity::None, &gets, || 2);
    let served = answers.iter().filter(|answer| matches!(answer, Some(Ok(_)))).count();
    assert_eq!(served, (16 << 20) / 60_009, "values and their heads up to 16 MiB");
    let refused = answers.into_iter().flatten().filter_map(Result::err);
    assert!(refused.map(|refusal| refusal.code).all(|code| code == Code::TooLarge));
}

/// A node that has started behind 50 writes, with all of them applied, and no time passed.
fn restart(change: impl FnOnce(&mut SimNodeOptions)) -> SimNode {
    let mut driver = Driver::new(2);
    for number in 0..50 {
        let now = driver.node.now;
        driver.node.worker().write(now, &context(now), &put(number), || number).unwrap();
        driver.node.settle().unwrap();
    }
    let (mut disk, now) = (driver.node.into_disk(), Monotonic(1_000_000_000));
    disk.process_crash();
    let mut options = options(Founded::Everything);
    change(&mut options);
    let mut node = SimNode::start(disk, options, now).unwrap();
    node.settle().unwrap();
    for shard in 0..SHARDS {
        let status = node.look().group_status(GroupId::of_shard(ShardId(shard))).unwrap();
        assert_eq!(status.applied, status.commit, "shard {shard}");
    }
    node
}

/// The story, by buggify: a start that was handed its log for applying part by part went on with the next part at the next tick
/// only. With small parts a node of one took a minute to serve what it had.
#[test]
fn a_log_that_is_applied_in_parts_needs_no_tick_in_between() {
    let node = restart(|options| options.raft.apply_bytes_max = 1);
    let status = node.look().group_status(GroupId::of_shard(shard_of(&key(1)))).unwrap();
    assert!(status.counters.applies_cut > 10, "{status:?}");
}

/// The story: a node that started applied the logs of all its shards in one turn, a sixth of a second long.
#[test]
fn a_turn_that_applies_much_leaves_other_groups_to_the_next_one() {
    let node = restart(|options| options.limits.apply_bytes_per_turn = 1);
    assert!(node.look().stats().groups_put_off >= u64::from(SHARDS) - 1);
    let node = restart(|_| {});
    assert_eq!(node.look().stats().groups_put_off, 0);
}
