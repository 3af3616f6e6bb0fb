//! Leaders are spread.

use ringfort_placement::{
    MemberState, Placement, Replica, Role, ShardPlacement, Wish, leader_counts, leader_transfers,
};
use ringfort_types::{NodeId, ReplicaId};

use crate::support::{Random, World, for_seeds, id, members};

fn carry_out(world: &World, leaders: &mut [Option<NodeId>]) -> usize {
    let transfers = leader_transfers(&world.placement, leaders, &world.members);
    for transfer in &transfers {
        let shard = usize::try_from(transfer.shard.0).unwrap();
        assert_eq!(leaders[shard].as_ref(), Some(&transfer.from));
        let replica = world.placement.shards()[shard].replica(transfer.replica).unwrap();
        assert!(replica.is_voter() && !replica.quarantined && replica.node == transfer.to);
        assert_eq!(world.members.get(&transfer.to).unwrap().state, MemberState::Active);
        leaders[shard] = Some(transfer.to.clone());
    }
    assert_eq!(leader_transfers(&world.placement, leaders, &world.members), []);
    transfers.len()
}

fn any_leaders(world: &World, random: &mut Random) -> Vec<Option<NodeId>> {
    let any = |shard: &ShardPlacement| {
        let voters: Vec<_> = shard.voters().map(|voter| voter.node.clone()).collect();
        Some(random.pick(&voters))
    };
    world.placement.shards().iter().map(any).collect()
}

#[test]
fn leaders_of_a_healthy_cluster_come_within_their_bound() {
    let mut worst = 0.0_f64;
    let (mut uneven, mut nodes) = (0, 0);
    for_seeds(100, |mut random| {
        let world = World::random(&mut random, 1024);
        let mut leaders = any_leaders(&world, &mut random);
        carry_out(&world, &mut leaders);
        let counts = leader_counts(&leaders, &world.members);
        let capacity: u64 =
            world.nodes().iter().map(|member| u64::from(member.capacity.hundredths())).sum();
        for (member, count) in world.nodes().iter().zip(counts) {
            let mean =
                leaders.len() as f64 * f64::from(member.capacity.hundredths()) / capacity as f64;
            uneven += usize::from(count as f64 > (1.1 * mean).max(mean.ceil()));
            nodes += 1;
            if mean >= 10.0 {
                worst = worst.max(count as f64 / mean);
            }
        }
    });
    println!(
        "{uneven} of {nodes} nodes above 1.1 of the mean; the worst, of 10 or more: {worst:.3}"
    );
    // The mean here knows nothing of voters: where a node has fewer than its share of leaders, others lead more.
    assert!(100 * uneven <= nodes && worst < 1.2);
}

#[test]
fn equal_nodes_lead_equally() {
    for (text, shards, most) in [("a b c", 64, 23), ("a b c d e", 64, 14), ("a/x b/y c/z", 3, 1)] {
        let world = World::found(members(text), 3, shards);
        let mut leaders: Vec<_> =
            world.wishes().iter().map(|wish| wish.nodes().first().cloned()).collect();
        carry_out(&world, &mut leaders);
        let counts = leader_counts(&leaders, &world.members);
        assert!(counts.iter().all(|count| *count <= most), "{text}: {counts:?}");
    }
}

#[test]
fn a_draining_node_leads_nothing_and_a_down_one_is_left_alone() {
    let mut world = World::found(members("a b c d"), 3, 64);
    let mut leaders: Vec<_> =
        world.wishes().iter().map(|wish| wish.nodes().first().cloned()).collect();
    let held_by_a = leader_counts(&leaders, &world.members)[0];
    assert!(held_by_a > 20);
    world.members = members("a! b c d");
    carry_out(&world, &mut leaders);
    assert_eq!(leader_counts(&leaders, &world.members)[0], held_by_a);
    world.members = members("a- b c d");
    carry_out(&world, &mut leaders);
    let counts = leader_counts(&leaders, &world.members);
    assert_eq!(counts[0], 0);
    assert!(counts.iter().all(|count| *count <= 23), "{counts:?}");
}

#[test]
fn leadership_passes_over_a_third_where_two_share_no_shard() {
    let mut next_id = 0;
    let mut voter = |node: &str| {
        next_id += 1;
        let (id, node) = (ReplicaId(next_id), id(node));
        Replica { id, node, role: Role::Voter, quarantined: false }
    };
    let mut shard = |nodes: [&str; 2]| {
        ShardPlacement::new(nodes.map(&mut voter).to_vec(), Wish::new(nodes.map(id)))
    };
    let shards = (0..8).map(|n| shard(if n < 6 { ["a", "b"] } else { ["b", "c"] })).collect();
    let mut world = World::found(members("a b c"), 2, 1);
    world.placement = Placement::new(shards);
    let mut leaders: Vec<_> = (0..8).map(|n| Some(id(if n < 6 { "a" } else { "b" }))).collect();
    assert_eq!(carry_out(&world, &mut leaders), 5);
    assert_eq!(leader_counts(&leaders, &world.members), [3, 3, 2]);
}

#[test]
fn unknown_leaders_are_left_alone() {
    let world = World::found(members("a b c"), 3, 8);
    assert_eq!(leader_transfers(&world.placement, &[], &world.members), []);
    let unknown = vec![None; 8];
    assert_eq!(leader_transfers(&world.placement, &unknown, &world.members), []);
}
