//! Snapshots of other replicas: installed as a whole or not at all, whatever the disk does.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use ringfort_env::{Disk as _, DiskOperation, Lane};
use ringfort_proto::peer::{Consensus, Frame, Snapshot, consensus::Body};
use ringfort_sim::{PowerLoss, SimDisk, SimNode};
use ringfort_types::{GroupId, Index};

use super::{SHARDS, Trio, node_options};

const LAGS: u16 = 2;

fn base(trio: &Trio, node: u16) -> (Index, u64) {
    let status = trio.summary(node, SHARDS[0]).and_then(|summary| summary.status);
    status.map_or((Index(0), 0), |status| (status.base.applied.index, status.base.generation))
}

/// Snapshots of the shard that became its state since the start.
fn installed(trio: &Trio) -> u64 {
    let status = trio.summary(LAGS, SHARDS[0]).and_then(|summary| summary.status);
    status.map_or(0, |status| status.raft.counters.snapshots_installed)
}

/// Waits for another snapshot of the shard to become its state.
fn wait_for_install(trio: &mut Trio, before: u64) {
    trio.until("the snapshot is installed", |trio| installed(trio) == before + 1);
}

/// Chunks of the shard's snapshots in a frame.
fn chunks(frame: &mut Frame) -> impl Iterator<Item = &mut Snapshot> {
    let of_shard = |message: &&mut Consensus| message.group == GroupId::of_shard(SHARDS[0]).0;
    frame.consensus.iter_mut().filter(of_shard).filter_map(|message| match &mut message.body {
        Some(Body::Snapshot(snapshot)) => Some(&mut **snapshot),
        _ => None,
    })
}

fn snapshots_on(disk: &mut SimDisk) -> usize {
    let prefix = format!("snap-{:08x}", GroupId::of_shard(SHARDS[0]).0);
    disk.list().unwrap().iter().filter(|(name, _)| name.as_str().starts_with(&prefix)).count()
}

#[test]
fn whoever_lags_gets_a_snapshot_that_survives_a_power_loss() {
    let mut trio = Trio::new(1);
    trio.leave_behind(LAGS);
    let before = (installed(&trio), base(&trio, LAGS));
    trio.cut_off.clear();
    wait_for_install(&mut trio, before.0);
    trio.check_equal(SHARDS[0], &[0, 1, LAGS]);
    let (index, generation) = base(&trio, LAGS);
    assert!(index > before.1.0 && generation == before.1.1 + 1);
    trio.kill(LAGS).power_loss(PowerLoss::LoseAll);
    trio.start(LAGS);
    assert_eq!(trio.look(LAGS).findings, Vec::<String>::new());
    assert_eq!(base(&trio, LAGS), (index, generation));
    trio.check_equal(SHARDS[0], &[0, 1, LAGS]);
    trio.check_equal(SHARDS[1], &[0, 1, LAGS]);
    // Another one takes its place, and the file of the one before goes.
    trio.leave_behind(LAGS);
    let before = installed(&trio);
    trio.cut_off.clear();
    wait_for_install(&mut trio, before);
    trio.settle();
    assert!(base(&trio, LAGS).0 > index);
    assert_eq!(snapshots_on(trio.node(LAGS).disk()), 1);
    trio.check_equal(SHARDS[0], &[0, 1, LAGS]);
}

fn next_is_sync(disk: &SimDisk) -> bool {
    [Lane::Log, Lane::Background].iter().any(|lane| {
        let front = disk.front(*lane).map(|request| &request.operation);
        matches!(front, Some(DiskOperation::SyncData(_) | DiskOperation::SyncDirectory))
    })
}

