//! One request under way.

use std::cell::Cell;

use http::Method;
use http::request::Parts;
use ringfort_types::request::{Context, Principal};
use ringfort_types::{Code, Monotonic, Refusal};

use super::head::Head;
use super::problem;
use crate::OperationKind;

/// What is known of a request besides its body, and how far it got.
pub(crate) struct Call<'a> {
    /// Its head.
    pub(crate) parts: &'a Parts,
    /// Its target as it was sent goes on behind what stands in the head: with a `#`.
    pub(crate) cut_at_hash: bool,
    /// When its head was complete.
    pub(crate) arrived: Monotonic,
    /// How far it got.
    pub(crate) progress: &'a Progress,
}

/// How far a request got; outlives a handler that panics.
pub(crate) struct Progress {
    /// What the request is, once its route is known.
    pub(crate) kind: Cell<OperationKind>,
    /// The backend has it: from here on, only the backend knows whether a write happened.
    pub(crate) handed_over: Cell<bool>,
    /// The method is one that may change something.
    pub(crate) may_write: bool,
}

impl Progress {
    /// The beginning.
    pub(crate) fn new(method: &Method) -> Self {
        Self {
            kind: Cell::new(OperationKind::Other),
            handed_over: Cell::new(false),
            may_write: !(method.is_safe()),
        }
    }

    /// States what became of the write, if this is one and the refusal does not say.
    pub(crate) fn complete(&self, refusal: &mut Refusal) {
        if self.may_write {
            refusal.outcome = Some(problem::outcome_of(refusal, self.handed_over.get()));
        }
    }
}

impl Call<'_> {
    /// Refuses a target of which a part is lost.
    pub(crate) fn refuse_cut_target(&self) -> Result<(), Refusal> {
        if !self.cut_at_hash {
            return Ok(());
        }
        let part = if self.parts.uri.query().is_some() { "the query" } else { "the path" };
        let detail = format!("{part} of the request target holds a raw #, which is written %23");
        Err(Refusal::not_applied(Code::InvalidArgument, detail))
    }

    /// When the answer is due.
    pub(crate) fn deadline(&self, head: &Head<'_>) -> Monotonic {
        self.arrived + head.timeout
    }

    /// The request's context for the backend, which has it from here on.
    pub(crate) fn hand_over(&self, head: &Head<'_>) -> Context {
        self.progress.handed_over.set(true);
        Context {
            arrived: self.arrived,
            deadline: self.deadline(head),
            principal: Principal::default(),
            trace: head.trace(),
        }
    }
}
