//! The request trait: what every door calls, and what a node (or a gateway) implements.

use std::future::Future;
use std::time::Duration;

use ringfort_types::request::{
    Answered, Batch, BatchAnswer, ClusterView, Context, Get, Got, Limits, List, Page, ReadyCheck,
    Write,
};
use ringfort_types::{ClusterId, Key, Monotonic, Outcome, Refusal};

/// The kinds of requests that metrics tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OperationKind {
    /// GET or HEAD of a key.
    Get,
    /// PUT of a key.
    Put,
    /// DELETE of a key.
    Delete,
    /// A listing.
    List,
    /// A batch.
    Batch,
    /// Cluster routes, health, metrics, documents, and whatever has no route.
    Other,
}

impl OperationKind {
    /// Every kind, in the order of their numbers.
    pub const ALL: [Self; 6] =
        [Self::Get, Self::Put, Self::Delete, Self::List, Self::Batch, Self::Other];

    /// The kind as a label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Put => "put",
            Self::Delete => "delete",
            Self::List => "list",
            Self::Batch => "batch",
            Self::Other => "other",
        }
    }
}

/// How metrics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsFormat {
    /// The text format of Prometheus, version 0.0.4: what everybody reads.
    Prometheus,
    /// The text format of OpenMetrics, version 1.0.0.
    OpenMetrics,
}

/// One answered request, for metrics.
#[derive(Clone, Copy, Debug)]
pub struct Observation {
    /// What it was.
    pub kind: OperationKind,
    /// The HTTP status of its answer.
    pub status: u16,
    /// What a refused write's answer says of it. The operations of a batch that was answered say it one by one.
    pub outcome: Option<Outcome>,
    /// From the last byte of its head read to its answer handed over.
    pub elapsed: Duration,
}

/// What stands behind a door. Lives on one worker's thread: neither the backend nor its futures are `Send`.
///
/// Every call answers by its context's deadline, with a refusal that tells the truth about the write's outcome; a future
/// that is dropped (the client went away) changes nothing about a write that is under way.
pub trait Backend: 'static {
    /// Room reserved for a request's body; dropping it gives the room back.
    type Admission: 'static;

    /// The monotonic clock that contexts are made of.
    fn now(&self) -> Monotonic;

    /// Limits that the door enforces before it buffers.
    fn limits(&self) -> Limits;

    /// Reads one key.
    fn get(&self, context: &Context, get: Get) -> impl Future<Output = Result<Got, Refusal>>;

    /// Writes one key.
    fn write(
        &self,
        context: &Context,
        write: Write,
    ) -> impl Future<Output = Result<Answered, Refusal>>;

    /// Executes many operations. An atomic batch that is not executed is one refusal; else every operation has its own.
    fn batch(
        &self,
        context: &Context,
        batch: Batch,
    ) -> impl Future<Output = Result<BatchAnswer, Refusal>>;

    /// Lists keys in order.
    fn list(&self, context: &Context, list: List) -> impl Future<Output = Result<Page, Refusal>>;

    /// The cluster as this node knows it.
    fn cluster(&self, context: &Context) -> impl Future<Output = Result<ClusterView, Refusal>>;

    /// Asks that everything be moved off a node; progress shows in [`Backend::cluster`].
    fn drain_node(
        &self,
        context: &Context,
        node: &str,
    ) -> impl Future<Output = Result<(), Refusal>>;

    /// Asks that a node be removed.
    fn remove_node(
        &self,
        context: &Context,
        node: &str,
    ) -> impl Future<Output = Result<(), Refusal>>;

    /// Forms a cluster of this node and those that it has met and that wait for one, and answers once it is formed.
    ///
    /// # Errors
    /// The node has a cluster already, or too few nodes agreed by the deadline (they may yet).
    fn init_cluster(&self, context: &Context) -> impl Future<Output = Result<ClusterId, Refusal>>;

    /// Whether the node can serve, check by check.
    fn readiness(&self) -> impl Future<Output = Vec<ReadyCheck>>;

    /// All metrics in one of the formats.
    fn metrics(&self, format: MetricsFormat) -> impl Future<Output = String>;

    /// Reserves room for a request's body before it is buffered; the room is given back when the guard is dropped, which
    /// is when the request is answered or its client is gone. A body of unknown length is admitted in steps.
    ///
    /// # Errors
    /// There is no room now: `overloaded`.
    fn admit(&self, bytes: usize) -> Result<Self::Admission, Refusal>;

    /// Notes an answered request.
    fn observe(&self, observation: Observation);

    /// The shard of a key, for routes that explain.
    fn shard_of(&self, key: &Key) -> ringfort_types::ShardId;
}
