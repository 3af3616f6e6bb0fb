//! Replicas that are made, dropped and replaced while nodes run.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use ringfort_env::{Disk as _, DiskOperation, Lane};
use ringfort_node::LifecycleError;
use ringfort_node::control::Founded;
use ringfort_raft::{Change, Learner};
use ringfort_sim::{PowerLoss, SimDisk, SimNode};
use ringfort_types::{GroupId, NodeNumber, ShardId};

use super::quarantine::{HURT, Hurt, counts_again, hurt, promote, replace};
use super::{SHARDS, Trio, node_options, replica};
use crate::support::Driver;

const SHARD: ShardId = SHARDS[0];
const GROUP: GroupId = GroupId(SHARD.0 + 1);

#[test]
fn instructions_that_do_not_fit_are_refused() {
    let mut trio = Trio::new(50);
    let missing = GroupId(4);
    let worker = trio.node(0).worker();
    assert_eq!(worker.create_replica(GROUP, replica(1, 0)), Ok(()), "it is here");
    let held = Err(LifecycleError::Held(replica(1, 0)));
    assert_eq!(worker.create_replica(GROUP, replica(2, 0)), held);
    for (group, elsewhere) in [(GROUP, replica(2, 1)), (GroupId(99), replica(2, 0))] {
        let refused = Err(LifecycleError::NotForHere(elsewhere));
        assert_eq!(worker.create_replica(group, elsewhere), refused);
    }
    let not_here = Err(LifecycleError::NotHere(replica(2, 0)));
    assert_eq!(worker.drop_replica(GROUP, replica(2, 0)), not_here);
    assert_eq!(worker.drop_replica(missing, replica(2, 0)), not_here);
    // While its founding is on its way, nothing else happens to it.
    assert_eq!(worker.create_replica(missing, replica(3, 0)), Ok(()));
    assert_eq!(worker.create_replica(missing, replica(3, 0)), Ok(()));
    let under_way = Err(LifecycleError::UnderWay(replica(3, 0)));
    assert_eq!(worker.create_replica(missing, replica(4, 0)), under_way);
    assert_eq!(worker.drop_replica(missing, replica(3, 0)), under_way);
    trio.settle();
    let worker = trio.node(0).worker();
    assert!(worker.configuration(missing).unwrap().is_blank());
    let used = Err(LifecycleError::Held(replica(3, 0)));
    assert_eq!(worker.create_replica(missing, replica(4, 0)), used);
    assert_eq!(
        worker.create_replica(missing, replica(2, 0)),
        Err(LifecycleError::Used(replica(2, 0)))
    );
    assert_eq!(worker.drop_replica(missing, replica(3, 0)), Ok(()));
    trio.settle();
    assert!(trio.node(0).worker().configuration(missing).is_none());
}

#[test]
fn the_only_copy_of_a_group_is_not_dropped() {
    let mut driver = Driver::new(1);
    let id = driver.node.worker().shards()[0].replica;
    let only = Err(LifecycleError::OnlyCopy(id));
    assert_eq!(driver.node.worker().drop_replica(GROUP, id), only);
    driver.check("nothing has changed");
}

/// A learner is fed before its founding is durable: it says nothing, and no power loss makes it forget what it said.
#[test]
fn a_replica_says_nothing_before_its_founding_is_durable() {
    let mut trio = hurt(51, Hurt::Quarantined);
    trio.start(HURT);
    let new = replica(2, HURT);
    let learner = Learner { id: new, replaces: Some(replica(1, HURT)) };
    let leader = trio.elect(SHARD);
    trio.node(leader).worker().propose_change(GROUP, &[Change::AddLearner(learner)]).unwrap();
    let spoke: Rc<Cell<bool>> = Rc::default();
    let heard = Rc::clone(&spoke);
    trio.tamper = Some(Box::new(move |from, _, frame| {
        let mut messages = frame.consensus.iter();
        let of_group = messages.any(|message| message.group == GROUP.0);
        heard.set(heard.get() || from == NodeNumber(HURT) && of_group);
        true
    }));
    trio.node(HURT).disk().stall(Lane::Log, true);
    trio.node(HURT).worker().create_replica(GROUP, new).unwrap();
    trio.run(Duration::from_secs(3));
    assert!(!spoke.get());
    // The power fails before it is: the same instruction makes it.
    let disk = trio.lose_power(HURT, PowerLoss::LoseAll);
    disk.stall(Lane::Log, false);
    trio.start(HURT);
    assert!(trio.summary(HURT, SHARD).unwrap().quarantined.is_some());
    trio.node(HURT).worker().create_replica(GROUP, new).unwrap();
    trio.run(Duration::from_secs(1));
    assert!(spoke.get());
    promote(&mut trio, 2);
    counts_again(&mut trio);
}

/// What a power loss left of a replacement.
#[derive(Debug, Default)]
struct Left {
    old: usize,
    missing: usize,
    new: usize,
}

