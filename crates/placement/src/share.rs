//! How much each node is to hold, by capacity and by what zones permit.
//!
//! # Model
//!
//! With replication factor 3 every shard has three replicas, spread over the zones as evenly as can be. Call `n` the nodes
//! of a zone. There is a level `l` such that in every best spread a zone holds `min(n, l)` replicas of each shard, and those
//! with more than `l` nodes may hold one more:
//!
//! ```text
//!   nodes per zone    1   2   5   5    replication factor 3:  l = 0, three zones hold one each
//!   nodes per zone    1   5            replication factor 3:  l = 1, the second zone holds one more
//! ```
//!
//! Within these limits, shares are what water gives that is poured into the nodes as vessels: as wide as the node's
//! capacity, as high as one replica of every shard. The fuller a node is for its capacity, the later it gets more.
//!
//! Fixed point, so that every node reckons the same.

use crate::member::Capacity;

/// One replica of every shard, as a share.
pub(crate) const WHOLE: u64 = 1 << 32;
/// Means nearer to a whole number than this count as whole: the rounding of fixed point must not raise a bound.
const TOLERANCE: u64 = WHOLE >> 10;
/// The water level has so many bits below those of a share.
const LEVEL_BITS: u32 = 20;

/// The replicas a node is to hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// The fair number, in units of 2^-32 replicas.
    mean: u64,
}

impl Share {
    /// `part` of `shards` replicas, in units of 2^-32.
    pub(crate) fn of(part: u64, shards: usize) -> Self {
        Self { mean: part.saturating_mul(shards as u64) }
    }

    /// The fair number of replicas, in units of 2^-32.
    #[must_use]
    pub fn mean(self) -> u64 {
        self.mean
    }

    /// The fair number, rounded down.
    #[must_use]
    pub fn floor(self) -> u64 {
        (self.mean + TOLERANCE) / WHOLE
    }

    /// The most the node may hold: max(ceil(mean), 1.1 × mean).
    #[must_use]
    pub fn bound(self) -> u64 {
        let ceil = self.mean.saturating_sub(TOLERANCE).div_ceil(WHOLE);
        ceil.max((self.mean / 10 * 11 + TOLERANCE) / WHOLE)
    }

    /// Whether a node with `count` replicas is fuller than another with `other_count`, each by its share.
    pub(crate) fn is_fuller(self, count: u64, other: Self, other_count: u64) -> bool {
        let left = u128::from(count) * u128::from(other.mean);
        left > u128::from(other_count) * u128::from(self.mean)
    }
}

/// The share of each node in `shards` shards of `replicas` replicas each. A node is its capacity and the number of its
/// zone; `None` is a node that is to hold nothing.
#[must_use]
pub fn fair_shares(
    nodes: &[Option<(Capacity, usize)>],
    replicas: usize,
    shards: usize,
) -> Vec<Share> {
    let zones = nodes.iter().flatten().map(|(_, zone)| zone + 1).max().unwrap_or(0);
    let mut vessels = vec![Vec::new(); zones];
    for (capacity, zone) in nodes.iter().flatten() {
        vessels[*zone].push(Vessel { width: u64::from(capacity.hundredths()), height: WHOLE });
    }
    let sizes: Vec<usize> = vessels.iter().map(Vec::len).collect();
    let replicas = replicas.min(sizes.iter().sum());
    let limits: Vec<(u64, u64)> = zone_limits(&sizes, replicas);
    let total = whole(replicas);
    let amount = |level: u128| -> u64 {
        vessels
            .iter()
            .zip(&limits)
            .map(|(zone, (low, high))| filled(zone, level).clamp(*low, *high))
            .sum()
    };
    let level = lowest_level(amount, total);
    let mut poured: Vec<_> = vessels
        .iter()
        .zip(&limits)
        .map(|(zone, (low, high))| pour(zone, filled(zone, level).clamp(*low, *high)).into_iter())
        .collect();
    let mut share = |zone: usize| poured[zone].next().unwrap_or_default();
    let part = |node: &Option<(Capacity, usize)>| node.map_or(0, |(_, zone)| share(zone));
    nodes.iter().map(part).map(|part| Share::of(part, shards)).collect()
}

