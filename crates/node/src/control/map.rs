//! The cluster as one epoch of its catalog has it: who is there, and who holds what.

use std::collections::BTreeMap;

use ringfort_placement::{MemberState, Members, Replica, ShardPlacement};
use ringfort_types::{
    ClusterId, Epoch, GroupId, Key, NamespaceId, NodeId, NodeNumber, ReplicaId, ShardId, Token,
    shard_of_token, token_of,
};

use super::addresses::Addresses;
use super::record::NodeInfo;
use super::settings::ClusterSettings;

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapMember {
    /// Its number.
    pub number: NodeNumber,
    /// Name, data directory, addresses, zone, capacity. The addresses may be newer than its record: what it says of itself.
    pub info: NodeInfo,
    /// Where its record says that other nodes reach it.
    pub recorded: String,
    /// What may be asked of it.
    pub state: MemberState,
}

/// Nodes, shards and settings at one epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterMap {
    epoch: Epoch,
    cluster_id: ClusterId,
    settings: ClusterSettings,
    members: BTreeMap<NodeNumber, MapMember>,
    numbers: BTreeMap<NodeId, NodeNumber>,
    catalog: ShardPlacement,
    shards: Vec<ShardPlacement>,
}

/// Records that make no map.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// Two nodes have one id.
    #[error("node {0} is a member twice")]
    Twice(NodeId),
    /// The number of shards is another than the settings say.
    #[error("{found} shards are placed, of {expected}")]
    Shards {
        /// Placed.
        found: usize,
        /// By the settings.
        expected: u32,
    },
    /// A replica stands on a node that is none, or on another than its id names.
    #[error("replica {replica} of group {group} stands on no member")]
    Replica {
        /// Of which group.
        group: GroupId,
        /// Which.
        replica: ReplicaId,
    },
}

impl ClusterMap {
    /// The map of these members, the catalog's group and those of the shards, in order.
    ///
    /// # Errors
    /// They contradict each other or the settings.
    pub fn new(
        epoch: Epoch,
        cluster_id: ClusterId,
        settings: ClusterSettings,
        members: Vec<MapMember>,
        catalog: ShardPlacement,
        shards: Vec<ShardPlacement>,
    ) -> Result<Self, MapError> {
        let mut numbers = BTreeMap::new();
        for member in &members {
            let id = &member.info.name.id;
            if numbers.insert(id.clone(), member.number).is_some() {
                return Err(MapError::Twice(id.clone()));
            }
        }
        let members = members.into_iter().map(|member| (member.number, member)).collect();
        let map = Self { epoch, cluster_id, settings, members, numbers, catalog, shards };
        map.check()?;
        Ok(map)
    }

    fn check(&self) -> Result<(), MapError> {
        let (found, expected) = (self.shards.len(), self.settings.shards);
        if expected == 0 || u32::try_from(found) != Ok(expected) {
            return Err(MapError::Shards { found, expected });
        }
        for (group, placement) in self.groups() {
            let stands = |replica: &&Replica| {
                self.member(replica.id.node()).map(|member| &member.info.name.id)
                    == Some(&replica.node)
            };
            if let Some(replica) = placement.replicas().iter().find(|replica| !stands(replica)) {
                return Err(MapError::Replica { group, replica: replica.id });
            }
        }
        Ok(())
    }

    /// The map with other addresses of a node.
    pub(super) fn with_addresses(mut self, number: NodeNumber, addresses: &Addresses) -> Self {
        if let Some(member) = self.members.get_mut(&number) {
            member.info.peer.clone_from(&addresses.peer);
            member.info.client.clone_from(&addresses.client);
        }
        self
    }

    /// Which version of the cluster's map this is.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The cluster.
    #[must_use]
    pub fn cluster_id(&self) -> ClusterId {
        self.cluster_id
    }

    /// Its settings.
    #[must_use]
    pub fn settings(&self) -> &ClusterSettings {
        &self.settings
    }

    /// Every node, by number.
    pub fn members(&self) -> impl Iterator<Item = &MapMember> {
        self.members.values()
    }

    /// The node of this number.
    #[must_use]
    pub fn member(&self, number: NodeNumber) -> Option<&MapMember> {
        self.members.get(&number)
    }

    /// The node of this id.
    #[must_use]
    pub fn member_by_id(&self, id: &NodeId) -> Option<&MapMember> {
        self.member(*self.numbers.get(id)?)
    }

    /// The nodes as placement sees them.
    #[must_use]
    pub fn placement_members(&self) -> Members {
        // No two have one id: that was checked.
        Members::new(self.members().map(|member| member.info.member(member.state)))
            .unwrap_or_default()
    }

    /// Every shard, in order.
    #[must_use]
    pub fn shards(&self) -> &[ShardPlacement] {
        &self.shards
    }

    /// Every group, in order.
    pub fn groups(&self) -> impl Iterator<Item = (GroupId, &ShardPlacement)> {
        (0..).map(GroupId).zip(std::iter::once(&self.catalog).chain(&self.shards))
    }

    /// The catalog's own group.
    #[must_use]
    pub fn catalog(&self) -> &ShardPlacement {
        &self.catalog
    }

    /// One group; `None` where there is no such group.
    #[must_use]
    pub fn group(&self, group: GroupId) -> Option<&ShardPlacement> {
        match group.shard() {
            None => Some(&self.catalog),
            Some(shard) => self.shard(shard),
        }
    }

    /// One shard; `None` where there is no such shard.
    #[must_use]
    pub fn shard(&self, shard: ShardId) -> Option<&ShardPlacement> {
        self.shards.get(usize::try_from(shard.0).ok()?)
    }

    /// The replicas of a shard; none where there is no such shard.
    #[must_use]
    pub fn replicas(&self, shard: ShardId) -> &[Replica] {
        self.shard(shard).map_or(&[], ShardPlacement::replicas)
    }

    /// The shard that holds a token.
    #[must_use]
    pub fn shard_of_token(&self, token: Token) -> ShardId {
        shard_of_token(token, self.settings.shards)
    }

    /// The shard that holds a key of the default namespace.
    #[must_use]
    pub fn shard_of_key(&self, key: &Key) -> ShardId {
        self.shard_of_token(token_of(NamespaceId::default(), key.as_bytes()))
    }
}