/// At every sync of the node that installs, the power may fail: it comes back with the state at some index, whole.
#[test]
fn a_power_loss_at_any_sync_of_an_installation_leaves_a_whole_state() {
    let (mut boundaries, mut old, mut new) = (0, 0, 0);
    for seed in 0..6 {
        let mut trio = Trio::new(100 + seed);
        trio.leave_behind(LAGS);
        if seed % 2 == 0 {
            trio.node(LAGS).want_flush(&SHARDS);
        }
        let before = trio.summary(LAGS, SHARDS[0]).unwrap().status.unwrap().raft.applied;
        let installed_before = installed(&trio);
        trio.cut_off.clear();
        for _ in 0..3000 {
            if installed(&trio) > installed_before && !next_is_sync(trio.node(LAGS).disk()) {
                break;
            }
            if next_is_sync(trio.node(LAGS).disk()) {
                boundaries += 1;
                for pattern in [PowerLoss::LoseAll, PowerLoss::Torn, PowerLoss::KeepAll] {
                    let mut disk = trio.node(LAGS).disk().clone();
                    disk.power_loss(pattern);
                    let index = starts_whole(&trio, disk, &format!("{pattern:?} of {seed}"));
                    if index > before { new += 1 } else { old += 1 }
                }
            }
            if !trio.node(LAGS).step().unwrap() {
                for node in [0, 1] {
                    while trio.node(node).step().unwrap() {}
                    trio.collect(node);
                }
                trio.collect(LAGS);
                for _ in 0..trio.network.len() {
                    trio.deliver();
                }
                trio.pass(Duration::from_millis(10));
            }
        }
        assert_eq!(installed(&trio), installed_before + 1, "of seed {seed}");
        trio.check_equal(SHARDS[0], &[0, 1, LAGS]);
    }
    println!("{boundaries} boundaries: {old} starts with the old state, {new} with the new one");
    assert!(old > 0 && new > 0);
}

/// A node comes back on its own, to a state that its group had. Gives at which index.
fn starts_whole(trio: &Trio, disk: SimDisk, story: &str) -> Index {
    let options = node_options(LAGS, ringfort_node::control::Founded::Everything);
    let mut node = SimNode::start(disk, options, trio.now).unwrap();
    let closed = node.findings.iter().find(|finding| finding.contains("closed"));
    assert_eq!(closed, None, "{story}");
    node.pass(Duration::ZERO).unwrap();
    let group = GroupId::of_shard(SHARDS[0]);
    let (applied, hash) = node.look().applied_state(group).unwrap();
    let known = trio.states.get(&(group, applied.index.0));
    assert_eq!(known, Some(&hash), "{story}: another state at {applied:?}");
    applied.index
}

#[test]
fn a_damaged_stream_is_refused_and_comes_again() {
    let mut trio = Trio::new(3);
    trio.leave_behind(LAGS);
    let before = installed(&trio);
    trio.cut_off.clear();
    let damaged = Rc::new(Cell::new(false));
    let once = Rc::clone(&damaged);
    trio.tamper = Some(Box::new(move |_, _, frame| {
        for chunk in chunks(frame).filter(|chunk| chunk.offset > 0) {
            if !once.replace(true) {
                let mut data = BytesMut::from(&chunk.data[..]);
                data[100] ^= 1;
                chunk.data = data.freeze();
            }
        }
        true
    }));
    wait_for_install(&mut trio, before);
    assert!(damaged.get());
    assert_eq!(trio.look(LAGS).look().stats().snapshots_refused, 1);
    let message = trio.node(LAGS).worker().poll_message().unwrap();
    assert!(message.contains("the snapshot stream is damaged"), "{message}");
    trio.check_equal(SHARDS[0], &[0, 1, LAGS]);
}

#[test]
fn a_full_disk_puts_an_installation_off_until_there_is_room() {
    let mut trio = Trio::new(4);
    trio.leave_behind(LAGS);
    let before = installed(&trio);
    trio.run(Duration::from_secs(1));
    let disk = trio.node(LAGS).disk();
    let used = disk.used();
    disk.set_capacity(Some(used));
    trio.cut_off.clear();
    trio.run(Duration::from_secs(5));
    let stats = trio.look(LAGS).look().stats();
    assert!(stats.flushes_failed >= 2 && installed(&trio) == before, "{stats:?}");
    // The others go on without it, and its other groups as well.
    trio.write(SHARDS[0], 100);
    trio.check_equal(SHARDS[1], &[0, 1, LAGS]);
    // It comes back to what it had.
    let disk = trio.node(LAGS).disk().clone();
    starts_whole(&trio, disk, "a full disk");
    trio.node(LAGS).disk().set_capacity(None);
    wait_for_install(&mut trio, before);
    trio.check_equal(SHARDS[0], &[0, 1, LAGS]);
}

