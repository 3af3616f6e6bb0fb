//! Exit codes, and failures that carry one.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use ringfort_client::{Error, Failure as ClientFailure};
use ringfort_types::{Code, Outcome};
use serde_json::json;

use crate::output::Format;

/// How a command ended. The numbers are part of the outside contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Done = 0,
    /// The answer is no: absent, or a condition did not hold.
    No = 1,
    /// Usage or configuration.
    Usage = 2,
    /// Not done: unreachable, refused, or `not_applied`.
    NotDone = 3,
    /// A write's outcome is unknown.
    Unknown = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A command that failed, and what standard error says about it.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// Empty: nothing is to be said.
    message: String,
    /// What a program reads instead of the message.
    document: Option<Box<serde_json::Value>>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Display) -> Self {
        Self { exit, message: message.to_string(), document: None }
    }

    /// Wrong usage or configuration.
    pub(crate) fn usage(message: impl Display) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// It could not be done, and nothing was changed.
    pub(crate) fn not_done(message: impl Display) -> Self {
        Self::new(Exit::NotDone, message)
    }

    /// A failed call to a server.
    pub(crate) fn of_call(error: &Error, format: Format) -> Self {
        let exit = exit_of(error);
        let document = (format == Format::Json).then(|| {
            let refusal = error.refusal();
            Box::new(json!({
                "error": error.failure.to_string(),
                "code": error.code().map(Code::as_str),
                "outcome": error.outcome().map(Outcome::as_str),
                "current_version": refusal.and_then(|refusal| refusal.current_version).map(|version| version.0),
                "endpoint": error.endpoint.as_ref().map(ToString::to_string),
                "request_id": request_id(error),
                "attempts": error.attempts,
            }))
        });
        Self { exit, message: error.to_string(), document }
    }

    /// Says what failed, where there is something to say and somebody to say it to.
    pub(crate) fn report(&self) {
        let text = match &self.document {
            Some(document) => format!("{document}\n"),
            None if self.message.is_empty() => return,
            None => format!("ringfort: {}\n", self.message),
        };
        // With standard error gone, the exit code still speaks.
        io::stderr().write_all(text.as_bytes()).unwrap_or_default();
    }
}

fn request_id(error: &Error) -> Option<&str> {
    match &error.failure {
        ClientFailure::Refused(rejection) => rejection.request_id.as_deref(),
        _ => None,
    }
}

fn exit_of(error: &Error) -> Exit {
    match (&error.failure, error.outcome(), error.code()) {
        (_, Some(Outcome::Unknown), _) => Exit::Unknown,
        (ClientFailure::Invalid(_), _, _) => Exit::Usage,
        (_, _, Some(Code::PreconditionFailed | Code::KeyNotFound)) => Exit::No,
        _ => Exit::NotDone,
    }
}

/// Output that cannot be written. A reader that has enough (`| head`) is no failure; nothing more is said then.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::new(Exit::Done, "");
        }
        Self::new(Exit::NotDone, format_args!("the output cannot be written: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use ringfort_client::{Failure as F, Rejection};
    use ringfort_types::{Refusal, Version};

    use super::*;

    fn error(failure: F, outcome: Option<Outcome>) -> Error {
        Error { endpoint: None, failure, outcome, attempts: 1 }
    }

    fn refused(refusal: Refusal) -> Error {
        let outcome = refusal.outcome;
        let rejection = Rejection {
            status: refusal.code.status(),
            refusal,
            request_id: None,
            retry_after: None,
        };
        error(F::Refused(Box::new(rejection)), outcome)
    }

    #[test]
    fn exit_codes_are_those_of_the_contract() {
        use Outcome::{NotApplied, Unknown};
        let not_sent = |outcome| error(F::NotSent("x".into()), outcome);
        for (error, exit) in [
            (not_sent(None), Exit::NotDone),
            (not_sent(Some(NotApplied)), Exit::NotDone),
            (not_sent(Some(Unknown)), Exit::Unknown),
            (error(F::Lost("x".into()), Some(Unknown)), Exit::Unknown),
            (error(F::Lost("x".into()), None), Exit::NotDone),
            (error(F::Invalid("x".into()), Some(NotApplied)), Exit::Usage),
            (refused(Refusal::precondition(Version(3))), Exit::No),
            (refused(Refusal::not_applied(Code::StorageFull, "")), Exit::NotDone),
            (refused(Refusal::not_applied(Code::InvalidArgument, "")), Exit::NotDone),
            (refused(Refusal::unknown(Code::Timeout, "")), Exit::Unknown),
            (refused(Refusal::new(Code::Unavailable, "")), Exit::NotDone),
        ] {
            assert_eq!(exit_of(&error), exit, "{error}");
        }
    }
}
