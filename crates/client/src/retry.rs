//! What may be tried again, and what became of a write after several attempts. Pure decisions, no clock, no socket.

use ringfort_types::{Code, Outcome};

use crate::error::Failure;

/// What a second execution of a request would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Safety {
    /// Nothing: it reads.
    Read,
    /// Nothing: its idempotency key makes it happen once.
    Identified,
    /// Harm: it would be a second write.
    Once,
}

impl Safety {
    pub(crate) fn is_write(self) -> bool {
        self != Self::Read
    }
}

/// Whether another attempt, at this or another endpoint, is safe and of use.
pub(crate) fn may_retry(failure: &Failure, safety: Safety) -> bool {
    let repeatable = safety != Safety::Once;
    match failure {
        Failure::NotSent(_) | Failure::TimedOut { sent: false, .. } => true,
        Failure::Lost(_) | Failure::TimedOut { sent: true, .. } => repeatable,
        // Another program answers there, or one of another version: asking again gets the same.
        Failure::Invalid(_) | Failure::Malformed(_) => false,
        Failure::Refused(rejection) => {
            let refusal = &rejection.refusal;
            let passing = matches!(refusal.code, Code::Overloaded | Code::Unavailable)
                || (refusal.code == Code::Internal && repeatable);
            passing && (repeatable || refusal.outcome == Some(Outcome::NotApplied))
        }
    }
}

/// What became of a write: `before` is whether an earlier attempt was in doubt, `last` the failure of the last one.
pub(crate) fn outcome(before: bool, last: &Failure, safety: Safety) -> Option<Outcome> {
    if !safety.is_write() {
        return None;
    }
    // The server remembers these by the idempotency key (or answers from what it remembers), so the answer is the one
    // of the first attempt too.
    let remembered = matches!(
        last,
        Failure::Refused(rejection)
            if matches!(rejection.refusal.code, Code::PreconditionFailed | Code::IdempotencyMismatch)
    );
    let doubt = before && !(remembered && safety == Safety::Identified);
    Some(if doubt { Outcome::Unknown } else { last.outcome_of_write() })
}

#[cfg(test)]
mod tests {
    use ringfort_types::{Refusal, Version};

    use super::Safety::{Identified, Once, Read};
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

    #[test]
    fn only_what_is_safe_is_tried_again() {
        for (name, failure, expected) in failures() {
            let got = [Read, Identified, Once].map(|safety| may_retry(&failure, safety));
            assert_eq!(got, expected, "{name}");
        }
    }

    #[test]
    fn one_attempt_in_doubt_puts_the_call_in_doubt() {
        let not_sent = Failure::NotSent("x".into());
        assert_eq!(outcome(false, &not_sent, Once), Some(Outcome::NotApplied));
        assert_eq!(outcome(true, &not_sent, Identified), Some(Outcome::Unknown));
        assert_eq!(outcome(true, &not_sent, Read), None);
        let lost = Failure::Lost("x".into());
        assert_eq!(outcome(false, &lost, Identified), Some(Outcome::Unknown));
        let overloaded = refused(Refusal::not_applied(Code::Overloaded, ""));
        assert_eq!(outcome(false, &overloaded, Identified), Some(Outcome::NotApplied));
        assert_eq!(outcome(true, &overloaded, Identified), Some(Outcome::Unknown));
    }

    #[test]
    fn a_remembered_answer_ends_the_doubt() {
        let condition = refused(Refusal::precondition(Version(3)));
        assert_eq!(outcome(true, &condition, Identified), Some(Outcome::NotApplied));
        assert_eq!(outcome(true, &condition, Once), Some(Outcome::Unknown));
    }
}
