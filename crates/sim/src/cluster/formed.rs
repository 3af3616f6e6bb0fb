//! The cluster as its formation leaves it: the decided record, and what follows from it. How it comes about has a simulator
//! of its own, in the tests of the node's crate.

use ringfort_node::control::{ClusterSettings, FormationRecord, NodeInfo, NodeName, ReadsBy};
use ringfort_node::host::{Capacity, ReplicationFactor, Zone};
use ringfort_raft::{Reads, Settings};
use ringfort_types::{ClusterId, FeatureLevel, Incarnation, NodeId};

/// The record, and where the groups that it founds stand.
#[derive(Clone, Debug)]
pub(super) struct Formed {
    pub(super) record: FormationRecord,
    /// By shard, the nodes that hold it. A replica is only ever replaced on its own node.
    pub(super) holders: Vec<Vec<usize>>,
    /// The nodes that have a replica of the catalog.
    pub(super) catalog: Vec<usize>,
}

impl Formed {
    /// A cluster of so many nodes.
    ///
    /// # Panics
    /// The settings are none that a cluster can have.
    pub(super) fn new(nodes: usize, replicas: usize, shards: u32, raft: &Settings) -> Self {
        let factor = u8::try_from(replicas).expect("a few replicas");
        let settings = ClusterSettings {
            shards,
            replication_factor: ReplicationFactor::new(factor).expect("one, three or five"),
            heartbeat: raft.heartbeat,
            election_timeout: raft.election_timeout,
            reads: match raft.reads {
                Reads::Lease => ReadsBy::Lease,
                Reads::Index => ReadsBy::ReadIndex,
            },
            feature_level: FeatureLevel::NEWEST,
        };
        let founders = (0..nodes).map(founder).collect();
        let record = FormationRecord::new(ClusterId(0x51), settings, founders)
            .expect("founders have names of their own");
        let placement = record.placement();
        let node = |id: ringfort_types::ReplicaId| usize::from(id.node().0);
        let holders = placement.shards().iter();
        let holders = holders.map(|shard| shard.voters().map(|voter| node(voter.id)).collect());
        let holders = holders.collect();
        let catalog = record.catalog_voters().into_iter().map(node).collect();
        Self { record, holders, catalog }
    }

    /// The nodes of each group: of every shard, and of the catalog.
    pub(super) fn groups(&self) -> impl Iterator<Item = &[usize]> {
        self.holders.iter().chain([&self.catalog]).map(Vec::as_slice)
    }
}

/// A founder whose place among the others, sorted by id, is its number.
fn founder(number: usize) -> NodeInfo {
    NodeInfo {
        name: NodeName {
            id: NodeId::parse(&format!("n{number}")).expect("a letter and a digit"),
            incarnation: Incarnation(number as u128 + 1),
        },
        peer: format!("n{number}:7401"),
        client: format!("n{number}:7400"),
        zone: Zone::default(),
        capacity: Capacity::ONE,
    }
}
