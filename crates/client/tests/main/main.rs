//! The client against a server that does as each test tells it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod fake;
mod keys;
mod retries;
mod routes;
