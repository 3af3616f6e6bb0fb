//! Identities. Each is a type of its own, never a bare integer.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}
pub(crate) use number;

number! {
    /// A shard: a contiguous range of tokens. Counted from 0 to the cluster's number of shards, exclusive.
    ShardId(u32)
}
number! {
    /// One node's copy of one shard. Ids start at 1 and are never used again, so that a message for a replica that was
    /// removed can be told from one for its successor. 0 names no replica.
    ReplicaId(u64)
}
number! {
    /// Version of the cluster's map of nodes and shards. Every change raises it.
    Epoch(u64)
}
number! {
    /// One client's sequence of writes. The id is the index of the log entry that opened it; 0 names no session.
    SessionId(u64)
}
number! {
    /// Separates key spaces of one cluster. 0 is the default namespace, the only one so far.
    NamespaceId(u32)
}

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u128);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl std::str::FromStr for $name {
            type Err = std::num::ParseIntError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                u128::from_str_radix(text, 16).map(Self)
            }
        }
    };
}

random_id! {
    /// A cluster: 128 random bits drawn at formation, written as 32 hexadecimal digits.
    ClusterId
}
random_id! {
    /// One start of one node: 128 random bits drawn at each start.
    BootId
}

/// The unique, stable name of a node: 1 to 64 of `a-z A-Z 0-9 . _ -`, beginning with a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(Box<str>);

/// A text that cannot name a node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a node id is 1 to 64 letters, digits, '.', '_' or '-', and begins with a letter or digit; got {0:?}"
)]
pub struct NodeIdError(String);

impl NodeId {
    /// Parses a node id.
    ///
    /// # Errors
    /// The text is empty, too long, or holds a character that no id may hold.
    pub fn parse(text: &str) -> Result<Self, NodeIdError> {
        let valid = text.len() <= 64
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
        if valid {
            Ok(Self(text.into()))
        } else {
            Err(NodeIdError(text.chars().take(80).collect()))
        }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
