//! Operations on keys, their conditions, and what makes a retry of them happen once.

use std::time::Duration;

use bytes::Bytes;
use ringfort_types::limits::{IDEMPOTENCY_KEY_BYTES_MAX, TTL_MS_MAX};
use ringfort_types::request::{Condition, Identity, Operation};
use ringfort_types::{SessionId, Version};

use crate::error::{DecodeError, key};
use crate::peer::{self, condition::Kind};

impl From<Operation> for peer::Operation {
    fn from(operation: Operation) -> Self {
        use peer::operation::What;
        let key = operation.key().to_bytes();
        let what = match operation {
            Operation::Get { .. } => What::Read(peer::Read {}),
            Operation::Put { value, ttl, condition, .. } => What::Put(peer::Put {
                value,
                ttl_ms: ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)),
                condition: condition_to_wire(condition),
            }),
            Operation::Delete { condition, .. } => {
                What::Delete(peer::Delete { condition: condition_to_wire(condition) })
            }
        };
        Self { key, what: Some(what) }
    }
}

impl TryFrom<peer::Operation> for Operation {
    type Error = DecodeError;

    fn try_from(wire: peer::Operation) -> Result<Self, DecodeError> {
        use peer::operation::What;
        let key = key("operation.key", wire.key)?;
        Ok(match wire.what.ok_or(DecodeError::missing("operation.what"))? {
            What::Read(peer::Read {}) => Self::Get { key },
            What::Put(put) => Self::Put {
                key,
                value: put.value,
                ttl: put.ttl_ms.map(lifetime).transpose()?,
                condition: condition_of_wire(put.condition)?,
            },
            What::Delete(delete) => {
                Self::Delete { key, condition: condition_of_wire(delete.condition)? }
            }
        })
    }
}

fn lifetime(ms: u64) -> Result<Duration, DecodeError> {
    if (1..=TTL_MS_MAX).contains(&ms) {
        Ok(Duration::from_millis(ms))
    } else {
        Err(DecodeError::invalid("operation.put.ttl_ms", "is 0, or longer than a lifetime may be"))
    }
}

fn condition_to_wire(condition: Condition) -> Option<peer::Condition> {
    let (kind, versions) = match condition {
        Condition::Always => return None,
        Condition::Exists => (Kind::Exists, Box::default()),
        Condition::Absent => (Kind::Absent, Box::default()),
        Condition::VersionIn(versions) => (Kind::VersionIn, versions),
        Condition::VersionNotIn(versions) => (Kind::VersionNotIn, versions),
    };
    let versions = versions.iter().map(|version| version.0).collect();
    Some(peer::Condition { kind: kind.into(), versions })
}

fn condition_of_wire(wire: Option<peer::Condition>) -> Result<Condition, DecodeError> {
    let Some(wire) = wire else { return Ok(Condition::Always) };
    let versions = || wire.versions.iter().copied().map(Version).collect();
    match wire.kind() {
        // Nothing may pass for 'no condition' that is one which this version does not know.
        Kind::Unspecified => Err(DecodeError::missing("operation.condition.kind")),
        Kind::Exists => Ok(Condition::Exists),
        Kind::Absent => Ok(Condition::Absent),
        Kind::VersionIn => Ok(Condition::VersionIn(versions())),
        Kind::VersionNotIn => Ok(Condition::VersionNotIn(versions())),
    }
}

pub(crate) fn identity_to_wire(identity: Identity) -> Option<peer::Identity> {
    use peer::identity::Identity as Wire;
    let identity = match identity {
        Identity::None => return None,
        Identity::IdempotencyKey(key) => Wire::IdempotencyKey(key),
        Identity::Session { session, sequence, lowest_open } => {
            Wire::Session(peer::Session { session: session.0, sequence, lowest_open })
        }
    };
    Some(peer::Identity { identity: Some(identity) })
}

pub(crate) fn identity_of_wire(wire: Option<peer::Identity>) -> Result<Identity, DecodeError> {
    use peer::identity::Identity as Wire;
    let Some(wire) = wire else { return Ok(Identity::None) };
    match wire.identity.ok_or(DecodeError::missing("identity.identity"))? {
        Wire::IdempotencyKey(key) => Ok(Identity::IdempotencyKey(idempotency_key(key)?)),
        Wire::Session(peer::Session { sequence: 0, .. }) => {
            Err(DecodeError::invalid("identity.session.sequence", "is 0; the first is 1"))
        }
        Wire::Session(wire) => Ok(Identity::Session {
            session: SessionId(wire.session),
            sequence: wire.sequence,
            lowest_open: wire.lowest_open,
        }),
    }
}

fn idempotency_key(key: Bytes) -> Result<Bytes, DecodeError> {
    let fits = (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len());
    if fits && key.iter().all(u8::is_ascii_graphic) {
        Ok(key)
    } else {
        let what = "is not 1 to 64 visible ASCII characters";
        Err(DecodeError::invalid("identity.idempotency_key", what))
    }
}
