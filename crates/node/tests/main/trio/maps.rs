//! What a worker makes of the catalog's records of its shards.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use ringfort_env::{Disk as _, DiskOperation};
use ringfort_node::control::Held;
use ringfort_node::host::LeaderHint;
use ringfort_placement::{Replica, Role, ShardPlacement, Wish};
use ringfort_proto::peer::consensus::Body;
use ringfort_proto::peer::{Frame, Led};
use ringfort_raft::{Change, Learner};
use ringfort_types::{Epoch, FeatureLevel, GroupId, NodeId, ReplicaId, ShardId, Term};

use super::listings::tell_placements;
use super::quarantine::{HURT, Hurt, counts_again, hurt, promote, replace};
use super::{SHARDS, Trio, replica};
use crate::levels::{NEW, OLD, map};

const SHARD: ShardId = SHARDS[0];
const GROUP: GroupId = GroupId(SHARD.0 + 1);

/// Tells the hurt node a map, in which the shard has a voter on each other node and these replicas here.
fn tell(trio: &mut Trio, epoch: u64, here: &[(ReplicaId, Role)]) {
    let others = [0, 1].map(|node| (replica(1, node), Role::Voter));
    let placed = |(id, role): &(ReplicaId, Role)| Replica {
        id: *id,
        node: NodeId::parse(&format!("n{}", id.node().0)).unwrap(),
        role: *role,
        quarantined: false,
    };
    let replicas = others.iter().chain(here).map(placed).collect();
    let nowhere = || ShardPlacement::new(Vec::new(), Wish::default());
    let shards = [ShardPlacement::new(replicas, Wish::default()), nowhere(), nowhere(), nowhere()];
    trio.node(HURT).worker().handle_placements(Epoch(epoch), &shards);
}

/// What the hurt node reports of the shard.
fn held(trio: &Trio) -> Option<Held> {
    let mut reports = trio.look(HURT).look().reports().into_iter();
    reports.find_map(|(group, report)| report.filter(|_| group == GROUP)).map(|report| report.held)
}

fn learner(counter: u64, replaces: Option<ReplicaId>) -> (ReplicaId, Role) {
    (replica(counter, HURT), Role::Learner { replaces })
}

#[test]
fn a_replica_gives_way_once_its_group_has_gone_on_without_it() {
    let mut trio = Trio::new(60);
    trio.write(SHARD, 300);
    let old = replica(1, HURT);
    let well = Some(Held { replica: old, quarantined: false });
    // The catalog took it for damaged, and it is not: it stays.
    tell(&mut trio, 1, &[(old, Role::Voter), learner(2, Some(old))]);
    trio.settle();
    assert_eq!(held(&trio), well);
    let leader = trio.elect(SHARD);
    trio.node(leader).worker().propose_change(GROUP, &[Change::Remove(old)]).unwrap();
    trio.run(Duration::from_secs(5));
    tell(&mut trio, 2, &[]);
    trio.settle();
    assert_eq!(held(&trio), well, "nothing is to take its place");
    let leader = trio.elect(SHARD);
    let (new, role) = learner(3, None);
    let change = Change::AddLearner(Learner { id: new, replaces: None });
    trio.node(leader).worker().propose_change(GROUP, &[change]).unwrap();
    trio.settle();
    tell(&mut trio, 3, &[(new, role)]);
    trio.settle();
    assert_eq!(held(&trio), Some(Held { replica: new, quarantined: false }));
    promote(&mut trio, 3);
    counts_again(&mut trio);
}

/// A founder whose log is gone knows of the replica that it founded alone. Where a later one had taken its place, that one was
/// never replaced; and a learner that had been here, and might have become a voter since, was made anew under the same id.
#[test]
fn a_node_without_its_log_has_lost_whatever_its_map_names() {
    let mut trio = Trio::new(61);
    trio.write(SHARD, 300);
    lose_log(&mut trio);
    tell(&mut trio, 1, &[(replica(1, HURT), Role::Voter)]);
    replace(&mut trio, 2, 1);
    lose_log(&mut trio);
    assert_eq!(held(&trio), Some(Held { replica: replica(1, HURT), quarantined: true }));
    tell(&mut trio, 2, &[(replica(1, HURT), Role::Voter)]);
    tell(&mut trio, 3, &[(replica(2, HURT), Role::Voter)]);
    assert_eq!(held(&trio), Some(Held { replica: replica(2, HURT), quarantined: true }));
    replace(&mut trio, 3, 2);
    lose_log(&mut trio);
    tell(&mut trio, 3, &[(replica(1, HURT), Role::Voter), learner(3, Some(replica(1, HURT)))]);
    trio.settle();
    assert_eq!(held(&trio), Some(Held { replica: replica(3, HURT), quarantined: true }));
    tell(&mut trio, 4, &[(replica(3, HURT), Role::Voter), learner(4, Some(replica(3, HURT)))]);
    trio.settle();
    assert_eq!(held(&trio), Some(Held { replica: replica(4, HURT), quarantined: false }));
}

fn lose_log(trio: &mut Trio) {
    let disk = trio.kill(HURT);
    for (file, _) in disk.list().unwrap() {
        disk.execute(&DiskOperation::Delete(file)).unwrap();
    }
    trio.start(HURT);
}

#[test]
fn a_replica_that_is_made_later_stamps_the_level_of_the_newest_map_as_well() {
    let mut trio = hurt(62, Hurt::Quarantined);
    trio.start(HURT);
    // It alone has heard of it.
    trio.node(HURT).worker().handle_map(&map(1, NEW));
    replace(&mut trio, 2, 1);
    let stamped: Rc<Cell<FeatureLevel>> = Rc::default();
    let noted = Rc::clone(&stamped);
    trio.tamper = Some(Box::new(move |_, _, frame| {
        for message in frame.consensus.iter().filter(|message| message.group == GROUP.0) {
            if let Some(Body::Append(append)) = &message.body
                && let Some(entry) = append.entries.last()
                && !entry.payload.is_empty()
            {
                noted.set(FeatureLevel(entry.payload[1]));
            }
        }
        true
    }));
    for _ in 0..20 {
        let leader = trio.elect(SHARD);
        trio.write(SHARD, 100);
        assert_eq!(stamped.get(), if leader == HURT { NEW } else { OLD });
        if leader == HURT {
            return;
        }
        trio.kill(leader);
        trio.elect(SHARD);
        trio.start(leader);
    }
    panic!("the new replica never leads");
}

/// The story: a client that was told a leader without a term kept the one that it knew of before.
#[test]
fn a_node_without_a_replica_says_who_leads_and_in_which_term() {
    let mut trio = Trio::new(66);
    tell_placements(&mut trio);
    let (now, shard, leader) = (trio.now, ShardId(2), replica(1, 1));
    let led = Led { group: GroupId::of_shard(shard).0, from: leader.0, term: 7 };
    let frame = Frame { leads: vec![led], ..Frame::default() };
    trio.node(0).worker().handle_frame(now, leader.node(), frame);
    let leaders = trio.node(0).worker().leaders();
    let expected = LeaderHint { leader: Some(leader), term: Term(7) };
    assert!(leaders.contains(&(shard, expected)), "{leaders:?}");
}
