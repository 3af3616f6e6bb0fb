//! What a cluster was formed from, and what follows from it: the founding plan.
//!
//! The record is decided once, by one proposer, and stands in the identity of every founder. All that a founder does at its
//! first start follows from it alone: which groups it founds, under which replica ids, with which voters. So founders need
//! no further word from each other, and the catalog begins with what all of them know already.

use ringfort_placement::{Capacity, Member, MemberState, Members, Placement, ShardPlacement, Zone};
use ringfort_raft::Configuration;
use ringfort_types::{
    ClusterId, GroupId, Incarnation, NODE_NUMBER_MAX, NodeId, NodeNumber, ReplicaId, ShardId,
};

use super::addresses::Addresses;
use super::settings::{ClusterSettings, SettingsError};

/// Founders that a cluster has at most.
pub const FOUNDERS_MAX: usize = 256;
/// Longest address or zone, in bytes.
pub const TEXT_BYTES_MAX: usize = 512;
/// Voters that the catalog has at most.
const CATALOG_VOTERS_MAX: usize = 5;
/// Counter of the replicas that found a group.
const FOUNDING_COUNTER: u64 = 1;

/// A name and the one data directory that bears it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName {
    /// The node's id.
    pub id: NodeId,
    /// Its data directory.
    pub incarnation: Incarnation,
}

/// What a node says of itself that its cluster keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// Who it is.
    pub name: NodeName,
    /// Where other nodes reach it, as host:port.
    pub peer: String,
    /// Where clients reach it.
    pub client: String,
    /// Its failure domain.
    pub zone: Zone,
    /// Its weight on the ring.
    pub capacity: Capacity,
}

/// What a cluster was formed from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormationRecord {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// Its settings.
    pub settings: ClusterSettings,
    /// Who founded it, sorted by id. A founder's place is its number.
    pub founders: Vec<NodeInfo>,
    /// It was a single node of a version without catalog: replica `s + 1` has shard `s`.
    pub from_single_node: bool,
}

/// A record that no formation gives.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Settings out of range.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The number of founders.
    #[error("a cluster has 1 to {FOUNDERS_MAX} founders; got {0}")]
    Founders(usize),
    /// Founders are unsorted, or two have one id.
    #[error("founder {0} is named twice or out of order")]
    Order(NodeId),
    /// Two founders have one data directory.
    #[error("two founders have incarnation {0}")]
    Incarnation(Incarnation),
    /// A single node has company.
    #[error("a cluster that was a single node has one founder; got {0}")]
    NotSingle(usize),
    /// An address or zone.
    #[error(
        "an address or the zone of founder {0} is missing or longer than {TEXT_BYTES_MAX} bytes"
    )]
    Text(NodeId),
}

/// One group that a node founds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundedGroup {
    /// The group.
    pub group: GroupId,
    /// The node's replica of it.
    pub replica: ReplicaId,
    /// All who found it.
    pub configuration: Configuration,
}

impl FormationRecord {
    /// A record of these founders, in whatever order.
    ///
    /// # Errors
    /// It breaks a rule of [`FormationRecord::check`].
    pub fn new(
        cluster_id: ClusterId,
        settings: ClusterSettings,
        mut founders: Vec<NodeInfo>,
    ) -> Result<Self, RecordError> {
        founders.sort_by(|a, b| a.name.cmp(&b.name));
        let record = Self { cluster_id, settings, founders, from_single_node: false };
        record.check()?;
        Ok(record)
    }

