//! Random clusters, and what must be true of any.

use std::collections::BTreeMap;

use ringfort_placement::{
    Capacity, Member, MemberState, Members, Placement, Replica, ReplicationFactor, Role,
    ShardPlacement, Share, Wish, Zone, fair_shares,
};
use ringfort_types::{NodeId, ReplicaId};

/// SplitMix64 (Steele, Lea and Flood, 2014).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    pub(crate) fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

/// Says how to run a seed again where the test fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with RINGFORT_SEED={}", self.0);
        }
    }
}

/// Runs a test with `RINGFORT_SEED`, or `RINGFORT_SEEDS` seeds, `seeds` by default.
pub(crate) fn for_seeds(seeds: u64, mut test: impl FnMut(Random)) {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let range = match number("RINGFORT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("RINGFORT_SEEDS").unwrap_or(seeds),
    };
    for seed in range {
        let _says = Seed(seed);
        test(Random(seed));
    }
}

pub(crate) fn id(name: impl std::fmt::Display) -> NodeId {
    NodeId::parse(&name.to_string()).unwrap()
}

pub(crate) fn factor(copies: usize) -> ReplicationFactor {
    ReplicationFactor::new(u8::try_from(copies).unwrap()).unwrap()
}

/// A member from a text: `a`, `a/zone`, with `*300` for a capacity, `!` for down and `-` for draining at the end.
pub(crate) fn member(text: &str) -> Member {
    let (text, state) = match text.strip_suffix(['!', '-']) {
        Some(rest) if text.ends_with('!') => (rest, MemberState::Down),
        Some(rest) => (rest, MemberState::Draining),
        None => (text, MemberState::Active),
    };
    let (text, hundredths) = text.split_once('*').unwrap_or((text, "100"));
    let (name, zone) = text.split_once('/').unwrap_or((text, ""));
    let capacity = Capacity::from_hundredths(hundredths.parse().unwrap()).unwrap();
    Member { id: id(name), zone: Zone(zone.into()), capacity, state }
}

pub(crate) fn members(text: &str) -> Members {
    Members::new(text.split_whitespace().map(member)).unwrap()
}

/// A cluster that grows and shrinks.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) members: Members,
    pub(crate) factor: ReplicationFactor,
    pub(crate) placement: Placement,
    pub(crate) next_id: u64,
    pub(crate) named: usize,
    zones: usize,
    weighted: bool,
}

impl World {
    pub(crate) fn found(members: Members, copies: usize, shards: u32) -> Self {
        let factor = factor(copies);
        let mut next_id = 0;
        let next = |_: &NodeId| {
            next_id += 1;
            ReplicaId(next_id)
        };
        let placement = Placement::found(shards, &members, factor, next).unwrap();
        let named = members.as_slice().len();
        Self { members, factor, placement, next_id, named, zones: 1, weighted: false }
    }

    /// 1 to 50 nodes in 1 to 6 zones, with equal capacities or not, 1 to `shards_max` shards.
    pub(crate) fn random(random: &mut Random, shards_max: usize) -> Self {
        let nodes = 1 + random.pick(&[4, 12, 50]).min(1 + random.below(50));
        let zones = random.pick(&[1, 1, 2, 3, 4, 6]);
        let weighted = random.below(3) == 0;
        let made: Vec<_> =
            (0..nodes.min(50)).map(|n| new_member(random, n, zones, weighted)).collect();
        let bits = random.below(shards_max.ilog2() as usize + 1);
        let shards = (1 << bits) + random.below(1 << bits);
        let copies = random.pick(&[1, 2, 3, 3, 3, 5, 9]);
        let shards = u32::try_from(shards.min(shards_max)).unwrap();
        let world = Self::found(Members::new(made).unwrap(), copies, shards);
        Self { zones, weighted, ..world }
    }

    pub(crate) fn nodes(&self) -> Vec<Member> {
        self.members.as_slice().to_vec()
    }

    pub(crate) fn set_members(&mut self, members: Vec<Member>) {
        self.members = Members::new(members).unwrap();
        self.placement.retarget(&self.members, self.factor);
    }

    /// A new node joins.
    pub(crate) fn join(&mut self, random: &mut Random) -> NodeId {
        let member = new_member(random, self.named, self.zones, self.weighted);
        self.named += 1;
        let mut nodes = self.nodes();
        nodes.push(member.clone());
        self.set_members(nodes);
        member.id
    }

