//! Stored placement: the replicas that each shard has, and the nodes that are to hold it.
//!
//! ```text
//!   wish {a b d}     a.1 voter   b.2 voter   c.3 voter                    to come: a learner on d instead of c.3
//!   wish {a b d}     a.1 voter   b.2 voter   c.3 voter   d.9 learner ⇄ c.3       the learner catches up
//!   wish {a b d}     a.1 voter   b.2 voter   d.9 voter                                    settled
//! ```
//!
//! # Invariants
//!
//! - A replica id is named once in a shard, and is greater than all that were there when it came.
//! - A voter has at most one learner that is to replace it.
//! - There is a voter, once the shard was founded.
//!
//! A node may hold two replicas of a shard while a damaged one is replaced in place: a voter that no longer speaks and the
//! learner that replaces it. The node has room for one, and gives up the damaged one as the learner comes.

use ringfort_types::{NodeId, ReplicaId, ShardId};

use crate::member::{Members, ReplicationFactor};
use crate::step::Step;
use crate::target::target;

/// What a replica does in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Decides.
    Voter,
    /// Receives, until it is promoted.
    Learner {
        /// The voter whose place it takes then; none where it is one more.
        replaces: Option<ReplicaId>,
    },
}

/// One node's copy of a shard.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Replica {
    /// Its id, never used again.
    pub id: ReplicaId,
    /// Who has it.
    pub node: NodeId,
    /// What it does.
    pub role: Role,
    /// Damaged: it neither votes nor acknowledges until it is replaced.
    pub quarantined: bool,
}

impl Replica {
    /// Whether it decides.
    #[must_use]
    pub fn is_voter(&self) -> bool {
        self.role == Role::Voter
    }
}

/// The nodes that are to hold a shard, by id, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Wish(Vec<NodeId>);

impl Wish {
    /// Takes nodes as a wish, in whatever order; repeated ones count once.
    #[must_use]
    pub fn new(nodes: impl IntoIterator<Item = NodeId>) -> Self {
        let mut nodes: Vec<_> = nodes.into_iter().collect();
        nodes.sort_unstable();
        nodes.dedup();
        Self(nodes)
    }

    /// The nodes, by id.
    #[must_use]
    pub fn nodes(&self) -> &[NodeId] {
        &self.0
    }

    /// Whether the node is to hold the shard.
    #[must_use]
    pub fn contains(&self, node: &NodeId) -> bool {
        self.0.binary_search(node).is_ok()
    }
}

/// Where one shard stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ShardPlacement {
    replicas: Vec<Replica>,
    wish: Wish,
}

/// Why a step does not fit a shard. Nothing has changed; the shard's placement is another than the step was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// The replica is not there, or not in the role that the step names.
    #[error("replica {0} is not there as the step expects it")]
    NotThere(ReplicaId),
    /// The new replica's id is 0, or not above all that are there.
    #[error("replica id {0} is not above those of the shard")]
    IdUsed(ReplicaId),
    /// A learner is to replace this voter already.
    #[error("replica {0} is being replaced already")]
    ReplacedAlready(ReplicaId),
    /// No voter would be left.
    #[error("no voter would be left")]
    NoVoter,
}

impl ShardPlacement {
    /// A shard with these replicas, as its group or the catalog's record says.
    #[must_use]
    pub fn new(replicas: Vec<Replica>, wish: Wish) -> Self {
        Self { replicas, wish }
    }

    /// Its replicas, in the order in which they came.
    #[must_use]
    pub fn replicas(&self) -> &[Replica] {
        &self.replicas
    }

    /// Those who decide.
    pub fn voters(&self) -> impl Iterator<Item = &Replica> {
        self.replicas.iter().filter(|replica| replica.is_voter())
    }

    /// Those who receive.
    pub fn learners(&self) -> impl Iterator<Item = &Replica> {
        self.replicas.iter().filter(|replica| !replica.is_voter())
    }

    /// The nodes that are to hold it.
    #[must_use]
    pub fn wish(&self) -> &Wish {
        &self.wish
    }

    /// The replica of this id.
    #[must_use]
    pub fn replica(&self, id: ReplicaId) -> Option<&Replica> {
        self.replicas.iter().find(|replica| replica.id == id)
    }

    /// Whether the node decides here, with a sound replica.
    #[must_use]
    pub fn has_sound_voter_on(&self, node: &NodeId) -> bool {
        self.voters().any(|voter| voter.node == *node && !voter.quarantined)
    }

    /// Changes the nodes that are to hold it.
    pub fn set_wish(&mut self, wish: Wish) {
        self.wish = wish;
    }

    /// Notes that a replica is damaged; false where it is not there, or known as damaged.
    pub fn quarantine(&mut self, id: ReplicaId) -> bool {
        let sound =
            self.replicas.iter_mut().find(|replica| replica.id == id && !replica.quarantined);
        sound.map(|replica| replica.quarantined = true).is_some()
    }

