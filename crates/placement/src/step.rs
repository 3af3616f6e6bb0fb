//! The next step of a shard on its way to its wish.
//!
//! # Rules
//!
//! One step at a time: a learner that is there is promoted or removed before anything else. A voter that no longer lives (it
//! is damaged, its node is down or gone) is swapped for its successor, so that a repair never widens the quorum. While all
//! live, missing voters are added before others go, so that copies never become fewer than they need to.
//!
//! ```text
//!   learner without use? ── yes ──▶ remove it
//!        │ no
//!   learner? ── yes ──▶ promote it, once it has caught up
//!        │ no
//!   more voters than wished? ── yes ──▶ remove a damaged one, or one that is not wished, dead ones first
//!        │ no
//!   wished node without sound voter? ── yes ──▶ add a learner there, instead of a voter that is to go, if there is one
//!        │ no
//!   settled
//! ```
//!
//! A step needs a majority of living voters to be agreed on, and leaves one behind. Where there is none, or where a node
//! that is to get a replica is down, the shard waits.
//!
//! What a step asks of Raft are its own changes: the learner's `replaces` is the swap that its promotion will be. A step
//! that is proposed twice, or to a group that has moved on, is refused there by replica ids and by its configuration.

use ringfort_types::{NodeId, ReplicaId, ShardId};

use crate::member::{MemberState, Members};
use crate::placement::{Placement, Replica, Role, ShardPlacement};

/// One change of a shard's group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A new replica, under a new id, that receives.
    AddLearner {
        /// Where.
        node: NodeId,
        /// The voter whose place it is to take.
        replaces: Option<ReplicaId>,
    },
    /// The learner votes from now on, instead of the one it replaces; to be done once it has caught up.
    Promote {
        /// Which.
        learner: ReplicaId,
    },
    /// The replica leaves the group.
    Remove {
        /// Which.
        replica: ReplicaId,
    },
}

/// How a shard stands towards its wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// Its replicas are what they should be.
    Settled,
    /// This is to be done next.
    Next(Step),
    /// Something is to be done, and cannot be now.
    Waits(Wait),
}

/// What a shard waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wait {
    /// A majority of voters that live.
    Quorum,
    /// A node that is to hold the shard and does not answer.
    Node(NodeId),
}

/// How urgent a step is; the most urgent comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// It ends what was begun.
    Finish,
    /// The shard has fewer living voters than it is to have.
    Repair,
    /// A replica stands on a node that is to be emptied.
    Drain,
    /// It only balances.
    Balance,
}

/// What is to be done next for a shard.
#[must_use]
pub fn next_step(shard: &ShardPlacement, members: &Members) -> Outlook {
    let view = View { shard, members };
    let step = match shard.learners().next() {
        Some(learner) => view.step_of_learner(learner),
        None => view.step_of_voters(),
    };
    match step {
        Outlook::Next(step) if !view.is_safe(&step) => Outlook::Waits(Wait::Quorum),
        other => other,
    }
}

/// The steps to be taken now, the most urgent first. No more than `moves_max` shards have a learner at once; what was begun
/// goes on regardless.
#[must_use]
pub fn plan(
    placement: &Placement,
    members: &Members,
    moves_max: usize,
) -> Vec<(ShardId, Step, Urgency)> {
    let shards = || (0..).map(ShardId).zip(placement.shards());
    let begun = shards().filter(|(_, shard)| shard.learners().next().is_some()).count();
    let mut steps = Vec::new();
    for (id, shard) in shards() {
        if let Outlook::Next(step) = next_step(shard, members) {
            let urgency = View { shard, members }.urgency(&step);
            steps.push((id, step, urgency));
        }
    }
    // A stable sort: shards of one urgency stay in order.
    steps.sort_by_key(|(_, _, urgency)| *urgency);
    let mut room = moves_max.saturating_sub(begun);
    steps.retain(|(_, step, _)| {
        let begins = matches!(step, Step::AddLearner { .. });
        let fits = !begins || room > 0;
        room -= usize::from(begins && fits);
        fits
    });
    steps
}

struct View<'a> {
    shard: &'a ShardPlacement,
    members: &'a Members,
}

