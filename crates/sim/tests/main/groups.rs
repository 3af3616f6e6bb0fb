//! Random groups, in short. The campaign is `cargo run --release -p ringfort-sim --bin raft-groups`.

use ringfort_sim::group::campaign::{
    Count, Mutant, Outcome, RunOptions, Totals, mutants, run, try_mutant,
};

const STEPS: u64 = 2000;

fn options(seed: u64) -> RunOptions {
    RunOptions { seed, steps: STEPS, mutant: None, trace: false }
}

/// Runs a seed, and fails with the command that replays it.
fn run_well(seed: u64) -> Outcome {
    let outcome = run(options(seed));
    if let Some(violation) = &outcome.violation {
        panic!(
            "{violation}\n  cargo run --release -p ringfort-sim --bin raft-groups -- --seed {seed} --steps {STEPS} --trace"
        );
    }
    outcome
}

#[test]
fn seeds_that_stay_run_twice_to_the_same_end() {
    let mut totals = Totals::default();
    for seed in 0..120 {
        let outcome = run_well(seed);
        let again = run(options(seed));
        assert_eq!(outcome.hash, again.hash, "seed {seed} runs to different ends");
        assert_eq!(outcome.totals, again.totals, "seed {seed} runs to different ends");
        totals.merge(&outcome.totals);
    }
    println!("{}", totals.text());
    for count in [
        Count::Elections,
        Count::Truncations,
        Count::ChangesEnded,
        Count::SnapshotsResumed,
        Count::SnapshotsInstalled,
        Count::Transfers,
        Count::LeaseReads,
        Count::IndexReads,
        Count::Sleeps,
        Count::Wakes,
        Count::PowerLosses,
        Count::LossesRecovered,
        Count::Promotions,
        Count::Replacements,
    ] {
        assert!(totals.of(count) > 0, "{count:?} never happened");
    }
}

#[test]
fn fresh_seeds() {
    let first = crate::first_seed();
    println!("seeds from {first} on");
    for seed in first..first + 120 {
        run_well(seed);
    }
}

/// Those that need more seeds than this are left to the command's `--mutants`.
const SEEDS_MAX: u64 = 250;
const QUICK: [&str; 17] = [
    "a sync is skipped",
    "acknowledged before a quorum has it",
    "reads are not confirmed",
    "no entry at the start of a term",
    "the vote is forgotten at a start",
    "several votes a term",
    "votes for older logs",
    "acknowledged before it is durable",
    "an overwritten write acknowledged",
    "one half of a joint configuration decides",
    "reads before the term's first commit",
    "joint configurations are not left",
    "a removed leader counts itself",
    "a lease survives a transfer",
    "learners do not vote",
    "a blank voter votes",
    "a replica that lost entries votes",
];

#[test]
fn mutants_are_noticed() {
    for name in QUICK {
        let known: Option<Mutant> =
            mutants().into_iter().find(|(known, _)| *known == name).map(|(_, mutant)| mutant);
        let tried = try_mutant(known.unwrap(), 0, SEEDS_MAX, 5000);
        let (seed, violation) = tried.caught.unwrap_or_else(|| {
            panic!("nobody noticed within {SEEDS_MAX} seeds that {name}; {} panics", tried.stray)
        });
        println!("{name}: {} seeds, seed {seed}: {}", tried.seeds, violation.name);
        assert_eq!(tried.stray, 0, "{name} ended in a panic that names nothing");
    }
}
