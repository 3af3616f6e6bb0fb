//! Small things that tests share.

use std::time::Duration;

use ringfort_placement::{Replica, Role, ShardPlacement, Wish};
use ringfort_types::{Monotonic, NodeId, NodeNumber, ReplicaId};

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

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()].clone()
    }
}

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

pub(crate) fn at(ms: u64) -> Monotonic {
    // Not from 0: what is initially zero must not pass for a time.
    Monotonic(0) + Duration::from_secs(1000) + Duration::from_millis(ms)
}

/// The founding replica of a node.
pub(crate) fn on(node: u16) -> ReplicaId {
    ReplicaId::new(1, NodeNumber(node))
}

/// A shard from a text: `1 2 3!` are voters on nodes 1, 2 and 3, the last damaged; `4+` is a learner.
pub(crate) fn shard(text: &str) -> ShardPlacement {
    let replica = |text: &str| {
        let node: u16 = text.trim_end_matches(['!', '+']).parse().unwrap();
        let role = if text.contains('+') { Role::Learner { replaces: None } } else { Role::Voter };
        let quarantined = text.contains('!');
        let name = NodeId::parse(&format!("n{node}")).unwrap();
        Replica { id: on(node), node: name, role, quarantined }
    };
    ShardPlacement::new(text.split_whitespace().map(replica).collect(), Wish::default())
}
