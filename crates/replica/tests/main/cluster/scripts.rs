//! Chosen histories.

use std::time::Duration;

use bytes::Bytes;
use ringfort_raft::{Change, Configuration, Learner, Settings};
use ringfort_replica::command::CommandIdentity;
use ringfort_types::ReplicaId;
use ringfort_types::request::{Condition, Operation};

use super::node::Node;
use super::{Asked, Cluster, End, id, key_of};

fn short_log() -> Settings {
    Settings { trailing_bytes: 0, snapshot_chunk_bytes: 64, ..Settings::default() }
}

#[test]
fn groups_of_one_three_and_five_commit_to_the_same_state() {
    for voters in [1, 3, 5] {
        let mut cluster = Cluster::new(voters, Settings::default(), u64::from(voters));
        let leader = cluster.elect();
        let tickets: Vec<_> = (0..20).map(|_| cluster.write(leader)).collect();
        cluster.settle();
        assert!(tickets.iter().all(|ticket| cluster.ends[ticket] == End::Answered));
        cluster.check_end();
    }
}

/// What is proposed by a leader that nobody hears is lost; what is queued behind its end is refused, and never happens.
#[test]
fn a_lost_leader_gives_up_what_it_proposed_and_refuses_what_it_only_queued() {
    let mut cluster = Cluster::new(3, Settings::default(), 1);
    let old = cluster.elect();
    cluster.cut_off.insert(old);
    let proposed = cluster.write(old);
    cluster.turn(old);
    let new = cluster.elect();
    assert_ne!(new, old);
    assert_eq!(cluster.ends.get(&proposed), Some(&End::Lost));
    // The queue of a replica that does not lead any more.
    let queued = cluster.write(old);
    cluster.settle();
    assert_eq!(cluster.ends[&queued], End::Refused);
    cluster.check_end();
    assert!(!cluster.holds(new, proposed), "nobody else ever had it");
}

/// A proposal that the new leader has is committed by it; whoever asked was told that nobody knows.
#[test]
fn what_a_lost_leader_proposed_may_come_yet() {
    let mut cluster = Cluster::new(3, Settings::default(), 2);
    let old = cluster.elect();
    let proposed = cluster.write(old);
    cluster.turn(old);
    let mut messages = std::mem::take(&mut cluster.network);
    // The others get it, and the old leader hears of nothing.
    cluster.network.append(&mut messages);
    for _ in 0..cluster.network.len() {
        cluster.deliver(0);
    }
    cluster.cut_off.insert(old);
    cluster.elect();
    assert_eq!(cluster.ends.get(&proposed), Some(&End::Lost));
    cluster.check_end();
    assert!(cluster.holds(old, proposed));
}

/// A stalled disk leaves what a follower knows committed unapplied for no longer than it takes to hear of it; but a read
/// that a leader confirmed is given by a follower only once that is applied there.
#[test]
fn a_follower_gives_a_read_once_its_index_is_applied() {
    let mut cluster = Cluster::new(3, Settings::default(), 3);
    let leader = cluster.elect();
    let follower = cluster.ids().into_iter().find(|id| *id != leader).unwrap();
    // The write commits without the follower, which hears of it only by the read's index.
    cluster.cut_off.insert(follower);
    cluster.write(leader);
    cluster.settle();
    cluster.cut_off.clear();
    let read = cluster.read(follower);
    cluster.turn(follower);
    let question = cluster.network.pop().unwrap();
    cluster.network.clear();
    cluster.network.push(question);
    cluster.deliver(0);
    cluster.turn(leader);
    // Its answer comes first, what it speaks of much later.
    let is_answer = |message: &ringfort_raft::Message| {
        matches!(message.body, ringfort_raft::Body::ReadIndexAnswer { .. })
    };
    let place = cluster.network.iter().position(is_answer).unwrap();
    cluster.deliver(place);
    cluster.turn(follower);
    assert_eq!(cluster.ends.get(&read), None, "it is not applied yet");
    cluster.until("the read is given", |cluster| cluster.ends.contains_key(&read));
    assert_eq!(cluster.ends[&read], End::Answered);
}

