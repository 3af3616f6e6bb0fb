//! Several nodes, each with its log and worker on a simulated disk, and the frames between them.

mod batches;
mod company;
mod hand_over;
mod install;
mod lifecycle;
mod listings;
mod maps;
mod quarantine;
mod random;
mod room;
mod traces;
mod unleased;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ringfort_node::control::Founded;
use ringfort_node::host::Settings;
use ringfort_node::{Founding, FoundingGroup, Response, ShardSummary};
use ringfort_proto::peer::{Frame, consensus::Body};
use ringfort_raft::{Configuration, Reads};
use ringfort_sim::{PowerLoss, SimDisk, SimNode, SimNodeOptions};
use ringfort_types::request::{Condition, Identity, Operation, Write};
use ringfort_types::{GroupId, Index, Key, Levels, Monotonic, NodeNumber, ReplicaId, ShardId};

use crate::levels::{NEW, OLD};
use crate::support::{context, options, shard_of};

/// Shards of a trio: a key lives in one of four, of which these have groups of three.
const SHARDS: [ShardId; 2] = [ShardId(0), ShardId(1)];

/// Changes a frame on its way; drops it where it says so.
type Tamper = Box<dyn FnMut(NodeNumber, NodeNumber, &mut Frame) -> bool>;

struct Trio {
    reads: Reads,
    nodes: Vec<Option<SimNode>>,
    disks: Vec<Option<SimDisk>>,
    network: VecDeque<(NodeNumber, NodeNumber, Frame)>,
    now: Monotonic,
    /// Nodes that neither hear nor are heard.
    cut_off: BTreeSet<u16>,
    tamper: Option<Tamper>,
    /// State of each group at each index, whoever had it first.
    states: BTreeMap<(GroupId, u64), u128>,
    /// What a replica had applied when its state was looked at.
    seen: BTreeMap<(u16, GroupId), Option<Index>>,
    writes: u64,
    /// Writes that are not answered yet.
    asked: BTreeMap<u64, Key>,
    /// Keys whose writes were acknowledged.
    answered: Vec<Key>,
    answers: BTreeMap<u64, Response>,
}

fn replica(counter: u64, node: u16) -> ReplicaId {
    ReplicaId::new(counter, NodeNumber(node))
}

fn founding_of(node: u16, nodes: u16) -> Founding {
    let voters: Vec<_> = (0..nodes).map(|node| replica(1, node)).collect();
    let configuration = Configuration::founding(voters);
    let group = |shard| {
        let replica = replica(1, node);
        let founding = FoundingGroup { replica, configuration: configuration.clone() };
        (GroupId::of_shard(shard), founding)
    };
    SHARDS.into_iter().map(group).collect()
}

/// Short logs in memory: whoever lags gets a snapshot, in several chunks.
fn node_options(node: u16, founded: Founded) -> SimNodeOptions {
    let raft = Settings { trailing_bytes: 0, snapshot_chunk_bytes: 4096, ..Settings::default() };
    SimNodeOptions {
        node: NodeNumber(node),
        founding: Arc::new(founding_of(node, 3)),
        raft,
        levels: Levels { active: OLD, known: NEW },
        ..options(founded)
    }
}

impl Trio {
    fn new(seed: u64) -> Self {
        Self::reading(seed, Reads::Lease)
    }

    /// One whose nodes read by lease, or by rounds.
    fn reading(seed: u64, reads: Reads) -> Self {
        let mut trio = Self {
            reads,
            nodes: Vec::new(),
            disks: Vec::new(),
            network: VecDeque::new(),
            now: Monotonic(1_000_000_000),
            cut_off: BTreeSet::new(),
            tamper: None,
            states: BTreeMap::new(),
            seen: BTreeMap::new(),
            writes: 0,
            asked: BTreeMap::new(),
            answered: Vec::new(),
            answers: BTreeMap::new(),
        };
        for node in 0..3 {
            let disk = SimDisk::new(seed * 16 + u64::from(node));
            let mut options = node_options(node, Founded::Nothing);
            options.raft.reads = reads;
            let mut started = SimNode::start(disk, options, trio.now).unwrap();
            started.settle().unwrap();
            assert!(started.founded());
            trio.nodes.push(Some(started));
            trio.disks.push(None);
        }
        trio
    }

    fn node(&mut self, node: u16) -> &mut SimNode {
        self.nodes[usize::from(node)].as_mut().unwrap()
    }

    fn look(&self, node: u16) -> &SimNode {
        self.nodes[usize::from(node)].as_ref().unwrap()
    }

