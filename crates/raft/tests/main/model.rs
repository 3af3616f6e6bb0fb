//! A bounded model check of the real core: every order in which a few things can happen.
//!
//! # Model
//!
//! The state is three real groups with their disks, state machines and the network between them. One step is a choice:
//!
//! ```text
//!   Timeout   a replica waits no longer for a leader        Propose   whoever leads takes a payload
//!   Deliver   any message on its way arrives                Change    whoever leads takes a change of membership
//!   Lose      any message, where too many are on their way  Sync      the oldest write of a disk is durable, and is reported
//!   Crash     of the process, or of power with any part of what is not synced kept; the replica starts anew
//! ```
//!
//! What a replica asks for after a step is done at once: writes go to its disk's cache, messages to the network, committed
//! entries to its state machine. After each step the checks of the simulator run, and the state machines and disks of all are
//! compared with all that was seen on the way.
//!
//! # Bounds
//!
//! Stated by [`Bounds`]. Where more messages are on their way than allowed, each choice of what is lost is followed.
//!
//! # Reductions
//!
//! - *Time* is abstract. Pre-vote, stickiness, check-quorum and leases are taken out: they only hold back, and safety may not
//!   rest on them. So all that they would hold back is followed as well, and no clock is left that matters.
//! - *Heartbeats* are lost, all of them: followers learn what is committed with the next append. Lost as well is what only
//!   makes somebody give up: refused votes, word of a newer term to an old leader, and what is of an older term than its
//!   receiver's, to which nothing but such an answer is given.
//! - *No message arrives twice.* A message that never arrives is one that is lost.
//! - *A crash and the start after it* are one step: whoever is down for longer is one that gets no messages.
//! - *A sync and its report* are one step: a crash in between is a loss of power that keeps that write. Once no crash is left,
//!   writes are durable at once: later, they would but delay what they hold back.
//! - *Symmetry*: replica 3 never times out where replicas are alike; replica 1 does, and 2.
//! - States are compared by digests of 64 bits, which leave out what the core calls left out (`group::digest`), and what the
//!   checks remember besides leaders and committed entries.
//!
//! Left out on purpose: a crash in the midst of a change, whose states did not end within minutes (`changes` has it,
//! at random), and snapshots, reads, transfers and sleep, which have scripts and the random simulator.
//!
//! All of it, with the number of states: `RINGFORT_CAMPAIGN=full cargo test --release -p ringfort-raft --test main model --
//! --nocapture`.

use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use ringfort_raft::{Body, Change, Group, Guard, Guards, Learner, Message, Reads, Role, Settings};
use ringfort_sim::group::{Cluster, ClusterOptions, Crash, GroupDisk, Violation};
use ringfort_types::{ReplicaId, Term};
use stateright::{Checker, HasDiscoveries, Model, Property};

use crate::campaign;

/// How far the choices go.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// The last term.
    terms: u64,
    /// The last index of any log.
    entries: u64,
    messages: usize,
    crashes: u8,
    proposals: u8,
    changes: u8,
    /// Steps, in a short run.
    depth: Option<usize>,
}

#[derive(Clone, Debug)]
struct World {
    cluster: Cluster,
    crashes: u8,
    crashes_max: u8,
    proposals: u8,
    changes: u8,
    /// What to propose as a change, one or the other.
    offered: Vec<Vec<Change>>,
    violation: Option<Violation>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Timeout(ReplicaId),
    Deliver(usize),
    Lose(usize),
    Sync(ReplicaId),
    Crash(ReplicaId, Crash),
    Propose(ReplicaId),
    Change(ReplicaId, usize),
}

impl World {
    fn new(cluster: Cluster, crashes_max: u8, offered: &[&[Change]]) -> Self {
        let offered = offered.iter().map(|changes| changes.to_vec()).collect();
        Self {
            cluster,
            crashes: 0,
            crashes_max,
            proposals: 0,
            changes: 0,
            offered,
            violation: None,
        }
    }

    fn groups(&self) -> impl Iterator<Item = &Group> {
        self.cluster.nodes.values().filter_map(|node| node.group.as_ref())
    }

