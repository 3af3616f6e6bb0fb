//! What nodes say to each other: there and back, from outside, divided among workers, and to the byte.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod divide;
mod fixture;
mod hostile;
mod round_trip;
mod strategies;
