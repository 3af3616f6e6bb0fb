//! A group as its host sees it, and many under simulation.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]
#![expect(clippy::disallowed_methods, reason = "tests take their size from the environment")]

mod campaign;
mod changes;
mod configuration;
mod connectivity;
mod contract;
mod found;
mod hostile;
mod model;
mod quorum;
mod regressions;
mod script;
mod support;
mod timed;
mod timeouts;
