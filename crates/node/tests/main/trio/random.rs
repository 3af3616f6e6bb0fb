//! Random runs of three nodes: disks, frames, time, flushes, power losses and replacements in any order. States are compared
//! wherever two replicas have applied the same; at the end every acknowledged write is there.
//!
//! `RINGFORT_SEEDS=1000` runs the campaign, `RINGFORT_SEED=n` one seed again.

use std::time::Duration;

use bytes::Bytes;
use ringfort_env::Lane;
use ringfort_node::{GetAnswer, Replied, Response};
use ringfort_raft::{Change, Learner};
use ringfort_sim::{PowerLoss, Random};
use ringfort_types::request::{Condition, Consistency, Get, Identity, Operation, Write};
use ringfort_types::{GroupId, Key, NodeNumber, ReplicaId, ShardId};

use super::{SHARDS, Trio, replica};
use crate::support::{context, seeds, shard_of};

/// What happened.
#[derive(Debug, Default)]
struct Counts {
    acknowledged: u64,
    installed: u64,
    flushes: u64,
    power_losses: u64,
    replaced: u64,
}

/// Writes to some key at some node; most of them at whoever leads.
fn write(trio: &mut Trio, random: &mut Random) {
    let shard = SHARDS[random.index(SHARDS.len())];
    let running = trio.running();
    let Some(node) = trio.leader(shard).or_else(|| running.first().copied()) else { return };
    trio.writes += 1;
    let id = trio.writes;
    let name = |number: u64| Key::new(format!("key-{number}")).unwrap();
    let key = (id * 100..).map(name).find(|key| shard_of(key) == shard).unwrap();
    let value = Bytes::from(vec![id as u8; random.index(3000)]);
    let operation =
        Operation::Put { key: key.clone(), value, ttl: None, condition: Condition::Always };
    let now = trio.now;
    let write = Write { operation, identity: Identity::None };
    let enqueued = trio.node(node).worker().write(now, &context(now), &write, || id);
    if enqueued.is_ok() {
        trio.asked.insert(id, key);
    }
}

/// One step of the replacement of a shard's replica on some node, of which one is lost for good.
fn replace(trio: &mut Trio, random: &mut Random) {
    let shard = SHARDS[random.index(SHARDS.len())];
    let group = GroupId::of_shard(shard);
    let Some(leader) = trio.leader(shard) else { return };
    let configuration = trio.look(leader).look().configuration(group).unwrap().clone();
    let here = |id: &ReplicaId| id.node() == NodeNumber(leader);
    let old: Vec<_> = configuration.voters().iter().copied().filter(|id| !here(id)).collect();
    let change = match configuration.learners().first() {
        Some(learner) => Change::Promote(learner.id),
        None if random.one_in(3) => {
            let out = old[random.index(old.len())];
            let id = replica(configuration.highest().counter() + 1, out.node().0);
            Change::AddLearner(Learner { id, replaces: Some(out) })
        }
        None => return,
    };
    let _not_now = trio.node(leader).worker().propose_change(group, &[change]);
}

/// What the catalog would have nodes do, by what the leader's committed configuration says. A replica that is replaced in place has to
/// be quarantined; here its files are taken away under it.
fn instruct(trio: &mut Trio, random: &mut Random) {
    for shard in SHARDS {
        let group = GroupId::of_shard(shard);
        let Some(leader) = trio.leader(shard) else { continue };
        let committed = trio.look(leader).look().committed_configuration(group);
        let configuration = committed.unwrap().1.clone();
        let Some(learner) = configuration.learners().first().copied() else { continue };
        let node = learner.id.node().0;
        if !trio.running().contains(&node) {
            continue;
        }
        let held = trio.summary(node, shard).map(|summary| summary.replica);
        if held == Some(learner.id) {
            continue;
        }
        if trio.node(node).worker().create_replica(group, learner.id).is_err()
            && let Some(held) = held
            && held < learner.id
            && random.one_in(3)
        {
            // It says nothing any more from here on, as a damaged one would not.
            let _under_way = trio.node(node).worker().drop_replica(group, held);
        }
    }
}

fn lose_power(trio: &mut Trio, node: u16, random: &mut Random, counts: &mut Counts) {
    trio.collect(node);
    match random.one_in(3) {
        true => drop(trio.kill(node)),
        false => drop(trio.lose_power(node, PowerLoss::Any)),
    }
    counts.power_losses += 1;
    let disk = trio.disks[usize::from(node)].as_mut().unwrap();
    disk.stall(Lane::Log, false);
    disk.stall(Lane::Background, false);
}