    fn running(&self) -> Vec<u16> {
        (0..3).filter(|node| self.nodes[usize::from(*node)].is_some()).collect()
    }

    fn summary(&self, node: u16, shard: ShardId) -> Option<ShardSummary> {
        self.look(node).look().shards().into_iter().find(|summary| summary.shard == shard)
    }

    /// Ends a node as a process; its disk stays.
    fn kill(&mut self, node: u16) -> &mut SimDisk {
        let mut disk = self.nodes[usize::from(node)].take().unwrap().into_disk();
        disk.process_crash();
        self.disks[usize::from(node)].insert(disk)
    }

    /// The power of a node fails.
    fn lose_power(&mut self, node: u16, pattern: PowerLoss) -> &mut SimDisk {
        let mut disk = self.nodes[usize::from(node)].take().unwrap().into_disk();
        disk.power_loss(pattern);
        self.disks[usize::from(node)].insert(disk)
    }

    fn start(&mut self, node: u16) {
        let disk = self.disks[usize::from(node)].take().unwrap();
        let mut options = node_options(node, Founded::Everything);
        options.raft.reads = self.reads;
        self.seen.retain(|(seen, _), _| *seen != node);
        let mut started = SimNode::start(disk, options, self.now).unwrap();
        started.pass(Duration::ZERO).unwrap();
        self.nodes[usize::from(node)] = Some(started);
    }

    /// Takes what a node has for others, and what it has acknowledged; notes its states.
    fn collect(&mut self, node: u16) {
        let from = NodeNumber(node);
        let started = self.nodes[usize::from(node)].as_mut().unwrap();
        while let Some((to, _, frame)) = started.worker().poll_frame() {
            self.network.push_back((from, to, frame));
        }
        for (id, response) in std::mem::take(&mut started.answers) {
            if let Some(key) = self.asked.remove(&id)
                && response.is_ok()
            {
                self.answered.push(key);
            }
            self.answers.insert(id, response);
        }
        for shard in SHARDS {
            let group = GroupId::of_shard(shard);
            let summary = started.look().shards().into_iter().find(|known| known.shard == shard);
            let applied = summary.and_then(|summary| Some(summary.status?.raft.applied));
            if self.seen.insert((node, group), applied) == Some(applied) {
                continue;
            }
            if let Some((applied, hash)) = started.look().applied_state(group) {
                let known = *self.states.entry((group, applied.index.0)).or_insert(hash);
                assert_eq!(known, hash, "node {node} has another state of {group} at {applied:?}");
            }
        }
    }

    /// Delivers the oldest frame. Gives whether there was one.
    fn deliver(&mut self) -> bool {
        let Some((from, to, mut frame)) = self.network.pop_front() else { return false };
        let lost = self.cut_off.contains(&from.0) || self.cut_off.contains(&to.0);
        let tampered = self.tamper.as_mut().is_none_or(|tamper| tamper(from, to, &mut frame));
        let now = self.now;
        if let Some(Some(node)) = self.nodes.get_mut(usize::from(to.0))
            && !lost
            && tampered
        {
            node.worker().handle_frame(now, from, frame);
        }
        true
    }

