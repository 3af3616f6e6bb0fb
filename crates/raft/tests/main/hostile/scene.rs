//! Replicas in every state that a message can meet, and a host for one of them that lets lies in.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use ringfort_raft::{
    Body, Change, Learner, Lost, Message, Position, ReadId, Role, Settings, SnapshotId,
    SnapshotMeta,
};
use ringfort_sim::Random;
use ringfort_sim::group::{Cluster, ClusterOptions, Crash, GroupDisk, Machine, Node};
use ringfort_types::{Index, Monotonic, ReplicaId, Term};

use crate::support::{elect, pass};

/// What the replica is when the lies begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scene {
    Follower,
    PreCandidate,
    Candidate,
    Leader,
    Alone,
    Blank,
    JointLeader,
    JointFollower,
    AsleepLeader,
    AsleepFollower,
    Installing,
    Transferring,
    LostEntries,
    Silent,
}

impl Scene {
    pub(crate) const ALL: [Self; 14] = [
        Self::Follower,
        Self::PreCandidate,
        Self::Candidate,
        Self::Leader,
        Self::Alone,
        Self::Blank,
        Self::JointLeader,
        Self::JointFollower,
        Self::AsleepLeader,
        Self::AsleepFollower,
        Self::Installing,
        Self::Transferring,
        Self::LostEntries,
        Self::Silent,
    ];
}

/// One replica with its host, and nobody else: what it says is only looked at.
#[derive(Debug)]
pub(crate) struct Victim {
    pub(crate) node: Node,
    pub(crate) now: Monotonic,
    /// The last time each snapshot effect and each write had to wait, with this chance in percent.
    pub(crate) lazy: u64,
    /// Committed entries as they were first seen.
    committed: BTreeMap<Index, Term>,
    commit: Index,
}

impl Victim {
    /// A replica as the scene says, with everything done that it has asked for, as far as the scene allows.
    pub(crate) fn new(scene: Scene) -> Self {
        let (node, now) = set(scene);
        let mut victim = Self { node, now, lazy: 0, committed: BTreeMap::new(), commit: Index(0) };
        victim.check();
        victim
    }

    pub(crate) fn group(&self) -> &ringfort_raft::Group {
        self.node.group.as_ref().unwrap()
    }

    pub(crate) fn group_mut(&mut self) -> &mut ringfort_raft::Group {
        self.node.group.as_mut().unwrap()
    }

    pub(crate) fn receive(&mut self, message: Message) {
        let now = self.now;
        self.group_mut().handle_message(now, message);
    }

    /// Does what the replica asks for; what takes time may wait. Gives what it says.
    pub(crate) fn host(&mut self, random: &mut Random) -> Vec<Message> {
        let mut said = Vec::new();
        loop {
            let effects = self.group_mut().poll_effects();
            let mut busy = !effects.is_empty();
            self.node.disk.written.extend(effects.persist);
            self.node.snapshots.extend(effects.snapshots);
            self.node.to_apply.extend(effects.apply);
            said.extend(effects.messages);
            while !self.waits(random) && self.node.disk.sync_one() {
                busy = true;
            }
            while !self.waits(random)
                && let Some(id) = self.node.disk.unreported.pop_front()
            {
                self.group_mut().handle_persisted(id);
                busy = true;
            }
            while !self.waits(random) && self.node.apply_one() {
                busy = true;
            }
            busy |= !self.waits(random) && self.node.snapshot_one(self.now);
            if !busy {
                self.check();
                return said;
            }
        }
    }

