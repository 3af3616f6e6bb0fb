//! Three replicas that keep the rules, and somebody who sends among them what changes nothing: strangers' answers, what
//! cannot be, what is for others, what is of old terms, a second leader, and what was said before, again and late.

use std::time::Duration;

use bytes::Bytes;
use ringfort_raft::{
    Body, Guards, LostCopy, Message, Position, ReadId, Role, Round, Settings, SnapshotId,
};
use ringfort_sim::Random;
use ringfort_sim::group::{Cluster, ClusterOptions, Violation};
use ringfort_types::{Entry, Index, ReplicaId, Term};

use super::lies::Liar;
use super::{Replay, seeds};
use crate::support::{elect, pass};

/// What a run did.
#[derive(Debug, Default)]
struct Counts {
    lies: u64,
    replays: u64,
    dropped: u64,
    committed: u64,
}

#[test]
fn a_group_works_on_among_lies() {
    let mut counts = Counts::default();
    for seed in seeds(60) {
        let _replay = Replay("a_group_works_on", seed);
        if let Err(violation) = run(seed, &mut counts) {
            panic!("{violation}");
        }
    }
    println!("{counts:?}");
    assert!(counts.lies > 0 && counts.replays > 0 && counts.dropped > counts.lies / 2);
    assert!(counts.committed > 0);
}

fn run(seed: u64, counts: &mut Counts) -> Result<(), Violation> {
    let mut random = Random::new(seed);
    let mut cluster = Cluster::new(ClusterOptions {
        voters: (1..=3).map(ReplicaId).collect(),
        settings: Settings { append_entries_max: 3, ..Settings::default() },
        guards: Guards::default(),
        seed,
    });
    elect(&mut cluster);
    let mut heard = Vec::new();
    for _ in 0..400 {
        step(&mut cluster, &mut random, &mut heard, counts)?;
    }
    counts.committed += cluster.checks.committed().0;
    agree(&mut cluster)?;
    for node in cluster.nodes.values() {
        counts.dropped += super::dropped(node.group.as_ref().unwrap().counters());
    }
    Ok(())
}

fn step(
    cluster: &mut Cluster,
    random: &mut Random,
    heard: &mut Vec<Message>,
    counts: &mut Counts,
) -> Result<(), Violation> {
    let id = ReplicaId(random.between(1, 3));
    match random.below(10) {
        0..=3 if !cluster.network.is_empty() => {
            // In any order; one in eight is lost.
            let place = random.index(cluster.network.len());
            let message = cluster.network[place].message.clone();
            if random.one_in(8) {
                cluster.network.remove(place);
            } else {
                cluster.deliver(place);
            }
            heard.push(message);
            heard.drain(..heard.len().saturating_sub(200));
        }
        4 if !heard.is_empty() => {
            counts.replays += 1;
            let place = random.index(heard.len());
            cluster.receive(heard[place].clone());
        }
        5 => {
            if let Some(leader) = cluster.leader() {
                // Refused while it is handed over or full.
                let _ = cluster.propose(leader, random.next_u64().to_string().into());
            }
        }
        6 => {
            cluster.advance(Duration::from_millis(random.below(60)));
            cluster.tick(id);
        }
        7 | 8 => {
            counts.lies += 1;
            lie(cluster, random, id);
        }
        _ => cluster.settle(id)?,
    }
    cluster.check(id)
}

/// Gives one replica something that must change nothing.
fn lie(cluster: &mut Cluster, random: &mut Random, id: ReplicaId) {
    let group = cluster.nodes[&id].group.as_ref().unwrap();
    let (hint, last) = (group.leader(), group.last());
    let mut liar = Liar::new(random, group);
    let message = match liar.random.below(5) {
        0 => liar.impossible(),
        1 => liar.misaddressed(),
        2 => {
            let mut message = liar.message();
            message.to = id;
            message.term = Term(liar.random.below(hint.term.0.max(1)));
            message
        }
        3 => answer(&mut liar, hint.term),
        _ => {
            let leads = group.role() == Role::Leader;
            let known = hint.leader.filter(|_| leads || group.role() == Role::Follower);
            let Some(leader) = known else { return };
            let from = ReplicaId(leader.0 % 3 + 1);
            if from == id {
                return;
            }
            second_leader(&mut liar, from, hint.term, last)
        }
    };
    // It arrives here, whoever it is for.
    cluster.checks.allow_impossible(id);
    let now = cluster.nodes[&id].clock(cluster.now);
    let group = cluster.nodes.get_mut(&id).unwrap().group.as_mut().unwrap();
    group.handle_message(now, message);
}

/// What a stranger, or a replica of another start, answers to nobody's question.
fn answer(liar: &mut Liar<'_>, term: Term) -> Message {
    let (from, to) = (ReplicaId(liar.random.between(70, 79)), liar.me);
    let index = Index(liar.random.below(50));
    let (body, term) = match liar.random.below(7) {
        0 => (Body::AppendAck { index }, term),
        1 => (Body::HeartbeatAck { round: Round(1), commit: index }, term),
        2 => {
            let (hint, lost) = (Position::default(), LostCopy::Blank);
            (Body::AppendReject { previous: index, hint, lost }, term)
        }
        3 => (Body::SnapshotAck { id: SnapshotId(1), offset: 7 }, term),
        4 => (Body::VoteAnswer { granted: true }, term),
        5 => (Body::PreVoteAnswer { granted: true }, Term(term.0 + 1)),
        _ => {
            (Body::ReadIndexAnswer { read: ReadId(1), nonce: liar.random.next_u64(), index }, term)
        }
    };
    Message { from, to, term, body }
}

fn second_leader(liar: &mut Liar<'_>, from: ReplicaId, term: Term, last: Position) -> Message {
    let (to, next) = (liar.me, last.index.next());
    let entries = vec![Entry { term, index: next, payload: Bytes::from_static(b"lie") }];
    let body = match liar.random.below(3) {
        0 => Body::Append { previous: last, entries, commit: next },
        1 => Body::Heartbeat { commit: next, round: Round(1), lease: Duration::from_millis(900) },
        _ => Body::Sleep { last },
    };
    Message { from, to, term, body }
}

/// Everything arrives from now on: what is proposed is soon applied by all.
fn agree(cluster: &mut Cluster) -> Result<(), Violation> {
    cluster.stabilize()?;
    let leader = elect(cluster);
    let mut proposed = None;
    for _ in 0..60 {
        pass(cluster, Duration::from_millis(50));
        let leader = cluster.leader().unwrap_or(leader);
        if proposed.is_none() {
            let payload = Bytes::from_static(b"end");
            proposed = cluster.propose(leader, payload).and_then(Result::ok);
        }
    }
    let proposed = proposed.expect("somebody leads").index;
    for (id, node) in &cluster.nodes {
        assert!(node.machine.applied.index >= proposed, "replica {id} has not applied {proposed}");
    }
    Ok(())
}
