//! HTTP/1.1 and HTTP/2.
//!
//! # Model
//!
//! One plain hyper service serves every route: a backend lives on one thread, so its futures are not `Send`, and what
//! expects that (axum, tower's boxed services) cannot carry them.
//!
//! ```text
//!  bytes ─► stream ─► hyper ─► door ─► host ─► route ─┬─► kv        one key: the fast path
//!             ├─ heads          │                     ├─► list      listing and its cursors
//!             └─ link ◄─ watch  │                     ├─► batch     many operations, JSON
//!                slow clients   │                     └─► cluster, documents
//!                               └─ reply, problem ─► one place that writes responses
//! ```
//!
//! A handler is given a [`call::Call`] and gives a [`reply::Reply`] or a [`ringfort_types::Refusal`]; neither knows of
//! hyper. What is said of the outcome of a refused write is completed in one place, [`call::Progress::complete`].
//!
//! # Invariants
//!
//! - No byte of a body is buffered before its announced length was compared with the limit and the backend admitted it;
//!   a body of unknown length is admitted step by step.
//! - `not_applied` is said only before the backend was given the request, or by the backend.
//! - Nothing outside hyper's parser reads a query parameter or a header of ours that it does not know: it refuses it.
//! - No part of a request target is dropped: over HTTP/1 a raw `#` is refused. (Over HTTP/2 it cannot be seen; see `heads`.)
//! - A panic of a handler is an answer (500), not the end of its connection.
//!
//! Left out on purpose: ranges, compression, content negotiation (but for the two formats of metrics), CORS (no web page is
//! meant to call this directly).
//!
//! Sources: RFC 9110 (semantics), RFC 9112 (HTTP/1.1), RFC 9113 (HTTP/2), RFC 9457 (problems).

mod accept;
mod batch;
mod batch_request;
mod bell;
mod body;
mod call;
mod cluster;
mod connection;
mod cursor;
mod door;
mod ending;
mod head;
mod heads;
mod host;
mod json;
mod kv;
mod link;
mod list;
mod member;
mod object;
mod options;
mod percent;
mod pieces;
mod problem;
mod query;
mod reply;
mod request_id;
mod rest;
mod route;
mod stream;
mod tags;
mod upload;
mod watch;

pub use connection::ConnectionError;
pub use door::HttpDoor;
pub use options::{BuildInfo, Hosts, HttpOptions, Surface};
pub use rest::OPENAPI;
pub use route::{ROUTES, RouteInfo};
