//! What `route` is told of a failed attempt: it decides what may be tried again, and what became of the write.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ringfort_route::{Attempts, BudgetConfig, Next, Retrier};
use ringfort_types::Monotonic;
use tokio::time::Instant;

use crate::error::Failure;

/// All calls over as many connections as a pool keeps may fail together, and be tried again.
const BUDGET: BudgetConfig = BudgetConfig { percent: 20, burst: 256, floor_per_second: 10 };

/// The retries of all calls of a client.
pub(crate) struct Retries {
    origin: Instant,
    retrier: Mutex<Retrier>,
}

impl Retries {
    pub(crate) fn new() -> Self {
        // The seed only spreads pauses: any number will do where the system gives none.
        let seed = getrandom::u64().unwrap_or_default();
        let retrier = Retrier::new(Monotonic(0), seed, BUDGET);
        Self { origin: Instant::now(), retrier: Mutex::new(retrier) }
    }

    /// A call begins. Gives its deadline on the clock that its attempts know.
    pub(crate) fn handle_request(&self, deadline: Instant) -> Monotonic {
        self.lock().handle_request();
        Monotonic(0) + deadline.saturating_duration_since(self.origin)
    }

    /// What follows a failed attempt.
    pub(crate) fn handle_failure(&self, attempts: &mut Attempts, failure: &Failure) -> Next {
        let now = Monotonic(0) + self.origin.elapsed();
        self.lock().handle_failure(now, attempts, &told(failure))
    }

    fn lock(&self) -> MutexGuard<'_, Retrier> {
        // A budget cannot be left half-changed: a poisoned lock is as good as any.
        self.retrier.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When the server suggests to try again.
pub(crate) fn asked(failure: &Failure) -> Option<Duration> {
    match failure {
        Failure::Refused(rejection) => rejection.retry_after,
        _ => None,
    }
}

fn told(failure: &Failure) -> ringfort_route::Failure<'_> {
    use ringfort_route::Failure as Told;
    match failure {
        Failure::NotSent(_) | Failure::TimedOut { sent: false, .. } => Told::NotSent,
        Failure::Lost(_) | Failure::TimedOut { sent: true, .. } => Told::Lost,
        Failure::Malformed(_) => Told::Malformed,
        Failure::Invalid(_) => Told::Invalid,
        Failure::Refused(rejection) => Told::Refused(&rejection.refusal),
    }
}

#[cfg(test)]
mod tests {
    use ringfort_route::Safety::{self, Identified, Once, Read};
    use ringfort_types::{Code, Outcome, Refusal, Version};

    use super::*;

    fn refused(refusal: Refusal) -> Failure {
        Failure::Refused(Box::new(crate::error::Rejection {
            status: refusal.code.status(),
            refusal,
            request_id: None,
            retry_after: None,
        }))
    }

    fn failures() -> Vec<(&'static str, Failure, [bool; 3])> {
        let unavailable = Code::Unavailable;
        vec![
            ("not sent", Failure::NotSent("x".into()), [true, true, true]),
            ("lost", Failure::Lost("x".into()), [true, true, false]),
            ("malformed", Failure::Malformed("x".into()), [false; 3]),
            ("invalid", Failure::Invalid("x".into()), [false; 3]),
            (
                "refused, not applied",
                refused(Refusal::not_applied(unavailable, "")),
                [true, true, true],
            ),
            ("refused, unknown", refused(Refusal::unknown(unavailable, "")), [true, true, false]),
            ("refused, untold", refused(Refusal::new(unavailable, "")), [true, true, false]),
            (
                "internal, unknown",
                refused(Refusal::unknown(Code::Internal, "")),
                [true, true, false],
            ),
            ("overloaded", refused(Refusal::not_applied(Code::Overloaded, "")), [true, true, true]),
            ("full", refused(Refusal::not_applied(Code::StorageFull, "")), [false; 3]),
            ("timeout", refused(Refusal::unknown(Code::Timeout, "")), [false; 3]),
            ("condition", refused(Refusal::precondition(Version(3))), [false; 3]),
            ("argument", refused(Refusal::not_applied(Code::InvalidArgument, "")), [false; 3]),
        ]
    }

    /// Whether the last of these failures is followed by another attempt, and what is said of the write until then.
    fn follows(safety: Safety, failures: &[&Failure]) -> (bool, Option<Outcome>) {
        let mut retrier = Retrier::new(Monotonic(0), 1, BUDGET);
        let mut attempts = Attempts::new(safety, Monotonic(0) + Duration::from_secs(5));
        let mut next = Next::GiveUp;
        for failure in failures {
            next = retrier.handle_failure(Monotonic(0), &mut attempts, &told(failure));
        }
        (next != Next::GiveUp, attempts.outcome())
    }

    #[test]
    fn only_what_is_safe_is_tried_again() {
        for (name, failure, expected) in failures() {
            let got = [Read, Identified, Once].map(|safety| follows(safety, &[&failure]).0);
            assert_eq!(got, expected, "{name}");
        }
    }

    #[test]
    fn one_attempt_in_doubt_puts_the_call_in_doubt() {
        let outcome = |safety, failures: &[&Failure]| follows(safety, failures).1;
        let (not_sent, lost) = (Failure::NotSent("x".into()), Failure::Lost("x".into()));
        assert_eq!(outcome(Once, &[&not_sent]), Some(Outcome::NotApplied));
        assert_eq!(outcome(Identified, &[&lost, &not_sent]), Some(Outcome::Unknown));
        assert_eq!(outcome(Read, &[&lost, &not_sent]), None);
        assert_eq!(outcome(Identified, &[&lost]), Some(Outcome::Unknown));
        let overloaded = refused(Refusal::not_applied(Code::Overloaded, ""));
        assert_eq!(outcome(Identified, &[&overloaded]), Some(Outcome::NotApplied));
        assert_eq!(outcome(Identified, &[&lost, &overloaded]), Some(Outcome::Unknown));
    }

    #[test]
    fn a_remembered_answer_ends_the_doubt() {
        let lost = Failure::Lost("x".into());
        let condition = refused(Refusal::precondition(Version(3)));
        assert_eq!(follows(Identified, &[&lost, &condition]).1, Some(Outcome::NotApplied));
        assert_eq!(follows(Once, &[&lost, &condition]).1, Some(Outcome::Unknown));
    }
}
