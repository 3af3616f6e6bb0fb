//! Which node holds which shard, and how that changes without harm.
//!
//! ```text
//!   members (zone, capacity, state) ─┐
//!   replication factor ──────────────┼─ target ──▶ wishes: shard → nodes        rarely, as members change
//!   wishes so far, replicas ─────────┘                │
//!                                                     ▼
//!   one shard: wish, replicas, members ──── next_step ──▶ add learner │ promote │ remove   again and again
//! ```
//!
//! # Model
//!
//! The **ring** gives each shard an order of preference over the nodes. **Placement** is not computed from the ring: it is
//! stored, and moved after the ring's preferences as little as its rules allow. A shard's placement is the *replicas* that
//! its Raft group has, and its *wish*: the nodes that are to hold it. [`target`] makes new wishes from old ones when
//! members or the replication factor change. [`next_step`] looks at one shard and says what to do next, so steps of
//! different shards know nothing of each other: they may be taken in any order, one by one or many at once, and left
//! half done over a change of members or of the catalog's leader.
//!
//! # Rules
//!
//! - Replicas of a shard stand in distinct zones where that is possible, else as evenly as it is. This wins over all else.
//! - No node holds more than max(ceil(mean), 1.1 × mean) replicas, where the mean is the node's fair share by capacity
//!   among the nodes that zones permit.
//! - A node that joins gets its share from the others, and nothing else moves. What a node that goes held is spread over the
//!   others, and nothing else moves unless the bound cannot be kept otherwise.
//! - A draining node is emptied, as far as another node can take its place; a down node keeps what it has and gets nothing.
//! - A step changes at most one voter for one other. A group never has more than one learner by our doing, nor more members
//!   than the replication factor and one, unless it had more voters before.
//! - A step is only proposed while a majority of the voters lives, and only if one lives after it.
//! - A damaged replica is replaced on its own node, under a new replica id.
//!
//! Plain functions: no clock, no randomness, no floating point; the same input gives the same answer everywhere.
//!
//! Sources: Karger and others, "Consistent Hashing and Random Trees" (STOC 1997); Mirrokni, Thorup and Zadimoghaddam,
//! "Consistent Hashing with Bounded Loads" (SODA 2018).
//!
//! Left out on purpose: who is alive (gossip says so), how fast replicas move (the balancer throttles), what a group's
//! members truly are (its committed configuration says so; the copy here follows it).

mod leaders;
mod map;
mod member;
mod placement;
mod ring;
mod share;
mod step;
mod target;

pub use leaders::{Transfer, leader_counts, leader_transfers};
pub use map::{Held, ShardMap, ShardState};
pub use member::{
    Capacity, CapacityError, DuplicateMember, Member, MemberState, Members, ReplicationFactor,
    ReplicationFactorError, Zone,
};
pub use placement::{ApplyError, FoundError, Placement, Replica, Role, ShardPlacement, Wish};
pub use ring::{POINTS_MAX, POINTS_PER_CAPACITY, RING_SEED, Ring, point};
pub use share::{Share, fair_shares};
pub use step::{Outlook, Step, Urgency, Wait, next_step, plan};
pub use target::target;
