//! What random runs found, each told again step by step.

use std::time::Duration;

use bytes::Bytes;
use ringfort_raft::{Body, Change, Group, Guards, Learner, Sending, Settings};
use ringfort_sim::group::{Cluster, ClusterOptions, Crash, GroupDisk, Node};
use ringfort_types::{Index, ReplicaId};

use crate::support::{cluster, elect, pass};

const HEARTBEAT: Duration = Duration::from_millis(100);

/// A group whose logs keep nothing that is applied.
fn forgetful(voters: u64) -> Cluster {
    Cluster::new(ClusterOptions {
        voters: (1..=voters).map(ReplicaId).collect(),
        settings: Settings {
            trailing_bytes: 0,
            catch_up_bytes: 0,
            snapshot_chunk_bytes: 40,
            ..Settings::default()
        },
        guards: Guards::default(),
        seed: 7,
    })
}

fn propose(cluster: &mut Cluster, leader: ReplicaId, text: &'static str) {
    cluster.propose(leader, Bytes::from_static(text.as_bytes())).unwrap().unwrap();
}

fn add_learner(cluster: &mut Cluster, leader: ReplicaId, learner: Learner) {
    cluster.add(learner.id, GroupDisk::default());
    cluster.change(leader, &[Change::AddLearner(learner)]).unwrap().unwrap();
}

fn applied(cluster: &Cluster, id: ReplicaId) -> Index {
    cluster.nodes[&id].machine.applied.index
}

/// Settles all but those who are cut off: what goes to them or comes from them is lost.
fn settle_without(cluster: &mut Cluster, cut: &[ReplicaId]) {
    for _ in 0..50 {
        for id in cluster.ids() {
            cluster.settle(id).unwrap();
        }
        let sent = std::mem::take(&mut cluster.network);
        if sent.is_empty() {
            return;
        }
        for flight in sent {
            let message = flight.message;
            if !cut.contains(&message.to) && !cut.contains(&message.from) {
                cluster.receive(message);
            }
        }
    }
    panic!("the network never falls silent");
}

/// Lets time pass, in steps of a heartbeat; some are cut off.
fn pass_without(cluster: &mut Cluster, heartbeats: u32, cut: &[ReplicaId]) {
    for _ in 0..heartbeats {
        cluster.advance(HEARTBEAT);
        for id in cluster.ids() {
            cluster.tick(id);
        }
        settle_without(cluster, cut);
    }
}

/// The leader alone, 1, is swapped for 2. It appends the configuration that leaves it out, and ends before anybody else has
/// that. Its log is the longest: nobody else can win. So it has to ask, though by its own log it is no voter any more.
#[test]
fn a_voter_whose_removal_is_nowhere_else_leads_once_more() {
    let mut cluster = cluster(1);
    cluster.stabilize().unwrap();
    let (old, new) = (ReplicaId(1), ReplicaId(2));
    add_learner(&mut cluster, old, Learner { id: new, replaces: Some(old) });
    for _ in 0..3 {
        pass(&mut cluster, HEARTBEAT);
    }
    cluster.change(old, &[Change::Promote(new)]).unwrap().unwrap();
    // Both get the joint configuration; what leaves it is on the old one's disk only.
    cluster.settle(old).unwrap();
    for _ in 0..4 {
        let left = cluster.nodes[&old].group.as_ref().unwrap().configuration().clone();
        if !left.is_joint() && !left.is_voter(old) {
            break;
        }
        for flight in std::mem::take(&mut cluster.network) {
            cluster.receive(flight.message);
        }
        cluster.settle(new).unwrap();
        for flight in std::mem::take(&mut cluster.network) {
            cluster.receive(flight.message);
        }
        cluster.settle(old).unwrap();
    }
    cluster.network.clear();
    let of =
        |cluster: &Cluster, id| cluster.nodes[&id].group.as_ref().unwrap().configuration().clone();
    assert!(!of(&cluster, old).is_voter(old), "the removal is in the old one's log");
    assert!(of(&cluster, new).is_joint(), "and nowhere else");
    cluster.crash(old, Crash::Process);
    cluster.restart(old);
    for _ in 0..60 {
        pass(&mut cluster, HEARTBEAT);
    }
    assert_eq!(cluster.leader(), Some(new));
    assert!(!of(&cluster, new).is_joint());
    assert!(!of(&cluster, new).contains(old));
}