/// At every sync of a replacement the power may fail. What comes back is the old replica, quarantined; nothing, which is
/// quarantined too; or the new one, blank or with a state that its group had. The instruction fits each of them.
#[test]
fn a_power_loss_at_any_sync_of_a_replacement_leaves_what_can_be_replaced() {
    let mut left = Left::default();
    for seed in 0..3 {
        let mut trio = hurt(52 + seed, Hurt::Quarantined);
        trio.start(HURT);
        let new = replica(2, HURT);
        let learner = Learner { id: new, replaces: Some(replica(1, HURT)) };
        let leader = trio.elect(SHARD);
        trio.node(leader).worker().propose_change(GROUP, &[Change::AddLearner(learner)]).unwrap();
        trio.settle();
        trio.node(HURT).worker().create_replica(GROUP, new).unwrap();
        trio.pass(Duration::ZERO);
        for _ in 0..600 {
            if next_is_sync(trio.node(HURT).disk()) {
                for pattern in [PowerLoss::LoseAll, PowerLoss::Torn, PowerLoss::KeepAll] {
                    let mut disk = trio.node(HURT).disk().clone();
                    disk.power_loss(pattern);
                    check_left(&trio, disk, &mut left);
                }
            }
            if !trio.node(HURT).step().unwrap() {
                for node in [0, 1] {
                    while trio.node(node).step().unwrap() {}
                    trio.collect(node);
                }
                trio.collect(HURT);
                for _ in 0..trio.network.len() {
                    trio.deliver();
                }
                trio.pass(Duration::from_millis(20));
            }
        }
        promote(&mut trio, 2);
        counts_again(&mut trio);
    }
    println!("{left:?}");
    assert!(left.old > 0 && left.new > 0);
}

fn next_is_sync(disk: &SimDisk) -> bool {
    [Lane::Log, Lane::Background].iter().any(|lane| {
        let front = disk.front(*lane).map(|request| &request.operation);
        matches!(front, Some(DiskOperation::SyncData(_) | DiskOperation::SyncDirectory))
    })
}

fn check_left(trio: &Trio, disk: SimDisk, left: &mut Left) {
    let new = replica(2, HURT);
    let mut node = SimNode::start(disk, node_options(HURT, Founded::Everything), trio.now).unwrap();
    node.pass(Duration::ZERO).unwrap();
    let summary = node.look().shards().into_iter().find(|summary| summary.shard == SHARD).unwrap();
    match (&summary.quarantined, summary.replica == new) {
        (Some(reason), false) if reason.contains("its log is missing") => left.missing += 1,
        (Some(_), false) => left.old += 1,
        (None, true) => {
            left.new += 1;
            let (applied, hash) = node.look().applied_state(GROUP).unwrap();
            if applied.index.0 > 0 {
                assert_eq!(trio.states.get(&(GROUP, applied.index.0)), Some(&hash));
            }
        }
        other => panic!("{other:?}: {summary:?}"),
    }
    node.worker().create_replica(GROUP, new).unwrap();
    node.settle().unwrap();
    assert!(node.look().configuration(GROUP).is_some());
}

fn snapshots_of_group(disk: &mut SimDisk) -> usize {
    let prefix = format!("snap-{:08x}", GROUP.0);
    let files = disk.list().unwrap();
    files.iter().filter(|(name, _)| name.as_str().starts_with(&prefix)).count()
}

/// A member that the group has removed is dropped, with its files, though a flush of it is under way; others' flushes go on.
#[test]
fn a_removed_replica_is_dropped_with_its_files() {
    let mut trio = Trio::new(56);
    for _ in 0..5 {
        trio.write(SHARD, 300);
    }
    trio.write(SHARDS[1], 300);
    let leader = trio.elect(SHARD);
    let gone = (0..3).find(|node| *node != leader).unwrap();
    trio.node(gone).want_flush(&[SHARD]);
    trio.settle();
    assert_eq!(snapshots_of_group(trio.node(gone).disk()), 1);
    let remove = [Change::Remove(replica(1, gone))];
    trio.node(leader).worker().propose_change(GROUP, &remove).unwrap();
    trio.run(Duration::from_secs(1));
    trio.write(SHARD, 10);
    trio.node(gone).disk().stall(Lane::Background, true);
    trio.node(gone).want_flush(&SHARDS);
    trio.settle();
    trio.node(gone).worker().drop_replica(GROUP, replica(1, gone)).unwrap();
    assert_eq!(trio.node(gone).worker().drop_replica(GROUP, replica(1, gone)), Ok(()));
    trio.settle();
    trio.node(gone).disk().stall(Lane::Background, false);
    trio.run(Duration::from_secs(1));
    assert_eq!(trio.look(gone).look().configuration(GROUP), None);
    assert_eq!(snapshots_of_group(trio.node(gone).disk()), 0);
    let other = trio.summary(gone, SHARDS[1]).unwrap().status.unwrap();
    assert_eq!(other.base.generation, 1, "the other's flush went on");
    trio.check_equal(SHARDS[1], &[0, 1, 2]);
    // A start knows of the founding alone, and says that a replica is missing; the catalog knows better.
    trio.kill(gone);
    trio.start(gone);
    assert!(trio.summary(gone, SHARD).unwrap().quarantined.is_some());
    trio.node(gone).worker().drop_replica(GROUP, replica(1, gone)).unwrap();
    assert!(trio.summary(gone, SHARD).is_none());
}

/// A replica that took the place of another is replaced in its turn, and again: nothing of those before it is left.
#[test]
fn a_node_replaces_a_replica_again_and_again() {
    let mut trio = Trio::new(57);
    for counter in 1..4 {
        trio.write(SHARD, 1000);
        trio.node(HURT).want_flush(&[SHARD]);
        trio.run(Duration::from_secs(1));
        let disk = trio.kill(HURT);
        let prefix = format!("snap-{:08x}", GROUP.0);
        let files = disk.list().unwrap().into_iter().map(|(name, _)| name);
        let files: Vec<_> = files.filter(|name| name.as_str().starts_with(&prefix)).collect();
        assert_eq!(files.len(), 1);
        assert!(disk.flip_bit(&files[0], 200, 1));
        trio.start(HURT);
        assert!(trio.summary(HURT, SHARD).unwrap().quarantined.is_some());
        replace(&mut trio, counter + 1, counter);
        trio.run(Duration::from_secs(1));
        assert!(snapshots_of_group(trio.node(HURT).disk()) <= 1);
    }
    counts_again(&mut trio);
}
