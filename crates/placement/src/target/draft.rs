//! The draft that [`target`](super::target) works on, with nodes as positions among the members.

use ringfort_types::{NodeId, ShardId, token_range_of_shard};

use crate::member::{MemberState, Members, ReplicationFactor};
use crate::placement::{Placement, ShardPlacement, Wish};
use crate::ring::Ring;
use crate::share::{Share, fair_shares};

/// A node, by its position among the members.
pub(super) type Position = usize;

/// One shard in the draft.
pub(super) struct Drafted {
    /// The wish so far, as far as its nodes are members.
    base: Vec<Position>,
    /// Nodes with a voter now.
    held: Vec<Position>,
    /// The wish to be.
    pub(super) now: Vec<Position>,
    /// All nodes, as the ring prefers them.
    order: Vec<Position>,
    /// Each node's place in that order.
    rank: Vec<u16>,
}

/// A node in the draft.
pub(super) struct Seat {
    state: MemberState,
    zone: usize,
    /// What it is to hold.
    share: Share,
    /// Replicas it has in the draft.
    pub(super) count: u64,
    /// It had nothing, and takes.
    pub(super) newcomer: bool,
}

impl Seat {
    fn takes(&self) -> bool {
        self.state == MemberState::Active
    }

    pub(super) fn has_room(&self) -> bool {
        self.takes() && self.count < self.share.bound()
    }

    pub(super) fn is_over(&self) -> bool {
        self.count > self.share.bound()
    }

    fn is_fuller(&self, other: &Self) -> bool {
        self.share.is_fuller(self.count, other.share, other.count)
    }
}

pub(super) struct Draft<'a> {
    members: &'a Members,
    pub(super) seats: Vec<Seat>,
    pub(super) shards: Vec<Drafted>,
    /// Replicas that a shard is to have: the replication factor, or all nodes where they are fewer.
    replicas: usize,
}

impl<'a> Draft<'a> {
    pub(super) fn new(
        placement: &Placement,
        members: &'a Members,
        factor: ReplicationFactor,
    ) -> Self {
        let seats = seats(members, factor, placement.shards().len());
        let able = seats.iter().filter(|seat| seat.state != MemberState::Draining).count();
        let replicas = factor.get().min(able);
        let mut draft = Self { members, seats, shards: Vec::new(), replicas };
        let ring = Ring::new(members);
        for (id, shard) in (0..).map(ShardId).zip(placement.shards()) {
            let first = token_range_of_shard(id, placement.shard_count()).first;
            draft.shards.push(drafted(shard, members, ring.walk(first)));
        }
        for shard in &draft.shards {
            for node in &shard.base {
                draft.seats[*node].newcomer = false;
            }
        }
        for shard in 0..draft.shards.len() {
            for node in draft.shards[shard].base.clone() {
                if draft.may_hold(shard, node) {
                    draft.add(shard, node);
                }
            }
        }
        draft
    }

    pub(super) fn has_taker(&self) -> bool {
        self.seats.iter().any(Seat::takes)
    }

    /// Takes wishes back until there are no more than the replication factor, from the zone with the most.
    pub(super) fn drop_surplus(&mut self, shard: usize) {
        while self.shards[shard].now.len() > self.replicas {
            let Some(from) = self.first_to_give(shard, |node| self.is_crowded(shard, node)) else {
                return;
            };
            self.take(shard, from);
        }
    }

    /// Wishes what is missing. Where nobody can take it, a draining node keeps what it holds.
    pub(super) fn fill(&mut self, shard: usize) {
        while self.shards[shard].now.len() < self.replicas {
            let Some(node) = self.best_addition(shard) else { break };
            self.add(shard, node);
        }
        for node in self.shards[shard].base.clone() {
            let drafted = &self.shards[shard];
            let stays = drafted.held.contains(&node) && !drafted.now.contains(&node);
            if stays && drafted.now.len() < self.replicas {
                self.add(shard, node);
            }
        }
    }

    /// Exchanges replicas that share a zone while that parts a pair.
    pub(super) fn spread(&mut self, shard: usize) {
        while let Some(to) = self.best_addition(shard) {
            let parts = |from| self.in_zone_of(shard, from) > self.in_zone_of(shard, to) + 1;
            let from =
                self.first_to_give(shard, |from| self.is_crowded(shard, from) && parts(from));
            let Some(from) = from else { return };
            self.exchange(shard, from, to);
        }
    }

    /// The node that should have the shard next.
    fn best_addition(&self, shard: usize) -> Option<Position> {
        let drafted = &self.shards[shard];
        let free = || {
            let order = drafted.order.iter().copied();
            order.filter(|node| self.may_hold(shard, *node) && !drafted.now.contains(node))
        };
        let fewest = free().map(|node| self.in_zone_of(shard, node)).min()?;
        let apart = || free().filter(|node| self.in_zone_of(shard, *node) == fewest);
        let has_room = |node: &Position| {
            let seat = &self.seats[*node];
            seat.count < seat.share.bound()
        };
        apart()
            .find(|node| drafted.held.contains(node) && has_room(node))
            .or_else(|| apart().find(has_room))
            .or_else(|| {
                let emptier = |best: Position, node: Position| {
                    if self.seats[best].is_fuller(&self.seats[node]) { node } else { best }
                };
                apart().reduce(emptier)
            })
    }

