//! What is forwarded.

use std::mem::size_of;

use ringfort_proto::Ask;
use ringfort_route::{Safety, Want};
use ringfort_types::request::{Consistency, Operation, Principal, Trace};
use ringfort_types::{Monotonic, ShardId};

/// A request that another node is to serve.
#[derive(Clone, Debug)]
pub struct Forwarded {
    /// The shard that all its keys fall into; of a listing, any of those that it names.
    pub shard: ShardId,
    /// When an answer is due.
    pub deadline: Monotonic,
    /// Who asks.
    pub principal: Principal,
    /// The trace that it belongs to, if any.
    pub trace: Trace,
    /// What is asked.
    pub ask: Ask,
}

/// What a request asks of the rules of forwarding.
pub(crate) trait Forwardable {
    /// What may be done about an attempt in doubt.
    fn safety(&self) -> Safety;

    /// Who can serve it.
    fn want(&self) -> Want;

    /// What it takes, about, in bytes.
    fn bytes(&self) -> usize;
}

impl Forwardable for Ask {
    fn safety(&self) -> Safety {
        let writes = |operation: &Operation| operation.is_write();
        let (identity, writes) = match self {
            Self::Get(_) | Self::List { .. } => return Safety::Read,
            Self::Write(write) => (&write.identity, true),
            Self::Atomic(batch) => (&batch.identity, batch.operations.iter().any(writes)),
            Self::Part { identity, operations } => {
                (identity, operations.iter().any(|(_, operation)| writes(operation)))
            }
        };
        if writes { Safety::of_write(identity) } else { Safety::Read }
    }

    fn want(&self) -> Want {
        let consistency = match self {
            Self::Get(get) => get.consistency,
            Self::List { list, .. } => list.consistency,
            Self::Write(_) | Self::Atomic(_) | Self::Part { .. } => Consistency::Linearizable,
        };
        match consistency {
            Consistency::Linearizable => Want::Leader,
            Consistency::Stale => Want::Any,
        }
    }

    fn bytes(&self) -> usize {
        let of = |operation: &Operation| {
            let value = match operation {
                Operation::Put { value, .. } => value.len(),
                Operation::Get { .. } | Operation::Delete { .. } => 0,
            };
            size_of::<Operation>() + operation.key().as_bytes().len() + value
        };
        match self {
            Self::Get(get) => get.key.as_bytes().len(),
            Self::Write(write) => of(&write.operation),
            Self::Atomic(batch) => batch.operations.iter().map(of).sum(),
            Self::Part { operations, .. } => operations.iter().map(|(_, each)| of(each)).sum(),
            Self::List { list, shards } => {
                let end = list.end.as_ref().map_or(0, bytes::Bytes::len);
                let after = list.after.as_ref().map_or(0, |key| key.as_bytes().len());
                let texts = list.prefix.len() + list.start.len() + end + after;
                texts + shards.len() * size_of::<ShardId>()
            }
        }
    }
}
