//! Why a message is refused.

use std::fmt;

use ringfort_types::KeyError;

/// A message that is none of ours. Nothing was done; who sent it is broken, or newer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct DecodeError {
    /// The field at fault, as the schema names it.
    pub field: &'static str,
    /// What is wrong with it.
    pub reason: Reason,
}

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is absent, or of a kind that this version does not know.
    Missing,
    /// It is no key.
    Key(KeyError),
    /// It holds what it may not.
    Invalid(&'static str),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("is absent, or of a kind that this version does not know"),
            Self::Key(error) => error.fmt(f),
            Self::Invalid(what) => f.write_str(what),
        }
    }
}

impl DecodeError {
    /// The field is absent, or of a kind that this version does not know.
    #[must_use]
    pub fn missing(field: &'static str) -> Self {
        Self { field, reason: Reason::Missing }
    }

    /// The field holds what it may not.
    #[must_use]
    pub fn invalid(field: &'static str, what: &'static str) -> Self {
        Self { field, reason: Reason::Invalid(what) }
    }
}

/// A key of a message.
pub(crate) fn key(
    field: &'static str,
    bytes: bytes::Bytes,
) -> Result<ringfort_types::Key, DecodeError> {
    ringfort_types::Key::new(bytes)
        .map_err(|error| DecodeError { field, reason: Reason::Key(error) })
}
