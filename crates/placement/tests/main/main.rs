//! The rules of placement, over random clusters. `RINGFORT_SEED` runs one seed again, `RINGFORT_SEEDS` runs more of them.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]
#![expect(clippy::disallowed_methods, reason = "tests take their size from the environment")]

mod leaders;
mod map;
mod moves;
mod ring;
mod steps;
mod support;
mod targets;
