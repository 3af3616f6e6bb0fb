//! The shard map: placement with its epoch, as nodes and clients hold copies of it, and what one node sees of it.

use ringfort_types::{
    Epoch, NodeId, ShardId, Token, TokenRange, shard_of_token, token_range_of_shard,
};

use crate::member::{Members, ReplicationFactor};
use crate::placement::{Placement, Replica, ShardPlacement};
use crate::step::{Outlook, next_step};

/// Placement at one epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardMap {
    epoch: Epoch,
    placement: Placement,
}

/// What a person wants to know of a shard first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ShardState {
    /// Too few sound voters for the replication factor; it serves while a majority of its voters lives.
    UnderReplicated,
    /// On its way to other nodes.
    Moving,
    /// As it should be.
    Settled,
}

/// A replica that a node holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held<'a> {
    /// Of which shard.
    pub shard: ShardId,
    /// The shard's tokens.
    pub tokens: TokenRange,
    /// The replica.
    pub replica: &'a Replica,
}

impl ShardMap {
    /// The map at this epoch.
    #[must_use]
    pub fn new(epoch: Epoch, placement: Placement) -> Self {
        Self { epoch, placement }
    }

    /// The version of the cluster's map that this is.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// What is placed where.
    #[must_use]
    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    /// The shard that holds a token, and where it stands; `None` where the map has no shards.
    #[must_use]
    pub fn at(&self, token: Token) -> Option<(ShardId, &ShardPlacement)> {
        let shards = self.placement.shard_count();
        let id = (shards > 0).then(|| shard_of_token(token, shards))?;
        Some((id, self.placement.shard(id)?))
    }

    /// How a shard stands; `None` where there is no such shard.
    #[must_use]
    pub fn state(
        &self,
        id: ShardId,
        members: &Members,
        factor: ReplicationFactor,
    ) -> Option<ShardState> {
        let shard = self.placement.shard(id)?;
        let sound = |voter: &&Replica| !voter.quarantined && members.get(&voter.node).is_some();
        Some(if shard.voters().filter(sound).count() < factor.get() {
            ShardState::UnderReplicated
        } else if next_step(shard, members) == Outlook::Settled {
            ShardState::Settled
        } else {
            ShardState::Moving
        })
    }

    /// What one node holds, in the order of shards: its own shard map.
    pub fn on_node<'a>(&'a self, node: &'a NodeId) -> impl Iterator<Item = Held<'a>> {
        let shards = (0..).map(ShardId).zip(self.placement.shards());
        shards.flat_map(move |(shard, placement)| {
            let tokens = token_range_of_shard(shard, self.placement.shard_count());
            let held = placement.replicas().iter().filter(|replica| replica.node == *node);
            held.map(move |replica| Held { shard, tokens, replica })
        })
    }
}