/// What each zone holds of one shard, at least and at most, in every best spread.
fn zone_limits(sizes: &[usize], replicas: usize) -> Vec<(u64, u64)> {
    let held = |level: usize| sizes.iter().map(|size| level.min(*size)).sum::<usize>();
    let level = (0..replicas).take_while(|level| held(level + 1) <= replicas).count();
    let remainder = replicas - held(level);
    let limits = |size: &usize| {
        let low = level.min(*size);
        let extra = usize::from(remainder > 0 && *size > level);
        (whole(low), whole(low + extra))
    };
    sizes.iter().map(limits).collect()
}

fn whole(replicas: usize) -> u64 {
    WHOLE * replicas as u64
}

/// A node as what water is poured into.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vessel {
    /// Weight.
    pub(crate) width: u64,
    /// The most it holds.
    pub(crate) height: u64,
}

fn filled_one(vessel: Vessel, level: u128) -> u64 {
    let water = (level * u128::from(vessel.width)) >> LEVEL_BITS;
    u64::try_from(water).unwrap_or(u64::MAX).min(vessel.height)
}

fn filled(vessels: &[Vessel], level: u128) -> u64 {
    vessels.iter().map(|vessel| filled_one(*vessel, level)).sum()
}

/// What each vessel holds once `total` has been poured in; full ones where that is more than there is room for.
pub(crate) fn pour(vessels: &[Vessel], total: u64) -> Vec<u64> {
    let level = lowest_level(|level| filled(vessels, level), total);
    vessels.iter().map(|vessel| filled_one(*vessel, level)).collect()
}

/// The lowest level at which the amount reaches the total; a level above all vessels where it never does.
fn lowest_level(amount: impl Fn(u128) -> u64, total: u64) -> u128 {
    let (mut low, mut high) = (0, u128::from(WHOLE) << (LEVEL_BITS + 16));
    while low < high {
        let middle = (low + high) / 2;
        if amount(middle) >= total {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Means in thousandths of a replica, of 1,000 shards.
    fn shares(nodes: &[(u32, usize)], replicas: usize) -> Vec<u64> {
        let node = |(hundredths, zone): &(u32, usize)| {
            Some((Capacity::from_hundredths(*hundredths).unwrap(), *zone))
        };
        let nodes: Vec<_> = nodes.iter().map(node).collect();
        let thousandths = |share: Share| (share.mean() + TOLERANCE) / WHOLE;
        fair_shares(&nodes, replicas, 1000).into_iter().map(thousandths).collect()
    }

    #[test]
    fn shares_follow_capacity_as_far_as_zones_permit() {
        for (nodes, replicas, expected) in [
            // One zone: by capacity, at most one replica of each shard.
            (&[(100, 0), (100, 0), (100, 0), (100, 0)][..], 3, &[750, 750, 750, 750][..]),
            (&[(100, 0), (200, 0), (100, 0)], 1, &[250, 500, 250]),
            (&[(100, 0), (800, 0), (100, 0)], 2, &[500, 1000, 500]),
            (&[(100, 0)], 3, &[1000]),
            // As many zones as replicas: each zone holds everything once.
            (&[(100, 0), (100, 1), (300, 1), (100, 2)], 3, &[1000, 250, 750, 1000]),
            // More zones: capacity decides between them, up to one replica of each shard.
            (&[(100, 0), (100, 1), (100, 2), (100, 3)], 2, &[500, 500, 500, 500]),
            (&[(100, 0), (100, 0), (100, 0), (100, 1), (100, 2)], 2, &[333, 333, 333, 500, 500]),
            // Fewer zones: evenly, small ones full.
            (&[(100, 0), (100, 1), (100, 1), (100, 1)], 3, &[1000, 666, 666, 666]),
            (&[(100, 0), (100, 0), (900, 1), (900, 1)], 3, &[500, 500, 1000, 1000]),
            (&[(1, 0), (100_000, 1)], 1, &[0, 999]),
        ] {
            assert_eq!(shares(nodes, replicas), expected, "{nodes:?} × {replicas}");
        }
    }

    #[test]
    fn the_bound_is_the_mean_rounded_up_or_a_tenth_more() {
        let share =
            |mean: u64, hundredths: u64| Share { mean: mean * WHOLE + WHOLE / 100 * hundredths };
        for (share, floor, bound) in [
            (share(0, 0), 0, 0),
            (share(0, 1), 0, 1),
            (share(3, 84), 3, 4),
            (share(4, 0), 4, 4),
            (share(10, 0), 10, 11),
            (share(9, 95), 9, 10),
            (share(48, 0), 48, 52),
        ] {
            assert_eq!((share.floor(), share.bound()), (floor, bound), "{share:?}");
        }
    }
}
