//! Why a request was not served, and what became of its writes.

use std::borrow::Cow;
use std::fmt;

use crate::Version;

/// The machine-readable reason of a refusal. Codes, statuses and their meaning are part of the outside contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// Malformed key, query, header or body.
    InvalidArgument,
    /// An atomic batch over more than one hash tag.
    CrossShard,
    /// Credentials are missing or wrong.
    Unauthenticated,
    /// The principal may not do this.
    PermissionDenied,
    /// The key is absent.
    KeyNotFound,
    /// No such route.
    RouteNotFound,
    /// The route exists, not with this method.
    MethodNotAllowed,
    /// A body of another type than the route takes.
    UnsupportedMediaType,
    /// A loopback listener was addressed by a foreign host name.
    Misdirected,
    /// A condition did not hold.
    PreconditionFailed,
    /// A key, value or body over its limit.
    TooLarge,
    /// A retry whose session is no longer known.
    SessionExpired,
    /// Reserved for transactions.
    Conflict,
    /// An idempotency key used again for something else.
    IdempotencyMismatch,
    /// Admission control.
    Overloaded,
    /// Our fault.
    Internal,
    /// No leader known, leadership lost, no bound for a stale read, or a closed shard.
    Unavailable,
    /// The request's own bound passed first.
    Timeout,
    /// The disk or a quota is full.
    StorageFull,
}

impl Code {
    /// Every code, for tables and documents.
    pub const ALL: [Self; 19] = [
        Self::InvalidArgument,
        Self::CrossShard,
        Self::Unauthenticated,
        Self::PermissionDenied,
        Self::KeyNotFound,
        Self::RouteNotFound,
        Self::MethodNotAllowed,
        Self::UnsupportedMediaType,
        Self::Misdirected,
        Self::PreconditionFailed,
        Self::TooLarge,
        Self::SessionExpired,
        Self::Conflict,
        Self::IdempotencyMismatch,
        Self::Overloaded,
        Self::Internal,
        Self::Unavailable,
        Self::Timeout,
        Self::StorageFull,
    ];

    /// The code as it stands in answers, metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidArgument => "invalid_argument",
            Self::CrossShard => "cross_shard",
            Self::Unauthenticated => "unauthenticated",
            Self::PermissionDenied => "permission_denied",
            Self::KeyNotFound => "key_not_found",
            Self::RouteNotFound => "route_not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::Misdirected => "misdirected",
            Self::PreconditionFailed => "precondition_failed",
            Self::TooLarge => "too_large",
            Self::SessionExpired => "session_expired",
            Self::Conflict => "conflict",
            Self::IdempotencyMismatch => "idempotency_mismatch",
            Self::Overloaded => "overloaded",
            Self::Internal => "internal",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::StorageFull => "storage_full",
        }
    }

    /// The HTTP status of the code.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::InvalidArgument | Self::CrossShard => 400,
            Self::Unauthenticated => 401,
            Self::PermissionDenied => 403,
            Self::KeyNotFound | Self::RouteNotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::UnsupportedMediaType => 415,
            Self::Misdirected => 421,
            Self::PreconditionFailed => 412,
            Self::TooLarge => 413,
            Self::SessionExpired | Self::Conflict => 409,
            Self::IdempotencyMismatch => 422,
            Self::Overloaded => 429,
            Self::Internal => 500,
            Self::Unavailable => 503,
            Self::Timeout => 504,
            Self::StorageFull => 507,
        }
    }

    /// The code with this text, if there is one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == text)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What became of a write that was not acknowledged. It speaks of this request, not of an earlier attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It has not happened and never will.
    NotApplied,
    /// It may have happened, or may yet.
    Unknown,
}

impl Outcome {
    /// The outcome as it stands in answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotApplied => "not_applied",
            Self::Unknown => "unknown",
        }
    }
}

/// A request that was not served: the error type between doors and nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reason.
    pub code: Code,
    /// What a person reads: the offending part and the limit named.
    pub detail: Cow<'static, str>,
    /// What became of the write; `None` for reads.
    pub outcome: Option<Outcome>,
    /// With [`Code::PreconditionFailed`]: what stands (0: absent).
    pub current_version: Option<Version>,
    /// With an atomic batch: the position of the operation at fault, from 0.
    pub failed_op: Option<usize>,
    /// This is the remembered answer to an earlier request.
    pub replayed: bool,
}

impl Refusal {
    /// A refusal of a request that was no write, or where nothing is known of one yet.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        let detail = detail.into();
        Self {
            code,
            detail,
            outcome: None,
            current_version: None,
            failed_op: None,
            replayed: false,
        }
    }

    /// A refused write that has not happened and never will.
    #[must_use]
    pub fn not_applied(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { outcome: Some(Outcome::NotApplied), ..Self::new(code, detail) }
    }

    /// A write whose fate is not known.
    #[must_use]
    pub fn unknown(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { outcome: Some(Outcome::Unknown), ..Self::new(code, detail) }
    }

    /// A condition that did not hold against what stands.
    #[must_use]
    pub fn precondition(current: Version) -> Self {
        let detail = if current == Version::ABSENT {
            Cow::Borrowed("the condition does not hold: the key is absent")
        } else {
            Cow::Owned(format!("the condition does not hold: the key is at version {current}"))
        };
        let refusal = Self::not_applied(Code::PreconditionFailed, detail);
        Self { current_version: Some(current), ..refusal }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl std::error::Error for Refusal {}
