//! The checker: on hand-made histories, against every possible order of small random ones, and on large ones.
#![allow(clippy::unwrap_used)] // a test may; its helpers are part of it

mod batches;
mod brute;
mod command;
mod generate;
mod large;
mod model;
mod rules;
mod script;
mod small;