    /// Takes one step. `next_id` is the id that a replica gets that is added; other steps leave it unused.
    ///
    /// # Errors
    /// The step was made from another placement than this one. Nothing has changed.
    pub fn apply(&mut self, step: &Step, next_id: ReplicaId) -> Result<(), ApplyError> {
        match step {
            Step::AddLearner { node, replaces } => self.add_learner(node, *replaces, next_id),
            Step::Promote { learner } => self.promote(*learner),
            Step::Remove { replica } => self.remove(*replica),
        }
    }

    fn add_learner(
        &mut self,
        node: &NodeId,
        replaces: Option<ReplicaId>,
        id: ReplicaId,
    ) -> Result<(), ApplyError> {
        let highest = self.replicas.iter().map(|replica| replica.id).max().unwrap_or_default();
        if id <= highest {
            return Err(ApplyError::IdUsed(id));
        }
        if let Some(replaced) = replaces {
            self.position(replaced, true)?;
            if self.learners().any(|learner| learner.role == (Role::Learner { replaces })) {
                return Err(ApplyError::ReplacedAlready(replaced));
            }
        }
        let role = Role::Learner { replaces };
        self.replicas.push(Replica { id, node: node.clone(), role, quarantined: false });
        Ok(())
    }

    fn promote(&mut self, id: ReplicaId) -> Result<(), ApplyError> {
        let learner = self.position(id, false)?;
        let replaced = match self.replicas[learner].role {
            Role::Learner { replaces: Some(replaced) } => Some(self.position(replaced, true)?),
            _ => None,
        };
        self.replicas[learner].role = Role::Voter;
        if let Some(replaced) = replaced {
            self.replicas.remove(replaced);
        }
        Ok(())
    }

    fn remove(&mut self, id: ReplicaId) -> Result<(), ApplyError> {
        let position = self.replicas.iter().position(|replica| replica.id == id);
        let position = position.ok_or(ApplyError::NotThere(id))?;
        if self.replicas[position].is_voter() && self.voters().count() == 1 {
            return Err(ApplyError::NoVoter);
        }
        self.replicas.remove(position);
        Ok(())
    }

    fn position(&self, id: ReplicaId, voter: bool) -> Result<usize, ApplyError> {
        let fits = |replica: &Replica| replica.id == id && replica.is_voter() == voter;
        self.replicas.iter().position(fits).ok_or(ApplyError::NotThere(id))
    }
}

/// All shards of a cluster; the shard's number is its place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    shards: Vec<ShardPlacement>,
}

/// Nothing can be placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FoundError {
    /// There is no active member.
    #[error("no active node is there to hold a shard")]
    NoNode,
}

impl Placement {
    /// The shards as the catalog keeps them.
    #[must_use]
    pub fn new(shards: Vec<ShardPlacement>) -> Self {
        Self { shards }
    }

    /// The placement that a cluster of so many shards begins with: voters on all nodes of each shard's wish. `next_id` is
    /// asked once for each replica and its node, shard by shard.
    ///
    /// # Errors
    /// No member is active.
    pub fn found(
        shards: u32,
        members: &Members,
        factor: ReplicationFactor,
        mut next_id: impl FnMut(&NodeId) -> ReplicaId,
    ) -> Result<Self, FoundError> {
        let blank = (0..shards).map(|_| ShardPlacement::default()).collect();
        let mut placement = Self { shards: blank };
        placement.retarget(members, factor);
        for shard in &mut placement.shards {
            if shard.wish.0.is_empty() {
                return Err(FoundError::NoNode);
            }
            let mut voter = |node: &NodeId| Replica {
                id: next_id(node),
                node: node.clone(),
                role: Role::Voter,
                quarantined: false,
            };
            shard.replicas = shard.wish.0.iter().map(&mut voter).collect();
        }
        Ok(placement)
    }

    /// Makes the wishes fit members and replication factor ([`target`]). To be done whenever one of them changes. Gives the
    /// shards whose wish changed.
    pub fn retarget(&mut self, members: &Members, factor: ReplicationFactor) -> Vec<ShardId> {
        let wishes = target(self, members, factor);
        let mut changed = Vec::new();
        for ((id, shard), wish) in (0..).map(ShardId).zip(&mut self.shards).zip(wishes) {
            if shard.wish != wish {
                shard.wish = wish;
                changed.push(id);
            }
        }
        changed
    }

    /// All shards, in order.
    #[must_use]
    pub fn shards(&self) -> &[ShardPlacement] {
        &self.shards
    }

    /// One shard; `None` where there is no such shard.
    #[must_use]
    pub fn shard(&self, id: ShardId) -> Option<&ShardPlacement> {
        self.shards.get(usize::try_from(id.0).ok()?)
    }

    /// One shard, to be changed; `None` where there is no such shard.
    pub fn shard_mut(&mut self, id: ShardId) -> Option<&mut ShardPlacement> {
        self.shards.get_mut(usize::try_from(id.0).ok()?)
    }

    /// How many shards there are.
    #[must_use]
    pub fn shard_count(&self) -> u32 {
        u32::try_from(self.shards.len()).unwrap_or(u32::MAX)
    }
}