    /// Gives nodes that held nothing, or would hold nothing, their share. Whether that moved anything.
    pub(super) fn welcome(&mut self) -> bool {
        let mut moved = false;
        for seat in &mut self.seats {
            seat.newcomer |= seat.takes() && seat.count == 0;
        }
        let newcomers = (0..self.seats.len()).filter(|node| self.seats[*node].newcomer);
        for node in newcomers.collect::<Vec<_>>() {
            let mut wanted: Vec<usize> = (0..self.shards.len()).collect();
            wanted.sort_by_key(|shard| {
                let drafted = &self.shards[*shard];
                (!drafted.held.contains(&node), drafted.rank[node], *shard)
            });
            let (floor, bound) = (self.seats[node].share.floor(), self.seats[node].share.bound());
            moved |= self.pull(node, &wanted, bound, Seat::is_over);
            moved |= self.pull(node, &wanted, floor, |seat| seat.count > seat.share.floor());
        }
        moved
    }

    /// Moves shards to the node until it has so many, each from one of its nodes that may give. Whether there was
    /// one.
    fn pull(
        &mut self,
        to: Position,
        wanted: &[usize],
        until: u64,
        gives: impl Fn(&Seat) -> bool,
    ) -> bool {
        let mut moved = false;
        for shard in wanted.iter().copied() {
            if self.seats[to].count >= until {
                break;
            }
            if self.shards[shard].now.contains(&to) {
                continue;
            }
            let may_give = |from| gives(&self.seats[from]) && self.keeps_apart(shard, from, to);
            if let Some(from) = self.first_to_give(shard, may_give) {
                self.exchange(shard, from, to);
                moved = true;
            }
        }
        moved
    }

    /// The node that should give the shard away, of those that may: one that has no replica yet, for that moves nothing, then
    /// the fullest.
    fn first_to_give(&self, shard: usize, may: impl Fn(Position) -> bool) -> Option<Position> {
        let givers = self.shards[shard].now.iter().copied().filter(|node| may(*node));
        givers.reduce(|first, node| {
            let holds = (self.holds(shard, first), self.holds(shard, node));
            let fuller = self.seats[node].is_fuller(&self.seats[first]);
            if holds == (true, false) || holds.0 == holds.1 && fuller { node } else { first }
        })
    }

    /// Whether no zone has more replicas of the shard than the node's.
    fn is_crowded(&self, shard: usize, node: Position) -> bool {
        let mut all = self.shards[shard].now.iter();
        all.all(|other| self.in_zone_of(shard, *other) <= self.in_zone_of(shard, node))
    }

    /// Whether the node may have the shard: it takes replicas, or is down and has this one.
    pub(super) fn may_hold(&self, shard: usize, node: Position) -> bool {
        match self.seats[node].state {
            MemberState::Active => true,
            MemberState::Down => self.shards[shard].held.contains(&node),
            MemberState::Draining => false,
        }
    }

    /// Whether the shard stays spread as well when one node takes another's place.
    pub(super) fn keeps_apart(&self, shard: usize, from: Position, to: Position) -> bool {
        self.seats[from].zone == self.seats[to].zone
            || self.in_zone_of(shard, to) < self.in_zone_of(shard, from)
    }

    /// Whether the node has a voter now.
    pub(super) fn holds(&self, shard: usize, node: Position) -> bool {
        self.shards[shard].held.contains(&node)
    }

    /// How the ring ranks the node for the shard; 0 is the first.
    pub(super) fn rank(&self, shard: usize, node: Position) -> u16 {
        self.shards[shard].rank[node]
    }

    /// Replicas of the shard in the node's zone.
    fn in_zone_of(&self, shard: usize, node: Position) -> usize {
        let zone = self.seats[node].zone;
        self.shards[shard].now.iter().filter(|other| self.seats[**other].zone == zone).count()
    }

    /// Moves the shard from one node to another.
    pub(super) fn exchange(&mut self, shard: usize, from: Position, to: Position) {
        self.take(shard, from);
        self.add(shard, to);
    }

    fn add(&mut self, shard: usize, node: Position) {
        self.shards[shard].now.push(node);
        self.seats[node].count += 1;
    }

    fn take(&mut self, shard: usize, node: Position) {
        self.shards[shard].now.retain(|other| *other != node);
        self.seats[node].count -= 1;
    }

    pub(super) fn into_wishes(self) -> Vec<Wish> {
        let members = self.members.as_slice();
        let id = |node: &Position| members[*node].id.clone();
        self.shards.iter().map(|shard| Wish::new(shard.now.iter().map(id))).collect()
    }
}

fn seats(members: &Members, factor: ReplicationFactor, shards: usize) -> Vec<Seat> {
    let members = members.as_slice();
    let mut zones: Vec<_> = members.iter().map(|member| &member.zone).collect();
    zones.sort_unstable();
    zones.dedup();
    let zone = |member: &crate::Member| zones.partition_point(|zone| **zone < member.zone);
    let able: Vec<_> = members
        .iter()
        .map(|member| {
            (member.state != MemberState::Draining).then(|| (member.capacity, zone(member)))
        })
        .collect();
    let shares = fair_shares(&able, factor.get(), shards);
    members
        .iter()
        .zip(shares)
        .map(|(member, share)| Seat {
            state: member.state,
            zone: zone(member),
            share,
            count: 0,
            newcomer: member.state == MemberState::Active,
        })
        .collect()
}

fn drafted(shard: &ShardPlacement, members: &Members, order: Vec<Position>) -> Drafted {
    let mut rank = vec![0; order.len()];
    for (place, node) in (0..).zip(&order) {
        rank[*node] = place;
    }
    let known = |node: &NodeId| members.position(node);
    Drafted {
        base: shard.wish().nodes().iter().filter_map(known).collect(),
        held: shard.voters().filter_map(|voter| known(&voter.node)).collect(),
        now: Vec::new(),
        order,
        rank,
    }
}
