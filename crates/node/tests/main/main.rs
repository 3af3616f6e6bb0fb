//! A whole node on a simulated disk.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]
#![expect(clippy::cast_possible_truncation, reason = "small numbers of the tests' own")]
#![expect(clippy::disallowed_methods, reason = "tests take their size from the environment")]

mod behaviour;
mod catalog;
mod control;
mod duties;
mod flips;
mod formation;
mod forward;
mod levels;
mod listing;
mod malformed;
mod member;
mod owner;
mod peer;
mod power;
mod support;
mod three_members;
mod trio;