    /// Does what one replica asks for.
    fn settle(&mut self, id: ReplicaId) -> Result<(), Violation> {
        while !self.cluster.poll(id)?.is_empty() {
            while self.cluster.apply(id) {}
            while self.crashes == self.crashes_max && self.cluster.sync(id) {
                self.cluster.report(id);
            }
        }
        self.lose_what_says_nothing();
        let snapshots = self.cluster.nodes[&id].snapshots.len();
        assert_eq!(snapshots, 0, "the model has no snapshots");
        self.cluster.check(id)
    }

    /// See the reductions: what only makes somebody give up is lost at once, for the room it takes.
    fn lose_what_says_nothing(&mut self) {
        let nodes = &self.cluster.nodes;
        self.cluster.network.retain(|flight| {
            let Message { to, term, ref body, .. } = flight.message;
            let receiver = nodes[&to].group.as_ref().map(|group| group.leader().term);
            let refuses = matches!(body, Body::VoteAnswer { granted: false } | Body::OldTerm);
            let heartbeat = matches!(body, Body::Heartbeat { .. });
            receiver.is_some_and(|current| term >= current) && !refuses && !heartbeat
        });
    }

    fn take(&mut self, step: Step) -> Result<(), Violation> {
        let id = match step {
            Step::Lose(place) => {
                self.cluster.network.remove(place);
                return Ok(());
            }
            Step::Deliver(place) => self.cluster.deliver(place).unwrap().to,
            Step::Timeout(id) => {
                self.cluster.with(id, |node, _| time_out(node.group.as_mut().unwrap()));
                id
            }
            Step::Sync(id) => {
                assert!(self.cluster.sync(id) && self.cluster.report(id));
                id
            }
            Step::Crash(id, crash) => {
                self.crashes += 1;
                self.cluster.crash(id, crash);
                self.cluster.restart(id);
                id
            }
            Step::Propose(id) => {
                self.proposals += 1;
                let _ = self.cluster.propose(id, Bytes::from_static(b"x"));
                id
            }
            Step::Change(id, which) => {
                self.changes += 1;
                let _ = self.cluster.change(id, &self.offered[which]);
                id
            }
        };
        self.settle(id)
    }
}

fn time_out(group: &mut Group) {
    if let Some(due) = group.deadline() {
        group.handle_tick(due);
    }
}

/// Two states with the same digest are taken for the same.
impl Hash for World {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        for node in self.cluster.nodes.values() {
            if let Some(group) = &node.group {
                group.digest(hasher);
            }
            let disk = &node.disk;
            (disk.hard_state, disk.machine.hash, &disk.configuration, &disk.entries).hash(hasher);
            for write in &disk.written {
                // Its name says only that it follows the one before.
                (write.hard_state, &write.entries).hash(hasher);
            }
            (disk.written.len(), node.machine.hash).hash(hasher);
        }
        let digest = |message| {
            let mut hasher = DefaultHasher::new();
            Hash::hash(message, &mut hasher);
            hasher.finish()
        };
        let mut messages: Vec<_> =
            self.cluster.network.iter().map(|flight| digest(&flight.message)).collect();
        messages.sort_unstable();
        messages.hash(hasher);
        self.cluster.checks.leaders().hash(hasher);
        self.cluster.checks.committed_positions().hash(hasher);
        (self.crashes, self.proposals, self.changes).hash(hasher);
        self.violation.as_ref().map(|violation| violation.name).hash(hasher);
    }
}

impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        let digest = |world: &Self| {
            let mut hasher = DefaultHasher::new();
            world.hash(&mut hasher);
            hasher.finish()
        };
        digest(self) == digest(other)
    }
}

#[derive(Clone, Debug)]
struct Small {
    bounds: Bounds,
    begin: Vec<World>,
    may_time_out: Vec<ReplicaId>,
}

