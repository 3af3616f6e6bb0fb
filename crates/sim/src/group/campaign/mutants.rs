//! Faults of our own making: each takes out one thing that the group or its host must do, and must be noticed.

use ringfort_raft::Guard;

use super::{RunOptions, Violation, run};

/// Something that is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// The group lacks a guard.
    Without(Guard),
    /// The host now and then reports a write that it did not sync.
    SkipSync,
    /// The host forgets the vote at each start.
    ForgetVote,
}

/// The mutants that a campaign must catch, and the name of each.
///
/// Not among them, as nothing here can show that they are missed: `PairAckNeedsOwnAck`, whose hosts never acknowledge what
/// their group does not follow, and `ChangeNeedsTermCommit`, since joint configurations overlap with what they change in any
/// case. `CommitOwnTerm` needs three leaders to end within one round trip each, which some mixes meet once in ten thousand
/// seeds; `QuietAfterStart` needs a restart between two heartbeats of a leader that a candidate with an equal log cannot hear;
/// `LeaseMargin` needs an election within the margin. Scripts show those, with `CommitCoversApplied`, `CommitWithinLog` and others that need a host or disk that errs.
#[must_use]
pub fn mutants() -> Vec<(&'static str, Mutant)> {
    use Guard as G;
    vec![
        ("a sync is skipped", Mutant::SkipSync),
        ("acknowledged before a quorum has it", Mutant::Without(G::CommitByQuorum)),
        ("reads are not confirmed", Mutant::Without(G::ReadConfirmed)),
        ("no entry at the start of a term", Mutant::Without(G::TermStartEntry)),
        ("the vote is forgotten at a start", Mutant::ForgetVote),
        ("several votes a term", Mutant::Without(G::OneVotePerTerm)),
        ("votes for older logs", Mutant::Without(G::VoteComparesLogs)),
        ("acknowledged before it is durable", Mutant::Without(G::AckDurable)),
        ("an overwritten write acknowledged", Mutant::Without(G::AckNotOverwritten)),
        ("votes sent before they are durable", Mutant::Without(G::VoteDurable)),
        ("one half of a joint configuration decides", Mutant::Without(G::BothHalves)),
        ("configurations outlive their entries", Mutant::Without(G::ConfigurationRolledBack)),
        ("a blank voter votes", Mutant::Without(G::BlankRefused)),
        ("a replica that lost entries votes", Mutant::Without(G::LostEntriesNoVote)),
        ("promises are not kept", Mutant::Without(G::PromiseKept)),
        ("a lease survives a transfer", Mutant::Without(G::TransferForfeitsLease)),
        ("reads confirmed by older rounds", Mutant::Without(G::ReadRoundCounts)),
        ("reads before the term's first commit", Mutant::Without(G::ReadNeedsTermCommit)),
        ("joint configurations are not left", Mutant::Without(G::AutoLeave)),
        ("a removed leader counts itself", Mutant::Without(G::RemovedLeaderNotCounted)),
        ("learners do not vote", Mutant::Without(G::LearnerVotes)),
        ("old terms of pre-votes go unanswered", Mutant::Without(G::PreVoteAnswersOldTerm)),
        ("old leaders are not told", Mutant::Without(G::OldLeaderIsTold)),
        ("groups sleep before all is known", Mutant::Without(G::SleepNeedsAll)),
        ("groups that wake run no timers", Mutant::Without(G::WakeRunsTimers)),
    ]
}

/// What became of a mutant.
#[derive(Clone, Debug)]
pub struct Tried {
    /// Seeds that were run, the last one being that which caught it, if one did.
    pub seeds: u64,
    /// The seed, and how it was noticed.
    pub caught: Option<(u64, Violation)>,
    /// Seeds before it that ended in a panic which names nothing.
    pub stray: u64,
}

/// Runs seeds from a first one on until a checker or a named invariant notices a mutant, and so many at most.
#[must_use]
pub fn try_mutant(mutant: Mutant, first: u64, seeds_max: u64, steps: u64) -> Tried {
    let mut tried = Tried { seeds: 0, caught: None, stray: 0 };
    for seed in first..first.saturating_add(seeds_max) {
        tried.seeds += 1;
        let outcome = run(RunOptions { seed, steps, mutant: Some(mutant), trace: false });
        match outcome.violation {
            Some(violation) if violation.name == "panic" => tried.stray += 1,
            Some(violation) => {
                tried.caught = Some((seed, violation));
                return tried;
            }
            None => {}
        }
    }
    tried
}
