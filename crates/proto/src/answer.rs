//! Answers to forwarded requests.

use ringfort_types::limits::BATCH_OPERATIONS_MAX;
use ringfort_types::request::{Answered, BatchAnswer, Done, Found, Got, Page};
use ringfort_types::{Epoch, Refusal, ReplicaId, ShardId, Term, Version};

use crate::error::DecodeError;
use crate::listing::{page_of_wire, page_to_wire};
use crate::peer::{self, answer::What};
use crate::request_id::RequestId;

/// An answer to a forwarded request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The request's name.
    pub id: RequestId,
    /// What became of it.
    pub told: Told,
}

/// What became of a forwarded request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
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
    /// The replica that was meant does not lead, or is not here: nothing was done.
    NotLeader {
        /// The shard that it is about: the request's, or one of a listing's.
        shard: ShardId,
        /// The one that is believed to lead.
        leader: Option<ReplicaId>,
        /// The term in which it is.
        term: Term,
        /// Epoch of the answerer's map.
        epoch: Epoch,
    },
}

impl From<Reply> for peer::Answer {
    fn from(reply: Reply) -> Self {
        let what = match reply.told {
            Told::Got(got) => What::Got(peer::Got {
                found: got.found.map(Into::into),
                staleness_ms: got.staleness_ms,
            }),
            Told::Answered(answered) => What::Answered(answered.into()),
            Told::All(results) => {
                What::All(peer::All { each: results.into_iter().map(each_to_wire).collect() })
            }
            Told::Page { page, shards } => What::Page(page_to_wire(page, &shards)),
            Told::Refused(refusal) => What::Refusal(Box::new(refusal.into())),
            Told::NotLeader { shard, leader, term, epoch } => What::NotLeader(peer::NotLeader {
                shard: shard.0,
                leader: leader.unwrap_or_default().0,
                term: term.0,
                epoch: epoch.0,
            }),
        };
        Self { id: reply.id.0, what: Some(what) }
    }
}

impl TryFrom<peer::Answer> for Reply {
    type Error = DecodeError;

    fn try_from(wire: peer::Answer) -> Result<Self, DecodeError> {
        let told = match wire.what.ok_or(DecodeError::missing("answer.what"))? {
            What::Got(wire) => Told::Got(Got {
                found: wire.found.map(Into::into),
                staleness_ms: wire.staleness_ms,
            }),
            What::Answered(wire) => Told::Answered(wire.try_into()?),
            What::All(wire) => Told::All(all(wire)?),
            What::Page(wire) => {
                let (page, shards) = page_of_wire(wire)?;
                Told::Page { page, shards }
            }
            What::Refusal(wire) => Told::Refused((*wire).try_into()?),
            What::NotLeader(wire) => Told::NotLeader {
                shard: ShardId(wire.shard),
                leader: Some(ReplicaId(wire.leader)).filter(|id| *id != ReplicaId(0)),
                term: Term(wire.term),
                epoch: Epoch(wire.epoch),
            },
        };
        Ok(Self { id: RequestId(wire.id), told })
    }
}

fn each_to_wire(result: Result<Answered, Refusal>) -> peer::Each {
    use peer::each::Result as Wire;
    let result = match result {
        Ok(answered) => Wire::Answered(answered.into()),
        Err(refusal) => Wire::Refusal(Box::new(refusal.into())),
    };
    peer::Each { result: Some(result) }
}

fn all(wire: peer::All) -> Result<BatchAnswer, DecodeError> {
    use peer::each::Result as Wire;
    if wire.each.len() > BATCH_OPERATIONS_MAX {
        return Err(DecodeError::invalid("all.each", "are more than a batch may have"));
    }
    let each = |wire: peer::Each| {
        Ok(match wire.result.ok_or(DecodeError::missing("all.each.result"))? {
            Wire::Answered(wire) => Ok(wire.try_into()?),
            Wire::Refusal(wire) => Err((*wire).try_into()?),
        })
    };
    wire.each.into_iter().map(each).collect()
}

impl From<Answered> for peer::Answered {
    fn from(answered: Answered) -> Self {
        use peer::answered::Done as Wire;
        let done = match answered.done {
            Done::Got(Some(found)) => Wire::Found(found.into()),
            Done::Got(None) => Wire::Missing(peer::Missing {}),
            Done::Put(version) => Wire::Put(version.0),
            Done::Deleted(Some(revision)) => Wire::Deleted(revision.0),
            Done::Deleted(None) => Wire::DeletedNothing(peer::Missing {}),
        };
        Self { done: Some(done), replayed: answered.replayed }
    }
}

impl TryFrom<peer::Answered> for Answered {
    type Error = DecodeError;

    fn try_from(wire: peer::Answered) -> Result<Self, DecodeError> {
        use peer::answered::Done as Wire;
        let done = match wire.done.ok_or(DecodeError::missing("answered.done"))? {
            Wire::Found(found) => Done::Got(Some(found.into())),
            Wire::Missing(peer::Missing {}) => Done::Got(None),
            Wire::Put(version) => Done::Put(Version(version)),
            Wire::Deleted(revision) => Done::Deleted(Some(Version(revision))),
            Wire::DeletedNothing(peer::Missing {}) => Done::Deleted(None),
        };
        Ok(Self { done, replayed: wire.replayed })
    }
}

impl From<Found> for peer::Found {
    fn from(found: Found) -> Self {
        Self { version: found.version.0, value: found.value, ttl_ms: found.ttl_ms }
    }
}

impl From<peer::Found> for Found {
    fn from(wire: peer::Found) -> Self {
        Self { version: Version(wire.version), value: wire.value, ttl_ms: wire.ttl_ms }
    }
}
