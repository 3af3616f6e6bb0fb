//! The guards of this crate, by name, so that a test can take one out and show that it is missed.
//!
//! Each names a check whose absence loses data, serves a stale read, or stops a group for good. A test that takes a guard
//! out is the proof that some other test would notice. Without the feature `mutants` every guard is a constant `true`, and
//! the compiler removes the question.

macro_rules! guards {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A check that can be taken out.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Guard {
            $($(#[$doc])* $name,)*
        }

        #[cfg(feature = "mutants")]
        impl Guard {
            /// Every guard there is.
            pub const ALL: &[Self] = &[$(Self::$name),*];
        }

        #[cfg(feature = "mutants")]
        const _: () = assert!(Guard::ALL.len() <= u64::BITS as usize);
    };
}

guards! {
    /// A vote is given once a term.
    OneVotePerTerm,
    /// A vote is sent once it is durable.
    VoteDurable,
    /// A vote goes to logs that are at least as long and new as the voter's.
    VoteComparesLogs,
    /// A leader begins its term with an entry.
    TermStartEntry,
    /// An entry is committed by a quorum.
    CommitByQuorum,
    /// Only entries of the leader's own term are committed by counting copies.
    CommitOwnTerm,
    /// Entries are acknowledged once durable.
    AckDurable,
    /// What a later write replaces is not durable by an earlier one.
    AckNotOverwritten,
    /// Both halves of a joint configuration decide.
    BothHalves,
    /// A configuration is undone when its entry is truncated.
    ConfigurationRolledBack,
    /// No change of membership before an entry of the own term is committed. Changes of one voter at a time need this. A joint
    /// configuration overlaps with what it changes in any case, so nothing is known to be lost without it here, which is argued and
    /// not proven; it is a plain refusal.
    ChangeNeedsTermCommit,
    /// A joint configuration is left by whichever leader sees it committed, at any time.
    AutoLeave,
    /// A leader outside of the configuration does not count itself.
    RemovedLeaderNotCounted,
    /// A leader outside of the committed configuration steps down.
    RemovedLeaderStepsDown,
    /// A replica votes also where it takes itself for a learner.
    LearnerVotes,
    /// A learner's promotion is the swap that it was added for.
    PromotionIsSwap,
    /// A candidate asks before it raises the term.
    PreVote,
    /// A pre-vote of an old term is answered with the newer term.
    PreVoteAnswersOldTerm,
    /// Whoever hears from a leader votes for nobody else.
    VoteStickiness,
    /// A leader that hears from no quorum steps down.
    CheckQuorum,
    /// A leader of an old term is told of the newer one.
    OldLeaderIsTold,
    /// A transfer is not held up by stickiness and promises.
    TransferOverridesPromise,
    /// A leader that asked another to take over serves no lease read any more.
    TransferForfeitsLease,
    /// A promise not to vote is kept.
    PromiseKept,
    /// After a start nobody votes for the longest promise.
    QuietAfterStart,
    /// An acknowledgement between nodes covers only groups that the peer acknowledged itself.
    PairAckNeedsOwnAck,
    /// A read waits for the first commit of the leader's term.
    ReadNeedsTermCommit,
    /// A read is confirmed by a quorum.
    ReadConfirmed,
    /// A read is confirmed by answers to what was sent after it.
    ReadRoundCounts,
    /// A lease ends earlier for its leader than for its voters.
    LeaseMargin,
    /// A lease is measured by the clock at the time of the read.
    LeaseChecksClock,
    /// Commit is never behind what is applied.
    CommitCoversApplied,
    /// Commit is never beyond the log.
    CommitWithinLog,
    /// A snapshot of what is committed here already is not installed.
    OldSnapshotRefused,
    /// A snapshot of a position that the log holds is not installed either.
    SnapshotAtTipKept,
    /// A replica that lost entries votes for nobody until they are back.
    LostEntriesNoVote,
    /// A blank replica votes for nobody, and a blank voter is not fed.
    BlankRefused,
    /// A leader whose disk stalls steps down.
    StalledDiskStepsDown,
    /// A group sleeps only when all know that all is committed.
    SleepNeedsAll,
    /// A group that wakes runs its timers again.
    WakeRunsTimers,
}

/// Which guards are in place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guards {
    #[cfg(feature = "mutants")]
    without: u64,
}

impl Guards {
    /// All but this one.
    #[cfg(feature = "mutants")]
    #[must_use]
    pub fn without(guard: Guard) -> Self {
        Self { without: 1 << guard as u8 }
    }

    /// One less than these.
    #[cfg(feature = "mutants")]
    #[must_use]
    pub fn and_without(self, guard: Guard) -> Self {
        Self { without: self.without | 1 << guard as u8 }
    }

    /// Whether the guard is in place.
    #[cfg(feature = "mutants")]
    #[must_use]
    pub fn has(self, guard: Guard) -> bool {
        self.without & (1 << guard as u8) == 0
    }

    /// Whether the guard is in place.
    #[cfg(not(feature = "mutants"))]
    #[inline]
    #[must_use]
    pub fn has(self, _: Guard) -> bool {
        true
    }
}
