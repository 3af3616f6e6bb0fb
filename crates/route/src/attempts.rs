//! What one request has behind it, and what that makes of its outcome.

use std::time::Duration;

use ringfort_types::request::Identity;
use ringfort_types::{Code, Monotonic, Outcome, Refusal};

use crate::random::Pauses;

/// With less than this left of a request's time, no further pause is made: whoever waits hears the reason before the time
/// is up.
pub const LAST_TRY_BEFORE_DEADLINE: Duration = Duration::from_millis(50);

/// What a second execution of a request would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Safety {
    /// Nothing: it reads.
    Read,
    /// Nothing: its identity makes it happen once.
    Identified,
    /// Harm: it would be a second write.
    Once,
}

impl Safety {
    /// That of a write with this identity.
    #[must_use]
    pub fn of_write(identity: &Identity) -> Self {
        match identity {
            Identity::None => Self::Once,
            Identity::IdempotencyKey(_) | Identity::Session { .. } => Self::Identified,
        }
    }

    /// Whether it writes.
    #[must_use]
    pub fn is_write(self) -> bool {
        self != Self::Read
    }
}

/// How an attempt failed.
#[derive(Clone, Copy, Debug)]
pub enum Failure<'a> {
    /// Nothing was sent, for want of a connection or of anybody to send it to.
    NotSent,
    /// It was handed to a connection, and no answer came.
    Lost,
    /// The replica does not lead, so it did nothing. `news` says whether the answer named a newer leader.
    NotLeader {
        /// What [`crate::Routes::handle_not_leader`] said.
        news: bool,
    },
    /// It was refused.
    Refused(&'a Refusal),
    /// The answer is not understood: another program, or one of another version.
    Malformed,
    /// The request itself cannot be sent.
    Invalid,
}

/// One request's attempts so far.
#[derive(Clone, Copy, Debug)]
pub struct Attempts {
    safety: Safety,
    deadline: Monotonic,
    doubt: bool,
    pub(crate) pauses: Pauses,
}

impl Attempts {
    /// A request of which nothing was tried yet.
    #[must_use]
    pub fn new(safety: Safety, deadline: Monotonic) -> Self {
        Self { safety, deadline, doubt: false, pauses: Pauses::default() }
    }

    /// When an answer is due.
    #[must_use]
    pub fn deadline(&self) -> Monotonic {
        self.deadline
    }

    /// Until when it is tried again after a pause.
    #[must_use]
    pub fn last_try(&self) -> Monotonic {
        self.deadline - LAST_TRY_BEFORE_DEADLINE
    }

    /// What a second execution would do.
    #[must_use]
    pub fn safety(&self) -> Safety {
        self.safety
    }

    /// Whether it is a write that an attempt so far may have executed.
    #[must_use]
    pub fn in_doubt(&self) -> bool {
        self.doubt
    }

    /// What became of the write, as far as the attempts so far tell; `None` for reads.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        let outcome = if self.doubt { Outcome::Unknown } else { Outcome::NotApplied };
        self.safety.is_write().then_some(outcome)
    }

    /// Remembers what a failure means for the outcome.
    pub fn handle_failure(&mut self, failure: &Failure<'_>) {
        let executed = match failure {
            Failure::NotSent | Failure::NotLeader { .. } | Failure::Invalid => false,
            Failure::Lost | Failure::Malformed => true,
            Failure::Refused(refusal) => {
                // What is remembered by the identity is the answer of every attempt, the first included.
                let remembered =
                    matches!(refusal.code, Code::PreconditionFailed | Code::IdempotencyMismatch);
                self.doubt &= !(remembered && self.safety == Safety::Identified);
                refusal.outcome != Some(Outcome::NotApplied)
            }
        };
        self.doubt |= executed && self.safety.is_write();
    }

    /// Whether another attempt after this failure, which was handled, is safe and of use.
    pub(crate) fn may_repeat(&self, failure: &Failure<'_>) -> bool {
        let safe = self.safety != Safety::Once || !self.doubt;
        let of_use = match failure {
            Failure::NotSent | Failure::NotLeader { .. } | Failure::Lost => true,
            Failure::Malformed | Failure::Invalid => false,
            Failure::Refused(refusal) => {
                matches!(refusal.code, Code::Overloaded | Code::Unavailable | Code::Internal)
            }
        };
        safe && of_use
    }

    /// The answer that a refused request gets after all its attempts: what the last one said, with the outcome of all.
    #[must_use]
    pub fn settle(mut self, refusal: Refusal) -> Refusal {
        self.handle_failure(&Failure::Refused(&refusal));
        Refusal { outcome: self.outcome(), ..refusal }
    }

    /// The answer that a request gets that is given up after this failure, which was handled.
    #[must_use]
    pub fn give_up(&self, failure: &Failure<'_>) -> Refusal {
        let (code, detail) = match failure {
            Failure::Refused(refusal) => {
                return Refusal { outcome: self.outcome(), ..(*refusal).clone() };
            }
            Failure::NotSent | Failure::NotLeader { .. } => {
                (Code::Unavailable, "no leader of the shard is known or can be reached")
            }
            Failure::Lost => {
                (Code::Unavailable, "the connection to the shard's leader failed under way")
            }
            Failure::Malformed => (Code::Internal, "a node's answer is not understood"),
            Failure::Invalid => (Code::Internal, "the request cannot be sent to another node"),
        };
        Refusal { outcome: self.outcome(), ..Refusal::new(code, detail) }
    }

    /// The answer once the request's time has passed. `under_way`: an attempt was sent and not answered.
    #[must_use]
    pub fn time_out(mut self, under_way: bool) -> Refusal {
        self.doubt |= under_way && self.safety.is_write();
        let detail = if self.doubt {
            "the request's time passed while the write was under way: it may take effect yet"
        } else {
            "the request's time passed before it was answered"
        };
        Refusal { outcome: self.outcome(), ..Refusal::new(Code::Timeout, detail) }
    }
}
