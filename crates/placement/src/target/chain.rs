//! Chains of exchanges that relieve a node above its bound.
//!
//! ```text
//!   a (too many) ── shard 7 ──▶ b (full) ── shard 3 ──▶ c (has room)
//! ```
//!
//! Where a node cannot give anything to one with room (zones, or the other has its shards already), nodes between them pass
//! on what they get. Of all chains the cheapest is taken, found as shortest paths are (Dijkstra, 1959). An exchange costs:
//!
//! - nearly nothing where it moves no data: the one that gives has no replica yet, or the one that gets has one still;
//! - more where a newcomer gets a shard;
//! - most where one moves between nodes that were there.
//!
//! Each link counts a little besides, so that among equals the shortest chain is taken. Links are looked for in the draft as
//! it stands, and two of them may touch the same shard: each is checked again before it is made, the last link first, and a
//! chain that breaks is undone.

use super::draft::{Draft, Position};

const LINK: u64 = 1;
const TO_NEWCOMER: u64 = 1_000;
const BETWEEN_OTHERS: u64 = 1_000_000;

/// One shard goes from one node to another.
#[derive(Clone, Copy)]
struct Link {
    shard: usize,
    from: Position,
    to: Position,
}

/// How a node is reached.
#[derive(Clone, Copy)]
struct Reached {
    cost: u64,
    by: Option<Link>,
    done: bool,
}

impl Draft<'_> {
    /// Takes from each node above its bound what is too much, as far as there are chains. Whether there was one.
    pub(super) fn relieve(&mut self) -> bool {
        let mut moved = false;
        for node in 0..self.seats.len() {
            while self.seats[node].is_over() {
                let Some(chain) = self.cheapest_chain(node) else { break };
                if !self.follow(&chain) {
                    break;
                }
                moved = true;
            }
        }
        moved
    }

    /// The links from the last to the first; `None` where no node with room can be reached.
    fn cheapest_chain(&self, start: Position) -> Option<Vec<Link>> {
        let mut reached: Vec<Option<Reached>> = vec![None; self.seats.len()];
        reached[start] = Some(Reached { cost: 0, by: None, done: false });
        loop {
            let open = reached
                .iter()
                .enumerate()
                .filter_map(|(node, way)| way.filter(|way| !way.done).map(|way| (way.cost, node)));
            let (cost, node) = open.min()?;
            if node != start && self.seats[node].has_room() {
                return Some(links_to(node, &reached));
            }
            if let Some(way) = &mut reached[node] {
                way.done = true;
            }
            self.reach_from(node, cost, &mut reached);
        }
    }

    fn reach_from(&self, from: Position, cost: u64, reached: &mut [Option<Reached>]) {
        for (shard, drafted) in self.shards.iter().enumerate() {
            if !drafted.now.contains(&from) {
                continue;
            }
            for (to, way) in reached.iter_mut().enumerate() {
                let link = Link { shard, from, to };
                if way.is_some_and(|way| way.done) || !self.is_possible(link) {
                    continue;
                }
                let cost = cost + self.cost(link);
                let better = way.is_none_or(|old| {
                    let same_hop = old.by.filter(|by| by.from == from);
                    let prefers = |by: Link| self.rank(shard, to) < self.rank(by.shard, to);
                    cost < old.cost || cost == old.cost && same_hop.is_some_and(prefers)
                });
                if better {
                    *way = Some(Reached { cost, by: Some(link), done: false });
                }
            }
        }
    }

    fn is_possible(&self, link: Link) -> bool {
        let now = &self.shards[link.shard].now;
        now.contains(&link.from)
            && !now.contains(&link.to)
            && self.may_hold(link.shard, link.to)
            && self.keeps_apart(link.shard, link.from, link.to)
    }

    fn cost(&self, link: Link) -> u64 {
        let moves_data = self.holds(link.shard, link.from) && !self.holds(link.shard, link.to);
        if !moves_data {
            LINK
        } else if self.seats[link.to].newcomer {
            LINK + TO_NEWCOMER
        } else {
            LINK + BETWEEN_OTHERS
        }
    }

    /// Makes all exchanges of the chain, or none.
    fn follow(&mut self, chain: &[Link]) -> bool {
        for (made, link) in chain.iter().enumerate() {
            if !self.is_possible(*link) {
                for link in chain[..made].iter().rev() {
                    self.exchange(link.shard, link.to, link.from);
                }
                return false;
            }
            self.exchange(link.shard, link.from, link.to);
        }
        true
    }
}

fn links_to(node: Position, reached: &[Option<Reached>]) -> Vec<Link> {
    let mut links = Vec::new();
    let mut at = node;
    while let Some(link) = reached[at].and_then(|way| way.by) {
        links.push(link);
        at = link.from;
    }
    links
}
