//! Whole nodes with their clients, in short. The campaign is `cargo run --release -p ringfort-sim --bin cluster -- --campaign`.

use ringfort_sim::cluster::{Count, Mutant, Outcome, RunOptions, Totals, mutants, run, try_mutant};

use crate::first_seed;

const SECONDS: u64 = 10;

fn options(seed: u64) -> RunOptions {
    RunOptions { seed, seconds: SECONDS, mutant: None, trace: false }
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
    for seed in 0..8 {
        let outcome = run_well(seed);
        let again = run(options(seed));
        assert_eq!(outcome.hash, again.hash, "seed {seed} runs to different ends");
        assert_eq!(outcome.totals, again.totals, "seed {seed} runs to different ends");
        assert_eq!(outcome.history, again.history, "seed {seed} runs to different ends");
        totals.merge(&outcome.totals);
    }
    println!("{}", totals.text());
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
    ] {
        assert!(totals.of(count) > 0, "{count:?} never happened");
    }
}

#[test]
fn fresh_seeds() {
    let first = first_seed();
    println!("seeds from {first} on");
    let mut totals = Totals::default();
    for seed in first..first + 8 {
        totals.merge(&run_well(seed).totals);
    }
    println!("{}", totals.text());
}

/// Those that need more seeds than this are left to the command's `--mutants`.
const SEEDS_MAX: u64 = 20;
const QUICK: [&str; 3] =
    ["a sync is skipped", "acknowledged before a quorum has it", "durable before it is"];

#[test]
fn mutants_are_noticed() {
    for name in QUICK {
        let known: Option<Mutant> =
            mutants().into_iter().find(|(known, _)| *known == name).map(|(_, mutant)| mutant);
        let tried = try_mutant(known.unwrap(), 0, SEEDS_MAX, SECONDS);
        let (seed, violation) = tried
            .caught
            .unwrap_or_else(|| panic!("nobody noticed within {SEEDS_MAX} seeds that {name}"));
        println!("{name}: {} seeds, seed {seed}: {}", tried.seeds, violation.name);
    }
}