    /// Checks what came from outside.
    ///
    /// # Errors
    /// Settings are out of range, founders are too many, unsorted or repeated, or their texts are too long.
    pub fn check(&self) -> Result<(), RecordError> {
        self.settings.check()?;
        let count = self.founders.len();
        if count == 0 || count > FOUNDERS_MAX {
            return Err(RecordError::Founders(count));
        }
        if self.from_single_node && count != 1 {
            return Err(RecordError::NotSingle(count));
        }
        if let Some(pair) = self.founders.windows(2).find(|pair| pair[0].name.id >= pair[1].name.id)
        {
            return Err(RecordError::Order(pair[1].name.id.clone()));
        }
        let mut incarnations: Vec<_> =
            self.founders.iter().map(|founder| founder.name.incarnation).collect();
        incarnations.sort_unstable();
        if let Some(pair) = incarnations.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(RecordError::Incarnation(pair[0]));
        }
        match self.founders.iter().find(|founder| !founder.texts_fit()) {
            Some(founder) => Err(RecordError::Text(founder.name.id.clone())),
            None => Ok(()),
        }
    }

    /// The founder of this id, with its number.
    #[must_use]
    pub fn founder(&self, id: &NodeId) -> Option<(NodeNumber, &NodeInfo)> {
        self.numbered().find(|(_, founder)| founder.name.id == *id)
    }

    /// The number of this very node, if it is a founder.
    #[must_use]
    pub fn number_of(&self, name: &NodeName) -> Option<NodeNumber> {
        let (number, founder) = self.founder(&name.id)?;
        (founder.name == *name).then_some(number)
    }

    /// All founders with their numbers.
    pub fn numbered(&self) -> impl Iterator<Item = (NodeNumber, &NodeInfo)> {
        (0..=NODE_NUMBER_MAX).map(NodeNumber).zip(&self.founders)
    }

    /// Founders as placement sees them.
    #[must_use]
    pub fn members(&self) -> Members {
        let members = self.founders.iter().map(|founder| founder.member(MemberState::Active));
        // No two founders have one id: that was checked.
        Members::new(members).unwrap_or_default()
    }

    /// The voters of the catalog: the first 1, 3 or 5 founders.
    #[must_use]
    pub fn catalog_voters(&self) -> Vec<ReplicaId> {
        let count = self.founders.len().min(CATALOG_VOTERS_MAX);
        let odd = if count.is_multiple_of(2) { count - 1 } else { count };
        let founding = |(number, _)| ReplicaId::new(FOUNDING_COUNTER, number);
        self.numbered().take(odd).map(founding).collect()
    }

    /// Where each shard begins.
    #[must_use]
    pub fn placement(&self) -> Placement {
        let mut asked = 0;
        let found = Placement::found(
            self.settings.shards,
            &self.members(),
            self.settings.replication_factor,
            |node| {
                // Asked shard by shard, and by a single node once for each.
                asked += 1;
                match self.founder(node) {
                    Some(_) if self.from_single_node => ReplicaId(asked),
                    Some((number, _)) => ReplicaId::new(FOUNDING_COUNTER, number),
                    None => ReplicaId::default(),
                }
            },
        );
        // There is a founder, and all of them are active.
        found.unwrap_or_default()
    }

    /// The groups that one founder founds, by group.
    #[must_use]
    pub fn groups_of(&self, number: NodeNumber) -> Vec<FoundedGroup> {
        let placement = self.placement();
        let shards = (0..).map(ShardId).zip(placement.shards());
        let of_shard = |(shard, placement): (ShardId, &ShardPlacement)| {
            let voters = placement.voters().map(|voter| voter.id).collect();
            (GroupId::of_shard(shard), voters)
        };
        let catalog = (GroupId::default(), self.catalog_voters());
        let groups = std::iter::once(catalog).chain(shards.map(of_shard));
        let mine = groups.filter_map(|(group, voters): (_, Vec<ReplicaId>)| {
            let replica = *voters.iter().find(|voter| voter.node() == number)?;
            Some(FoundedGroup { group, replica, configuration: Configuration::founding(voters) })
        });
        mine.collect()
    }
}

impl NodeInfo {
    /// The node as placement sees it.
    #[must_use]
    pub fn member(&self, state: MemberState) -> Member {
        let Self { name, zone, capacity, .. } = self;
        Member { id: name.id.clone(), zone: zone.clone(), capacity: *capacity, state }
    }

    /// Where it is reached.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        Addresses { peer: self.peer.clone(), client: self.client.clone() }
    }

    /// Whether addresses and zone are of a length that may be kept.
    pub(super) fn texts_fit(&self) -> bool {
        let fits = |text: &str| text.len() <= TEXT_BYTES_MAX;
        fits(&self.peer) && !self.peer.is_empty() && fits(&self.client) && fits(&self.zone.0)
    }
}
