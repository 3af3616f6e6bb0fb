//! What one seed is made of: a group, its settings, and which faults it meets how often. Each may be absent, so that what
//! many faults together would hide can happen (Groce et al., "Swarm Testing", 2012).

use std::time::Duration;

use ringfort_raft::{Reads, Settings};

use super::queue::Act;
use crate::Random;

/// Nanoseconds of a millisecond.
pub(super) const MILLI: u64 = 1_000_000;

/// What one seed is made of. Times are nanoseconds, chances are of 1,024.
#[derive(Clone, Debug)]
pub(super) struct Mix {
    /// Founding voters.
    pub(super) voters: u64,
    pub(super) settings: Settings,
    /// Writes become durable later than effects are taken.
    pub(super) asynchronous: bool,
    /// The host has heartbeats between nodes, and watches nodes.
    pub(super) pairs: bool,
    /// A message takes from this long to four times as long.
    pub(super) latency: u64,
    /// So does a write.
    pub(super) disk: u64,
    /// So does an entry.
    pub(super) apply: u64,
    pub(super) loss: u64,
    pub(super) duplicates: u64,
    /// Messages that take much longer.
    pub(super) late: u64,
    /// How much longer at most.
    pub(super) late_max: u64,
    /// Inputs after which the host takes effects later.
    pub(super) deferred: u64,
    /// Of crashes, those that are power losses.
    pub(super) power: u64,
    /// Of leaders, those that end soon after they were elected.
    pub(super) coups: u64,
    /// Of faults, those that strike a leader.
    pub(super) at_leader: u64,
    /// Parts of a million by which a clock may be fast or slow.
    pub(super) drift: u64,
    /// Mean time between two acts of a kind; 0: never.
    pub(super) every: [u64; Act::ALL.len()],
    /// Largest payload.
    pub(super) payload_max: u64,
}

impl Mix {
    pub(super) fn heartbeat(&self) -> u64 {
        nanos(self.settings.heartbeat)
    }

    pub(super) fn election(&self) -> u64 {
        nanos(self.settings.election_timeout)
    }

    pub(super) fn every(&self, act: Act) -> u64 {
        self.every[act as usize]
    }

    pub(super) fn choose(random: &mut Random) -> Self {
        let pairs = random.below(10) < 4;
        let settings = choose_settings(random, pairs);
        let (heartbeat, election) = (nanos(settings.heartbeat), nanos(settings.election_timeout));
        let voters = [1, 2, 3, 3, 3, 3, 3, 3, 4, 5, 5, 5][random.index(12)];
        let asynchronous = random.below(10) < 6;
        // Per lease, two clocks drift apart by less than the margin: fast against slow.
        let (lease, margin) = (nanos(settings.lease), nanos(settings.lease_margin));
        let drift_max = margin * 1_000_000 / (2 * lease - margin) * 9 / 10;
        let mut mix = Self {
            voters,
            settings,
            asynchronous,
            pairs,
            latency: pick(random, &[MILLI / 20, MILLI / 2, 2 * MILLI, heartbeat / 8]),
            disk: pick(random, &[MILLI / 20, MILLI / 2, 5 * MILLI, heartbeat / 4, heartbeat]),
            apply: pick(random, &[MILLI / 100, MILLI / 10, 2 * MILLI, heartbeat / 4]),
            loss: maybe(random, 5, &[2, 20, 100, 250]),
            duplicates: maybe(random, 3, &[5, 50, 200]),
            late: maybe(random, 5, &[5, 30, 120]),
            late_max: pick(random, &[heartbeat, election, 4 * election]),
            deferred: maybe(random, 3, &[50, 300, 700]),
            power: pick(random, &[0, 512, 1024]),
            coups: maybe(random, 3, &[100, 400, 700]),
            at_leader: pick(random, &[0, 256, 768]),
            drift: if random.below(10) < 6 { random.between(drift_max / 4, drift_max) } else { 0 },
            every: [0; Act::ALL.len()],
            payload_max: pick(random, &[8, 64, 600]),
        };
        let storm = if random.one_in(4) { 4 } else { 1 };
        let sleeps = !mix.settings.sleep_after.is_zero();
        let idle = if sleeps { !random.one_in(3) } else { random.one_in(4) };
        for act in Act::ALL {
            let mean = mix.choose_mean(random, act);
            mix.every[act as usize] = match act {
                // Only who is left alone falls asleep, and only where little is new can who is cut off win.
                Act::Propose | Act::Read if idle => mean * random.between(10, 80),
                Act::Propose | Act::Read => mean,
                _ => mean / storm,
            };
        }
        mix
    }

