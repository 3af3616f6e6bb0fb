//! The ring: which nodes a shard prefers, in which order.
//!
//! ```text
//!            0
//!        b.2 ┬ a.0            a shard begins at its first token ◆ and walks clockwise:
//!     a.1 ╱     ╲ c.1         the nodes in the order in which their points are met
//!        │       ◆──▶         are its preferences: here b, c, a
//!     c.0 ╲     ╱ b.0
//!        b.1 ┴ c.2
//! ```
//!
//! # The hash, to the byte
//!
//! Frozen: two versions of the server must agree on it. Point `n` of a node, counted from 0, is the token
//!
//! ```text
//!   XXH3-64( node id in UTF-8 ‖ 0x00 ‖ n as u32, little endian ),  seed 0x52494E47464F5254 ("RINGFORT" in ASCII,
//!                                                                  the first letter in the highest byte)
//! ```
//!
//! A node id holds no zero byte, so no two nodes hash the same bytes. A node has 64 points per capacity of 1.0, rounded to
//! the nearest, half up; at least 1 and at most 4,096. Points are ordered by token, equal ones by node id. A shard begins
//! at the first token of its range ([`token_range_of_shard`](ringfort_types::token_range_of_shard)); a point at that very
//! token is met first; behind the last point comes the first.
//!
//! Where a node stands depends on nothing but its own id and capacity. So a node that comes or goes leaves the order of the
//! others as it was.

use ringfort_types::{NodeId, Token};

use crate::member::{Capacity, Members};

/// Seed of the hash that puts nodes on the ring.
pub const RING_SEED: u64 = 0x5249_4E47_464F_5254;
/// Points of a node of capacity 1.0.
pub const POINTS_PER_CAPACITY: u32 = 64;
/// The most points a node has; beyond that, only its share of replicas tells of its capacity.
pub const POINTS_MAX: u32 = 4096;

/// The token of a node's point. See the head of this module.
#[must_use]
pub fn point(node: &NodeId, number: u32) -> Token {
    let mut bytes = Vec::with_capacity(node.as_str().len() + 5);
    bytes.extend_from_slice(node.as_str().as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(&number.to_le_bytes());
    Token(xxhash_rust::xxh3::xxh3_64_with_seed(&bytes, RING_SEED))
}

/// How many points a node of this capacity has.
fn points(capacity: Capacity) -> u32 {
    ((capacity.hundredths() * POINTS_PER_CAPACITY + 50) / 100).clamp(1, POINTS_MAX)
}

/// All members on the circle of tokens.
#[derive(Clone, Debug)]
pub struct Ring<'a> {
    members: &'a Members,
    /// Token and position among the members, in order.
    points: Vec<(Token, usize)>,
}

impl<'a> Ring<'a> {
    /// Puts all members on the ring, whatever their state.
    #[must_use]
    pub fn new(members: &'a Members) -> Self {
        let on_ring = members.as_slice().iter().enumerate().flat_map(|(position, member)| {
            (0..points(member.capacity)).map(move |n| (point(&member.id, n), position))
        });
        let mut points: Vec<_> = on_ring.collect();
        points.sort_unstable();
        Self { members, points }
    }

    /// All members, in the order in which a walk from the token meets them.
    #[must_use]
    pub fn preferences(&self, from: Token) -> Vec<&'a NodeId> {
        let members = self.members.as_slice();
        self.walk(from).into_iter().map(|position| &members[position].id).collect()
    }

    /// The same as positions among the members.
    pub(crate) fn walk(&self, from: Token) -> Vec<usize> {
        let members = self.members.as_slice().len();
        let mut met = vec![false; members];
        let mut order = Vec::with_capacity(members);
        let first = self.points.partition_point(|(token, _)| *token < from);
        let (before, behind) = self.points.split_at(first);
        for (_, position) in behind.iter().chain(before) {
            if !std::mem::replace(&mut met[*position], true) {
                order.push(*position);
                if order.len() == members {
                    break;
                }
            }
        }
        order
    }
}