    /// Disks and frames until nothing is left to do. Time stands still.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            let mut busy = false;
            for node in self.running() {
                while self.node(node).step().unwrap() {
                    busy = true;
                }
                self.collect(node);
            }
            for _ in 0..self.network.len() {
                busy |= self.deliver();
            }
            if !busy {
                return;
            }
        }
        panic!("the nodes never come to rest");
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        for node in self.running() {
            let now = self.now;
            let started = self.node(node);
            started.now = now;
            started.pass(Duration::ZERO).unwrap();
        }
    }

    fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        for _ in 0..1000 {
            self.settle();
            if holds(self) {
                return;
            }
            self.pass(Duration::from_millis(20));
        }
        panic!("it never happens that {what}:\n{}", self.describe());
    }

    /// What every node says of its shards.
    fn describe(&self) -> String {
        let mut text = String::new();
        for node in self.running() {
            for summary in self.look(node).look().shards() {
                let ShardSummary { shard, replica, leads, closed, status, .. } = summary;
                let raft = status.map(|status| {
                    let raft = status.raft;
                    let (term, commit, last) = (raft.term, raft.commit, raft.last);
                    let (applied, durable) = (raft.applied, raft.durable);
                    let sending: Vec<_> =
                        raft.peers.iter().map(|peer| (peer.id, peer.sending.clone())).collect();
                    format!(
                        "term {term} commit {commit} last {last} applied {applied} durable {durable} lost {} {} {sending:?}",
                        raft.lost, raft.configuration
                    )
                });
                text += &format!(
                    "node {node} shard {shard} replica {replica} leads {leads} {closed:?} {raft:?}\n"
                );
            }
        }
        text
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.settle();
            self.pass(Duration::from_millis(20));
        }
        self.settle();
    }

    fn leader(&self, shard: ShardId) -> Option<u16> {
        let leads = |node: &u16| {
            let summary = self.summary(*node, shard);
            let leads = summary.filter(|summary| summary.leads);
            leads.and_then(|summary| summary.status).map(|status| status.raft.term)
        };
        let heard = self.running().into_iter().filter(|node| !self.cut_off.contains(node));
        heard.filter_map(|node| leads(&node).map(|term| (term, node))).max().map(|(_, node)| node)
    }

    /// Whoever takes itself for the leader, heard or not.
    fn leader_anyway(&self, shard: ShardId) -> Option<u16> {
        let leads = |node: &u16| self.summary(*node, shard).is_some_and(|summary| summary.leads);
        self.running().into_iter().find(leads)
    }

    fn elect(&mut self, shard: ShardId) -> u16 {
        self.until("somebody leads", |trio| {
            let status = trio.leader(shard).and_then(|node| trio.summary(node, shard)?.status);
            status.is_some_and(|status| status.raft.applied == status.raft.last)
        });
        self.leader(shard).unwrap()
    }

    /// Has a shard's leader take a write of so many bytes, and waits until it is acknowledged.
    fn write(&mut self, shard: ShardId, bytes: usize) {
        let leader = self.elect(shard);
        let name = |number: u64| Key::new(format!("key-{number}")).unwrap();
        let key = (self.writes * 100..).map(name).find(|key| shard_of(key) == shard).unwrap();
        self.writes += 1;
        let id = self.writes;
        let value = Bytes::from(vec![id as u8; bytes]);
        let operation =
            Operation::Put { key: key.clone(), value, ttl: None, condition: Condition::Always };
        let now = self.now;
        let write = Write { operation, identity: Identity::None };
        self.asked.insert(id, key.clone());
        self.node(leader).worker().write(now, &context(now), &write, || id).unwrap();
        self.settle();
        assert_eq!(self.answered.last(), Some(&key));
    }

    /// Cuts a node off that leads nothing and has everything, and has the others write more of the first shard than it can be
    /// brought by the log.
    fn leave_behind(&mut self, node: u16) {
        self.cut_off = [node].into();
        self.run(Duration::from_secs(3));
        self.cut_off.clear();
        for shard in SHARDS {
            assert_ne!(self.elect(shard), node, "it was cut off for longer than a leader may be");
            self.check_equal(shard, &[0, 1, 2]);
            // Whether that came by a snapshot or not, there is something behind it that a flush would take.
            self.check_equal(shard, &[0, 1, 2]);
        }
        self.cut_off = [node].into();
        for _ in 0..10 {
            self.write(SHARDS[0], 2000);
        }
    }

    /// What the leader of the first shard has committed.
    fn leader_commit(&self) -> ringfort_types::Index {
        let leader = self.leader(SHARDS[0]).unwrap();
        self.summary(leader, SHARDS[0]).unwrap().status.unwrap().raft.commit
    }

    /// Replicas of a shard that are open have the same state, of everything.
    fn check_equal(&mut self, shard: ShardId, nodes: &[u16]) {
        let group = GroupId::of_shard(shard);
        let nodes = nodes.to_vec();
        self.write(shard, 10);
        self.until("all have applied the same", |trio| {
            let state = |node: &u16| trio.look(*node).look().applied_state(group);
            let states: Vec<_> = nodes.iter().map(state).collect();
            states[0].is_some() && states.windows(2).all(|pair| pair[0] == pair[1])
        });
    }
}

/// Whether a frame has a message of a group that says something only an honest replica may say: a vote or an acknowledgement.
fn promises(frame: &Frame, group: GroupId) -> bool {
    frame.consensus.iter().filter(|message| message.group == group.0).any(|message| match &message
        .body
    {
        Some(Body::PreVoteAnswer(answer)) => answer.granted,
        Some(Body::VoteAnswer(answer)) => answer.granted,
        Some(Body::AppendAck(_) | Body::HeartbeatAck(_) | Body::PreVote(_) | Body::Vote(_)) => true,
        _ => false,
    })
}
