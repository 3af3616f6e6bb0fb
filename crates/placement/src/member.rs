//! The nodes as placement sees them.

use ringfort_types::NodeId;

/// A failure domain: nodes that may fail together. Any text; nodes without a zone share the empty one.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Zone(pub Box<str>);

/// Weight of a node, in hundredths: a node of twice the capacity is to hold twice the replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capacity(u32);

/// A weight out of range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a capacity is 1 to {max} hundredths; got {0}", max = Capacity::HUNDREDTHS_MAX)]
pub struct CapacityError(u32);

impl Capacity {
    /// The usual weight, 1.0.
    pub const ONE: Self = Self(100);
    /// The largest weight, 1000.0.
    pub const HUNDREDTHS_MAX: u32 = 100_000;

    /// A weight from hundredths: 100 is 1.0.
    ///
    /// # Errors
    /// It is 0 or above 100,000.
    pub fn from_hundredths(hundredths: u32) -> Result<Self, CapacityError> {
        if (1..=Self::HUNDREDTHS_MAX).contains(&hundredths) {
            Ok(Self(hundredths))
        } else {
            Err(CapacityError(hundredths))
        }
    }

    /// The weight in hundredths.
    #[must_use]
    pub fn hundredths(self) -> u32 {
        self.0
    }
}

/// How many nodes are to hold each shard: 1 to 9.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicationFactor(u8);

/// A replication factor out of range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a replication factor is 1 to {max}; got {0}", max = ReplicationFactor::MAX)]
pub struct ReplicationFactorError(u8);

impl ReplicationFactor {
    /// The largest one.
    pub const MAX: u8 = 9;

    /// Takes a number as a replication factor.
    ///
    /// # Errors
    /// It is 0 or above 9.
    pub fn new(copies: u8) -> Result<Self, ReplicationFactorError> {
        if (1..=Self::MAX).contains(&copies) {
            Ok(Self(copies))
        } else {
            Err(ReplicationFactorError(copies))
        }
    }

    /// The number of nodes.
    #[must_use]
    pub fn get(self) -> usize {
        usize::from(self.0)
    }
}

/// What may be asked of a node. A node that left is no member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MemberState {
    /// Holds replicas and takes new ones.
    Active,
    /// Does not answer. It keeps what it has and takes nothing new; whoever gives it up removes it from the members.
    Down,
    /// Serves what it has, and is to be emptied.
    Draining,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub id: NodeId,
    /// Where it stands.
    pub zone: Zone,
    /// Its weight.
    pub capacity: Capacity,
    /// What may be asked of it.
    pub state: MemberState,
}

/// All nodes of a cluster, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members(Vec<Member>);

/// Two members of one id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("node {0} is a member twice")]
pub struct DuplicateMember(NodeId);

impl Members {
    /// Takes nodes as the members, in whatever order.
    ///
    /// # Errors
    /// Two have the same id.
    pub fn new(members: impl IntoIterator<Item = Member>) -> Result<Self, DuplicateMember> {
        let mut members: Vec<_> = members.into_iter().collect();
        members.sort_by(|a, b| a.id.cmp(&b.id));
        match members.windows(2).find(|pair| pair[0].id == pair[1].id) {
            Some(pair) => Err(DuplicateMember(pair[0].id.clone())),
            None => Ok(Self(members)),
        }
    }

    /// The member of this id.
    #[must_use]
    pub fn get(&self, id: &NodeId) -> Option<&Member> {
        self.position(id).map(|position| &self.0[position])
    }

    /// All of them, by id.
    #[must_use]
    pub fn as_slice(&self) -> &[Member] {
        &self.0
    }

    /// Where the member stands in the order of ids.
    pub(crate) fn position(&self, id: &NodeId) -> Option<usize> {
        self.0.binary_search_by(|member| member.id.cmp(id)).ok()
    }

    /// Whether the node is a member in this state.
    pub(crate) fn is(&self, id: &NodeId, state: MemberState) -> bool {
        self.get(id).is_some_and(|member| member.state == state)
    }
}
