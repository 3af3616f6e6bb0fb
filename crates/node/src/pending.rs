//! Requests that wait for an answer, each with whoever waits for it.

use std::collections::BTreeMap;

use ringfort_raft::ProposeError;
use ringfort_replica::{Answer, Reply, Ticket};
use ringfort_types::request::{Answered, BatchAnswer, Done, Got, Page};
use ringfort_types::{Code, Monotonic, Refusal};

/// What a served request gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replied {
    /// A read, with the bound of its age where it is a stale one.
    Got(Got),
    /// One operation.
    One(Answered),
    /// All operations of an atomic batch.
    All(Vec<Answered>),
    /// Each operation of a part of a batch.
    Each(BatchAnswer),
    /// A page of a listing.
    Page(Page),
}

/// How a request ended.
pub type Response = Result<Replied, Refusal>;

/// What kind of request waits: it decides what is said when no answer comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Read,
    Write,
}

#[derive(Debug)]
struct Waiting<W> {
    deadline: Monotonic,
    kind: Kind,
    waiter: W,
}

/// The requests under way on one worker. Bounded by the worker's admission.
#[derive(Debug)]
pub(crate) struct Pending<W> {
    waiting: BTreeMap<Ticket, Waiting<W>>,
    last: u64,
}

impl<W> Pending<W> {
    pub(crate) fn new() -> Self {
        Self { waiting: BTreeMap::new(), last: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn insert(&mut self, deadline: Monotonic, kind: Kind, waiter: W) -> Ticket {
        self.last += 1;
        let ticket = Ticket(self.last);
        self.waiting.insert(ticket, Waiting { deadline, kind, waiter });
        ticket
    }

    pub(crate) fn contains(&self, ticket: Ticket) -> bool {
        self.waiting.contains_key(&ticket)
    }

    /// Whoever waits under a ticket; `None` if the request was answered already.
    pub(crate) fn take(&mut self, ticket: Ticket) -> Option<W> {
        self.waiting.remove(&ticket).map(|waiting| waiting.waiter)
    }

    /// Takes a request back that is to wait elsewhere: when its answer is due, and whoever waits.
    pub(crate) fn take_back(&mut self, ticket: Ticket) -> Option<(Monotonic, W)> {
        self.waiting.remove(&ticket).map(|waiting| (waiting.deadline, waiting.waiter))
    }

    /// Ends every request whose deadline has passed. All writes here are proposed: they may happen yet.
    pub(crate) fn expire(&mut self, now: Monotonic) -> Vec<(W, Response)> {
        let late = |_: &Ticket, waiting: &mut Waiting<W>| waiting.deadline <= now;
        let expired = self.waiting.extract_if(.., late);
        expired.map(|(_, waiting)| (waiting.waiter, Err(timeout(waiting.kind)))).collect()
    }

    /// Ends a request whose command was never proposed.
    pub(crate) fn refuse(&mut self, ticket: Ticket, error: &ProposeError) -> Option<(W, Response)> {
        let waiting = self.waiting.remove(&ticket)?;
        let code = match error {
            ProposeError::NotLeader(_) | ProposeError::Transferring(_) => Code::Unavailable,
            ProposeError::TooMuchUncommitted => Code::Overloaded,
        };
        let detail = format!("the shard's leader took no command: {error}");
        let refusal = match waiting.kind {
            Kind::Read => Refusal::new(code, detail),
            Kind::Write => Refusal::not_applied(code, detail),
        };
        Some((waiting.waiter, Err(refusal)))
    }

    /// Ends requests whose replica gave them up.
    pub(crate) fn lose(&mut self, tickets: Vec<Ticket>) -> Vec<(W, Response)> {
        let mut lost = Vec::new();
        for ticket in tickets {
            if let Some(waiting) = self.waiting.remove(&ticket) {
                let detail = "the shard lost its leader before the request was answered";
                let refusal = match waiting.kind {
                    Kind::Read => Refusal::new(Code::Unavailable, detail),
                    Kind::Write => Refusal::unknown(Code::Unavailable, detail),
                };
                lost.push((waiting.waiter, Err(refusal)));
            }
        }
        lost
    }
}

fn timeout(kind: Kind) -> Refusal {
    match kind {
        Kind::Read => {
            Refusal::new(Code::Timeout, "the request's time passed before it was answered")
        }
        Kind::Write => Refusal::unknown(
            Code::Timeout,
            "the request's time passed while the write was under way: it may take effect yet",
        ),
    }
}

/// The response that an applied command's answer is.
pub(crate) fn response(answer: Answer) -> Response {
    let Answer { reply, replayed } = answer;
    let answered = |done: Done| Answered { done, replayed };
    let refusal = match reply {
        Reply::Done(done) => return Ok(Replied::One(answered(done))),
        Reply::All(all) => return Ok(Replied::All(all.into_iter().map(answered).collect())),
        Reply::PreconditionFailed { current, operation } => {
            Refusal { failed_op: operation, ..Refusal::precondition(current) }
        }
        Reply::TooLarge => Refusal::not_applied(
            Code::TooLarge,
            "the values that the batch reads are too much for one answer",
        ),
        Reply::Mismatch => Refusal::not_applied(
            Code::IdempotencyMismatch,
            "this Idempotency-Key was used for another request on the same key",
        ),
        Reply::SessionExpired => Refusal::not_applied(
            Code::SessionExpired,
            "the session, or this sequence of it, is no longer known; the write was not executed",
        ),
        Reply::SessionFull => Refusal::not_applied(
            Code::Overloaded,
            "the session has 1024 writes open; wait for their answers",
        ),
        Reply::SessionOpened(_) | Reply::Expired => {
            Refusal::unknown(Code::Internal, "an answer of another kind than the request's")
        }
    };
    Err(Refusal { replayed, ..refusal })
}