/// A follower installs a snapshot; by then the leader's log begins behind it. The follower needs another one.
#[test]
fn a_snapshot_that_comes_too_late_is_followed_by_a_newer_one() {
    let mut cluster = forgetful(3);
    let leader = elect(&mut cluster);
    let slow = cluster.ids().into_iter().find(|id| *id != leader).unwrap();
    for _ in 0..3 {
        propose(&mut cluster, leader, "a");
        settle_without(&mut cluster, &[slow]);
    }
    // What is asked for after a while is a snapshot; its last bytes are under way while the log moves on.
    pass_without(&mut cluster, 3, &[slow]);
    cluster.advance(HEARTBEAT);
    cluster.tick(leader);
    let mut chunks = Vec::new();
    for _ in 0..20 {
        for id in cluster.ids() {
            cluster.settle(id).unwrap();
        }
        for flight in std::mem::take(&mut cluster.network) {
            if matches!(flight.message.body, Body::Snapshot { last: true, .. }) {
                chunks.push(flight.message);
            } else {
                cluster.receive(flight.message);
            }
        }
        if chunks.is_empty() {
            cluster.advance(HEARTBEAT);
            for id in cluster.ids() {
                cluster.tick(id);
            }
        }
    }
    assert!(!chunks.is_empty(), "the follower is sent a snapshot");
    propose(&mut cluster, leader, "b");
    settle_without(&mut cluster, &[slow]);
    pass_without(&mut cluster, 2, &[slow]);
    for chunk in chunks {
        cluster.receive(chunk);
    }
    for _ in 0..30 {
        pass(&mut cluster, HEARTBEAT);
    }
    assert_eq!(applied(&cluster, slow), applied(&cluster, leader));
}

/// The first append to a learner is lost. A blank replica promises nothing, so it answers no heartbeat; the append has to go
/// again without.
#[test]
fn a_learner_whose_first_append_is_lost_is_asked_again() {
    let mut cluster = cluster(3);
    let leader = elect(&mut cluster);
    propose(&mut cluster, leader, "a");
    pass(&mut cluster, HEARTBEAT);
    let learner = ReplicaId(4);
    add_learner(&mut cluster, leader, Learner { id: learner, replaces: None });
    pass_without(&mut cluster, 2, &[learner]);
    for _ in 0..25 {
        pass(&mut cluster, HEARTBEAT);
    }
    assert_eq!(applied(&cluster, learner), applied(&cluster, leader));
}

/// The founding configuration is in no entry: who was fed from the first entry on would not know who its group was before
/// it joined, and could give no snapshot of that time.
#[test]
fn a_learner_learns_of_the_founding_by_a_snapshot() {
    let mut cluster = cluster(3);
    let leader = elect(&mut cluster);
    propose(&mut cluster, leader, "a");
    pass(&mut cluster, HEARTBEAT);
    let learner = ReplicaId(4);
    add_learner(&mut cluster, leader, Learner { id: learner, replaces: None });
    pass_without(&mut cluster, 5, &[]);
    let node = &cluster.nodes[&learner];
    assert!(!node.disk.configuration.is_blank(), "its state stands behind a configuration");
    assert_eq!(node.group.as_ref().unwrap().counters().snapshots_installed, 1);
}

/// The refusal of a replica that was blank arrives late, when it is a voter: it is no voter with a lost disk.
#[test]
fn a_refusal_of_before_the_promotion_is_forgotten() {
    let mut cluster = cluster(3);
    let leader = elect(&mut cluster);
    propose(&mut cluster, leader, "a");
    pass(&mut cluster, HEARTBEAT);
    let learner = ReplicaId(4);
    add_learner(&mut cluster, leader, Learner { id: learner, replaces: None });
    let mut refusal = None;
    while refusal.is_none() {
        for id in cluster.ids() {
            cluster.settle(id).unwrap();
        }
        for flight in std::mem::take(&mut cluster.network) {
            if flight.message.from == learner
                && matches!(flight.message.body, Body::AppendReject { .. })
            {
                refusal = Some(flight.message.clone());
            }
            cluster.receive(flight.message);
        }
    }
    for _ in 0..5 {
        pass(&mut cluster, HEARTBEAT);
    }
    cluster.change(leader, &[Change::Promote(learner)]).unwrap().unwrap();
    cluster.stabilize().unwrap();
    cluster.receive(refusal.unwrap());
    for _ in 0..3 {
        pass(&mut cluster, HEARTBEAT);
    }
    let status = cluster.nodes[&leader].group.as_ref().unwrap().status();
    let peer = status.peers.iter().find(|peer| peer.id == learner).unwrap();
    assert_eq!(peer.sending, Sending::Replicate);
    propose(&mut cluster, leader, "b");
    pass(&mut cluster, HEARTBEAT);
    pass(&mut cluster, HEARTBEAT);
    assert_eq!(applied(&cluster, learner), applied(&cluster, leader));
}

