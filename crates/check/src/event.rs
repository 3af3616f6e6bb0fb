//! What a client asked and what it was told.

use serde::{Deserialize, Serialize};

/// One operation on one key, from its invocation to its answer. An operation of a batch is an event of its own, with the
/// batch's times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// Who asked. A client asks one thing at a time.
    pub client: u32,
    /// The key.
    pub key: String,
    /// What was asked.
    pub operation: Operation,
    /// When it was sent, in microseconds since the history began, on one monotonic clock for all clients.
    pub invoked_us: u64,
    /// When the answer, or the failure, was seen, on the same clock. For [`Outcome::Unknown`] it is only when the client
    /// gave up: the write may take effect later.
    pub returned_us: u64,
    /// What the client was told.
    pub outcome: Outcome,
    /// The batch it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<Member>,
    /// What an answer to a stale read said of its age, in microseconds: what it shows was current at some time not longer
    /// before it was sent. Absent: the read is linearizable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staleness_us: Option<u64>,
    /// The write that this is an attempt of, by a number of its own for each key: attempts with one identity (idempotency
    /// key, or session and sequence) have one number, and take effect once. Absent: it was sent once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write: Option<u64>,
}

/// A place in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// The batch, by a number of its own in this history.
    pub batch: u64,
    /// The operation's position in it, from 0.
    pub position: u32,
    /// All of the batch takes effect at one point or nothing does.
    pub atomic: bool,
}

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Operation {
    /// Sets the key. No value is ever put twice on one key, so that a value names its put.
    Put {
        /// The value.
        value: String,
        /// What must stand.
        #[serde(default, skip_serializing_if = "Condition::is_always")]
        condition: Condition,
        /// Its time to live, in milliseconds. Absent: it has none, and clears an earlier one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ttl_ms: Option<u64>,
    },
    /// Removes the key.
    Delete {
        /// What must stand.
        #[serde(default, skip_serializing_if = "Condition::is_always")]
        condition: Condition,
    },
    /// Reads the key.
    Get,
}

/// What must stand for a write to happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Nothing is asked.
    #[default]
    Always,
    /// The key does not exist.
    Absent,
    /// The key exists, at whatever version.
    Exists,
    /// The key is at this version; 0: it does not exist.
    Version(u64),
}

impl Condition {
    fn is_always(&self) -> bool {
        *self == Self::Always
    }

    /// Whether it holds for a key at this version (0: absent).
    #[must_use]
    pub fn holds(self, version: u64) -> bool {
        match self {
            Self::Always => true,
            Self::Absent => version == 0,
            Self::Exists => version != 0,
            Self::Version(wanted) => version == wanted,
        }
    }
}

/// What the client was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case", deny_unknown_fields)]
pub enum Outcome {
    /// The write happened and gave the key this version.
    Written {
        /// The version.
        version: u64,
    },
    /// The key does not exist: a get that found nothing, a delete that had nothing to do.
    Absent,
    /// A get found this.
    Found {
        /// The value.
        value: String,
        /// Its version.
        version: u64,
    },
    /// The condition of a write did not hold.
    Refused {
        /// The version that stands; 0: absent.
        current_version: u64,
    },
    /// The write has not happened and never will; or a read that was not served.
    NotApplied,
    /// The write may have happened, or may yet.
    Unknown,
}

impl Event {
    /// Whether it asked for a change.
    #[must_use]
    pub fn is_write(&self) -> bool {
        !matches!(self.operation, Operation::Get)
    }

    /// The condition of a write.
    #[must_use]
    pub fn condition(&self) -> Condition {
        match self.operation {
            Operation::Put { condition, .. } | Operation::Delete { condition } => condition,
            Operation::Get => Condition::Always,
        }
    }

    /// The value of a put.
    #[must_use]
    pub fn put_value(&self) -> Option<&str> {
        match &self.operation {
            Operation::Put { value, .. } => Some(value),
            Operation::Delete { .. } | Operation::Get => None,
        }
    }

    /// The version that the answer names, of the key itself: not 0.
    #[must_use]
    pub fn named_version(&self) -> Option<u64> {
        match self.outcome {
            Outcome::Written { version } | Outcome::Found { version, .. } => Some(version),
            Outcome::Refused { current_version } if current_version > 0 => Some(current_version),
            _ => None,
        }
    }
}
