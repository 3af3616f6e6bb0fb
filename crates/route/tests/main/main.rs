//! Rules of routes and retries, each a test. `RINGFORT_SEED=n` runs one seed of the random ones, `RINGFORT_SEEDS=n` so many.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]
#![expect(clippy::disallowed_methods, reason = "tests take their size from the environment")]

mod outcome;
mod retries;
mod routes;
mod support;
