//! Bugs that random runs found, each with its story.

use std::time::Duration;

use bytes::Bytes;
use ringfort_raft::{Guards, Settings};
use ringfort_sim::group::{Cluster, ClusterOptions, Crash};
use ringfort_types::{Index, ReplicaId};

use crate::support::elect;

/// A group with appends of one entry.
fn group(voters: u64) -> Cluster {
    let settings = Settings { append_entries_max: 1, ..Settings::default() };
    let voters = (1..=voters).map(ReplicaId).collect();
    Cluster::new(ClusterOptions { voters, settings, guards: Guards::default(), seed: 7 })
}

/// Everything to and from a replica is lost.
fn isolate(cluster: &mut Cluster, id: ReplicaId) {
    cluster.network.retain(|flight| flight.message.to != id && flight.message.from != id);
}

/// Time passes for everybody, and everything happens but what `lost` says, until nothing is left to do.
///
/// # Panics
/// There is always something left to do.
fn pass(cluster: &mut Cluster, time: Duration, lost: impl Fn(&mut Cluster)) {
    cluster.advance(time);
    for id in cluster.ids() {
        cluster.tick(id);
    }
    for _ in 0..200 {
        for id in cluster.ids() {
            cluster.settle(id).unwrap();
        }
        lost(cluster);
        if cluster.network.is_empty() {
            return;
        }
        for flight in std::mem::take(&mut cluster.network) {
            cluster.receive(flight.message);
        }
    }
    panic!("replicas never come to rest: {:#?}", cluster.network);
}

/// Waits until somebody leads and has committed, while a replica is cut off.
fn elect_without(cluster: &mut Cluster, cut_off: ReplicaId) -> ReplicaId {
    for _ in 0..200 {
        pass(cluster, TICK, |cluster| isolate(cluster, cut_off));
        if let Some(leader) = cluster.leader().filter(|id| *id != cut_off) {
            let group = cluster.nodes[&leader].group.as_ref().unwrap();
            assert_eq!(group.commit(), group.last().index);
            return leader;
        }
    }
    panic!("nobody leads after ten seconds");
}

const TICK: Duration = Duration::from_millis(50);

/// Replica a leads, is cut off, and appends what nobody else gets. b leads the rest, commits an entry at the same index in
/// its own term, and forgets all up to there. It asks a whether it holds what it begins with; a holds another entry there, and
/// says so: the last that may agree is of an older term. b looked for that in its own log, came out at its beginning, though
/// that is of a later term, and asked the same again, and again, without a pause. The follower has to get a snapshot.
#[test]
fn a_log_that_begins_where_the_follower_conflicts_is_not_asked_for_ever() {
    let mut cluster = group(3);
    let old = elect(&mut cluster);
    pass(&mut cluster, TICK, |_| {});
    for _ in 0..3 {
        cluster.propose(old, Bytes::from_static(b"x")).unwrap().unwrap();
    }
    let new = elect_without(&mut cluster, old);
    let others: Vec<_> = cluster.ids().into_iter().filter(|id| *id != old).collect();
    let start = cluster.commit(new);
    assert!(cluster.nodes[&old].group.as_ref().unwrap().last().index >= start);
    pass(&mut cluster, TICK * 2, |cluster| isolate(cluster, old));
    for id in others {
        // Its log begins there when it starts anew.
        cluster.with(id, |node, _| assert!(node.compact())).unwrap();
        cluster.crash(id, Crash::Process);
        cluster.restart(id);
    }
    let newer = elect_without(&mut cluster, old);
    for _ in 0..100 {
        pass(&mut cluster, TICK, |_| {});
    }
    assert_eq!(cluster.commit(old), cluster.commit(newer));
    let counters = *cluster.nodes[&old].group.as_ref().unwrap().counters();
    assert_eq!(counters.snapshots_installed, 1);
}

/// A follower's disk stands still, so that no further write may be begun; the others commit all the same, and the follower
/// applies. It forgot what it had applied, though that had never gone to its log, and later wrote what came behind it.
#[test]
fn what_was_applied_and_never_written_is_not_forgotten() {
    let settings =
        Settings { trailing_bytes: 0, inflight_messages_max: 2000, ..Settings::default() };
    let voters = (1..=3).map(ReplicaId).collect();
    let options = ClusterOptions { voters, settings, guards: Guards::default(), seed: 7 };
    let mut cluster = Cluster::new(options);
    let leader = elect(&mut cluster);
    let follower = cluster.ids().into_iter().find(|id| *id != leader).unwrap();
    cluster.with(follower, |node, _| node.stalled = true).unwrap();
    for _ in 0..1200 {
        cluster.propose(leader, Bytes::from_static(b"x")).unwrap().unwrap();
        cluster.settle(leader).unwrap();
        for flight in std::mem::take(&mut cluster.network) {
            cluster.receive(flight.message);
        }
        for id in cluster.ids() {
            cluster.settle(id).unwrap();
        }
    }
    let behind = cluster.nodes[&follower].group.as_ref().unwrap();
    assert!(behind.applied() > Index(1100), "{:?}", behind.status());
    assert_eq!(cluster.nodes[&follower].disk.written.len(), 1024);
    cluster.with(follower, |node, _| node.stalled = false).unwrap();
    for _ in 0..3 {
        pass(&mut cluster, TICK, |_| {});
    }
    let last = cluster.nodes[&follower].group.as_ref().unwrap().last();
    let entries = &cluster.nodes[&follower].disk.entries;
    assert_eq!(entries.last().map(|entry| entry.index), Some(last.index));
    let gap = entries.windows(2).find(|pair| pair[1].index != pair[0].index.next());
    assert_eq!(gap, None);
}
