//! What is forwarded, and what comes back.

use std::mem::size_of;

use ringfort_route::{Safety, Want};
use ringfort_types::request::{
    Answered, Batch, BatchAnswer, Consistency, Get, Got, Identity, List, Operation, Page,
    Principal, Write,
};
use ringfort_types::{Epoch, Monotonic, Refusal, ReplicaId, ShardId, Term};

/// A request that another node is to serve.
#[derive(Clone, Debug)]
pub struct Forwarded {
    /// The shard that all its keys fall into; of a listing, any of those that it names.
    pub shard: ShardId,
    /// When an answer is due.
    pub deadline: Monotonic,
    /// Who asks.
    pub principal: Principal,
    /// What is asked.
    pub ask: Ask,
}

/// What a forwarded request asks.
#[derive(Clone, Debug)]
pub enum Ask {
    /// A read of one key.
    Get(Get),
    /// A write of one key.
    Write(Write),
    /// A batch of which all takes effect or nothing does.
    Atomic(Batch),
    /// Those operations of a batch that fall to the shard, each with its position in the batch.
    Part {
        /// The batch's.
        identity: Identity,
        /// In their order.
        operations: Vec<(u16, Operation)>,
    },
    /// A page of some shards, all led by one node.
    List {
        /// What is listed.
        list: List,
        /// Of these shards, each named once.
        shards: Vec<ShardId>,
    },
}

/// What another node answered to one attempt.
#[derive(Clone, Debug)]
pub enum ForwardAnswer {
    /// A read of one key.
    Got(Got),
    /// A write of one key.
    Answered(Answered),
    /// A batch or a part of one: a result for each operation, in the request's order.
    All(BatchAnswer),
    /// A page of a listing. Where several workers share the shards that were asked for, each answers with a page of its own.
    Page {
        /// The page.
        page: Page,
        /// The shards it is a page of.
        shards: Vec<ShardId>,
    },
    /// It was not served.
    Refused(Refusal),
    /// The replica that was meant does not lead, or is not there: nothing was done.
    NotLeader {
        /// The shard it is about: the request's, or one of a listing's.
        shard: ShardId,
        /// The replica that is believed to lead, if one is.
        leader: Option<ReplicaId>,
        /// The term in which it is.
        term: Term,
        /// Epoch of the answerer's map.
        epoch: Epoch,
    },
}

impl Ask {
    pub(super) fn safety(&self) -> Safety {
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

    pub(super) fn want(&self) -> Want {
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

    /// What it takes, about, in bytes.
    pub(crate) fn bytes(&self) -> usize {
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
