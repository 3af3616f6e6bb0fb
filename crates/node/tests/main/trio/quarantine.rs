//! Damaged replicas of groups of three: the others go on, and the damaged one never votes or acknowledges what it cannot know.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use ringfort_env::{Disk as _, DiskOperation, FileName};
use ringfort_node::control::Founded;
use ringfort_raft::{Change, Learner};
use ringfort_sim::{Random, SimDisk, SimNode};
use ringfort_types::{GroupId, NodeNumber, ShardId};

use super::{SHARDS, Trio, node_options, promises, replica};

pub(super) const HURT: u16 = 2;
const SHARD: ShardId = SHARDS[0];

/// What a start makes of a damaged disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hurt {
    /// The replica of the shard is quarantined.
    Quarantined,
    /// It starts, and has lost entries.
    Entries,
}

fn start_alone(trio: &Trio, disk: SimDisk) -> SimNode {
    SimNode::start(disk, node_options(HURT, Founded::Everything), trio.now).unwrap()
}

fn what_is_hurt(node: &SimNode) -> Option<Hurt> {
    let summary = node.look().shards().into_iter().find(|summary| summary.shard == SHARD)?;
    match summary.status {
        None => summary.quarantined.map(|_| Hurt::Quarantined),
        Some(status) => status.raft.lost.then_some(Hurt::Entries),
    }
}

/// A trio with some writes behind it, one node down with a flipped bit in its log that has this effect on the shard's
/// replica, and on no other.
pub(super) fn hurt(seed: u64, wanted: Hurt) -> Trio {
    let mut trio = Trio::new(seed);
    for _ in 0..10 {
        trio.write(SHARD, 300);
        trio.write(SHARDS[1], 300);
    }
    // The idle log marks its last batch durable: everything is proven.
    trio.run(Duration::from_secs(1));
    let whole = trio.kill(HURT).clone();
    let mut random = Random::new(seed);
    for _ in 0..2000 {
        let mut disk = whole.clone();
        flip(&mut disk, &mut random);
        let node = start_alone(&trio, disk.clone());
        let others = node.look().shards().into_iter().filter(|summary| summary.shard != SHARD);
        let alone = others
            .into_iter()
            .all(|summary| summary.status.is_some_and(|status| !status.raft.lost));
        if alone && what_is_hurt(&node) == Some(wanted) {
            trio.disks[usize::from(HURT)] = Some(disk);
            return trio;
        }
    }
    panic!("no flipped bit has that effect");
}

fn flip(disk: &mut SimDisk, random: &mut Random) {
    let is_log = |(name, _): &(FileName, u64)| name.as_str().starts_with("log-");
    let files: Vec<_> = disk.list().unwrap().into_iter().filter(is_log).collect();
    let (file, _) = &files[random.index(files.len())];
    let used = disk.content(file).unwrap().iter().rposition(|byte| *byte != 0).unwrap_or(0);
    assert!(disk.flip_bit(file, random.below(used as u64 + 1), random.below(8) as u8));
}

/// Has every frame of the hurt node looked at; gives the groups it spoke for, and those it promised something in.
fn listen(trio: &mut Trio) -> (Rc<RefCell<BTreeSet<u32>>>, Rc<Cell<bool>>) {
    let spoke: Rc<RefCell<BTreeSet<u32>>> = Rc::default();
    let promised: Rc<Cell<bool>> = Rc::default();
    let (heard, noted) = (Rc::clone(&spoke), Rc::clone(&promised));
    trio.tamper = Some(Box::new(move |from, _, frame| {
        if from == NodeNumber(HURT) {
            heard.borrow_mut().extend(frame.consensus.iter().map(|message| message.group));
            noted.set(noted.get() || promises(frame, GroupId::of_shard(SHARD)));
        }
        true
    }));
    (spoke, promised)
}

/// One of the two others goes down: with the hurt one alone, nothing may be committed.
fn nobody_leads_without_the_other(trio: &mut Trio) {
    let other = trio.leader(SHARD).unwrap_or(0);
    trio.kill(other);
    trio.run(Duration::from_secs(5));
    assert_eq!(trio.leader(SHARD), None);
    trio.start(other);
    trio.elect(SHARD);
}

/// Replaces the shard's replica on the hurt node under a new id, as the catalog's leader does.
pub(super) fn replace(trio: &mut Trio, counter: u64, old: u64) {
    let (group, new) = (GroupId::of_shard(SHARD), replica(counter, HURT));
    let learner = Learner { id: new, replaces: Some(replica(old, HURT)) };
    let leader = trio.elect(SHARD);
    trio.node(leader).worker().propose_change(group, &[Change::AddLearner(learner)]).unwrap();
    trio.settle();
    trio.node(HURT).worker().create_replica(group, new).unwrap();
    promote(trio, counter);
}

/// Makes the new replica a voter, once it has caught up, and has everybody agree.
pub(super) fn promote(trio: &mut Trio, counter: u64) {
    let (group, new) = (GroupId::of_shard(SHARD), replica(counter, HURT));
    for _ in 0..200 {
        trio.run(Duration::from_millis(100));
        let leader = trio.elect(SHARD);
        let worker = trio.node(leader).worker();
        let configuration = worker.configuration(group).unwrap();
        if configuration.is_voter(new) && !configuration.is_joint() {
            break;
        }
        // It may not have caught up yet.
        let _tried_again = worker.propose_change(group, &[Change::Promote(new)]);
    }
    trio.check_equal(SHARD, &[0, 1, HURT]);
    let configuration = trio.look(HURT).look().configuration(group).unwrap();
    assert_eq!(configuration.voters(), [replica(1, 0), replica(1, 1), new]);
}

