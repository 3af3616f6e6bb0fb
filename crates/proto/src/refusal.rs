//! Refusals.

use std::borrow::Cow;

use ringfort_types::{Code, Outcome, Refusal, Version};

use crate::error::DecodeError;
use crate::peer;

impl From<Refusal> for peer::Refusal {
    fn from(refusal: Refusal) -> Self {
        let outcome = match refusal.outcome {
            None => peer::Outcome::None,
            Some(Outcome::NotApplied) => peer::Outcome::NotApplied,
            Some(Outcome::Unknown) => peer::Outcome::Unknown,
        };
        Self {
            code: refusal.code.as_str().to_owned(),
            detail: refusal.detail.into_owned(),
            outcome: outcome.into(),
            current_version: refusal.current_version.map(|version| version.0),
            failed_op: refusal
                .failed_op
                .map(|position| u32::try_from(position).unwrap_or(u32::MAX)),
            replayed: refusal.replayed,
        }
    }
}

impl TryFrom<peer::Refusal> for Refusal {
    type Error = DecodeError;

    fn try_from(wire: peer::Refusal) -> Result<Self, DecodeError> {
        let outcome = match peer::Outcome::try_from(wire.outcome) {
            Ok(peer::Outcome::None) => None,
            Ok(peer::Outcome::NotApplied) => Some(Outcome::NotApplied),
            Ok(peer::Outcome::Unknown) => Some(Outcome::Unknown),
            // No outcome at all would say that nothing can have happened.
            Err(_) => return Err(DecodeError::missing("refusal.outcome")),
        };
        Ok(Self {
            code: Code::parse(&wire.code).ok_or(DecodeError::missing("refusal.code"))?,
            detail: Cow::Owned(wire.detail),
            outcome,
            current_version: wire.current_version.map(Version),
            failed_op: wire.failed_op.map(|position| position as usize),
            replayed: wire.replayed,
        })
    }
}