    /// How often something acts: chance of 10 that it does at all, and between which times.
    fn choose_mean(&self, random: &mut Random, act: Act) -> u64 {
        let (heartbeat, election) = (self.heartbeat(), self.election());
        let (chance, least, most) = match act {
            Act::Propose => (10, heartbeat / 6, heartbeat * 4),
            Act::Read => (8, heartbeat / 2, heartbeat * 6),
            Act::Change => (7, heartbeat * 2, election * 4),
            Act::Transfer => (4, election, election * 10),
            Act::Compact => (8, heartbeat, election * 2),
            Act::Priority => (3, election, election * 10),
            Act::Clean => (10, election, election * 4),
            Act::Crash => (6, election / 2, election * 8),
            Act::Pause => (4, election / 2, election * 8),
            Act::Stall => (3, election, election * 8),
            Act::Partition => (6, election / 2, election * 6),
            Act::LoseEntries => (3, election * 2, election * 10),
            Act::Wipe => (2, election * 3, election * 12),
            Act::Clock => (5, election / 2, election * 4),
            Act::Replay => (4, heartbeat / 2, election),
        };
        if random.below(10) < chance { random.between(least, most) } else { 0 }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn pick(random: &mut Random, values: &[u64]) -> u64 {
    values[random.index(values.len())]
}

/// One of the values by so many chances of 10, else 0.
fn maybe(random: &mut Random, chance: u64, values: &[u64]) -> u64 {
    if random.below(10) < chance { pick(random, values) } else { 0 }
}

fn choose_settings(random: &mut Random, pairs: bool) -> Settings {
    let millis = Duration::from_millis;
    // A stream of its own, so that what seeds chose before stays as it was.
    let mut later = random.clone().fork();
    let heartbeat = random.between(20, 150);
    let election = heartbeat * random.between(5, 10);
    let lease = election * random.between(40, 100) / 100;
    let size = |random: &mut Random, values: &[u64]| {
        usize::try_from(pick(random, values)).unwrap_or(usize::MAX)
    };
    Settings {
        heartbeat: millis(heartbeat),
        election_timeout: millis(election),
        lease: millis(lease),
        lease_margin: millis(lease * random.between(5, 40) / 100 + 1),
        lease_max: millis(lease * random.between(100, 200) / 100),
        stall_timeout: millis(maybe(random, 7, &[election, 2 * election])),
        sleep_after: millis(if pairs { maybe(random, 7, &[heartbeat, 4 * heartbeat]) } else { 0 }),
        reads: if random.below(10) < 7 { Reads::Lease } else { Reads::Index },
        append_bytes_max: size(random, &[1, 300, 4096, 1 << 20]),
        append_entries_max: size(random, &[1, 2, 8, 1024]),
        inflight_messages_max: size(random, &[1, 2, 8, 64]),
        inflight_bytes_max: size(random, &[1, 1000, 16 << 20]),
        uncommitted_bytes_max: size(random, &[200, 5000, 64 << 20, 64 << 20]),
        apply_bytes_max: size(random, &[1, 500, 16 << 20]),
        writes_in_flight_max: size(&mut later, &[1, 2, 1024, 1024]),
        trailing_bytes: size(random, &[0, 0, 400, 4000, 1 << 20]),
        catch_up_bytes: size(random, &[0, 2000, 64 << 20, 64 << 20]),
        snapshot_chunk_bytes: size(random, &[8, 24, 40, 1000]),
    }
}
