//! What doors ask of a node and what it answers, free of any protocol.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::{
    ClusterId, Epoch, Key, Monotonic, NodeId, Refusal, ReplicaId, ShardId, Term, TokenRange,
    Version,
};

/// Who asks, and until when an answer is of use.
#[derive(Clone, Debug)]
pub struct Context {
    /// When the request arrived.
    pub arrived: Monotonic,
    /// The answer is due by then; a node answers every request by its deadline.
    pub deadline: Monotonic,
    /// The authenticated principal; empty where nobody authenticates.
    pub principal: Principal,
    /// The trace that it belongs to, if any.
    pub trace: Trace,
}

/// A trace context as W3C's `traceparent` has it; empty: none. Whoever passes a request on passes it on, as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace(pub Bytes);

/// The length of a `traceparent` of version 00, in bytes.
const TRACE_BYTES: usize = 55;

impl Trace {
    /// A context with these bytes. One that is none, as the specification has it, counts as none: it comes from outside.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        let is_hex =
            |part: &[u8]| part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let names = |part: &[u8]| is_hex(part) && part.iter().any(|byte| *byte != b'0');
        let is_one = bytes.len() == TRACE_BYTES
            && bytes.starts_with(b"00-")
            && names(&bytes[3..35])
            && bytes[35] == b'-'
            && names(&bytes[36..52])
            && bytes[52] == b'-'
            && is_hex(&bytes[53..]);
        Self(if is_one { Bytes::copy_from_slice(bytes) } else { Bytes::new() })
    }
}

/// The name of an authenticated client. Cheap to clone; the anonymous one allocates nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Principal(pub Option<Arc<str>>);

impl Principal {
    /// The name; empty for the anonymous principal.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or("")
    }
}

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    /// It sees every write acknowledged before it began.
    #[default]
    Linearizable,
    /// Any replica answers from what it has applied, and says how old that may be.
    Stale,
}

/// What must stand for a write to happen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// Nothing is asked.
    #[default]
    Always,
    /// The key exists.
    Exists,
    /// The key does not exist.
    Absent,
    /// The key exists at one of these versions. With none, it never holds.
    VersionIn(Box<[Version]>),
    /// The key is absent or at none of these versions.
    VersionNotIn(Box<[Version]>),
}

impl Condition {
    /// The condition of `if_version`: that version, where 0 means absent.
    #[must_use]
    pub fn version(version: Version) -> Self {
        if version == Version::ABSENT { Self::Absent } else { Self::VersionIn(Box::new([version])) }
    }

    /// Whether the condition holds where `current` stands (0: absent).
    #[must_use]
    pub fn holds(&self, current: Version) -> bool {
        match self {
            Self::Always => true,
            Self::Exists => current != Version::ABSENT,
            Self::Absent => current == Version::ABSENT,
            Self::VersionIn(versions) => current != Version::ABSENT && versions.contains(&current),
            Self::VersionNotIn(versions) => !versions.contains(&current),
        }
    }
}

/// One operation on one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Reads the key.
    Get {
        /// The key.
        key: Key,
    },
    /// Sets the value.
    Put {
        /// The key.
        key: Key,
        /// The value.
        value: Bytes,
        /// Lifetime, in whole milliseconds of at least 1; without one an earlier lifetime is cleared.
        ttl: Option<Duration>,
        /// What must stand.
        condition: Condition,
    },
    /// Removes the key.
    Delete {
        /// The key.
        key: Key,
        /// What must stand.
        condition: Condition,
    },
}

impl Operation {
    /// The key.
    #[must_use]
    pub fn key(&self) -> &Key {
        match self {
            Self::Get { key } | Self::Put { key, .. } | Self::Delete { key, .. } => key,
        }
    }

    /// Whether it is a put or a delete.
    #[must_use]
    pub fn is_write(&self) -> bool {
        !matches!(self, Self::Get { .. })
    }
}

/// What makes a retry of a write happen once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Identity {
    /// Nothing: a retry happens again.
    #[default]
    None,
    /// The client's idempotency key, 1 to 64 visible ASCII characters; its scope is principal, data key and this.
    IdempotencyKey(Bytes),
    /// A place in a session.
    Session {
        /// The session.
        session: crate::SessionId,
        /// Number of the write, from 1, never used for another write.
        sequence: u64,
        /// All answers below this number have reached the client.
        lowest_open: u64,
    },
}

/// A read of one key.
#[derive(Clone, Debug)]
pub struct Get {
    /// The key.
    pub key: Key,
    /// How fresh.
    pub consistency: Consistency,
}

/// A write of one key. The operation is a put or a delete.
#[derive(Clone, Debug)]
pub struct Write {
    /// The put or delete.
    pub operation: Operation,
    /// What makes a retry happen once.
    pub identity: Identity,
}

/// Many operations at once.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The operations, 1 to 1,000; those on one key take effect in order.
    pub operations: Vec<Operation>,
    /// All take effect at one point or none; all keys share one hash tag (checked by the door).
    pub atomic: bool,
    /// What makes a retry happen once: per operation and position, or for an atomic batch as a whole.
    pub identity: Identity,
}

/// An ordered listing over all shards.
#[derive(Clone, Debug)]
pub struct List {
    /// Only keys that begin so; empty for all.
    pub prefix: Bytes,
    /// Smallest key listed, inclusive; empty for the first.
    pub start: Bytes,
    /// End, exclusive; `None` for no end.
    pub end: Option<Bytes>,
    /// Only keys greater than this: where the page before ended.
    pub after: Option<Key>,
    /// Most items of the page, 1 to 10,000.
    pub limit: usize,
    /// The page ends once its keys and values reach this many bytes, with at least one item.
    pub bytes_max: usize,
    /// Values are left out.
    pub keys_only: bool,
    /// How fresh.
    pub consistency: Consistency,
}

