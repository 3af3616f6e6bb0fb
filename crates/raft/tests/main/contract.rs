//! The host contract, in small groups.

use std::time::Duration;

use bytes::Bytes;
use ringfort_raft::{Body, Change, Learner, Message, Role, Round, Settings};
use ringfort_sim::group::{Cluster, Crash, GroupDisk};
use ringfort_types::{Index, ReplicaId, Term};

use crate::support::{cluster, cluster_with, elect, pass};

fn propose(cluster: &mut Cluster, leader: ReplicaId, text: &str) {
    cluster.propose(leader, Bytes::copy_from_slice(text.as_bytes())).unwrap().unwrap();
    cluster.stabilize().unwrap();
}

#[test]
fn a_group_of_one_leads_at_once() {
    let mut cluster = cluster(1);
    cluster.stabilize().unwrap();
    assert_eq!(cluster.leader(), Some(ReplicaId(1)));
    propose(&mut cluster, ReplicaId(1), "a");
    assert_eq!(cluster.commit(ReplicaId(1)), Index(2));
}

#[test]
fn three_elect_replicate_and_survive() {
    let mut cluster = cluster(3);
    let leader = elect(&mut cluster);
    for text in ["a", "b", "c"] {
        propose(&mut cluster, leader, text);
    }
    pass(&mut cluster, Duration::from_millis(100));
    for id in cluster.ids() {
        assert_eq!(cluster.commit(id), Index(4));
        assert_eq!(cluster.nodes[&id].machine.applied.index, Index(4));
    }
    cluster.crash(leader, Crash::Power { whole: 0, torn_entries: 0 });
    let next = elect(&mut cluster);
    assert_ne!(next, leader);
    propose(&mut cluster, next, "d");
    cluster.restart(leader);
    pass(&mut cluster, Duration::from_millis(100));
    pass(&mut cluster, Duration::from_millis(100));
    assert_eq!(cluster.commit(leader), cluster.commit(next));
}

#[test]
fn a_learner_takes_the_place_of_a_voter_through_a_snapshot() {
    let mut cluster = cluster(3);
    let leader = elect(&mut cluster);
    propose(&mut cluster, leader, "a");
    pass(&mut cluster, Duration::from_millis(100));
    let gone = cluster.ids().into_iter().find(|id| *id != leader).unwrap();
    cluster.crash(gone, Crash::Process);
    for _ in 0..30 {
        propose(&mut cluster, leader, &"x".repeat(100_000));
    }
    cluster.with(leader, |node, _| assert!(node.compact())).unwrap();
    let learner = Learner { id: ReplicaId(4), replaces: Some(gone) };
    cluster.add(ReplicaId(4), GroupDisk::default());
    cluster.change(leader, &[Change::AddLearner(learner)]).unwrap().unwrap();
    cluster.stabilize().unwrap();
    for _ in 0..5 {
        pass(&mut cluster, Duration::from_millis(100));
    }
    cluster.change(leader, &[Change::Promote(ReplicaId(4))]).unwrap().unwrap();
    cluster.stabilize().unwrap();
    let group = cluster.nodes[&leader].group.as_ref().unwrap();
    assert_eq!(group.role(), Role::Leader);
    assert!(!group.configuration().is_joint());
    assert!(group.configuration().is_voter(ReplicaId(4)));
    assert!(!group.configuration().contains(gone));
    let installed = cluster.nodes[&ReplicaId(4)].group.as_ref().unwrap().status().counters;
    assert_eq!(installed.snapshots_installed, 1);
}

/// A disk that stands still, while terms rise without end: writes in flight are bounded, and the newest state is written once
/// the disk moves again.
#[test]
fn a_disk_that_stands_still_holds_a_bounded_number_of_writes() {
    for writes_in_flight_max in [1, 2, Settings::default().writes_in_flight_max] {
        let mut cluster = cluster_with(3, Settings { writes_in_flight_max, ..Settings::default() });
        let id = ReplicaId(1);
        let mut asked = 0;
        for term in 1..=3000 {
            let body = Body::Heartbeat { commit: Index(0), round: Round(1), lease: Duration::ZERO };
            let (from, term) = (ReplicaId(2), Term(term));
            cluster.receive(Message { from, to: id, term, body });
            asked += usize::from(cluster.poll(id).unwrap().persist.is_some());
        }
        assert_eq!(asked, writes_in_flight_max);
        let gathered = cluster.nodes[&id].group.as_ref().unwrap().counters().writes_gathered;
        assert_eq!(gathered, 3000 - asked as u64);
        cluster.settle(id).unwrap();
        assert_eq!(cluster.nodes[&id].disk.hard_state.term, Term(3000));
    }
}

/// A group that sleeps is given no ticks. Whoever wakes it says what time it is: it neither takes the silence of the others
/// for their loss, nor falls asleep again at once.
#[test]
fn a_group_that_slept_for_long_counts_from_when_it_woke() {
    for voters in [1, 3] {
        for wake in [propose_one, change_one] {
            let sleep_after = Duration::from_secs(1);
            let settings = Settings { sleep_after, ..Settings::default() };
            let heartbeat = settings.heartbeat;
            let mut cluster = cluster_with(voters, settings);
            let leader = elect(&mut cluster);
            let asleep =
                |cluster: &Cluster, id| cluster.nodes[&id].group.as_ref().unwrap().is_asleep();
            let all_sleep = (0..100).any(|_| {
                pass(&mut cluster, heartbeat);
                cluster.ids().into_iter().all(|id| asleep(&cluster, id))
            });
            assert!(all_sleep, "{voters}: it has nothing to do");
            cluster.advance(Duration::from_secs(3600));
            wake(&mut cluster, leader);
            cluster.tick(leader);
            assert_eq!(
                cluster.leader(),
                Some(leader),
                "{voters}: it heard from nobody, and asked nobody"
            );
            cluster.stabilize().unwrap();
            for _ in 0..5 {
                assert!(!asleep(&cluster, leader), "{voters}: it has been busy");
                pass(&mut cluster, heartbeat);
            }
        }
    }
}

fn propose_one(cluster: &mut Cluster, leader: ReplicaId) {
    cluster.propose(leader, Bytes::from_static(b"a")).unwrap().unwrap();
}

fn change_one(cluster: &mut Cluster, leader: ReplicaId) {
    let learner = Learner { id: ReplicaId(9), replaces: None };
    cluster.change(leader, &[Change::AddLearner(learner)]).unwrap().unwrap();
}
