//! What one seed is made of: a cluster, its settings, its clients, and which faults it meets how often. Each fault may be
//! absent, so that what many together would hide can happen (Groce et al., "Swarm Testing", 2012). Limits are here as production
//! has them, or low where that costs nothing; [`buggify`](super::buggify) lowers more of them.

use std::sync::Arc;
use std::time::Duration;

use ringfort_log::LogOptions;
use ringfort_node::WorkerLimits;
use ringfort_raft::{Reads, Settings};

use super::clock::nanos;
use super::faults::Act;
use super::formed::Formed;
use crate::Random;

/// Nanoseconds of a millisecond.
pub(super) const MILLI: u64 = 1_000_000;
/// Nanoseconds of a second.
pub(super) const SECOND: u64 = 1_000 * MILLI;

/// What one seed is made of. Times are nanoseconds, chances are of 1,024.
#[derive(Clone, Debug)]
pub(super) struct Mix {
    pub(super) nodes: usize,
    pub(super) shards: u32,
    pub(super) formed: Arc<Formed>,
    pub(super) workers: u16,
    pub(super) settings: Settings,
    pub(super) log: LogOptions,
    pub(super) payload_bytes_target: usize,
    /// Of each worker; 0: no bound.
    pub(super) snapshot_bytes_per_second: u64,
    pub(super) retry_bytes_max: u64,
    pub(super) requests_max: usize,
    pub(super) unapplied_bytes_max: usize,
    /// Frames with requests up to this size go on the connection for consensus.
    pub(super) along_bytes_max: usize,
    pub(super) limits: WorkerLimits,
    /// Time between two ticks of a worker.
    pub(super) tick: u64,
    /// A frame takes about this long.
    pub(super) latency: u64,
    /// A sync takes about this long.
    pub(super) sync: u64,
    /// Parts of a million by which a clock may be fast or slow.
    pub(super) drift: u64,
    pub(super) loss: u64,
    pub(super) doubled: u64,
    pub(super) overtaken: u64,
    /// Frames wait for connections that are parted or cut, instead of being dropped.
    pub(super) holds: bool,
    /// Turns that come much later than asked for.
    pub(super) late_turns: u64,
    /// Starts that are hit by another crash.
    pub(super) struck_starts: u64,
    pub(super) clients: usize,
    /// Keys that are written one by one, at a time.
    pub(super) keys: u64,
    /// Pairs of keys that are written by atomic batches, at a time.
    pub(super) pairs: u64,
    /// After this time other keys come into use.
    pub(super) keys_for: u64,
    /// Values are at most so many bytes, but for a few.
    pub(super) value_bytes: u64,
    /// Operations a second that clients mean to do together.
    pub(super) rate: u64,
    /// A client allows its requests from a tenth of this to all of it.
    pub(super) timeout: u64,
    /// Mean time between two acts of a kind; 0: never.
    pub(super) every: [u64; Act::ALL.len()],
}

impl Mix {
    pub(super) fn choose(random: &mut Random) -> Self {
        let replicas = [3, 3, 3, 5, 1][random.index(5)];
        let nodes = match replicas {
            1 => 1 + random.index(3),
            3 => [3, 3, 3, 4, 5][random.index(5)],
            _ => 5,
        };
        let settings = settings(random);
        let shards = [1, 1, 2, 3, 4, 8][random.index(6)];
        let mut every = [0; Act::ALL.len()];
        for act in Act::ALL {
            if random.one_in(2) {
                every[act as usize] = random.between(act.every_min(), 8 * act.every_min());
            }
        }
        let mut rare = |most: u64| if random.one_in(2) { random.between(1, most) } else { 0 };
        let (loss, doubled, overtaken) = (rare(40), rare(40), rare(40));
        let (late_turns, struck_starts) = (rare(10), rare(300));
        Self {
            formed: Arc::new(Formed::new(nodes, replicas, shards, &settings)),
            nodes,
            shards,
            workers: [1, 1, 2][random.index(3)],
            settings,
            log: log_options(random),
            payload_bytes_target: 1 << random.between(8, 16),
            snapshot_bytes_per_second: [0, 256 << 10, 4 << 20][random.index(3)],
            retry_bytes_max: 1 << random.between(16, 24),
            requests_max: 1_000,
            unapplied_bytes_max: 4 << 20,
            along_bytes_max: 32 << 10,
            limits: WorkerLimits::default(),
            tick: 20 * MILLI,
            latency: [50_000, 200_000, MILLI, 5 * MILLI][random.index(4)],
            sync: [100_000, 500_000, 2 * MILLI, 8 * MILLI][random.index(4)],
            drift: if random.one_in(2) { drift_max(&settings) } else { 0 },
            loss,
            doubled,
            overtaken,
            holds: random.one_in(2),
            late_turns,
            struck_starts,
            clients: 10 + random.index(10),
            keys: random.between(2, 24),
            pairs: random.between(1, 4),
            keys_for: random.between(10, 40) * SECOND,
            value_bytes: [20, 200, 1_000][random.index(3)],
            rate: random.between(60, 90),
            timeout: random.between(500, 4_000) * MILLI,
            every,
        }
    }