fn change(cluster: &mut Cluster, change: Change) {
    let leader = cluster.elect();
    let now = cluster.now;
    cluster.node(leader).replica.as_mut().unwrap().propose_change(now, &[change]).unwrap();
    let expected = |configuration: &Configuration| match change {
        Change::AddLearner(learner) => configuration.learners().contains(&learner),
        Change::Promote(id) => configuration.is_voter(id),
        Change::Remove(id) => !configuration.contains(id),
    };
    cluster.until("the change is done", |cluster| {
        let configuration = cluster.replica(leader).configuration();
        !configuration.is_joint() && expected(configuration)
    });
    cluster.settle();
}

/// Every member comes back with the configuration from its store alone.
fn restart_from_stores(cluster: &mut Cluster, members: &[ReplicaId]) {
    let expected = cluster.replica(members[0]).configuration().clone();
    for id in members {
        cluster.node(*id).flush();
        cluster.settle();
        let base = cluster.replica(*id).status().base.applied.index;
        assert_eq!(base, cluster.replica(*id).applied(), "nothing is left to the log");
        cluster.crash(*id);
    }
    for id in members {
        cluster.start(*id);
        assert_eq!(*cluster.replica(*id).configuration(), expected, "of {id}");
    }
}

#[test]
fn a_member_is_replaced_step_by_step_and_every_step_survives_a_restart() {
    let mut cluster = Cluster::new(3, short_log(), 4);
    let leader = cluster.elect();
    for _ in 0..20 {
        cluster.write(leader);
        cluster.settle();
    }
    let out = cluster.ids().into_iter().find(|id| *id != leader).unwrap();
    let new = id(2, out.node().0);
    cluster.crash(out);
    cluster.add(new, Configuration::default());
    change(&mut cluster, Change::AddLearner(Learner { id: new, replaces: Some(out) }));
    let there = |cluster: &Cluster, id| {
        cluster.replica(id).applied() == cluster.replica(cluster.leader().unwrap()).applied()
    };
    // Its snapshot is in the store, and has to be flushed.
    for _ in 0..100 {
        cluster.pass(Duration::from_millis(20));
        cluster.settle();
        cluster.node(new).flush();
    }
    assert!(there(&cluster, new) && cluster.nodes[&new].installed == 1);
    let stay: Vec<_> = cluster.ids().into_iter().filter(|id| *id != out).collect();
    restart_from_stores(&mut cluster, &stay);
    change(&mut cluster, Change::Promote(new));
    restart_from_stores(&mut cluster, &stay);
    let leader = cluster.elect();
    assert!(!cluster.replica(leader).configuration().contains(out));
    // The one that was replaced comes back: nobody listens to it.
    cluster.start(out);
    cluster.check_end();
    let spare = id(3, 7);
    cluster.add(spare, Configuration::default());
    change(&mut cluster, Change::AddLearner(Learner { id: spare, replaces: None }));
    change(&mut cluster, Change::Remove(spare));
    cluster.crash(spare);
    restart_from_stores(&mut cluster, &stay);
    cluster.check_end();
}

/// More writes than may be in flight wait for a stalled disk when a snapshot is installed: those still to be begun then
/// speak of entries that the log on disk has not any more.
#[test]
fn entries_that_were_never_written_go_with_the_log_that_a_snapshot_replaces() {
    let settings = Settings { inflight_messages_max: 2000, ..short_log() };
    let mut cluster = Cluster::new(3, settings, 5);
    let leader = cluster.elect();
    let follower = cluster.ids().into_iter().find(|id| *id != leader).unwrap();
    cluster.node(follower).stalled = true;
    for _ in 0..1100 {
        cluster.write(leader);
        cluster.settle();
    }
    let in_flight = cluster.nodes[&follower].writes_pending();
    assert_eq!(in_flight, 1024, "as many as Raft lets be in flight");
    cluster.cut_off.insert(follower);
    for _ in 0..20 {
        cluster.write(leader);
        cluster.settle();
    }
    cluster.node(leader).flush();
    cluster.settle();
    cluster.cut_off.clear();
    // The snapshot comes whole; its record waits behind all those writes.
    cluster.pass(Duration::from_secs(1));
    cluster.until("the snapshot is to be recorded", |cluster| {
        cluster.nodes[&follower].writes_pending() > in_flight
    });
    cluster.node(follower).stalled = false;
    cluster.until("it is installed", |cluster| cluster.nodes[&follower].installed == 1);
    cluster.check_end();
}