fn step(trio: &mut Trio, random: &mut Random, counts: &mut Counts) {
    let node = random.below(3) as u16;
    let running = trio.running().contains(&node);
    match random.below(100) {
        0..40 if running => {
            trio.node(node).step().unwrap();
            trio.collect(node);
        }
        0..70 if !trio.network.is_empty() => {
            let place = random.index(trio.network.len()).min(random.index(trio.network.len()));
            trio.network.swap(0, place);
            match random.one_in(40) {
                true => drop(trio.network.pop_front()),
                false => drop(trio.deliver()),
            }
        }
        70..80 => trio.pass(Duration::from_millis(random.below(30))),
        80..88 => write(trio, random),
        88..91 if running => trio.node(node).want_flush(&SHARDS),
        91 if running && random.one_in(3) => {
            let lane = if random.one_in(2) { Lane::Log } else { Lane::Background };
            let stalled = random.one_in(2);
            trio.node(node).disk().stall(lane, stalled);
        }
        92 => match random.one_in(3) {
            true => trio.cut_off = [node].into(),
            false => trio.cut_off.clear(),
        },
        93 if running && random.one_in(4) => lose_power(trio, node, random, counts),
        94..96 if !running => trio.start(node),
        96..98 => replace(trio, random),
        98..100 => instruct(trio, random),
        _ => {}
    }
}

fn holds(trio: &mut Trio, node: u16, key: &Key) -> bool {
    let get = Get { key: key.clone(), consistency: Consistency::Linearizable };
    let now = trio.now;
    let id = u64::MAX;
    let answer: Response = match trio.node(node).worker().get(now, &context(now), &get, || id) {
        GetAnswer::Now(got) => got.map(Replied::Got),
        GetAnswer::Later => panic!("the leader has to wait"),
    };
    matches!(answer, Ok(Replied::Got(got)) if got.found.is_some())
}

fn run(seed: u64, counts: &mut Counts) {
    println!("RINGFORT_SEED={seed}");
    let mut random = Random::new(seed);
    let mut trio = Trio::new(1000 + seed);
    for _ in 0..10_000 {
        step(&mut trio, &mut random, counts);
    }
    trio.cut_off.clear();
    for node in 0..3 {
        if trio.nodes[usize::from(node)].is_none() {
            trio.start(node);
        }
        trio.node(node).disk().stall(Lane::Log, false);
        trio.node(node).disk().stall(Lane::Background, false);
    }
    for _ in 0..100 {
        // Whatever was begun is brought to its end.
        trio.run(Duration::from_millis(100));
        instruct(&mut trio, &mut random);
        for shard in SHARDS {
            let group = GroupId::of_shard(shard);
            let leader = trio.elect(shard);
            let learners = trio.look(leader).look().configuration(group).unwrap().learners();
            if let Some(id) = learners.first().map(|learner| learner.id) {
                let change = [Change::Promote(id)];
                let _not_yet = trio.node(leader).worker().propose_change(group, &change);
            }
        }
    }
    for shard in SHARDS {
        trio.check_equal(shard, &[0, 1, 2]);
        let leader = trio.elect(shard);
        let group = GroupId::of_shard(shard);
        let configuration = trio.look(leader).look().configuration(group).unwrap();
        counts.replaced += configuration.highest().counter() - 1;
        counts.acknowledged += acknowledged_are_there(&mut trio, shard, leader);
    }
    for node in 0..3 {
        let stats = trio.look(node).look().stats();
        counts.installed += stats.snapshots_installed;
        counts.flushes += stats.flushes;
    }
}

fn acknowledged_are_there(trio: &mut Trio, shard: ShardId, leader: u16) -> u64 {
    let mine = trio.answered.iter().filter(|key| shard_of(key) == shard);
    let mine: Vec<_> = mine.cloned().collect();
    for key in &mine {
        assert!(holds(trio, leader, key), "{key:?} was acknowledged");
    }
    mine.len() as u64
}

#[test]
fn three_nodes_in_any_order() {
    let mut counts = Counts::default();
    let seeds = seeds(15);
    for seed in seeds.clone() {
        run(seed, &mut counts);
    }
    println!("seeds {seeds:?}: {counts:?}");
    assert!(counts.acknowledged > 0);
    assert!(counts.installed > 0 && counts.replaced > 0 || seeds.end - seeds.start < 10);
}
