//! Whether and when a failed request is tried again. One for each client or worker: retries share a budget.

use std::time::Duration;

use ringfort_types::Monotonic;

use crate::attempts::{Attempts, Failure};
use crate::budget::{BudgetConfig, RetryBudget};
use crate::random::Random;

/// What follows a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another attempt.
    Retry {
        /// After this pause.
        after: Duration,
    },
    /// None: [`Attempts::outcome`] says what became of the write.
    GiveUp,
}

/// Decides about retries.
#[derive(Clone, Debug)]
pub struct Retrier {
    budget: RetryBudget,
    random: Random,
}

impl Retrier {
    /// A retrier with a full budget. The seed spreads its pauses.
    #[must_use]
    pub fn new(now: Monotonic, seed: u64, budget: BudgetConfig) -> Self {
        Self { budget: RetryBudget::new(now, budget), random: Random::new(seed) }
    }

    /// A request has begun: it adds to the budget.
    pub fn handle_request(&mut self) {
        self.budget.handle_request();
    }

    /// What follows a failed attempt. Attempts that a server had no work with cost nothing of the budget: those are bounded by
    /// their pauses.
    pub fn handle_failure(
        &mut self,
        now: Monotonic,
        attempts: &mut Attempts,
        failure: &Failure<'_>,
    ) -> Next {
        attempts.handle_failure(failure);
        if !attempts.may_repeat(failure) {
            return Next::GiveUp;
        }
        let (after, until) = match failure {
            Failure::NotLeader { news: true } => (Duration::ZERO, attempts.deadline()),
            _ => (attempts.pauses.next(&mut self.random), attempts.last_try()),
        };
        let costs = matches!(failure, Failure::Lost | Failure::Refused(_));
        if now >= until || (costs && !self.budget.take(now)) {
            return Next::GiveUp;
        }
        Next::Retry { after: after.min(until.since(now)) }
    }
}
