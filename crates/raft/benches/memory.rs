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
use ringfort_raft::{Body, Group, Message, ReadId, Reads, Role, Settings};
use ringfort_types::{Monotonic, ReplicaId, Term};
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
    println!(
        "\nbytes that a group holds more after 100,000 messages which its host takes in while its disk stands still"
    );
    floods();
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
    // Bytes that the region does not know of were there before: those of the groups themselves.
    let held = |before: usize| {
        let change = region.change();
        before + change.bytes_allocated - change.bytes_deallocated
    };
    let both = held(0);
    drop(followers);
    let leader = held(GROUPS * size_of::<Group>()) / GROUPS + size_of::<Group>();
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

/// Made-up messages cost no memory, or what a bound allows.
fn floods() {
    const VOTE_BYTES_MAX: usize = 4 << 10;
    // 4,096 reads of others wait at most.
    const READ_BYTES_MAX: usize = 512 << 10;
    let settings = Settings::default();
    let follower = || {
        let mut trio = Trio::new(settings, 1);
        trio.now = trio.now + 3 * settings.election_timeout;
        let [_, follower, _] = trio.groups;
        (follower, trio.now)
    };
    let asking = || {
        let (mut group, now) = follower();
        group.handle_tick(now);
        assert_eq!(group.role(), Role::PreCandidate);
        (group, now)
    };
    let leader = || {
        let trio = Trio::new(Settings { reads: Reads::Index, ..settings }, 1);
        let [leader, ..] = trio.groups;
        (leader, trio.now)
    };
    let last = follower().0.last();
    let term = follower().0.leader().term;
    let newer = Term(term.0 + 1);
    let vote = Body::Vote { last, transfer: false };
    let grant = Body::PreVoteAnswer { granted: true };
    let read = |number| Body::ReadIndex { read: ReadId(number), nonce: 1 };
    flood("grants of strangers", asking(), VOTE_BYTES_MAX, |n| (n + 9, newer, grant.clone()));
    flood("the same vote asked for", follower(), VOTE_BYTES_MAX, |_| (3, newer, vote.clone()));
    flood("votes asked for by strangers", follower(), VOTE_BYTES_MAX, |n| {
        (n + 9, newer, vote.clone())
    });
    flood("acknowledgements of strangers", leader(), VOTE_BYTES_MAX, |n| {
        (n + 9, term, Body::AppendAck { index: last.index })
    });
    flood("reads of a follower", leader(), READ_BYTES_MAX, |n| (3, term, read(n)));
}

fn flood(
    what: &str,
    (mut group, now): (Group, Monotonic),
    bytes_max: usize,
    lie: impl Fn(u64) -> (u64, Term, Body),
) {
    let to = group.id();
    let region = Region::new(ALLOCATOR);
    for number in 0..100_000 {
        let (from, term, body) = lie(number);
        group.handle_message(now, Message { from: ReplicaId(from), to, term, body });
        drop(group.poll_effects());
    }
    let change = region.change();
    let held = change.bytes_allocated.saturating_sub(change.bytes_deallocated);
    println!("  {what:<31} {held:>8}");
    assert!(held <= bytes_max, "{what} fill the memory");
}
