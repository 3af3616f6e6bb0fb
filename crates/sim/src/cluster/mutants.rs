//! Faults of our own making: each takes out one thing that a node or its host must do, and must be noticed.

use ringfort_engine::StorageEngine;
use ringfort_raft::Guard;

use super::{RunOptions, Violation, run};

/// Something that is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Raft lacks a guard.
    Without(Guard),
    /// The disk says that it has synced, and has not.
    SkipSync,
    /// The log's word of durability comes before it is true.
    DurableAtOnce,
}

/// The mutants that a campaign must catch, and the name of each.
#[must_use]
pub fn mutants() -> Vec<(&'static str, Mutant)> {
    use Guard as G;
    vec![
        ("a sync is skipped", Mutant::SkipSync),
        ("durable before it is", Mutant::DurableAtOnce),
        ("acknowledged before a quorum has it", Mutant::Without(G::CommitByQuorum)),
        ("acknowledged before it is durable", Mutant::Without(G::AckDurable)),
        ("votes for older logs", Mutant::Without(G::VoteComparesLogs)),
        ("a lease without a margin for drift", Mutant::Without(G::LeaseMargin)),
        ("promises are not kept", Mutant::Without(G::PromiseKept)),
        ("a vote within a promise after a start", Mutant::Without(G::QuietAfterStart)),
        ("reads before the term's first commit", Mutant::Without(G::ReadNeedsTermCommit)),
        ("reads are not confirmed", Mutant::Without(G::ReadConfirmed)),
        ("a lease by an old look at the clock", Mutant::Without(G::LeaseChecksClock)),
    ]
}

/// The engine of a process.
pub(super) fn engine(
    _mutant: Option<Mutant>,
    engine: Box<dyn StorageEngine>,
) -> Box<dyn StorageEngine> {
    engine
}

/// What became of a mutant.
#[derive(Clone, Debug)]
pub struct Tried {
    /// Seeds that were run, the last one being that which caught it, if one did.
    pub seeds: u64,
    /// The seed, and how it was noticed.
    pub caught: Option<(u64, Violation)>,
}

/// Runs seeds from a first one on until a mutant is noticed, and so many at most.
#[must_use]
pub fn try_mutant(mutant: Mutant, first: u64, seeds_max: u64, seconds: u64) -> Tried {
    let mut tried = Tried { seeds: 0, caught: None };
    for seed in first..first.saturating_add(seeds_max) {
        tried.seeds += 1;
        let outcome = run(RunOptions { seed, seconds, mutant: Some(mutant), trace: false });
        if let Some(violation) = outcome.violation {
            tried.caught = Some((seed, violation));
            break;
        }
    }
    tried
}