    /// Asks the replica for something that a host may ask for at any time; it may refuse.
    pub(crate) fn ask(&mut self, random: &mut Random) {
        let (now, term) = (self.now, self.group().leader().term);
        let (any, next) = (ReplicaId(random.between(1, 9)), self.group().configuration().highest());
        let learner = Learner { id: ReplicaId(next.0.saturating_add(1)), replaces: Some(any) };
        let lease = Duration::from_millis(random.below(1500));
        let group = self.group_mut();
        match random.below(10) {
            0 => _ = group.propose_change(now, &[Change::AddLearner(learner)]),
            1 => _ = group.propose_change(now, &[Change::Promote(any)]),
            2 => _ = group.propose_change(now, &[Change::Remove(any)]),
            3 => _ = group.transfer(now, any),
            4 | 5 => _ = group.read(now, ReadId(random.below(99))),
            6 => _ = group.handle_pair_heartbeat(now, any, term, lease),
            7 => group.handle_pair_ack(now, any, term, now),
            8 => group.handle_wake(now, now + lease),
            _ => group.handle_unreachable(any),
        }
    }

    /// The process ends and starts from what it wrote. What only its memory held is gone.
    pub(crate) fn restart(&mut self) {
        self.node.crash(Crash::Process);
        self.node.start(self.now);
        (self.commit, self.committed) = (Index(0), BTreeMap::new());
    }

    fn waits(&self, random: &mut Random) -> bool {
        random.below(100) < self.lazy
    }

    /// What holds whatever anybody says.
    fn check(&mut self) {
        let (before, group) = (self.commit, self.node.group.as_ref().unwrap());
        let commit = group.commit();
        assert!(commit >= before, "commit fell from {before} to {commit}");
        assert!(commit <= group.last().index, "commit {commit} is beyond the log");
        assert!(group.applied() <= commit, "applied is beyond commit {commit}");
        for entry in group.entries_from(before.next()) {
            if entry.index <= commit {
                self.committed.insert(entry.index, entry.term);
            }
        }
        for (index, term) in &self.committed {
            let stands = group.term_at(*index).is_none_or(|now| now == *term);
            assert!(stands, "the committed entry {index} of term {term} was replaced");
        }
        self.commit = commit;
    }
}

fn settings() -> Settings {
    Settings {
        sleep_after: Duration::from_secs(2),
        trailing_bytes: 4000,
        snapshot_chunk_bytes: 40,
        ..Settings::default()
    }
}

fn cluster(voters: u64) -> (Cluster, ReplicaId) {
    let mut cluster = Cluster::new(ClusterOptions {
        voters: (1..=voters).map(ReplicaId).collect(),
        settings: settings(),
        guards: ringfort_raft::Guards::default(),
        seed: 5,
    });
    let leader = elect(&mut cluster);
    for text in ["a", "b", "c", "d"] {
        cluster.propose(leader, Bytes::copy_from_slice(text.as_bytes())).unwrap().unwrap();
        cluster.stabilize().unwrap();
    }
    pass(&mut cluster, Duration::from_millis(100));
    (cluster, leader)
}

fn set(scene: Scene) -> (Node, Monotonic) {
    let (mut cluster, leader) = cluster(if scene == Scene::Alone { 1 } else { 3 });
    let follower = cluster.ids().into_iter().find(|id| *id != leader).unwrap_or(leader);
    let place = match scene {
        Scene::Leader | Scene::Alone => leader,
        Scene::Blank => {
            cluster.add(ReplicaId(9), GroupDisk::default());
            ReplicaId(9)
        }
        Scene::Follower => follower,
        Scene::PreCandidate | Scene::Candidate => {
            ask_for_votes(&mut cluster, follower, scene == Scene::Candidate);
            follower
        }
        Scene::JointLeader | Scene::JointFollower => {
            let learner = Learner { id: ReplicaId(4), replaces: Some(follower) };
            cluster.change(leader, &[Change::AddLearner(learner)]).unwrap().unwrap();
            cluster.settle(leader).unwrap();
            let to = |message: &Message| message.to == follower;
            let place = cluster.network.iter().position(|flight| to(&flight.message)).unwrap();
            cluster.deliver(place);
            cluster.settle(follower).unwrap();
            if scene == Scene::JointLeader { leader } else { follower }
        }
        Scene::AsleepLeader | Scene::AsleepFollower => {
            (0..30).for_each(|_| pass(&mut cluster, Duration::from_millis(100)));
            if scene == Scene::AsleepLeader { leader } else { follower }
        }
        Scene::Installing => {
            send_snapshot(&mut cluster, leader, follower);
            follower
        }
        Scene::Transferring => {
            let now = cluster.now;
            cluster.propose(leader, Bytes::from_static(b"e")).unwrap().unwrap();
            cluster.with(leader, |node, _| node.group.as_mut().unwrap().transfer(now, follower));
            cluster.settle(leader).unwrap();
            leader
        }
        Scene::LostEntries | Scene::Silent => {
            let lost =
                if scene == Scene::Silent { Lost::HardState } else { Lost::Entries(Index(9)) };
            cluster.crash(follower, Crash::Process);
            cluster.with(follower, |node, _| node.disk.lost = lost);
            cluster.restart(follower);
            follower
        }
    };
    let now = cluster.now;
    let node = cluster.nodes.remove(&place).unwrap();
    check_scene(scene, &node);
    (node, now)
}

