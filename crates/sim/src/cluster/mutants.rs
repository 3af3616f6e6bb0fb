//! Faults of our own making: each takes out one thing that a node or its host must do, and must be noticed.

use ringfort_engine::StorageEngine;
use ringfort_log::RecoveredLog;
use ringfort_node::NodeGuard;
use ringfort_raft::Guard;

use super::broken_engine::{BrokenEngine, Fault};
use super::{RunOptions, Violation, run};

/// Something that is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Raft lacks a guard.
    Without(Guard),
    /// A node lacks a guard.
    WithoutNode(NodeGuard),
    /// The disk says that it has synced, and has not.
    SkipSync,
    /// The same of what an engine flushes.
    SkipFlushSync,
    /// The log's word of durability comes before it is true.
    DurableAtOnce,
    /// A start takes what is damaged for what there was.
    DamageUnnoticed,
    /// An installed snapshot has no remembered answers.
    RetriesDropped,
    /// What is flushed has the position of the last batch and not its data.
    BatchesTorn,
    /// A flush may hold what the log does not.
    FlushedAhead,
    /// Requests between nodes arrive twice.
    RequestsDoubled,
    /// A machine's clock stands still while its process does.
    ClockStops,
    /// Clocks drift five times as much as leases allow for.
    Drift,
}

/// The mutants that a campaign must catch, and the name of each.
///
/// Those of Raft are the ones that whole nodes show; the others are left to random groups
/// ([`group::campaign`](crate::group::campaign)), which meet what is rare far more often: a vote forgotten at a start and a
/// promise not kept were not noticed here within 600 seeds of 30 seconds.
#[must_use]
pub fn mutants() -> Vec<(&'static str, Mutant)> {
    use Guard as G;
    vec![
        ("a sync is skipped", Mutant::SkipSync),
        ("the sync of a flush is skipped", Mutant::SkipFlushSync),
        ("durable before it is", Mutant::DurableAtOnce),
        ("damage goes unnoticed", Mutant::DamageUnnoticed),
        ("the retry table is dropped from snapshots", Mutant::RetriesDropped),
        ("the applied index is not atomic with the data", Mutant::BatchesTorn),
        ("the engine is flushed ahead of the log", Mutant::FlushedAhead),
        ("requests between nodes arrive twice", Mutant::RequestsDoubled),
        ("a clock that stands still in a pause", Mutant::ClockStops),
        ("clocks drift beyond the bound", Mutant::Drift),
        ("a stale map is accepted", Mutant::WithoutNode(NodeGuard::OnlyLeadersServe)),
        ("acknowledged before a quorum has it", Mutant::Without(G::CommitByQuorum)),
        ("acknowledged before it is durable", Mutant::Without(G::AckDurable)),
        ("votes for older logs", Mutant::Without(G::VoteComparesLogs)),
        ("several votes a term", Mutant::Without(G::OneVotePerTerm)),
        ("a lease without a margin for drift", Mutant::Without(G::LeaseMargin)),
        ("a vote within a promise after a start", Mutant::Without(G::QuietAfterStart)),
        ("reads before the term's first commit", Mutant::Without(G::ReadNeedsTermCommit)),
        ("reads are not confirmed", Mutant::Without(G::ReadConfirmed)),
        ("reads confirmed by older rounds", Mutant::Without(G::ReadRoundCounts)),
        ("a replica that lost entries votes", Mutant::Without(G::LostEntriesNoVote)),
    ]
}

/// The engine of a process.
pub(super) fn engine(
    mutant: Option<Mutant>,
    engine: Box<dyn StorageEngine>,
) -> Box<dyn StorageEngine> {
    match mutant {
        Some(Mutant::RetriesDropped) => Box::new(BrokenEngine::new(engine, Fault::RetriesDropped)),
        Some(Mutant::BatchesTorn) => Box::new(BrokenEngine::new(engine, Fault::BatchesTorn)),
        Some(Mutant::FlushedAhead) => Box::new(BrokenEngine::new(engine, Fault::FlushedAhead)),
        _ => engine,
    }
}

/// What a start makes of what the log recovered.
pub(super) fn forget(mutant: Option<Mutant>, recovered: &mut RecoveredLog) {
    if mutant == Some(Mutant::DamageUnnoticed) {
        recovered.groups.values_mut().for_each(|group| group.damage = None);
    }
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