impl Small {
    fn steps_of(&self, world: &World, id: ReplicaId, steps: &mut Vec<Step>) {
        let Some(node) = world.cluster.nodes.get(&id) else { return };
        let Some(group) = &node.group else { return };
        let leads = group.role() == Role::Leader;
        if !leads && self.may_time_out.contains(&id) && group.leader().term.0 < self.bounds.terms {
            steps.push(Step::Timeout(id));
        }
        if leads && world.proposals < self.bounds.proposals {
            steps.push(Step::Propose(id));
        }
        if leads && world.changes < self.bounds.changes {
            steps.extend((0..world.offered.len()).map(|which| Step::Change(id, which)));
        }
        if !node.disk.written.is_empty() {
            steps.push(Step::Sync(id));
        }
        if world.crashes < self.bounds.crashes {
            steps.push(Step::Crash(id, Crash::Process));
            for (whole, write) in node.disk.written.iter().enumerate() {
                for torn_entries in 0..=write.entries.len() {
                    steps.push(Step::Crash(id, Crash::Power { whole, torn_entries }));
                }
            }
        }
    }
}

impl Model for Small {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        self.begin.clone()
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        if world.violation.is_some() {
            return;
        }
        let messages = 0..world.cluster.network.len();
        if messages.len() > self.bounds.messages {
            return steps.extend(messages.map(Step::Lose));
        }
        steps.extend(messages.map(Step::Deliver));
        for id in world.cluster.ids() {
            self.steps_of(world, id, steps);
        }
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        let mut next = world.clone();
        next.violation = next.take(step).err();
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        fn is(world: &World, names: &[&str]) -> bool {
            world.violation.as_ref().is_some_and(|violation| names.contains(&violation.name))
        }
        vec![
            Property::always("election safety", |_, world| !is(world, &["election_safety"])),
            Property::always("leader completeness", |_, world| {
                !is(world, &["leader_completeness"])
            }),
            Property::always("state machine safety", |_, world| {
                !is(world, &["state_machine_safety", "committed_once", "log_matching"])
            }),
            Property::always("committed on a quorum's disks", |_, world| {
                !is(world, &["committed_on_a_quorum_of_disks"])
            }),
            Property::always("all else", |_, world: &World| world.violation.is_none()),
            Property::sometimes("the last term commits", |model: &Self, world: &World| {
                let last = world.cluster.checks.committed_positions().last();
                last.is_some_and(|(_, by)| *by == Term(model.bounds.terms))
            }),
        ]
    }

    fn within_boundary(&self, world: &World) -> bool {
        world.groups().all(|group| {
            group.leader().term.0 <= self.bounds.terms
                && group.last().index.0 <= self.bounds.entries
        })
    }
}

/// Three replicas, these of them voters, without what only holds back.
fn cluster(voters: &[u64], guards: Guards) -> Cluster {
    let held_back = [Guard::PreVote, Guard::VoteStickiness, Guard::CheckQuorum];
    let guards = held_back.into_iter().fold(guards, Guards::and_without);
    let settings = Settings {
        reads: Reads::Index,
        lease: std::time::Duration::ZERO,
        lease_max: std::time::Duration::ZERO,
        stall_timeout: std::time::Duration::ZERO,
        ..Settings::default()
    };
    let voters = voters.iter().copied().map(ReplicaId).collect();
    Cluster::new(ClusterOptions { voters, settings, guards, seed: 1 })
}

/// Replica 1 leads term 1, and everybody has everything.
fn led_by_1(voters: &[u64], guards: Guards) -> Cluster {
    let mut cluster = cluster(voters, guards);
    if voters.len() > 1 {
        cluster.with(ReplicaId(1), |node, _| time_out(node.group.as_mut().unwrap()));
    }
    cluster.stabilize().unwrap();
    assert_eq!(cluster.leader(), Some(ReplicaId(1)));
    cluster
}

/// The same, and replica 3 is a learner that has caught up.
fn with_learner(voters: &[u64], replaces: Option<u64>, guards: Guards) -> Cluster {
    let mut cluster = led_by_1(voters, guards);
    let learner = Learner { id: ReplicaId(3), replaces: replaces.map(ReplicaId) };
    cluster.add(learner.id, GroupDisk::default());
    cluster.change(ReplicaId(1), &[Change::AddLearner(learner)]).unwrap().unwrap();
    cluster.stabilize().unwrap();
    let caught_up = cluster.nodes[&learner.id].group.as_ref().unwrap();
    assert!(caught_up.configuration().contains(learner.id));
    cluster
}

