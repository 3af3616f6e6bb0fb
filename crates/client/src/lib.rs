//! A thin client: the HTTP API of one or several endpoints as typed calls, over a pool of keep-alive connections.
//!
//! # Model
//! A [`Client`] holds endpoints in the order they were given. A request goes to the first one; where that fails and
//! trying again is safe, it goes to the next, then round once more, until its deadline. What may be tried again, and what
//! became of a write, is decided by `ringfort_route`, by the table at that crate's head; an idempotency key is a write's
//! identity. Retries that cost a server work are bounded by a budget that all calls of a client share.
//!
//! # Invariants
//! - An error says what became of the write ([`Error::outcome`]). `not_applied` is said only where no attempt can have
//!   been executed: once one attempt is in doubt, every later failure is `unknown`, whatever the last server says, but
//!   for answers that the idempotency key ties to the first attempt (412, 422).
//! - Bytes handed to a connection that then failed count as sent.
//! - A call ends by its deadline plus a short grace, in which the server's own word about the outcome may arrive.
//! - A connection whose answer was not read to its end is closed, never used again.
//!
//! With [`Options::route`] requests about keys go to the node that leads the key's shard instead, by a copy of the cluster's map
//! that is fetched again now and then and after failures, and to the shard's other replicas where that one cannot be reached.
//! A copy that is not fresh costs a hop, never an answer: the node that gets a request forwards it.
//!
//! Left out on purpose: hedging, and TLS.

mod call;
mod client;
mod cluster;
mod endpoint;
mod error;
mod keys;
mod pool;
mod retry;
mod routing;
mod wire;

pub use client::{Client, Options};
pub use cluster::{Cluster, NodeStatus, Readiness, ReadyCheck, ReplicaStatus, Route, ShardStatus};
pub use endpoint::{Endpoint, EndpointError};
pub use error::{Error, Failure, Rejection};
pub use keys::{
    BatchResult, DeleteOptions, Deleted, ListPage, ListQuery, PutOptions, Written,
    random_idempotency_key,
};
