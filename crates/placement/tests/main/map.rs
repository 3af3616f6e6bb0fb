//! The shard map, as the cluster and as one node see it.

use std::collections::BTreeMap;

use ringfort_placement::{Placement, ShardMap, ShardState};
use ringfort_types::{Epoch, ReplicaId, ShardId, Token, shard_of_token};

use crate::support::{World, id, members};

#[test]
fn a_token_leads_to_its_shard() {
    let world = World::found(members("a b c d"), 3, 7);
    let map = ShardMap::new(Epoch(4), world.placement.clone());
    assert_eq!(map.epoch(), Epoch(4));
    for token in [0, 1 << 40, 1 << 63, u64::MAX].map(Token) {
        let (shard, placement) = map.at(token).unwrap();
        assert_eq!(shard, shard_of_token(token, 7));
        assert_eq!(Some(placement), world.placement.shard(shard));
    }
    assert_eq!(ShardMap::new(Epoch(0), Placement::default()).at(Token(1)), None);
}

#[test]
fn the_maps_of_all_nodes_are_the_map_of_the_cluster() {
    let world = World::found(members("a/x b/x c/y d/z"), 3, 16);
    let map = ShardMap::new(Epoch(1), world.placement.clone());
    let mut seen = BTreeMap::new();
    for node in ["a", "b", "c", "d"].map(id) {
        for held in map.on_node(&node) {
            assert_eq!(held.replica.node, node);
            assert_eq!(shard_of_token(held.tokens.first, 16), held.shard);
            assert_eq!(shard_of_token(held.tokens.last, 16), held.shard);
            assert_eq!(seen.insert(held.replica.id, held.shard), None);
        }
    }
    let shards = (0..).map(ShardId).zip(world.placement.shards());
    let all = shards.flat_map(|(id, shard)| shard.replicas().iter().map(move |held| (held.id, id)));
    assert_eq!(seen, all.collect());
}

#[test]
fn a_shard_is_settled_moving_or_under_replicated() {
    let mut world = World::found(members("a b c"), 3, 1);
    let state = |world: &World| {
        let map = ShardMap::new(Epoch(1), world.placement.clone());
        map.state(ShardId(0), &world.members, world.factor)
    };
    assert_eq!(state(&world), Some(ShardState::Settled));
    world.set_members(members("a b c- d").as_slice().to_vec());
    assert_eq!(state(&world), Some(ShardState::Moving));
    world.placement.shard_mut(ShardId(0)).unwrap().quarantine(ReplicaId(1));
    assert_eq!(state(&world), Some(ShardState::UnderReplicated));
    let few = World::found(members("a b"), 3, 1);
    assert_eq!(state(&few), Some(ShardState::UnderReplicated));
    let map = ShardMap::new(Epoch(1), few.placement.clone());
    assert_eq!(map.state(ShardId(1), &few.members, few.factor), None);
}
