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
    /// A node's small number in its cluster: 0 to [`NODE_NUMBER_MAX`], given at formation or as it joins, never given again.
    NodeNumber(u16)
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

/// The largest number of a node.
pub const NODE_NUMBER_MAX: u16 = (1 << NODE_NUMBER_BITS) - 1;
const NODE_NUMBER_BITS: u32 = 12;

/// A replica id names its node: whoever has a message for a replica knows where it goes, without asking the catalog.
///
/// ```text
///   counter(41) node number(12)
/// ```
///
/// Counters rise over the whole cluster, so that a later replica of a group has a greater id. Ids without a counter come from
/// clusters of one node, before replica ids named nodes: they belong to node 0.
impl ReplicaId {
    /// The replica of this counter, at least 1, on a node.
    #[must_use]
    pub fn new(counter: u64, node: NodeNumber) -> Self {
        Self(counter << NODE_NUMBER_BITS | u64::from(node.0))
    }

    /// The node that has it.
    #[must_use]
    pub fn node(self) -> NodeNumber {
        let low = u16::try_from(self.0 & u64::from(NODE_NUMBER_MAX)).unwrap_or_default();
        NodeNumber(if self.counter() == 0 { 0 } else { low })
    }

    /// How many replicas came before it, about.
    #[must_use]
    pub fn counter(self) -> u64 {
        self.0 >> NODE_NUMBER_BITS
    }
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
    /// One data directory of one node: 128 random bits drawn with it. A node id that comes with another one is a wiped disk
    /// or a second node of that name.
    Incarnation
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_id_names_its_node_and_later_ones_are_greater() {
        let id = ReplicaId::new(7, NodeNumber(NODE_NUMBER_MAX));
        assert_eq!((id.counter(), id.node()), (7, NodeNumber(NODE_NUMBER_MAX)));
        assert!(ReplicaId::new(8, NodeNumber(0)) > id);
        // From a data directory of a single node of an earlier version.
        assert_eq!(ReplicaId(65).node(), NodeNumber(0));
        assert_eq!(ReplicaId(4096).node(), NodeNumber(0));
    }
}
