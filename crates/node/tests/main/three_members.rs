//! Three nodes with their members: the catalog's leader does its duties however reads are confirmed.

use std::sync::Arc;
use std::time::Duration;

use ringfort_node::control::{Control, Founded, GroupReport, Held};
use ringfort_node::host::{Reads, Settings};
use ringfort_node::{Member, MemberEffect, founding_of};
use ringfort_proto::peer::Frame;
use ringfort_sim::{SimDisk, SimNode, SimNodeOptions};
use ringfort_types::{BootId, Epoch, GroupId, Monotonic, NodeNumber, ShardId};

use crate::control::formation;
use crate::support::options;

struct Members {
    nodes: Vec<(SimNode, Member)>,
    frames: Vec<(NodeNumber, NodeNumber, Frame)>,
    now: Monotonic,
}

impl Members {
    fn new(raft: Settings) -> Self {
        let record = formation(3);
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
        Self { nodes: (0..3).map(start).collect(), frames: Vec::new(), now }
    }

    fn pass(&mut self) {
        self.now = self.now + Duration::from_millis(20);
        let now = self.now;
        for (number, (node, member)) in (0..).map(NodeNumber).zip(&mut self.nodes) {
            node.now = now;
            node.pass(Duration::ZERO).unwrap();
            while node.step().unwrap() {}
            member.handle_reports(now, node.worker().reports());
            member.handle_tick(now);
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
            assert_eq!(member.handle_frame(now, from, &mut frame), 0);
            node.worker().handle_frame(now, from, frame);
        }
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
        Members::new(Settings { reads: Reads::Index, sleep_after, ..Settings::default() });
    members.until("all have what the catalog's leader wrote", |all| {
        all.nodes.iter().all(|(_, member)| member.map().epoch() > Epoch(1))
    });
    let asleep = |(node, _): &(SimNode, Member)| {
        node.look().group_status(GroupId::CATALOG).is_some_and(|status| status.asleep)
    };
    members.until("the catalog's group sleeps", |all| all.nodes.iter().all(asleep));
    let map = Arc::clone(members.nodes[0].1.map());
    let shard = ShardId(3);
    let lost = map.replicas(shard)[1].id;
    let held = Held { replica: lost, quarantined: true };
    let group = GroupId::of_shard(shard);
    let report = GroupReport { group, held, leading: None };
    for to in [0, 1, 2].map(NodeNumber) {
        let reports = vec![(&report).into()];
        members.frames.push((lost.node(), to, Frame { reports, ..Frame::default() }));
    }
    let is_quarantined = |(_, member): &(SimNode, Member)| {
        member.map().replicas(shard).iter().any(|replica| replica.quarantined)
    };
    members.until("all know of the damage", |all| all.nodes.iter().all(is_quarantined));
    members.until("the node says that there is none", |all| !all.nodes.iter().any(is_quarantined));
}