fn crashes(guards: Guards) -> Small {
    let bounds = Bounds {
        terms: 2,
        entries: 2,
        messages: 3,
        crashes: 1,
        proposals: 1,
        changes: 0,
        depth: campaign::size(Some(11), None),
    };
    let begin = vec![World::new(cluster(&[1, 2, 3], guards), bounds.crashes, &[])];
    Small { bounds, begin, may_time_out: vec![ReplicaId(1), ReplicaId(2)] }
}

fn changes(guards: Guards) -> Small {
    let bounds = Bounds {
        terms: 2,
        entries: 6,
        messages: 3,
        crashes: 0,
        proposals: 0,
        changes: 1,
        depth: campaign::size(Some(11), None),
    };
    let remove = |id| Change::Remove(ReplicaId(id));
    let promote = Change::Promote(ReplicaId(3));
    let begin = vec![
        World::new(
            led_by_1(&[1, 2, 3], guards),
            bounds.crashes,
            &[&[remove(1)], &[remove(2)], &[remove(2), remove(3)], &[remove(1), remove(3)]],
        ),
        World::new(
            with_learner(&[1, 2], None, guards),
            bounds.crashes,
            &[&[promote], &[promote, remove(1)]],
        ),
        World::new(with_learner(&[1, 2], Some(2), guards), bounds.crashes, &[&[promote]]),
        World::new(with_learner(&[1], Some(1), guards), bounds.crashes, &[&[promote]]),
    ];
    Small { bounds, begin, may_time_out: vec![ReplicaId(1), ReplicaId(2), ReplicaId(3)] }
}

/// Explores; prints how much; gives the names of what does not hold.
fn explore(name: &str, model: Small, stop: HasDiscoveries) -> Vec<&'static str> {
    let bounds = model.bounds;
    let mut builder = model.checker().threads(2).finish_when(stop);
    if let Some(depth) = bounds.depth {
        builder = builder.target_max_depth(depth);
    }
    let checker = builder.spawn_bfs().join();
    println!(
        "{name}: {} states, {} of them different, {} steps deep at most; {bounds:?}",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth()
    );
    let mut broken: Vec<_> = Vec::new();
    for (property, path) in checker.discoveries() {
        if property != "the last term commits" {
            println!("{property} is broken: {:?}", path.last_state().violation);
            for step in path.into_actions() {
                println!("  {step:?}");
            }
            broken.push(property);
        } else {
            println!("{property}");
        }
    }
    broken.sort_unstable();
    broken
}

#[test]
fn model_of_crashes() {
    let broken = explore("crashes", crashes(Guards::default()), HasDiscoveries::AnyFailures);
    assert_eq!(broken, [] as [&str; 0]);
}

#[test]
fn model_of_changes() {
    let broken = explore("changes", changes(Guards::default()), HasDiscoveries::AnyFailures);
    assert_eq!(broken, [] as [&str; 0]);
}

/// The short run is deep enough for each of these.
#[test]
fn model_finds_what_guards_prevent() {
    type Begin = fn(Guards) -> Small;
    let mutants: [(Guard, Begin, &str); 6] = [
        (Guard::OneVotePerTerm, crashes, "all else"),
        (Guard::VoteDurable, crashes, "election safety"),
        (Guard::AckDurable, crashes, "committed on a quorum's disks"),
        (Guard::CommitByQuorum, crashes, "committed on a quorum's disks"),
        (Guard::BothHalves, changes, "leader completeness"),
        (Guard::RemovedLeaderNotCounted, changes, "committed on a quorum's disks"),
    ];
    for (guard, begin, property) in mutants {
        let name = format!("without {guard:?}");
        let found = explore(&name, begin(Guards::without(guard)), HasDiscoveries::AnyFailures);
        assert!(found.contains(&property), "without {guard:?} the model finds {found:?}");
    }
}