impl View<'_> {
    fn step_of_learner(&self, learner: &Replica) -> Outlook {
        if !self.is_useful(learner) {
            return Outlook::Next(Step::Remove { replica: learner.id });
        }
        if self.members.is(&learner.node, MemberState::Down) {
            return Outlook::Waits(Wait::Node(learner.node.clone()));
        }
        Outlook::Next(Step::Promote { learner: learner.id })
    }

    /// Whether the promotion of this learner brings the shard nearer to its wish.
    fn is_useful(&self, learner: &Replica) -> bool {
        let Role::Learner { replaces } = learner.role else { return false };
        let wanted = self.shard.wish().contains(&learner.node)
            && self.members.get(&learner.node).is_some()
            && !learner.quarantined
            && !self.shard.has_sound_voter_on(&learner.node);
        let fits = match replaces.map(|id| self.shard.replica(id)) {
            None => self.shard.voters().count() < self.shard.wish().nodes().len(),
            Some(Some(replaced)) if replaced.is_voter() => {
                let in_place = replaced.quarantined && replaced.node == learner.node;
                in_place || !self.shard.wish().contains(&replaced.node)
            }
            Some(_) => false,
        };
        wanted && fits
    }

    fn step_of_voters(&self) -> Outlook {
        let wished = self.shard.wish().nodes().len();
        let voters = self.shard.voters().count();
        if voters > wished {
            // Damage on a wished node goes too: it comes back as another's successor, and a majority is there meanwhile.
            let damaged = self.shard.voters().find(|voter| voter.quarantined);
            if let Some(replica) = damaged.or_else(|| self.voter_to_go()) {
                return Outlook::Next(Step::Remove { replica: replica.id });
            }
        }
        let missing = |node: &&NodeId| !self.shard.has_sound_voter_on(node);
        let mut missing: Vec<_> = self.shard.wish().nodes().iter().filter(missing).collect();
        // What is damaged comes first: it counts as a voter and is none.
        missing.sort_by_key(|node| !self.shard.voters().any(|voter| voter.node == **node));
        let mut waits = None;
        for node in missing {
            if self.members.is(node, MemberState::Active) {
                return self.step_to_fill(node, voters < wished);
            }
            waits.get_or_insert_with(|| node.clone());
        }
        waits.map_or(Outlook::Settled, |node| Outlook::Waits(Wait::Node(node)))
    }

    fn step_to_fill(&self, node: &NodeId, too_few: bool) -> Outlook {
        let damaged = self.shard.voters().find(|voter| voter.node == *node);
        let replaced =
            damaged.or_else(|| self.voter_to_go().filter(|voter| !too_few || !self.lives(voter)));
        let replaces = replaced.map(|voter| voter.id);
        Outlook::Next(Step::AddLearner { node: node.clone(), replaces })
    }

    /// The voter on a node that is not wished that should go first: one that does not live, then the oldest.
    fn voter_to_go(&self) -> Option<&Replica> {
        let unwished = self.shard.voters().filter(|voter| !self.shard.wish().contains(&voter.node));
        unwished.min_by_key(|voter| (self.lives(voter), voter.id))
    }

    /// Whether the replica can acknowledge, as far as is known.
    fn lives(&self, replica: &Replica) -> bool {
        let up = |state| state != MemberState::Down;
        !replica.quarantined && self.members.get(&replica.node).is_some_and(|node| up(node.state))
    }

    fn is_safe(&self, step: &Step) -> bool {
        let mut after = self.shard.clone();
        let highest = after.replicas().iter().map(|replica| replica.id.0).max().unwrap_or_default();
        after.apply(step, ReplicaId(highest.saturating_add(1))).is_ok()
            && self.has_quorum(self.shard)
            && self.has_quorum(&after)
    }

    fn has_quorum(&self, shard: &ShardPlacement) -> bool {
        let living = shard.voters().filter(|voter| self.lives(voter)).count();
        2 * living > shard.voters().count()
    }

    fn urgency(&self, step: &Step) -> Urgency {
        let drains = |voter: &Replica| self.members.is(&voter.node, MemberState::Draining);
        let living = self.shard.voters().filter(|voter| self.lives(voter)).count();
        if !matches!(step, Step::AddLearner { .. }) {
            Urgency::Finish
        } else if living < self.shard.wish().nodes().len() {
            Urgency::Repair
        } else if self.shard.voters().any(drains) {
            Urgency::Drain
        } else {
            Urgency::Balance
        }
    }
}
