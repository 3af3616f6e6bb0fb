//! What placement is to become: new wishes from old ones.
//!
//! # Model
//!
//! A draft starts from the wishes so far and passes through stages, each of which changes as little as it needs to:
//!
//! 1. **keep** what may stay: wishes on nodes that are active, or down and hold the shard;
//! 2. **drop** what is too much, where the replication factor shrank;
//! 3. **fill** what is missing: the zone with the fewest replicas, there a node that still holds the shard, else the first
//!    in the ring's order that has room;
//! 4. **spread** over zones what stands closer than it must;
//! 5. **welcome** nodes that hold nothing: they take their fair share, first from nodes above their bound, then from those
//!    above their mean, shards that prefer them first;
//! 6. **relieve** nodes that are still above their bound, by the chains of moves that disturb least ([`chain`]).
//!
//! A wish that already fits comes out as it went in. Since old wishes are the base, not the replicas, a target stays the
//! same while steps lead towards it. A wish that was not begun costs nothing to change: a node that holds the shard now is
//! asked first, so that a node which joins and leaves at once moves nothing.
//!
//! # Why zones work out
//!
//! The number of pairs of replicas that share a zone is separable and convex in the numbers per zone. So replicas that are
//! put one by one where fewest are, and exchanged while that parts a pair, end in a best spread; an exchange that parts none
//! may still go on between zones that are equally good. No stage makes a spread worse.

mod chain;
mod draft;

use crate::member::{Members, ReplicationFactor};
use crate::placement::{Placement, Wish};
use draft::Draft;

/// The nodes that are to hold each shard, in the order of shards, by the rules at the head of the crate.
#[must_use]
pub fn target(placement: &Placement, members: &Members, factor: ReplicationFactor) -> Vec<Wish> {
    let mut draft = Draft::new(placement, members, factor);
    if !draft.has_taker() {
        // Nobody could take anything: what is there stays.
        return placement.shards().iter().map(|shard| shard.wish().clone()).collect();
    }
    for shard in 0..placement.shards().len() {
        draft.drop_surplus(shard);
        draft.fill(shard);
        draft.spread(shard);
    }
    // Each round takes something from a node above its bound, or gives to a newcomer below its share: this ends. It has to
    // be done to the end, or the next target would go on where this one stopped.
    while draft.welcome() | draft.relieve() {}
    draft.into_wishes()
}
