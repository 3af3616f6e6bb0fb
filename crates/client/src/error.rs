//! Why a call failed, and what became of its write.

use std::fmt;
use std::time::Duration;

use ringfort_types::{Code, Outcome, Refusal};

use crate::endpoint::Endpoint;

/// A boxed cause.
type Cause = Box<dyn std::error::Error + Send + Sync>;

/// A failed call.
#[derive(Debug)]
pub struct Error {
    /// The endpoint of the last attempt; `None` where none was made.
    pub endpoint: Option<Endpoint>,
    /// What went wrong in the last attempt.
    pub failure: Failure,
    /// What became of the write over all attempts; `None` for reads.
    pub outcome: Option<Outcome>,
    /// Attempts made.
    pub attempts: u32,
}

/// What went wrong in one attempt.
#[derive(Debug)]
pub enum Failure {
    /// The call itself is wrong; nothing was sent.
    Invalid(String),
    /// No connection; nothing was sent.
    NotSent(Cause),
    /// The request was handed to a connection that then failed.
    Lost(Cause),
    /// No answer within this time. `sent` says whether the request was handed to a connection.
    TimedOut {
        /// How long the call waited.
        after: Duration,
        /// Whether the request was handed to a connection.
        sent: bool,
    },
    /// There was an answer that this client does not understand: another program, or a version it does not know.
    Malformed(String),
    /// The server refused.
    Refused(Box<Rejection>),
}

/// A server's refusal.
#[derive(Clone, Debug)]
pub struct Rejection {
    /// The HTTP status.
    pub status: u16,
    /// Code, detail and outcome.
    pub refusal: Refusal,
    /// The request's name in the server's log.
    pub request_id: Option<String>,
    /// When the server suggests to try again.
    pub retry_after: Option<Duration>,
}

impl Error {
    pub(crate) fn invalid(detail: impl Into<String>, write: bool) -> Self {
        Self {
            endpoint: None,
            failure: Failure::Invalid(detail.into()),
            outcome: write.then_some(Outcome::NotApplied),
            attempts: 0,
        }
    }

    /// What became of the write; `None` for reads.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        self.outcome
    }

    /// The server's code, where a server refused.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        self.refusal().map(|refusal| refusal.code)
    }

    /// The server's refusal, where a server refused. Its `outcome` speaks of the last attempt alone; [`Error::outcome`]
    /// speaks of the call.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match &self.failure {
            Failure::Refused(rejection) => Some(&rejection.refusal),
            _ => None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(detail) => f.write_str(detail),
            Self::NotSent(cause) => write!(f, "cannot connect: {}", Chain(cause.as_ref())),
            Self::Lost(cause) => {
                write!(f, "the connection failed under way: {}", Chain(cause.as_ref()))
            }
            Self::TimedOut { after, sent } => {
                let what = if *sent { "no answer" } else { "no connection" };
                write!(f, "{what} within {} ms", after.as_millis())
            }
            Self::Malformed(detail) => write!(f, "the answer is not understood: {detail}"),
            Self::Refused(rejection) => rejection.refusal.fmt(f),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(endpoint) = &self.endpoint {
            write!(f, "{endpoint}: ")?;
        }
        write!(f, "{}", self.failure)?;
        if self.outcome == Some(Outcome::Unknown) {
            f.write_str(" (the write may have happened, or may yet)")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.failure {
            Failure::NotSent(cause) | Failure::Lost(cause) => Some(cause.as_ref()),
            _ => None,
        }
    }
}

/// An error with its causes, each said once: the outermost alone ("connection error") helps nobody.
struct Chain<'a>(&'a (dyn std::error::Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.0.to_string();
        f.write_str(&said)?;
        let mut next = self.0.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            if !said.contains(&text) {
                write!(f, ": {text}")?;
                said = text;
            }
            next = cause.source();
        }
        Ok(())
    }
}