/// A follower that has everything starts anew while nobody proposes anything. Its commit index on disk is old; it learns of
/// the newer one without a new entry.
#[test]
fn a_follower_that_starts_anew_learns_what_is_committed_in_a_quiet_group() {
    let mut cluster = cluster(3);
    let leader = elect(&mut cluster);
    propose(&mut cluster, leader, "a");
    pass(&mut cluster, HEARTBEAT);
    pass(&mut cluster, HEARTBEAT);
    let follower = cluster.ids().into_iter().find(|id| *id != leader).unwrap();
    cluster.crash(follower, Crash::Process);
    cluster.restart(follower);
    assert!(cluster.commit(follower) < cluster.commit(leader), "it does not know yet");
    for _ in 0..3 {
        pass(&mut cluster, HEARTBEAT);
    }
    assert_eq!(cluster.commit(follower), cluster.commit(leader));
    assert_eq!(applied(&cluster, follower), applied(&cluster, leader));
}

/// A follower holds an older entry where the leader's log begins. Where they agree is forgotten: it needs a snapshot, and the
/// two do not ask each other the same again and again.
#[test]
fn a_rejection_at_the_start_of_the_log_ends_in_a_snapshot() {
    let mut cluster = forgetful(3);
    let first = elect(&mut cluster);
    propose(&mut cluster, first, "a");
    pass(&mut cluster, HEARTBEAT);
    // The first leader appends what nobody else gets. It is cut off, and another leads.
    for _ in 0..4 {
        propose(&mut cluster, first, "lost");
    }
    cluster.settle(first).unwrap();
    cluster.network.clear();
    let mut second = None;
    for _ in 0..60 {
        pass_without(&mut cluster, 1, &[first]);
        second = cluster.leader().filter(|id| *id != first);
        if second.is_some() {
            break;
        }
    }
    let second = second.unwrap();
    // Its log begins where the other's first lost entry stands. It starts anew with that, the third one is down: the first
    // one has to vote for it.
    let third = cluster.ids().into_iter().find(|id| ![first, second].contains(id)).unwrap();
    cluster.with(second, |node, _| assert!(node.compact())).unwrap();
    let base = cluster.nodes[&second].group.as_ref().unwrap().last();
    let older = cluster.nodes[&first].group.as_ref().unwrap().term_at(base.index);
    assert!(older.is_some_and(|older| older < base.term), "the other holds an older entry there");
    cluster.crash(third, Crash::Process);
    cluster.crash(second, Crash::Process);
    cluster.restart(second);
    for _ in 0..60 {
        pass_without(&mut cluster, 1, &[]);
    }
    assert_eq!(cluster.leader(), Some(second));
    assert_eq!(applied(&cluster, first), applied(&cluster, second));
    assert_eq!(cluster.nodes[&first].group.as_ref().unwrap().counters().snapshots_installed, 1);
}

/// A group of three whose logs keep little that is applied, and much while somebody gets a snapshot; its leader; and a member
/// that has been down for so many entries.
fn with_one_down(settings: Settings, entries: u32) -> (Cluster, ReplicaId, ReplicaId) {
    let mut cluster = Cluster::new(ClusterOptions {
        voters: (1..=3).map(ReplicaId).collect(),
        settings: Settings { trailing_bytes: 0, snapshot_chunk_bytes: 40, ..settings },
        guards: Guards::default(),
        seed: 7,
    });
    let leader = elect(&mut cluster);
    let down = cluster.ids().into_iter().find(|id| *id != leader).unwrap();
    cluster.crash(down, Crash::Process);
    pass_without(&mut cluster, 20, &[down]);
    for _ in 0..entries {
        propose(&mut cluster, leader, "a");
        pass_without(&mut cluster, 1, &[down]);
    }
    (cluster, leader, down)
}

