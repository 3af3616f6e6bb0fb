//! Nodes with their members: the catalog's leader does its duties however reads are confirmed, and who missed a change of the
//! catalog has it with the first request that shows it.

use std::sync::Arc;
use std::time::Duration;

use ringfort_node::control::{Control, Founded, GroupReport, Held};
use ringfort_node::host::{Reads, Settings};
use ringfort_node::{GetAnswer, Member, MemberEffect, founding_of};
use ringfort_proto::peer::Frame;
use ringfort_sim::{SimDisk, SimNode, SimNodeOptions};
use ringfort_types::request::{Consistency, Get};
use ringfort_types::{
    BootId, Epoch, GroupId, Key, Monotonic, NamespaceId, NodeNumber, ShardId, shard_of_token,
};

use crate::control::{SHARDS, formation};
use crate::support::{context, options};

/// The shard whose placement changes.
const DAMAGED: ShardId = ShardId(3);

fn is_quarantined((_, member): &(SimNode, Member)) -> bool {
    member.map().replicas(DAMAGED).iter().any(|replica| replica.quarantined)
}

struct Members {
    nodes: Vec<(SimNode, Member)>,
    frames: Vec<(NodeNumber, NodeNumber, Frame)>,
    now: Monotonic,
    /// It hears neither of the catalog nor of who leads.
    deaf: Option<NodeNumber>,
    /// Deltas that were delivered: from whom, to whom.
    deltas: Vec<(NodeNumber, NodeNumber)>,
}

impl Members {
    fn new(nodes: u16, raft: Settings) -> Self {
        let record = formation(nodes);
        let now = Monotonic(1_000_000_000);
        let start = |number: u16| {
            let node = NodeNumber(number);
            let options = SimNodeOptions {
                node,
                founding: Arc::new(founding_of(&record, node)),
                raft,
                shards: record.settings.shards,
                ..options(Founded::Nothing)
            };
            let mut started = SimNode::start(SimDisk::new(number.into()), options, now).unwrap();
            started.settle().unwrap();
            let control = Control::new(node, record.clone(), None).unwrap();
            (started, Member::new(node, control, BootId(number.into()), "1.0.0"))
        };
        let nodes = (0..nodes).map(start).collect();
        Self { nodes, frames: Vec::new(), now, deaf: None, deltas: Vec::new() }
    }

    fn pass(&mut self) {
        self.now = self.now + Duration::from_millis(20);
        let now = self.now;
        for (node, member) in &mut self.nodes {
            node.now = now;
            node.pass(Duration::ZERO).unwrap();
            while node.step().unwrap() {}
            member.handle_reports(now, node.worker().reports());
            member.handle_tick(now);
        }
        self.exchange();
    }

    /// Turns, and what they say to each other is heard. No time passes: nobody gossips.
    fn exchange(&mut self) {
        let now = self.now;
        for (number, (node, member)) in (0..).map(NodeNumber).zip(&mut self.nodes) {
            while node.step().unwrap() {}
            member.poll(now, node.worker());
            while let Some((to, _, frame)) = node.worker().poll_frame() {
                self.frames.push((number, to, frame));
            }
            while let Some((to, frame)) = member.poll_frame() {
                self.frames.push((number, to, frame));
            }
            while let Some(effect) = member.poll_effect() {
                match effect {
                    MemberEffect::Map(map) => node.worker().handle_map(&map),
                    MemberEffect::Finding(finding) => panic!("{finding}"),
                    MemberEffect::SaveCatalog(_)
                    | MemberEffect::Instruct(_)
                    | MemberEffect::AskRecorded { .. } => {}
                }
            }
        }
        for (from, to, mut frame) in std::mem::take(&mut self.frames) {
            let (node, member) = &mut self.nodes[usize::from(to.0)];
            if self.deaf == Some(to) {
                (frame.gossip, frame.delta) = (None, None);
                frame.leads.clear();
            }
            if frame.delta.is_some() {
                self.deltas.push((from, to));
            }
            assert_eq!(member.handle_frame(now, from, &mut frame), 0);
            node.worker().handle_frame(now, from, frame);
        }
    }

    /// Other nodes are told that a replica of the shard is damaged, which it is not.
    fn report_damage(&mut self) {
        let lost = self.nodes[0].1.map().replicas(DAMAGED)[1].id;
        let held = Held { replica: lost, quarantined: true };
        let report = GroupReport { group: GroupId::of_shard(DAMAGED), held, leading: None };
        for to in [0, 1, 2].map(NodeNumber) {
            let reports = vec![(&report).into()];
            self.frames.push((lost.node(), to, Frame { reports, ..Frame::default() }));
        }
    }

    fn behind(&self) -> &Member {
        &self.nodes[usize::from(BEHIND.0)].1
    }

