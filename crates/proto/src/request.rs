//! Requests that are forwarded to another node.

use std::sync::Arc;
use std::time::Duration;

use ringfort_types::limits::BATCH_OPERATIONS_MAX;
use ringfort_types::request::{
    Batch, Consistency, Get, Identity, List, Operation, Principal, Trace, Write,
};
use ringfort_types::{Epoch, ReplicaId, ShardId};

use crate::error::{DecodeError, key};
use crate::listing::{list_of_wire, list_to_wire, shards_of_wire};
use crate::operation::{identity_of_wire, identity_to_wire};
use crate::peer::{self, request::What};
use crate::request_id::RequestId;

/// A request on its way to another node, with what a node needs of its [`ringfort_types::request::Context`].
#[derive(Clone, Debug)]
pub struct Forward {
    /// The sender's name for it.
    pub id: RequestId,
    /// The shard that all its keys fall into; of a listing, any of those that it names.
    pub shard: ShardId,
    /// The replica that is meant; `None`: any of the shard.
    pub replica: Option<ReplicaId>,
    /// Epoch of the map that it was routed by.
    pub epoch: Epoch,
    /// What is left of its time. On the wire in milliseconds, rounded down: an answer that comes after the client's deadline is
    /// of no use. At most about 49 days.
    pub timeout: Duration,
    /// Who asks.
    pub principal: Principal,
    /// The trace that it belongs to, if any.
    pub trace: Trace,
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
    /// A batch of which all takes effect or nothing does. Its `atomic` is true, whatever it says.
    Atomic(Batch),
    /// Those operations of a batch that fall to the shard, each with its position in the batch.
    Part {
        /// The batch's.
        identity: Identity,
        /// In their order.
        operations: Vec<(u16, Operation)>,
    },
    /// A page of some shards of the receiver.
    List {
        /// What is listed.
        list: List,
        /// Of these shards.
        shards: Vec<ShardId>,
    },
}

impl From<Forward> for peer::Request {
    fn from(forward: Forward) -> Self {
        Self {
            id: forward.id.0,
            shard: forward.shard.0,
            replica: forward.replica.unwrap_or_default().0,
            epoch: forward.epoch.0,
            timeout_ms: u32::try_from(forward.timeout.as_millis()).unwrap_or(u32::MAX),
            principal: forward.principal.as_str().to_owned(),
            trace: forward.trace.0,
            what: Some(forward.ask.into()),
        }
    }
}

impl TryFrom<peer::Request> for Forward {
    type Error = DecodeError;

    fn try_from(wire: peer::Request) -> Result<Self, DecodeError> {
        let principal = (!wire.principal.is_empty()).then(|| Arc::from(wire.principal));
        Ok(Self {
            id: RequestId(wire.id),
            shard: ShardId(wire.shard),
            replica: Some(ReplicaId(wire.replica)).filter(|id| *id != ReplicaId(0)),
            epoch: Epoch(wire.epoch),
            timeout: Duration::from_millis(wire.timeout_ms.into()),
            principal: Principal(principal),
            trace: Trace(wire.trace),
            ask: wire.what.ok_or(DecodeError::missing("request.what"))?.try_into()?,
        })
    }
}

impl From<Ask> for What {
    fn from(ask: Ask) -> Self {
        match ask {
            Ask::Get(get) => Self::Get(peer::Get {
                key: get.key.to_bytes(),
                stale: get.consistency == Consistency::Stale,
            }),
            Ask::Write(write) => Self::Write(peer::Write {
                operation: Some(write.operation.into()),
                identity: identity_to_wire(write.identity),
            }),
            Ask::Atomic(batch) => Self::Atomic(peer::Operations {
                operations: batch.operations.into_iter().map(Into::into).collect(),
                identity: identity_to_wire(batch.identity),
                positions: Vec::new(),
            }),
            Ask::Part { identity, operations } => Self::Part(peer::Operations {
                positions: operations.iter().map(|(position, _)| (*position).into()).collect(),
                operations: operations.into_iter().map(|(_, operation)| operation.into()).collect(),
                identity: identity_to_wire(identity),
            }),
            Ask::List { list, shards } => Self::List(Box::new(list_to_wire(list, &shards))),
        }
    }
}

impl TryFrom<What> for Ask {
    type Error = DecodeError;

    fn try_from(wire: What) -> Result<Self, DecodeError> {
        Ok(match wire {
            What::Get(wire) => Self::Get(Get {
                key: key("get.key", wire.key)?,
                consistency: consistency(wire.stale),
            }),
            What::Write(wire) => Self::Write(write(wire)?),
            What::Atomic(wire) => Self::Atomic(Batch {
                operations: operations(wire.operations)?,
                atomic: true,
                identity: identity_of_wire(wire.identity)?,
            }),
            What::Part(wire) => part(wire)?,
            What::List(mut wire) => {
                let shards = shards_of_wire("list.shards", std::mem::take(&mut wire.shards))?;
                Self::List { list: list_of_wire(*wire)?, shards }
            }
        })
    }
}

pub(crate) fn consistency(stale: bool) -> Consistency {
    if stale { Consistency::Stale } else { Consistency::Linearizable }
}

fn write(wire: peer::Write) -> Result<Write, DecodeError> {
    let operation: Operation =
        wire.operation.ok_or(DecodeError::missing("write.operation"))?.try_into()?;
    if !operation.is_write() {
        return Err(DecodeError::invalid("write.operation", "is a read"));
    }
    Ok(Write { operation, identity: identity_of_wire(wire.identity)? })
}

fn operations(wire: Vec<peer::Operation>) -> Result<Vec<Operation>, DecodeError> {
    if !(1..=BATCH_OPERATIONS_MAX).contains(&wire.len()) {
        return Err(DecodeError::invalid("operations.operations", "are none, or too many"));
    }
    wire.into_iter().map(TryInto::try_into).collect()
}

fn part(wire: peer::Operations) -> Result<Ask, DecodeError> {
    let operations = operations(wire.operations)?;
    if wire.positions.len() != operations.len() {
        let what = "are not as many as the operations";
        return Err(DecodeError::invalid("operations.positions", what));
    }
    let position = |wire: u32| {
        let position = u16::try_from(wire).ok();
        position.filter(|position| usize::from(*position) < BATCH_OPERATIONS_MAX).ok_or_else(|| {
            DecodeError::invalid("operations.positions", "hold one that no batch has")
        })
    };
    let positions = wire.positions.into_iter().map(position).collect::<Result<Vec<_>, _>>()?;
    Ok(Ask::Part {
        identity: identity_of_wire(wire.identity)?,
        operations: positions.into_iter().zip(operations).collect(),
    })
}