/// The new replica survives a restart, and counts: with it and one other the group goes on.
pub(super) fn counts_again(trio: &mut Trio) {
    trio.kill(HURT);
    trio.start(HURT);
    let closed = |text: &&String| text.contains("shard 0 is closed");
    assert_eq!(trio.look(HURT).findings.iter().find(closed), None);
    trio.check_equal(SHARD, &[0, 1, HURT]);
    let other = trio.leader(SHARD).filter(|node| *node != HURT).unwrap_or(0);
    trio.kill(other);
    trio.write(SHARD, 100);
    trio.start(other);
    trio.check_equal(SHARD, &[0, 1, HURT]);
}

#[test]
fn a_replica_without_proven_hard_state_is_silent_until_it_is_replaced() {
    for seed in 0..3 {
        let mut trio = hurt(20 + seed, Hurt::Quarantined);
        let (spoke, promised) = listen(&mut trio);
        trio.start(HURT);
        for _ in 0..3 {
            trio.write(SHARD, 100);
        }
        trio.check_equal(SHARDS[1], &[0, 1, HURT]);
        nobody_leads_without_the_other(&mut trio);
        let group = GroupId::of_shard(SHARD);
        assert!(!spoke.borrow().contains(&group.0) && !promised.get());
        assert!(spoke.borrow().contains(&GroupId::of_shard(SHARDS[1]).0));
        let summary = trio.summary(HURT, SHARD).unwrap();
        let reason = summary.quarantined.unwrap();
        assert_eq!(summary.closed.as_ref(), Some(&reason));
        assert!(reason.contains("log-") && reason.contains("until it is replaced"), "{reason}");
        assert!(trio.look(HURT).findings.iter().any(|finding| finding.contains(&reason)));
        let quarantined: Vec<_> =
            trio.look(HURT).look().quarantined().map(|(group, id, _)| (group, id)).collect();
        assert_eq!(quarantined, [(group, replica(1, HURT))]);
        replace(&mut trio, 2, 1);
        counts_again(&mut trio);
    }
}

#[test]
fn a_replica_that_lost_entries_votes_for_nobody_until_it_has_them_again() {
    for seed in 0..3 {
        let mut trio = hurt(30 + seed, Hurt::Entries);
        let (_, promised) = listen(&mut trio);
        // Alone with one other, which may not have all that the lost one acknowledged.
        let other = trio.leader(SHARD).unwrap_or(0);
        trio.kill(other);
        trio.start(HURT);
        trio.run(Duration::from_secs(5));
        assert_eq!(trio.leader(SHARD), None);
        assert!(!promised.get());
        assert!(trio.look(HURT).findings.iter().any(|text| text.contains("votes for nobody")));
        trio.start(other);
        trio.check_equal(SHARD, &[0, 1, HURT]);
        let lost = |trio: &Trio| trio.summary(HURT, SHARD).unwrap().status.unwrap().raft.lost;
        assert!(!lost(&trio));
        trio.run(Duration::from_secs(1));
        // A start knows that nothing is missing any more: it votes.
        trio.kill(HURT);
        trio.start(HURT);
        assert!(!lost(&trio), "a flush has made known what was brought");
        let told = |text: &String| text.contains("votes for nobody");
        assert!(!trio.look(HURT).findings.iter().any(told));
        counts_again(&mut trio);
    }
}

#[test]
fn a_replica_without_its_store_is_quarantined_and_replaced() {
    let mut trio = Trio::new(40);
    for _ in 0..5 {
        trio.write(SHARD, 300);
    }
    trio.node(HURT).want_flush(&SHARDS);
    trio.run(Duration::from_secs(1));
    let disk = trio.kill(HURT);
    let group = format!("snap-{:08x}", GroupId::of_shard(SHARD).0);
    let mut files = disk.list().unwrap().into_iter().map(|(name, _)| name);
    let file = files.find(|name| name.as_str().starts_with(&group)).unwrap();
    disk.execute(&DiskOperation::Delete(file.clone())).unwrap();
    let (spoke, _) = listen(&mut trio);
    trio.start(HURT);
    trio.write(SHARD, 100);
    nobody_leads_without_the_other(&mut trio);
    assert!(!spoke.borrow().contains(&GroupId::of_shard(SHARD).0));
    let reason = trio.summary(HURT, SHARD).unwrap().quarantined.unwrap();
    assert!(reason.contains(file.as_str()), "{reason}");
    replace(&mut trio, 2, 1);
    counts_again(&mut trio);
}

#[test]
fn groups_missing_from_the_log_are_quarantined_and_replaced() {
    let mut trio = Trio::new(41);
    trio.write(SHARD, 300);
    let disk = trio.kill(HURT);
    for (file, _) in disk.list().unwrap() {
        disk.execute(&DiskOperation::Delete(file)).unwrap();
    }
    let (spoke, promised) = listen(&mut trio);
    trio.start(HURT);
    trio.write(SHARD, 100);
    nobody_leads_without_the_other(&mut trio);
    assert!(spoke.borrow().is_empty() && !promised.get());
    assert_eq!(trio.look(HURT).look().quarantined().count(), SHARDS.len());
    let reason = trio.summary(HURT, SHARD).unwrap().quarantined.unwrap();
    assert!(reason.contains("its log is missing"), "{reason}");
    replace(&mut trio, 2, 1);
    counts_again(&mut trio);
}
