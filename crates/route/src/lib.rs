//! Where a request goes, when it is tried again, and what became of it. Nodes that forward and clients decide by the same
//! rules; neither connections nor messages are known here.
//!
//! ```text
//!   shard ──▶ Routes ──▶ replica ──▶ (an attempt, elsewhere) ──▶ answered
//!               ▲                          │
//!               │ leader, term             ▼ Failure
//!               └────────────────────── Retrier ──▶ again, after a pause │ give up, with the true outcome
//!                                          │
//!                                       Attempts: what one request has behind it
//! ```
//!
//! # Model
//!
//! [`Routes`] knows each shard's replicas and who is believed to lead it, and in which term. Followers answer that they do
//! not lead, and who does. Where nobody is known to lead, the shard's replicas are asked in turn, and per shard at most one of
//! them in each pause: whatever the number of requests that wait, a shard without a leader costs a few messages a second.
//!
//! A node that cannot be reached is avoided for a time that grows; when it has passed, one request at a time shows whether
//! the node is back. If every replica is avoided, they are asked all the same.
//!
//! [`Attempts`] is one request's memory: whether an attempt may have been executed. [`Retrier`] decides, by this table:
//!
//! ```text
//!   what failed                           read    write with identity    write without
//!   nothing was sent                      again   again                  again
//!   the replica does not lead             again   again                  again
//!   sent, no answer                       again   again                  stop: unknown
//!   refused 429/500/503, `not_applied`    –       again                  again
//!   refused 429/500/503, otherwise        again   again                  stop: unknown
//!   anything else                         stop    stop                   stop
//! ```
//!
//! # Invariants
//!
//! - `not_applied` is said only where no attempt can have been executed. Once one is in doubt, every later failure is
//!   `unknown`, but for answers that the write's identity ties to the first attempt (412, 422).
//! - A write without identity is never repeated after an attempt in doubt.
//! - An older term's leader never takes the place of a newer one's.
//! - Only a newer term makes a request go on without a pause, so two replicas that name each other cause no storm.
//! - Retries that cost a server work are bounded by a share of the requests, a burst and a floor ([`RetryBudget`]).
//!
//! Left out on purpose: hedged reads, and the choice of a near replica.

mod attempts;
mod budget;
mod circuit;
mod random;
mod retrier;
mod routes;

pub use attempts::{Attempts, Failure, LAST_TRY_BEFORE_DEADLINE, Safety};
pub use budget::{BudgetConfig, RetryBudget};
pub use circuit::{AVOID_MAX, AVOID_MIN, TIMEOUTS_MAX};
pub use random::{PAUSE_MAX, PAUSE_MIN};
pub use retrier::{Next, Retrier};
pub use routes::{Routes, Target, Want};
