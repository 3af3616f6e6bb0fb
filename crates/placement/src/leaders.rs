//! Who should lead what: leaders are spread as replicas are.
//!
//! # Model
//!
//! A node's fair share of leaders is by capacity, and never more than the shards it could lead: those where it has a sound
//! voter. A node above max(ceil(share), 1.1 × share) gives leadership away, to one below its own bound; over others that
//! pass one on where it must be. A draining node is to lead nothing. Within the bounds nothing moves: a leader that serves
//! is worth more than an even number.
//!
//! Shards that nobody is known to lead, or a node that does not answer, are left alone: there is nobody to ask.

use std::collections::VecDeque;

use ringfort_types::{NodeId, ReplicaId, ShardId};

use crate::member::{MemberState, Members};
use crate::placement::{Placement, ShardPlacement};
use crate::share::{Share, Vessel, WHOLE, pour};

/// Leadership of a shard is to go from one node to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Of which shard.
    pub shard: ShardId,
    /// Who leads it.
    pub from: NodeId,
    /// Who is to lead it.
    pub to: NodeId,
    /// Its replica on that node.
    pub replica: ReplicaId,
}

/// How many shards each member leads, in the order of members. `leaders` says who leads each shard, in the order of shards,
/// as far as it is known.
#[must_use]
pub fn leader_counts(leaders: &[Option<NodeId>], members: &Members) -> Vec<u64> {
    let mut counts = vec![0; members.as_slice().len()];
    for node in leaders.iter().flatten().filter_map(|leader| members.position(leader)) {
        counts[node] += 1;
    }
    counts
}

/// The transfers that bring leaders within their bounds, as far as voters permit, in the order of shards; none where they
/// are. `leaders` says who leads each shard, in the order of shards, as far as it is known.
#[must_use]
pub fn leader_transfers(
    placement: &Placement,
    leaders: &[Option<NodeId>],
    members: &Members,
) -> Vec<Transfer> {
    let mut office = Office::new(placement, leaders, members);
    let before = office.shards.clone();
    for node in 0..office.counts.len() {
        while office.counts[node] > office.shares[node].bound() && office.relieve(node) {}
    }
    let id = |node: usize| members.as_slice()[node].id.clone();
    let mut transfers = Vec::new();
    for (place, (old, new)) in before.iter().zip(&office.shards).enumerate() {
        let (Some(from), Some(to)) = (old.leader, new.leader) else { continue };
        let candidate = new.candidates.iter().find(|(node, _)| *node == to);
        if let Some((_, replica)) = candidate.filter(|_| from != to) {
            let shard = ShardId(u32::try_from(place).unwrap_or(u32::MAX));
            transfers.push(Transfer { shard, from: id(from), to: id(to), replica: *replica });
        }
    }
    transfers
}

#[derive(Clone)]
struct Led {
    leader: Option<usize>,
    /// Who could lead it, and with which replica.
    candidates: Vec<(usize, ReplicaId)>,
}

struct Office {
    shards: Vec<Led>,
    counts: Vec<u64>,
    shares: Vec<Share>,
}

impl Office {
    fn new(placement: &Placement, leaders: &[Option<NodeId>], members: &Members) -> Self {
        let known = leaders.iter().map(Option::as_ref).chain(std::iter::repeat(None));
        let shards: Vec<_> = placement
            .shards()
            .iter()
            .zip(known)
            .map(|(shard, leader)| led(shard, leader, members))
            .collect();
        let mut counts = vec![0; members.as_slice().len()];
        let mut electable = vec![0; counts.len()];
        for shard in shards.iter().filter(|shard| shard.leader.is_some()) {
            shard.leader.into_iter().for_each(|node| counts[node] += 1);
            shard.candidates.iter().for_each(|(node, _)| electable[*node] += 1);
        }
        let vessels: Vec<_> = members
            .as_slice()
            .iter()
            .zip(electable)
            .map(|(member, electable)| Vessel {
                width: u64::from(member.capacity.hundredths()),
                height: WHOLE * electable,
            })
            .collect();
        let total = WHOLE * counts.iter().sum::<u64>();
        let shares = pour(&vessels, total).into_iter().map(|part| Share::of(part, 1)).collect();
        Self { shards, counts, shares }
    }

    /// Takes one shard from the node, by the shortest chain to a node with room; false where there is none.
    fn relieve(&mut self, start: usize) -> bool {
        let mut way: Vec<Option<(usize, usize)>> = vec![None; self.counts.len()];
        let mut waiting = VecDeque::from([start]);
        while let Some(node) = waiting.pop_front() {
            for (shard, led) in self.shards.iter().enumerate() {
                if led.leader != Some(node) {
                    continue;
                }
                for (next, _) in &led.candidates {
                    if *next == start || way[*next].is_some() {
                        continue;
                    }
                    way[*next] = Some((node, shard));
                    if self.counts[*next] < self.shares[*next].bound() {
                        let last = *next;
                        self.follow(&way, last);
                        return true;
                    }
                    waiting.push_back(*next);
                }
            }
        }
        false
    }

    fn follow(&mut self, way: &[Option<(usize, usize)>], last: usize) {
        let mut node = last;
        while let Some((before, shard)) = way[node] {
            self.shards[shard].leader = Some(node);
            self.counts[node] += 1;
            self.counts[before] -= 1;
            node = before;
        }
    }
}

fn led(shard: &ShardPlacement, leader: Option<&NodeId>, members: &Members) -> Led {
    let answers = |node: &&NodeId| !members.is(node, MemberState::Down);
    let candidates = shard
        .voters()
        .filter(|voter| !voter.quarantined && members.is(&voter.node, MemberState::Active))
        .filter_map(|voter| Some((members.position(&voter.node)?, voter.id)))
        .collect();
    let leader = leader.filter(answers).and_then(|node| members.position(node));
    Led { leader, candidates }
}