/// A flush of the old content ends while the snapshot is in the store: it must not count, or a start would find the old
/// state under a log that has moved on.
#[test]
fn a_flush_under_way_is_awaited_and_does_not_count() {
    let mut trio = Trio::new(5);
    trio.leave_behind(LAGS);
    trio.settle();
    let (before, (_, generation)) = (installed(&trio), base(&trio, LAGS));
    trio.node(LAGS).disk().stall(Lane::Background, true);
    trio.node(LAGS).want_flush(&[SHARDS[0]]);
    trio.settle();
    assert_eq!(trio.node(LAGS).disk().queued(), 1, "the flush has begun");
    trio.cut_off.clear();
    trio.run(Duration::from_secs(2));
    let summary = trio.summary(LAGS, SHARDS[0]).unwrap();
    let raft = summary.status.unwrap().raft;
    assert!(raft.applied < raft.commit || raft.commit < trio.leader_commit(), "{raft:?}");
    assert_eq!(installed(&trio), before);
    trio.node(LAGS).disk().stall(Lane::Background, false);
    while trio.node(LAGS).step().unwrap() {
        assert_ne!(base(&trio, LAGS).1, generation + 1, "that generation is of the old content");
    }
    assert_eq!((installed(&trio), base(&trio, LAGS).1), (before + 1, generation + 2));
    trio.settle();
    assert_eq!(snapshots_on(trio.node(LAGS).disk()), 1);
    trio.check_equal(SHARDS[0], &[0, 1, LAGS]);
    trio.kill(LAGS);
    trio.start(LAGS);
    assert_eq!(trio.look(LAGS).findings, Vec::<String>::new());
    trio.check_equal(SHARDS[0], &[0, 1, LAGS]);
}

/// The head of a snapshot says another position than its stream: whoever believed it would go on from there.
#[test]
fn a_stream_of_another_position_closes_the_replica() {
    let mut trio = Trio::new(6);
    trio.leave_behind(LAGS);
    trio.cut_off.clear();
    trio.tamper = Some(Box::new(|_, _, frame| {
        chunks(frame).for_each(|chunk| chunk.index += 1);
        true
    }));
    trio.until("the replica is closed", |trio| {
        trio.summary(LAGS, SHARDS[0]).unwrap().closed.is_some()
    });
    let summary = trio.summary(LAGS, SHARDS[0]).unwrap();
    let reason = summary.quarantined.unwrap();
    assert!(reason.contains("holds the state at another entry"), "{reason}");
    trio.tamper = None;
    trio.check_equal(SHARDS[1], &[0, 1, LAGS]);
    // A start comes back to what it had, and it is brought the right one.
    trio.kill(LAGS);
    trio.start(LAGS);
    trio.check_equal(SHARDS[0], &[0, 1, LAGS]);
}

/// State may be applied ahead of the own log, where the others' disks are faster; but no generation may hold it before.
#[test]
fn a_flush_waits_until_its_state_is_in_the_log() {
    let mut trio = Trio::new(7);
    let leader = trio.elect(SHARDS[0]);
    let slow = (0..3).find(|node| *node != leader).unwrap();
    trio.node(slow).disk().stall(Lane::Log, true);
    for _ in 0..5 {
        trio.write(SHARDS[0], 100);
    }
    trio.run(Duration::from_millis(300));
    let raft = trio.summary(slow, SHARDS[0]).unwrap().status.unwrap().raft;
    assert!(raft.applied > raft.durable, "{raft:?}");
    trio.node(slow).want_flush(&[SHARDS[0]]);
    trio.run(Duration::from_millis(300));
    assert_eq!(trio.look(slow).look().stats().flushes, 0);
    trio.node(slow).disk().stall(Lane::Log, false);
    trio.run(Duration::from_millis(300));
    assert_eq!(trio.look(slow).look().stats().flushes, 1);
    trio.kill(slow);
    trio.start(slow);
    trio.check_equal(SHARDS[0], &[0, 1, 2]);
}