fn ask_for_votes(cluster: &mut Cluster, place: ReplicaId, for_real: bool) {
    cluster.advance(Duration::from_secs(4));
    cluster.tick(place);
    cluster.poll(place).unwrap();
    if for_real {
        let (from, now) = (cluster.ids().into_iter().find(|id| *id != place).unwrap(), cluster.now);
        let group = cluster.nodes.get_mut(&place).unwrap().group.as_mut().unwrap();
        let term = Term(group.leader().term.0 + 1);
        let body = Body::PreVoteAnswer { granted: true };
        group.handle_message(now, Message { from, to: place, term, body });
        cluster.settle(place).unwrap();
    }
}

/// The whole of a snapshot from the leader, which the follower is about to install.
fn send_snapshot(cluster: &mut Cluster, leader: ReplicaId, follower: ReplicaId) {
    let now = cluster.now;
    let node = cluster.nodes.get_mut(&follower).unwrap();
    let group = node.group.as_mut().unwrap();
    let term = group.leader().term;
    let machine = Machine { applied: Position { term, index: Index(100) }, hash: 7 };
    let snapshot = SnapshotMeta {
        id: SnapshotId(77),
        position: machine.applied,
        configuration: group.configuration().clone(),
    };
    let body = Body::Snapshot {
        snapshot,
        offset: 0,
        data: machine.encode(),
        last: true,
        to_learner: false,
    };
    group.handle_message(now, Message { from: leader, to: follower, term, body });
    node.snapshots.extend(group.poll_effects().snapshots);
    assert!(node.snapshot_one(now), "a chunk is staged");
}

/// The scene is what it says.
fn check_scene(scene: Scene, node: &Node) {
    let group = node.group.as_ref().unwrap();
    let (role, joint) = (group.role(), group.configuration().is_joint());
    let right = match scene {
        Scene::Follower | Scene::Installing => role == Role::Follower && !group.is_asleep(),
        Scene::PreCandidate => role == Role::PreCandidate,
        Scene::Candidate => role == Role::Candidate,
        Scene::Leader | Scene::Transferring => role == Role::Leader,
        Scene::Alone => role == Role::Leader && group.status().peers.is_empty(),
        Scene::Blank => group.configuration().is_blank(),
        Scene::JointLeader => role == Role::Leader && joint,
        Scene::JointFollower => role == Role::Follower && joint,
        Scene::AsleepLeader => role == Role::Leader && group.is_asleep(),
        Scene::AsleepFollower => role == Role::Follower && group.is_asleep(),
        Scene::LostEntries => group.has_lost() && group.deadline().is_some(),
        Scene::Silent => group.has_lost() && group.deadline().is_none(),
    };
    assert!(right, "{scene:?} is not set: {:?}", group.status());
}