/// A tenth of a heartbeat passes, and what was sent before arrives.
fn exchange(cluster: &mut Cluster) {
    for flight in std::mem::take(&mut cluster.network) {
        cluster.receive(flight.message);
    }
    cluster.advance(HEARTBEAT / 10);
    for id in cluster.ids() {
        cluster.tick(id);
        cluster.settle(id).unwrap();
    }
}

fn group(cluster: &Cluster, id: ReplicaId) -> &Group {
    cluster.nodes[&id].group.as_ref().unwrap()
}

fn sending(cluster: &Cluster, leader: ReplicaId, to: ReplicaId) -> Sending {
    let peers = group(cluster, leader).status().peers;
    peers.into_iter().find(|peer| peer.id == to).unwrap().sending
}

/// The story: a leader began a snapshot for a member that was down, and kept the log behind it, up to its bound, for as long as
/// that was. When the member came back it got the old snapshot and all of that log.
#[test]
fn nothing_is_kept_for_a_member_that_does_not_answer() {
    let (mut cluster, leader, down) = with_one_down(Settings::default(), 100);
    // As a host says whose connection broke.
    let told = |node: &mut Node, _| node.group.as_mut().unwrap().handle_unreachable(down);
    cluster.with(leader, told).unwrap();
    pass_without(&mut cluster, 20, &[down]);
    assert_eq!(group(&cluster, leader).counters().snapshots_begun, 0);
    assert!(matches!(sending(&cluster, leader, down), Sending::Probe { .. }));
    assert!(group(&cluster, leader).entries_from(Index(1)).len() < 5);
    cluster.restart(down);
    pass_without(&mut cluster, 30, &[]);
    assert_eq!(applied(&cluster, down), applied(&cluster, leader));
    assert_eq!(group(&cluster, leader).counters().snapshots_begun, 1);
}

/// A snapshot that was begun is kept through a short silence, and goes on; through a long one it is given up.
#[test]
fn a_snapshot_outlives_a_short_silence_and_no_long_one() {
    let (mut cluster, leader, slow) = with_one_down(Settings::default(), 20);
    let is_sent = |cluster: &Cluster| {
        matches!(sending(cluster, leader, slow), Sending::Snapshot { id: Some(_), .. })
    };
    cluster.restart(slow);
    // Up to its first chunk.
    for _ in 0..200 {
        if is_sent(&cluster) {
            break;
        }
        exchange(&mut cluster);
    }
    assert!(is_sent(&cluster), "{:?}", sending(&cluster, leader, slow));
    pass_without(&mut cluster, 40, &[slow]);
    assert!(is_sent(&cluster), "{:?}", sending(&cluster, leader, slow));
    pass_without(&mut cluster, 30, &[slow]);
    assert!(matches!(sending(&cluster, leader, slow), Sending::Probe { .. }));
    pass_without(&mut cluster, 30, &[]);
    assert_eq!(applied(&cluster, slow), applied(&cluster, leader));
}

/// The story: what had been kept behind a snapshot went once it was installed, before it was sent: whoever got a snapshot under
/// load needed another, and another.
#[test]
fn what_is_kept_behind_a_snapshot_is_kept_until_it_is_sent() {
    // One message at a time, of four entries, where five are proposed meanwhile.
    let slowly =
        Settings { inflight_messages_max: 1, append_entries_max: 4, ..Settings::default() };
    let (mut cluster, leader, slow) = with_one_down(slowly, 20);
    cluster.restart(slow);
    let begun = |cluster: &Cluster| group(cluster, leader).counters().snapshots_begun;
    for _ in 0..400 {
        if applied(&cluster, slow) > Index(0) {
            break;
        }
        for _ in 0..5 * begun(&cluster) {
            propose(&mut cluster, leader, "b");
        }
        exchange(&mut cluster);
    }
    pass_without(&mut cluster, 30, &[]);
    assert_eq!(applied(&cluster, slow), applied(&cluster, leader));
    assert_eq!(begun(&cluster), 1);
    let kept = group(&cluster, leader).entries_from(Index(1)).len();
    assert!(kept < 5, "{kept} entries are kept for nobody");
}