/// The story: the process of a leader stood still for seconds. As it went on, a read came before anything else that told it
/// the time: the lease held by the clock of before, and the read saw nothing of what another leader had acknowledged.
#[test]
fn a_read_is_confirmed_by_the_clock_of_when_it_comes() {
    let mut cluster = Cluster::new(3, Settings::default(), 6);
    let leader = cluster.elect();
    cluster.pass(Duration::from_millis(100));
    cluster.settle();
    assert!(cluster.replica(leader).can_read_now(cluster.now));
    cluster.cut_off.insert(leader);
    cluster.now = cluster.now + Duration::from_secs(3);
    let read = cluster.read(leader);
    cluster.turn(leader);
    assert_eq!(cluster.ends.get(&read), None, "nobody has confirmed it");
}

/// Every replica takes its turns and writes, and what was sent so far arrives.
fn step(cluster: &mut Cluster) {
    for id in cluster.ids() {
        cluster.turn(id);
        while cluster.node(id).sync() {
            cluster.turn(id);
        }
    }
    for _ in 0..cluster.network.len() {
        cluster.deliver(0);
    }
}

/// The story: a leader that came back from a start was behind the others in time, and gave a key eight seconds. It was lost,
/// and the next leader stamped what it was asked by its own time before it had applied that entry: the key was gone at once.
#[test]
fn a_new_leader_goes_on_from_stamps_that_it_has_not_applied_yet() {
    let mut cluster = Cluster::new(3, Settings::default(), 9);
    let old = cluster.elect();
    cluster.write(old);
    cluster.settle();
    // Nothing is stamped for ten seconds: whoever starts anew knows nothing of them.
    for _ in 0..500 {
        cluster.pass(Duration::from_millis(20));
        cluster.settle();
    }
    cluster.crash(old);
    cluster.start(old);
    let other = cluster.elect();
    let time = |cluster: &Cluster, id| cluster.replica(id).shard_time(cluster.now).0;
    assert!(time(&cluster, other) > time(&cluster, old) + 8_000);
    let now = cluster.now;
    cluster.node(other).replica.as_mut().unwrap().transfer(now, old).unwrap();
    while !cluster.replica(old).leads() {
        step(&mut cluster);
    }
    // Its first entry, and this one.
    let ticket = cluster.ask(old, Asked::Write);
    let (now, key) = (cluster.now, key_of(ticket));
    let (value, condition) = (Bytes::from_static(b"value"), Condition::Always);
    let ttl = Some(Duration::from_secs(8));
    let operation = Operation::Put { key: key.clone(), value, ttl, condition };
    let Node { replica, engine, .. } = cluster.node(old);
    let replica = replica.as_mut().unwrap();
    replica.enqueue(engine, now, ticket, &CommandIdentity::None, false, &[operation]).unwrap();
    cluster.turn(old);
    // The others get it, and hear nothing more of that leader.
    for _ in 0..cluster.network.len() {
        cluster.deliver(0);
    }
    cluster.cut_off.insert(old);
    let led = |cluster: &Cluster| cluster.leader().filter(|leader| *leader != old);
    while led(&cluster).is_none() {
        cluster.pass(Duration::from_millis(20));
        step(&mut cluster);
    }
    let new = led(&cluster).unwrap();
    let status = cluster.replica(new).status().raft;
    assert!(status.applied < status.last, "it has the entry, and has not applied it");
    cluster.write(new);
    cluster.until("all is applied", |cluster| {
        let status = cluster.replica(new).status().raft;
        status.applied == status.last
    });
    cluster.pass(Duration::from_millis(20));
    cluster.settle();
    assert!(cluster.now.since(now) < Duration::from_secs(7));
    assert!(cluster.holds(new, ticket), "its time has not come");
    cluster.check_end();
}
