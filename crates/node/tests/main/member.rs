//! A node's part in its cluster, beside its worker.

use std::sync::Arc;
use std::time::Duration;

use ringfort_node::control::{Control, FormationRecord, Founded};
use ringfort_node::{FoundingGroup, Member, MemberEffect};
use ringfort_raft::Configuration;
use ringfort_sim::{SimDisk, SimNode};
use ringfort_types::{BootId, GroupId, Monotonic, NodeNumber, ReplicaId};

use super::control::formation;
use crate::support::options;

fn member(record: FormationRecord) -> Member {
    let control = Control::new(NodeNumber(0), record, None).unwrap();
    Member::new(NodeNumber(0), control, BootId(1), "1.0.0")
}

/// Lets the member and its node run until what is awaited; panics where that never happens.
fn run(
    node: &mut SimNode,
    member: &mut Member,
    mut is_over: impl FnMut(&mut SimNode, &Member) -> bool,
) {
    for _ in 0..200 {
        node.pass(Duration::from_millis(50)).unwrap();
        let now = node.now;
        member.handle_tick(now);
        member.poll(now, node.worker());
        node.settle().unwrap();
        member.poll(node.now, node.worker());
        if is_over(node, member) {
            return;
        }
    }
    panic!("it never happens");
}

/// The story: records that made no map were reported and passed over. Those behind them were taken, so that the node's copy of the
/// catalog claimed an epoch of which it lacked records.
#[test]
fn a_catalog_that_makes_no_map_stops_its_replica() {
    let catalog = ReplicaId::new(1, NodeNumber(0));
    let founding =
        FoundingGroup { replica: catalog, configuration: Configuration::founding([catalog]) };
    let mut options = options(Founded::Nothing);
    options.founding = Arc::new([(GroupId(0), founding)].into_iter().collect());
    let started = SimNode::start(SimDisk::new(1), options, Monotonic(1_000_000));
    let mut node = started.unwrap();
    node.settle().unwrap();
    let mut first = member(formation(1));
    run(&mut node, &mut first, |_, member| member.map().epoch().0 > 1);
    let is_open = |node: &SimNode| node.look().applied_state(GroupId(0)).is_some();
    assert!(is_open(&node));
    // A node that believes in other shards than its catalog has.
    let mut other = formation(1);
    other.settings.shards = 5;
    let mut second = member(other);
    let mut said = Vec::new();
    run(&mut node, &mut second, |node, _| {
        said.extend(std::iter::from_fn(|| node.worker().poll_message()));
        !is_open(node)
    });
    assert!(said.iter().any(|line| line.contains("makes no map")), "{said:?}");
    assert_eq!(second.map().epoch().0, 1, "nothing of it was taken");
    for effect in std::iter::from_fn(|| second.poll_effect()) {
        assert!(!matches!(effect, MemberEffect::Map(map) if map.epoch().0 > 1));
    }
}
