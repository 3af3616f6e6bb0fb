//! What a group allocates and what it holds, counted by the allocator.
//!
//! ```text
//! cargo bench -p ringfort-raft --bench memory
//! ```
//!
//! Counts do not depend on the machine: their bounds are asserted, and `cargo test` runs this as well.

#![allow(clippy::unwrap_used)] // a bench panics

mod support;

use std::alloc::System;
use std::time::Duration;

use bytes::Bytes;
use ringfort_raft::{Group, Settings};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use support::{PAYLOAD, REPLICAS, Trio};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Proposals of a turn, and entries of a message.
const ENTRIES: usize = 64;
/// Most allocations for a proposal on all three replicas together, besides those of its payload: some for each message,
/// none for each entry.
const ALLOCATIONS_PER_PROPOSAL_MAX: f64 = 0.2;
/// Most bytes of an idle group.
const IDLE_BYTES_MAX: usize = 2048;

fn main() {
    count_allocations();
    println!("\nbytes of an idle group after traffic, {} of them its own", size_of::<Group>());
    let settings = Settings::default();
    let asleep = Settings { sleep_after: Duration::from_secs(1), ..settings };
    let forgotten = Settings { trailing_bytes: 0, ..settings };
    for (what, settings) in [("asleep", asleep), ("awake, no trailing log", forgotten)] {
        assert!(count_bytes(what, settings) <= IDLE_BYTES_MAX, "an idle group is small");
    }
    // Payloads are shared here by all three: the leader, which goes last, stands for them.
    count_bytes("awake, a trailing log of 1 MiB", settings);
}

/// Payloads that are shared already: sharing one for the first time allocates what counts the shares.
fn payloads() -> Vec<Bytes> {
    let payload = || {
        let payload = Bytes::copy_from_slice(&PAYLOAD);
        drop(payload.clone());
        payload
    };
    (0..ENTRIES).map(|_| payload()).collect()
}

/// Allocations in steady state: each proposal an entry of its own, committed and applied by all three.
fn count_allocations() {
    const TURNS: usize = 500;
    let settings = Settings { append_entries_max: ENTRIES, ..Settings::default() };
    let mut trio = Trio::new(settings, 1);
    let (mut allocations, mut messages) = (0, 0);
    for turn in 0..2 * TURNS {
        let payloads = payloads();
        let before = trio.counts.messages;
        let region = Region::new(ALLOCATOR);
        for payload in payloads {
            trio.propose(payload).unwrap();
        }
        (0..REPLICAS).for_each(|place| _ = trio.turn(place));
        let change = region.change();
        // The first half fills the trailing part of the log: from then on as much is forgotten as is appended.
        if turn >= TURNS {
            allocations += change.allocations + change.reallocations;
            messages += trio.counts.messages - before;
        }
    }
    let per_turn = allocations as f64 / TURNS as f64;
    println!("allocations of all three replicas, besides those for payloads");
    println!("  per proposal  {:>6.3}", per_turn / ENTRIES as f64);
    println!("  per message   {:>6.3}", allocations as f64 / messages as f64);
    println!("  per turn      {per_turn:>6.3}");
    assert!(per_turn / ENTRIES as f64 <= ALLOCATIONS_PER_PROPOSAL_MAX, "entries allocate nothing");
}

/// What a leader and a follower hold that had traffic and have had nothing to do since. Gives the greater.
fn count_bytes(what: &str, settings: Settings) -> usize {
    const GROUPS: usize = 16;
    let mut leaders = Vec::with_capacity(GROUPS);
    let mut followers = Vec::with_capacity(GROUPS);
    let region = Region::new(ALLOCATOR);
    for seed in 0..GROUPS {
        let [leader, follower, _] = quiet(settings, seed as u64).groups;
        leaders.push(leader);
        followers.push(follower);
    }
    let held = || {
        let change = region.change();
        change.bytes_allocated - change.bytes_deallocated
    };
    let both = held();
    drop(followers);
    // Their own bytes were there before.
    let leader = (held() + GROUPS * size_of::<Group>()) / GROUPS + size_of::<Group>();
    let follower = both / GROUPS + 2 * size_of::<Group>() - leader;
    println!("  {what:<31} leader {leader:>8}   follower {follower:>8}");
    leader.max(follower)
}

/// A group that has had traffic, in bursts and singly, and then ten seconds without.
fn quiet(settings: Settings, seed: u64) -> Trio {
    let mut trio = Trio::new(settings, seed);
    for _ in 0..64 {
        for payload in payloads() {
            trio.propose(payload).unwrap();
        }
        trio.settle();
    }
    for _ in 0..100 {
        trio.pass(settings.heartbeat);
    }
    let sleeps = !settings.sleep_after.is_zero();
    assert!(trio.groups.iter().all(|group| group.is_asleep() == sleeps));
    trio
}