    /// The node that leads a shard.
    fn leader(&self, shard: ShardId) -> Option<NodeNumber> {
        let leads = |(node, _): &(SimNode, Member)| {
            let mut shards = node.look().shards().into_iter();
            shards.any(|summary| summary.shard == shard && summary.leads)
        };
        let number = self.nodes.iter().position(leads)?;
        u16::try_from(number).ok().map(NodeNumber)
    }

    /// Has a client of a node read some key of a shard.
    fn read(&mut self, node: NodeNumber, shard: ShardId, id: u64) {
        let in_shard =
            |key: &Key| shard_of_token(key.token(NamespaceId::default()), SHARDS) == shard;
        let key = (0..).map(|number| Key::new(format!("key-{number}")).unwrap()).find(in_shard);
        let get = Get { key: key.unwrap(), consistency: Consistency::Linearizable };
        let now = self.now;
        let (node, _) = &mut self.nodes[usize::from(node.0)];
        let answer = node.worker().get(now, &context(now), &get, || id);
        assert!(matches!(answer, GetAnswer::Later), "{answer:?}");
    }

    fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        for _ in 0..1000 {
            if holds(self) {
                return;
            }
            self.pass();
        }
        panic!("it never happens that {what}");
    }
}

/// With `reads = "read_index"` there are no leases: nobody took itself for the catalog's leader, and nothing was ever written.
#[test]
fn the_catalog_is_written_and_kept_true_where_there_are_no_leases() {
    let sleep_after = Duration::from_millis(500);
    let mut members =
        Members::new(3, Settings { reads: Reads::Index, sleep_after, ..Settings::default() });
    members.until("all have what the catalog's leader wrote", |all| {
        all.nodes.iter().all(|(_, member)| member.map().epoch() > Epoch(1))
    });
    let asleep = |(node, _): &(SimNode, Member)| {
        node.look().group_status(GroupId::CATALOG).is_some_and(|status| status.asleep)
    };
    members.until("the catalog's group sleeps", |all| all.nodes.iter().all(asleep));
    members.report_damage();
    members.until("all know of the damage", |all| all.nodes.iter().all(is_quarantined));
    members.until("the node says that there is none", |all| !all.nodes.iter().any(is_quarantined));
}

/// The node that holds no replica of the catalog, and missed a change of it.
const BEHIND: NodeNumber = NodeNumber(3);

/// All but one know of a change of the shard's placement, and that one hears of the catalog from now on.
fn one_behind() -> Members {
    let mut members = Members::new(4, Settings::default());
    members.deaf = Some(BEHIND);
    members.until("every shard has a leader", |all| {
        let leads = |shard: ShardId| all.leader(shard).is_some();
        (0..SHARDS).map(ShardId).all(leads)
    });
    members.report_damage();
    members.until("the others know of the damage", |all| {
        all.nodes[..3].iter().all(|(_, member)| member.map().epoch() > Epoch(1))
            && all.nodes[..3].iter().all(is_quarantined)
    });
    assert_eq!(members.behind().map().epoch(), Epoch(1));
    members.deaf = None;
    members.deltas.clear();
    members
}

#[test]
fn a_wrong_guess_comes_back_with_the_right_map() {
    let mut members = one_behind();
    // Of a shard that it has no replica of it does not know the leader, and guesses.
    let map = Arc::clone(members.behind().map());
    let holds = |shard: ShardId| map.replicas(shard).iter().any(|held| held.id.node() == BEHIND);
    let shards: Vec<_> = (0..SHARDS).map(ShardId).filter(|shard| !holds(*shard)).collect();
    for number in 0..30 {
        members.read(BEHIND, shards[number as usize % shards.len()], number);
    }
    for _ in 0..10 {
        members.exchange();
    }
    let (node, member) = &members.nodes[usize::from(BEHIND.0)];
    let stats = node.look().forward_stats();
    assert!(stats.not_leader > 0 && stats.stale_maps_corrected > 0, "no wrong guess: {stats:?}");
    assert_eq!(node.answers.len(), 30);
    assert!(is_quarantined(&members.nodes[usize::from(BEHIND.0)]), "{}", member.map().epoch());
    let mut senders: Vec<_> = members.deltas.iter().map(|(from, _)| *from).collect();
    let deltas = senders.len();
    senders.dedup();
    assert!(deltas == senders.len() && deltas > 0, "a delta comes once: {:?}", members.deltas);
}

#[test]
fn whoever_is_asked_by_a_newer_map_asks_for_it() {
    let mut members = one_behind();
    let led = |shard: &ShardId| members.leader(*shard) == Some(BEHIND);
    let shard = (0..SHARDS).map(ShardId).find(led).expect("it leads nothing");
    members.read(NodeNumber(0), shard, 1);
    for _ in 0..10 {
        members.exchange();
    }
    assert_eq!(members.nodes[0].0.answers.len(), 1);
    assert!(is_quarantined(&members.nodes[usize::from(BEHIND.0)]));
    assert_eq!(members.deltas, [(NodeNumber(0), BEHIND)]);
}
