//! A group as its host sees it, and many under simulation.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

mod contract;
mod script;
mod support;
