//! What proposals and the passing of time cost the core.
//!
//! ```text
//! cargo bench -p ringfort-raft --bench throughput
//! ```
//!
//! - Proposals: three replicas in one thread, each proposal an entry of its own, committed and applied by all three.
//! - Time: 10,000 groups of one node, awake or asleep, each asked for its deadline as a host without a queue of deadlines
//!   would.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // a bench is a host: it has a clock, and panics

mod support;

use std::time::{Duration, Instant};

use bytes::Bytes;
use ringfort_raft::{Group, Settings};
use ringfort_types::Monotonic;
use support::{PAYLOAD, REPLICAS, Trio};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs of each measurement: the median is told, and the best.
const RUNS: usize = 7;
/// Groups of a node.
const GROUPS: usize = 10_000;

fn main() {
    println!("three replicas in one thread, entries of {} bytes", PAYLOAD.len());
    println!("  entries per message   median/s     best/s   ns per proposal   ns per message");
    let turns: Vec<_> = [1, 4, 16, 64].into_iter().map(proposals).collect();
    // A turn costs something for its messages, and something for each entry in them.
    let (single, full) = (turns[0], turns[3]);
    let entry = (full.nanos - single.nanos) / 63.0;
    let message = (single.nanos - entry) / single.messages;
    println!("a proposal costs {entry:.0} ns on all three, and {message:.0} ns for each message");
    reads();
    println!("\n{GROUPS} groups, each asked for its deadline and told the time if it is due");
    println!(
        "                                        ns per group   messages   of a core, ten times a second"
    );
    time_passes();
}

/// What one turn of the group costs.
#[derive(Clone, Copy)]
struct Turn {
    nanos: f64,
    messages: f64,
}

/// Proposals as fast as they are committed and applied; each turn of the leader has as many as one message holds.
fn proposals(entries: usize) -> Turn {
    let turns = if entries == 64 { 20_000 } else { 80_000 };
    let mut times = Vec::new();
    let mut messages = 0;
    for run in 0..RUNS {
        let settings = Settings { append_entries_max: entries, ..Settings::default() };
        let mut trio = Trio::new(settings, run as u64);
        let before = trio.counts;
        let start = Instant::now();
        for _ in 0..turns {
            for _ in 0..entries {
                trio.propose(Bytes::copy_from_slice(&PAYLOAD)).unwrap();
            }
            (0..REPLICAS).for_each(|place| _ = trio.turn(place));
        }
        trio.settle();
        // The next heartbeat tells the followers what the last acknowledgements committed.
        trio.pass(settings.heartbeat);
        times.push(start.elapsed());
        let applied = (turns * entries * REPLICAS) as u64;
        assert_eq!(trio.counts.applied - before.applied, applied, "all are applied by all");
        assert_eq!(trio.counts.bytes - before.bytes, applied * PAYLOAD.len() as u64);
        messages = trio.counts.messages - before.messages;
    }
    times.sort_unstable();
    let proposals = (turns * entries) as f64;
    let (best, median) = (times[0].as_secs_f64(), times[RUNS / 2].as_secs_f64());
    let (per_proposal, per_message) = (median / proposals * 1e9, median / messages as f64 * 1e9);
    println!(
        "{entries:>21} {:>10.0} {:>10.0} {per_proposal:>17.0} {per_message:>16.0}",
        proposals / median,
        proposals / best,
    );
    Turn { nanos: median / turns as f64 * 1e9, messages: messages as f64 / turns as f64 }
}

/// What a leader of three is asked before it answers a read by its lease.
fn reads() {
    const READS: u32 = 10_000_000;
    let trio = Trio::new(Settings::default(), 1);
    let start = Instant::now();
    let served =
        (0..READS).filter(|_| std::hint::black_box(&trio).groups[0].can_read_now(trio.now));
    assert_eq!(served.count(), READS as usize, "the lease holds");
    println!(
        "a read by lease costs {:.1} ns",
        start.elapsed().as_secs_f64() / f64::from(READS) * 1e9
    );
}

fn time_passes() {
    let settings = Settings::default();
    let (mut leaders, mut followers) = groups(settings);
    report("leaders, not due", &mut leaders, Duration::ZERO);
    report("leaders, due: two heartbeats each", &mut leaders, settings.heartbeat);
    report("followers, not due", &mut followers, Duration::ZERO);
    let (mut leaders, mut followers) =
        groups(Settings { sleep_after: Duration::from_secs(1), ..settings });
    report("leaders, asleep", &mut leaders, settings.heartbeat);
    report("followers, asleep", &mut followers, settings.heartbeat);
    assert!(leaders.iter().chain(&followers).all(|(group, _)| group.is_asleep()));
}

/// A node's groups, at their time: those it leads, and those it follows in. They have had two quiet seconds.
#[expect(clippy::type_complexity, reason = "two lists of the same")]
fn groups(settings: Settings) -> (Vec<(Group, Monotonic)>, Vec<(Group, Monotonic)>) {
    let group = |seed| {
        let mut trio = Trio::new(settings, seed as u64);
        (0..20).for_each(|_| trio.pass(settings.heartbeat));
        let now = trio.now;
        let [leader, follower, _] = trio.groups;
        ((leader, now), (follower, now))
    };
    (0..GROUPS).map(group).unzip()
}

fn report(what: &str, groups: &mut [(Group, Monotonic)], passed: Duration) {
    let mut times = Vec::new();
    let mut messages = 0;
    // A leader that hears nothing for ten heartbeats steps down: no more than that are run.
    for _ in 0..RUNS {
        messages = 0;
        let start = Instant::now();
        for (group, now) in groups.iter_mut() {
            *now = *now + passed;
            if group.deadline().is_some_and(|due| due <= *now) {
                group.handle_tick(*now);
                messages += group.poll_effects().messages.len();
            }
        }
        times.push(start.elapsed());
    }
    times.sort_unstable();
    let median = times[RUNS / 2].as_secs_f64();
    let (each, share) = (median / groups.len() as f64 * 1e9, median * 10.0 * 100.0);
    println!("  {what:<35} {each:>14.1} {messages:>10} {share:>30.2}%");
}
