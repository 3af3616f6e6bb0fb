//! Random runs. `RINGFORT_SEEDS=5000` runs more, `RINGFORT_SEED=n` one seed again.

use std::time::Duration;

use ringfort_raft::{Change, Configuration, Learner, Reads, Settings};
use ringfort_types::ReplicaId;

use super::{Cluster, End, id};

/// What happened in the runs of one size.
#[derive(Debug, Default)]
struct Counts {
    answered: usize,
    lost: usize,
    refused: usize,
    installed: u64,
    crashes: u64,
    replaced: u64,
}

fn seeds() -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    match number("RINGFORT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("RINGFORT_SEEDS").unwrap_or(40),
    }
}

/// One step of the replacement of a member: whatever fits now.
fn replace(cluster: &mut Cluster, counts: &mut Counts) {
    let Some(leader) = cluster.leader() else { return };
    let configuration = cluster.replica(leader).configuration().clone();
    let change = match configuration.learners().first() {
        Some(learner) => Change::Promote(learner.id),
        None => {
            let others: Vec<_> =
                configuration.voters().iter().filter(|id| **id != leader).collect();
            if others.is_empty() {
                return;
            }
            let out = *others[cluster.random.index(others.len())];
            let next = id(configuration.highest().counter() + 1, out.node().0);
            Change::AddLearner(Learner { id: next, replaces: Some(out) })
        }
    };
    let now = cluster.now;
    let replica = cluster.node(leader).replica.as_mut().unwrap();
    if replica.propose_change(now, &[change]).is_err() {
        return;
    }
    match change {
        // The host makes it once it is told; a replica that nobody names in the end has nobody to talk to.
        Change::AddLearner(learner) if !cluster.nodes.contains_key(&learner.id) => {
            cluster.add(learner.id, Configuration::default());
        }
        Change::Promote(_) => counts.replaced += 1,
        _ => {}
    }
}

fn step(cluster: &mut Cluster, counts: &mut Counts) {
    let ids = cluster.ids();
    let some: ReplicaId = ids[cluster.random.index(ids.len())];
    let running = cluster.nodes[&some].replica.is_some();
    match cluster.random.below(200) {
        0..80 if !cluster.network.is_empty() => deliver(cluster),
        0..120 => cluster.turn(some),
        120..165 if running => drop(cluster.node(some).sync()),
        165..175 => {
            let time = cluster.random.below(30);
            cluster.pass(Duration::from_millis(time));
        }
        175..186 => {
            // Mostly whoever leads, and now and then one that believes so still.
            let leads = |id: &ReplicaId| {
                cluster.nodes[id].replica.as_ref().is_some_and(ringfort_replica::Replica::leads)
            };
            let newest = if cluster.random.one_in(4) { None } else { cluster.leader() };
            if let Some(at) = newest.or_else(|| ids.iter().copied().find(leads)) {
                cluster.write(at);
            }
        }
        186..191 if running => drop(cluster.read(some)),
        191..194 => cluster.node(some).flush(),
        194 if cluster.random.one_in(8) => {
            let stalled = &mut cluster.node(some).stalled;
            *stalled = !*stalled;
        }
        195 if cluster.random.one_in(4) && !cluster.cut_off.remove(&some) => {
            cluster.cut_off = [some].into();
        }
        196 if running && cluster.random.one_in(8) => {
            cluster.crash(some);
            counts.crashes += 1;
        }
        197 if !running => cluster.start(some),
        198 => cluster.cut_off.clear(),
        199 => replace(cluster, counts),
        _ => {}
    }
}

/// One message, or its loss, or it and the same once more.
fn deliver(cluster: &mut Cluster) {
    // Old ones come sooner than new ones, but not always.
    let places = cluster.network.len();
    let place = cluster.random.index(places).min(cluster.random.index(places));
    if cluster.random.one_in(50) {
        cluster.network.swap_remove(place);
        return;
    }
    if cluster.random.one_in(50) {
        let again = cluster.network[place].clone();
        cluster.network.push(again);
    }
    cluster.deliver(place);
}

fn run(voters: u16, seed: u64, counts: &mut Counts) {
    let reads = if seed.is_multiple_of(2) { Reads::Lease } else { Reads::Index };
    // Next to nothing is kept for those that lag: they get snapshots, of many chunks.
    let trailing_bytes = if seed.is_multiple_of(3) { 4096 } else { 0 };
    let settings = Settings {
        reads,
        trailing_bytes,
        snapshot_chunk_bytes: 128,
        append_entries_max: 4,
        ..Settings::default()
    };
    let mut cluster = Cluster::new(voters, settings, seed);
    for _ in 0..2000 * (u64::from(voters) + 1) {
        step(&mut cluster, counts);
    }
    cluster.check_end();
    for end in cluster.ends.values() {
        match end {
            End::Answered => counts.answered += 1,
            End::Lost => counts.lost += 1,
            End::Refused => counts.refused += 1,
        }
    }
    counts.installed += cluster.nodes.values().map(|node| node.installed).sum::<u64>();
}

fn campaign(voters: u16) -> Counts {
    let mut counts = Counts::default();
    for seed in seeds() {
        run(voters, seed, &mut counts);
    }
    println!("{voters} voters, seeds {:?}: {counts:?}", seeds());
    counts
}

#[test]
fn one_voter_in_any_order() {
    let counts = campaign(1);
    assert!(counts.answered > 0);
}

#[test]
fn three_voters_in_any_order() {
    let counts = campaign(3);
    assert!(counts.answered > 0 && counts.installed > 0 || seeds().end - seeds().start < 10);
}

#[test]
fn five_voters_in_any_order() {
    let counts = campaign(5);
    assert!(counts.answered > 0 && counts.installed > 0 || seeds().end - seeds().start < 10);
}
