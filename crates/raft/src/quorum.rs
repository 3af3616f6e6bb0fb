//! What a majority of voters agrees on, in one half of a configuration or in both.
//!
//! ```text
//!   voters        1    2    3    4    5
//!   value         9    7    7    4    -        a majority (3) has at least 7
//! ```
//!
//! In a joint configuration both halves decide, each by its own majority: what holds is the lesser of the two (Ongaro and
//! Ousterhout, "In Search of an Understandable Consensus Algorithm", section 6).

use ringfort_types::ReplicaId;

use crate::configuration::Configuration;
use crate::guard::{Guard, Guards};

/// How an election stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Election {
    /// It cannot be won any more.
    Lost,
    /// It is open.
    Open,
    /// It is won.
    Won,
}

/// The greatest value that a majority of these voters has reached; `None` if there is no voter.
///
/// Quadratic in the number of voters, which is small, and without memory of its own.
pub fn majority_value<V: Ord + Copy>(
    voters: &[ReplicaId],
    value: impl Fn(ReplicaId) -> V,
) -> Option<V> {
    let needed = voters.len() / 2 + 1;
    let reached = |wanted: V| voters.iter().filter(|id| value(**id) >= wanted).count();
    voters.iter().map(|id| value(*id)).filter(|candidate| reached(*candidate) >= needed).max()
}

/// The greatest value that the voters of a configuration have reached by its rules; `None` if it has no voter.
pub fn quorum_value<V: Ord + Copy>(
    configuration: &Configuration,
    guards: Guards,
    value: impl Fn(ReplicaId) -> V,
) -> Option<V> {
    let incoming = majority_value(configuration.voters(), &value);
    if !configuration.is_joint() || !guards.has(Guard::BothHalves) {
        return incoming;
    }
    incoming.min(majority_value(configuration.outgoing(), &value))
}

/// How an election stands, by the answers so far.
pub fn election(
    configuration: &Configuration,
    guards: Guards,
    granted: impl Fn(ReplicaId) -> Option<bool>,
) -> Election {
    // No answer yet lies between a refusal and a grant; a majority for a value is a majority for "at least that".
    let value = |id| match granted(id) {
        Some(true) => Election::Won,
        None => Election::Open,
        Some(false) => Election::Lost,
    };
    quorum_value(configuration, guards, value).unwrap_or(Election::Lost)
}