/// A key that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its version.
    pub version: Version,
    /// Its value.
    pub value: Bytes,
    /// Milliseconds it has left to live; `None` without a time to live.
    pub ttl_ms: Option<u64>,
}

/// What a read of one key gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Got {
    /// The key; `None` if it is absent.
    pub found: Option<Found>,
    /// For a stale read: an upper bound of the answer's age in milliseconds.
    pub staleness_ms: Option<u64>,
}

/// What an operation did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// A get: the key, or that it is absent.
    Got(Option<Found>),
    /// A put, and the new version.
    Put(Version),
    /// A delete, and the shard's revision at it; `None` where the key was absent.
    Deleted(Option<Version>),
}

/// An answer and whether it is the remembered one of an earlier request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// What was done.
    pub done: Done,
    /// It was done by an earlier request of the same identity.
    pub replayed: bool,
}

/// One result for each operation, in order.
pub type BatchAnswer = Vec<Result<Answered, Refusal>>;

/// One item of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The key.
    pub key: Key,
    /// Its version.
    pub version: Version,
    /// Its value; empty when only keys were asked for.
    pub value: Bytes,
    /// Milliseconds it has left to live; `None` without a time to live.
    pub ttl_ms: Option<u64>,
}

/// One page of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The items, in byte order of their keys.
    pub items: Vec<Item>,
    /// There may be more behind the last item.
    pub more: bool,
    /// For a stale listing: an upper bound of the age of every item, in milliseconds.
    pub staleness_ms: Option<u64>,
}

/// What the cluster looks like from this node.
#[derive(Clone, Debug)]
pub struct ClusterView {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// Version of this view.
    pub epoch: Epoch,
    /// Replicas that each shard should have.
    pub replication_factor: u32,
    /// The node that answers.
    pub answered_by: NodeId,
    /// Whether the catalog has a leader that this node hears, so that the cluster can change; `None`: not known.
    pub quorum: Option<bool>,
    /// Every member.
    pub nodes: Vec<NodeView>,
    /// Every shard, by id.
    pub shards: Vec<ShardView>,
    /// What a person should know: settings that differ from the cluster's, damage, too few nodes.
    pub warnings: Vec<String>,
}

/// One member.
#[derive(Clone, Debug)]
pub struct NodeView {
    /// Its name.
    pub id: NodeId,
    /// `joining`, `active`, `suspect`, `down`, `draining` or `left`.
    pub state: &'static str,
    /// Where clients reach it.
    pub client: String,
    /// Where nodes reach it.
    pub peer: String,
    /// Failure domain.
    pub zone: String,
    /// Weight on the ring.
    pub capacity: f64,
    /// Version of its executable.
    pub version: String,
    /// Milliseconds since the answering node last heard from it; `None`: never since its start, or it is that node.
    pub heard_ms: Option<u64>,
    /// The epoch of its map, as it last told; `None`: it has not.
    pub epoch: Option<Epoch>,
}

/// One shard.
#[derive(Clone, Debug)]
pub struct ShardView {
    /// The shard.
    pub shard: ShardId,
    /// Its tokens.
    pub tokens: TokenRange,
    /// `serving`, `no_leader` or `closed`.
    pub state: &'static str,
    /// Why it is closed and what can be done; empty otherwise.
    pub reason: String,
    /// Its replicas.
    pub replicas: Vec<ReplicaView>,
    /// The node that leads it, if one does.
    pub leader: Option<NodeId>,
    /// The term of its Raft group, as far as this node knows.
    pub term: Option<Term>,
    /// Live keys.
    pub keys: u64,
    /// Bytes of those keys and their values.
    pub bytes: u64,
}

/// One replica of a shard.
#[derive(Clone, Debug)]
pub struct ReplicaView {
    /// The replica.
    pub id: ReplicaId,
    /// Where it lives.
    pub node: NodeId,
    /// `leader`, `follower`, `learner`, `quarantined` (damaged, and to be replaced under another id) or `closed`.
    pub role: &'static str,
    /// Why it is quarantined or closed; empty otherwise.
    pub reason: String,
    /// Committed entries that are not durable there yet; `None`: this node does not know.
    pub commit_lag: Option<u64>,
    /// Committed entries that it has not applied yet; `None`: this node does not know.
    pub apply_lag: Option<u64>,
}

impl ClusterView {
    /// Whether a shard has fewer replicas than it should have that vote and whose node is there.
    #[must_use]
    pub fn is_under_replicated(&self, shard: &ShardView) -> bool {
        let is_there = |id: &NodeId| {
            self.nodes.iter().any(|node| node.id == *id && !matches!(node.state, "down" | "left"))
        };
        let works = |replica: &&ReplicaView| {
            matches!(replica.role, "leader" | "follower") && is_there(&replica.node)
        };
        let working = shard.replicas.iter().filter(works).count();
        u32::try_from(working).is_ok_and(|working| working < self.replication_factor)
    }
}

/// Whether the node can serve, check by check.
#[derive(Clone, Debug)]
pub struct ReadyCheck {
    /// Its name: `replayed`, `joined`, `routes`, …
    pub name: &'static str,
    /// It holds.
    pub ok: bool,
    /// What a person reads.
    pub detail: String,
}

/// Limits that doors enforce before they buffer.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Largest value, in bytes.
    pub value_bytes_max: usize,
    /// Largest body of a request, in bytes.
    pub request_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            value_bytes_max: crate::limits::VALUE_BYTES_MAX_DEFAULT,
            request_bytes_max: crate::limits::REQUEST_BYTES_MAX_DEFAULT,
        }
    }
}
