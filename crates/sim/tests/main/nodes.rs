//! Whole nodes with their clients, in short. The campaign is `cargo run --release -p ringfort-sim --bin cluster -- --campaign`.
//!
//! `RINGFORT_SEED` is the first of the fresh seeds. Counts are printed also where all is well: CI shows what its runs met.

use std::io::Write as _;

use ringfort_sim::cluster::{
    Count, Mutant, Outcome, POINTS, RunOptions, Totals, mutants, run, try_mutant,
};

use crate::first_seed;

const SECONDS: u64 = 30;
/// Seeds that stay.
const FIXED: u64 = 8;
/// Seeds that are drawn.
const FRESH: u64 = 8;

fn options(seed: u64) -> RunOptions {
    RunOptions { seed, seconds: SECONDS, mutant: None, trace: false }
}

/// Prints what a short run met. Past the macros, whose output a test that passes does not show.
fn show(title: &str, totals: &Totals) {
    let mut out = std::io::stdout().lock();
    write!(out, "\n{title}, {SECONDS} s each\n{}", totals.text())
        .expect("standard output takes it");
}

/// Runs a seed, and fails with the command that replays it.
fn run_well(seed: u64) -> Outcome {
    let outcome = run(options(seed));
    if let Some(violation) = &outcome.violation {
        panic!(
            "{violation}\n  cargo run --release -p ringfort-sim --bin cluster -- --seed {seed} --seconds {SECONDS} --trace"
        );
    }
    outcome
}

#[test]
fn seeds_that_stay_run_twice_to_the_same_end() {
    let mut totals = Totals::default();
    for seed in 0..FIXED {
        let outcome = run_well(seed);
        let again = run(options(seed));
        assert_eq!(outcome.hash, again.hash, "seed {seed} runs to different ends");
        assert_eq!(outcome.totals, again.totals, "seed {seed} runs to different ends");
        assert_eq!(outcome.history, again.history, "seed {seed} runs to different ends");
        totals.merge(&outcome.totals);
    }
    show(&format!("fixed seeds 0..{FIXED}, twice"), &totals);
    for count in [
        Count::Elections,
        Count::LeaseReads,
        Count::IndexReads,
        Count::SnapshotsInstalled,
        Count::Recycled,
        Count::Stragglers,
        Count::Flushes,
        Count::Crashes,
        Count::PowerLosses,
        Count::Partitions,
        Count::Replayed,
        Count::StaleMapsCorrected,
        Count::EpochsDiffered,
        Count::CatalogsSaved,
        Count::CatalogsFound,
        Count::Unknown,
        Count::Listings,
        Count::Coups,
    ] {
        assert!(totals.of(count) > 0, "{count:?} never happened");
    }
    // Too rare for so few seeds.
    let rare = [Count::ChunksUrgent, Count::WakesPutOff, Count::ExpiresFull, Count::SegmentWaits];
    for count in POINTS.iter().filter(|count| !rare.contains(count)) {
        assert!(totals.of(*count) > 0, "{count:?} never happened");
    }
}

#[test]
fn fresh_seeds() {
    let first = first_seed();
    println!("RINGFORT_SEED={first}");
    let mut totals = Totals::default();
    for seed in first..first + FRESH {
        totals.merge(&run_well(seed).totals);
    }
    show(&format!("fresh seeds {first}..{}", first + FRESH), &totals);
}

/// Those that need more seeds than this, or longer ones, are left to the command's `--mutants`.
const MUTANT_SEEDS_MAX: u64 = 20;
const MUTANT_SECONDS: u64 = 10;
const QUICK: [&str; 4] = [
    "a sync is skipped",
    "acknowledged before a quorum has it",
    "requests between nodes arrive twice",
    "the retry table is dropped from snapshots",
];

#[test]
fn mutants_are_noticed() {
    for name in QUICK {
        let known: Option<Mutant> =
            mutants().into_iter().find(|(known, _)| *known == name).map(|(_, mutant)| mutant);
        let tried = try_mutant(known.unwrap(), 0, MUTANT_SEEDS_MAX, MUTANT_SECONDS);
        let (seed, violation) = tried.caught.unwrap_or_else(|| {
            panic!("nobody noticed within {MUTANT_SEEDS_MAX} seeds that {name}")
        });
        println!("{name}: {} seeds, seed {seed}: {}", tried.seeds, violation.name);
    }
}