    /// Mean time between two acts of a kind; 0: never.
    pub(super) fn every(&self, act: Act) -> u64 {
        self.every[act as usize]
    }

    pub(super) fn election(&self) -> u64 {
        nanos(self.settings.election_timeout)
    }

    /// The nodes that hold a shard.
    pub(super) fn holders(&self, shard: u32) -> impl Iterator<Item = usize> {
        self.formed.holders[shard as usize].iter().copied()
    }
}

fn settings(random: &mut Random) -> Settings {
    let heartbeat = [50, 100, 200][random.index(3)];
    let election = heartbeat * random.between(5, 10);
    let lease = election * [6, 8, 9, 10, 10, 10][random.index(6)] / 10;
    let margin = lease / random.between(5, 20);
    let millis = Duration::from_millis;
    Settings {
        heartbeat: millis(heartbeat),
        election_timeout: millis(election),
        lease: millis(lease),
        lease_margin: millis(margin),
        lease_max: millis(lease),
        stall_timeout: millis(random.between(500, 3_000)),
        reads: if random.one_in(4) { Reads::Index } else { Reads::Lease },
        append_bytes_max: 1 << random.between(8, 20),
        append_entries_max: 1 << random.between(0, 10),
        inflight_messages_max: 1 << random.between(0, 6),
        trailing_bytes: [0, 4 << 10, 64 << 10, 1 << 20][random.index(4)],
        sleep_after: millis(if random.one_in(2) { 0 } else { random.between(200, 2_000) }),
        snapshot_chunk_bytes: 1 << random.between(9, 14),
        ..Settings::default()
    }
}

fn log_options(random: &mut Random) -> LogOptions {
    LogOptions {
        segment_bytes: 256 << 10,
        groups_max: 16,
        log_bytes_target: [512 << 10, 768 << 10, 2 << 20][random.index(3)],
        salt: random.next_u64(),
        sync_delay_max: Duration::from_micros([0, 100, 1_000][random.index(3)]),
        marker_delay: Duration::from_millis(random.between(20, 200)),
    }
}

/// The drift that a lease's margin covers, in parts of a million: with the leader's clock slow and a voter's fast by it,
/// the lease just ends before the promise.
fn drift_max(settings: &Settings) -> u64 {
    let (lease, margin) = (nanos(settings.lease), nanos(settings.lease_margin));
    margin * 1_000_000 / (2 * lease - margin)
}

/// A time around a typical one, now and then much longer.
pub(super) fn about(random: &mut Random, typical: u64) -> u64 {
    let usual = typical / 2 + random.below(typical + 1);
    match random.below(512) {
        0 => 50 * usual,
        1..16 => 6 * usual,
        _ => usual,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drift_within_the_bound_keeps_leases_within_promises() {
        for seed in 0..200 {
            let settings = settings(&mut Random::new(seed));
            let drift = i128::from(drift_max(&settings));
            let (lease, margin) = (nanos(settings.lease), nanos(settings.lease_margin));
            let leader = i128::from(lease - margin) * 1_000_000 / (1_000_000 - drift);
            let voter = i128::from(lease) * 1_000_000 / (1_000_000 + drift);
            assert!(leader <= voter + 1, "{leader} {voter}");
            assert!(settings.lease <= settings.election_timeout);
        }
    }
}
