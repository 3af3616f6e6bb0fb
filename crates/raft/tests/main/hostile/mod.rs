//! Bad input: messages that lie, in every state a replica can be in.
//!
//! Nothing of it may panic, replace what is committed, or be dropped without being counted.
//! `RINGFORT_CAMPAIGN=full` runs many seeds (in a release build), `RINGFORT_SEED=n` one again.

mod crowd;
mod lies;
mod scene;
mod stories;

use std::time::Duration;

use ringfort_raft::{Body, Counters, Group, Message};
use ringfort_sim::Random;
use ringfort_types::Term;

use crate::campaign::size;
use lies::Liar;
use scene::{Scene, Victim};

/// Messages of one run.
const MESSAGES: usize = 300;

/// Seeds of a test: a few, a campaign's, or the one asked for.
fn seeds(few: u64) -> std::ops::Range<u64> {
    match std::env::var("RINGFORT_SEED") {
        Ok(seed) => {
            let seed = seed.parse().unwrap();
            seed..seed + 1
        }
        Err(_) => 0..size(few, 100 * few),
    }
}

/// Says how to run a seed again if it fails.
struct Replay(&'static str, u64);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self(test, seed) = self;
            eprintln!(
                "RINGFORT_SEED={seed} cargo test -p ringfort-raft --test main {test} -- --nocapture"
            );
        }
    }
}

/// What happened to those who were lied to: that the lies reach deep.
#[derive(Debug, Default)]
struct Reached {
    answers: usize,
    dropped: u64,
    truncations: u64,
    snapshots_installed: u64,
    terms_led: u64,
    wakes: u64,
}

impl Reached {
    fn add(&mut self, counters: &Counters) {
        self.dropped += dropped(counters);
        self.truncations += counters.truncations;
        self.snapshots_installed += counters.snapshots_installed;
        self.terms_led += counters.terms_led;
        self.wakes += counters.wakes;
    }
}

#[test]
fn no_message_makes_a_replica_panic_or_replaces_what_is_committed() {
    let mut reached = Reached::default();
    for seed in seeds(30) {
        let _replay = Replay("no_message_makes", seed);
        for scene in Scene::ALL {
            lie(scene, seed, &mut reached);
        }
    }
    println!("{reached:?}");
    let Reached { answers, dropped, truncations, snapshots_installed, terms_led, wakes } = reached;
    assert!(answers > 0 && dropped > 0 && wakes > 0, "{answers} {dropped} {wakes}");
    assert!(truncations > 0 && snapshots_installed > 0, "{truncations} {snapshots_installed}");
    assert!(terms_led > 0, "nobody was elected by lies");
}

/// Anything at all, for a while.
fn lie(scene: Scene, seed: u64, reached: &mut Reached) {
    let mut random = Random::new(seed);
    let mut victim = Victim::new(scene);
    victim.lazy = [0, 30, 90][random.index(3)];
    for number in 0..MESSAGES {
        let message = Liar::new(&mut random, victim.group()).message();
        let story = format!("{scene:?}, message {number}: {message:?}");
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            victim.receive(message.clone());
            if random.one_in(20) {
                victim.receive(message);
            }
            step(&mut victim, &mut random, reached);
        }));
        if let Err(panic) = caught {
            eprintln!("{story}");
            std::panic::resume_unwind(panic);
        }
    }
    reached.add(victim.group().counters());
}

/// The host's part: it does what it is asked for, time passes, somebody wants something, the process ends and starts.
fn step(victim: &mut Victim, random: &mut Random, reached: &mut Reached) {
    let said = victim.host(random);
    reached.answers += said.len();
    // What one message asks for is bounded, whatever it says: a message to each peer, and one for each entry in flight.
    assert!(said.len() < 2000, "{} messages at once", said.len());
    if random.one_in(4) {
        victim.now = victim.now + Duration::from_millis(random.below(400));
        let now = victim.now;
        victim.group_mut().handle_tick(now);
    }
    match random.below(150) {
        0..=15 => {
            let now = victim.now;
            let _refused = victim.group_mut().propose(now, bytes::Bytes::from_static(b"p"));
        }
        16..=25 => _ = victim.node.compact(),
        26..=40 => victim.ask(random),
        41 => {
            reached.add(victim.group().counters());
            victim.restart();
        }
        _ => {}
    }
}

/// The group without its counters, as text: to tell whether anything has changed.
fn without_counters(group: &Group) -> String {
    let text = format!("{group:?}");
    let from = text.find("counters: Counters {").unwrap();
    let end = from + text[from..].find('}').unwrap();
    text[..from].to_owned() + &text[end..]
}

fn dropped(counters: &Counters) -> u64 {
    counters.dropped_misaddressed
        + counters.dropped_stale
        + counters.dropped_unknown
        + counters.dropped_impossible
}

#[test]
fn what_cannot_be_changes_nothing_and_is_counted() {
    for seed in seeds(30) {
        let _replay = Replay("what_cannot_be", seed);
        for scene in Scene::ALL {
            if scene == Scene::Silent {
                continue;
            }
            let mut random = Random::new(seed);
            let mut victim = Victim::new(scene);
            for _ in 0..20 {
                let mut liar = Liar::new(&mut random, victim.group());
                let misaddressed = liar.random.one_in(2);
                let message = if misaddressed { liar.misaddressed() } else { liar.impossible() };
                let (before, counters) =
                    (without_counters(victim.group()), *victim.group().counters());
                let story = format!("{scene:?}: {message:?}");
                victim.receive(message);
                let after = victim.group().counters();
                assert_eq!(without_counters(victim.group()), before, "{story}");
                let (counted, was) = if misaddressed {
                    (after.dropped_misaddressed, counters.dropped_misaddressed)
                } else {
                    (after.dropped_impossible, counters.dropped_impossible)
                };
                assert_eq!(counted, was + 1, "{story}");
                assert_eq!(dropped(after), dropped(&counters) + 1, "{story}");
            }
        }
    }
}

#[test]
fn an_old_term_changes_nothing_and_is_told_of_the_newer_one() {
    for seed in seeds(30) {
        let _replay = Replay("an_old_term", seed);
        for scene in Scene::ALL {
            let mut random = Random::new(seed);
            let mut victim = Victim::new(scene);
            victim.host(&mut random);
            let newest = victim.group().leader().term;
            if scene == Scene::Silent || newest < Term(2) {
                continue;
            }
            for _ in 0..20 {
                let mut message = Liar::new(&mut random, victim.group()).message();
                message.term = Term(random.between(1, newest.0 - 1));
                (message.to, message.from) =
                    (victim.group().id(), ringfort_types::ReplicaId(random.between(70, 79)));
                if matches!(message.body, Body::PreVote { .. }) {
                    continue;
                }
                let (before, counters) =
                    (without_counters(victim.group()), dropped(victim.group().counters()));
                let (from, story) = (message.from, format!("{scene:?}: {message:?}"));
                victim.receive(message);
                assert_eq!(dropped(victim.group().counters()), counters + 1, "{story}");
                let said = victim.host(&mut random);
                assert!(said.iter().all(|answer| tells_of(answer, newest)), "{story}: {said:?}");
                assert!(said.iter().all(|answer| answer.to == from), "{story}: {said:?}");
                assert_eq!(without_counters(victim.group()), before, "{story}");
            }
        }
    }
}

fn tells_of(answer: &Message, term: Term) -> bool {
    let tells = matches!(answer.body, Body::OldTerm | Body::VoteAnswer { granted: false });
    tells && answer.term == term
}