    /// All replicas stand where they are wished, as after all steps.
    pub(crate) fn settle(&mut self) {
        self.set_wishes(self.wishes());
    }

    /// Each shard stands on these nodes.
    pub(crate) fn set_replicas(&mut self, shards: &[&str]) {
        let wish = |nodes: &&str| Wish::new(nodes.split_whitespace().map(id));
        self.set_wishes(shards.iter().map(wish).collect());
    }

    fn set_wishes(&mut self, wishes: Vec<Wish>) {
        let mut voter = |node: &NodeId| {
            self.next_id += 1;
            let (id, node) = (ReplicaId(self.next_id), node.clone());
            Replica { id, node, role: Role::Voter, quarantined: false }
        };
        let settled = wishes
            .into_iter()
            .map(|wish| ShardPlacement::new(wish.nodes().iter().map(&mut voter).collect(), wish));
        self.placement = Placement::new(settled.collect());
    }

    pub(crate) fn wishes(&self) -> Vec<Wish> {
        self.placement.shards().iter().map(|shard| shard.wish().clone()).collect()
    }

    /// Nodes that may be wished for.
    pub(crate) fn able(&self) -> Vec<&Member> {
        let able = |member: &&Member| member.state != MemberState::Draining;
        self.members.as_slice().iter().filter(able).collect()
    }

    pub(crate) fn shares(&self) -> BTreeMap<NodeId, Share> {
        let able = self.able();
        let mut zones: Vec<_> = able.iter().map(|member| &member.zone).collect();
        zones.sort();
        zones.dedup();
        let zone = |member: &Member| zones.iter().position(|zone| **zone == member.zone).unwrap();
        let nodes: Vec<_> =
            able.iter().map(|member| Some((member.capacity, zone(member)))).collect();
        let shares = fair_shares(&nodes, self.factor.get(), self.placement.shards().len());
        able.iter().map(|member| member.id.clone()).zip(shares).collect()
    }

    /// Wishes on each node that may be wished for.
    pub(crate) fn counts(&self) -> BTreeMap<NodeId, u64> {
        let mut counts: BTreeMap<_, _> =
            self.able().iter().map(|member| (member.id.clone(), 0)).collect();
        for wish in self.wishes() {
            for node in wish.nodes() {
                *counts.get_mut(node).unwrap() += 1;
            }
        }
        counts
    }

    /// Each wish has as many nodes as can be, spread over zones as well as can be.
    pub(crate) fn check_spread(&self) {
        let mut sizes: BTreeMap<&Zone, usize> = BTreeMap::new();
        for member in self.able() {
            *sizes.entry(&member.zone).or_default() += 1;
        }
        let copies = self.factor.get().min(self.able().len());
        let best = fewest_pairs(sizes.values().copied(), copies);
        for (shard, wish) in self.wishes().iter().enumerate() {
            assert_eq!(wish.nodes().len(), copies, "shard {shard}: {wish:?}");
            let mut held: BTreeMap<&Zone, usize> = BTreeMap::new();
            for node in wish.nodes() {
                *held.entry(&self.members.get(node).unwrap().zone).or_default() += 1;
            }
            let pairs: usize = held.values().map(|count| count * (count - 1) / 2).sum();
            assert_eq!(pairs, best, "shard {shard}: {wish:?}");
        }
    }

    /// Nodes above their bound, each by how much.
    pub(crate) fn over_bound(&self) -> Vec<(NodeId, u64)> {
        let shares = self.shares();
        let over = |(node, count): (NodeId, u64)| {
            let bound = shares[&node].bound();
            (count > bound).then(|| (node, count - bound))
        };
        self.counts().into_iter().filter_map(over).collect()
    }
}

fn new_member(random: &mut Random, number: usize, zones: usize, weighted: bool) -> Member {
    let capacity = if weighted { random.pick(&[50, 100, 100, 150, 200, 400]) } else { 100 };
    Member {
        id: id(format!("n{number}")),
        zone: Zone(format!("z{}", random.below(zones)).into()),
        capacity: Capacity::from_hundredths(capacity).unwrap(),
        state: MemberState::Active,
    }
}

/// The fewest pairs of replicas in one zone, one replica at a time where it adds fewest.
fn fewest_pairs(sizes: impl Iterator<Item = usize>, copies: usize) -> usize {
    let mut costs: Vec<usize> = sizes.flat_map(|size| 0..size).collect();
    costs.sort_unstable();
    costs.iter().take(copies).sum()
}
