//! Keeps a log readable while something goes wrong again and again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ringfort_types::NodeNumber;

/// What has been said about other nodes and strangers. Clones are one and the same: threads that share it say together
/// what one would.
#[derive(Clone, Debug, Default)]
pub(crate) struct PeerNotes {
    notes: Arc<Mutex<Notes>>,
}

#[derive(Debug, Default)]
struct Notes {
    /// What is wrong with a node, as it was said last.
    wrong: BTreeMap<NodeNumber, String>,
    /// When something was said about strangers, and how often it was not said since.
    strangers: Option<Instant>,
    suppressed: u64,
}

/// At most one line about strangers in this time.
const PAUSE: Duration = Duration::from_secs(5);

impl PeerNotes {
    fn with<T>(&self, used: impl FnOnce(&mut Notes) -> T) -> T {
        // Single calls only: a panic elsewhere leaves the notes whole.
        used(&mut self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether it is news that this is wrong with a node: it is once, however often it is found.
    pub(super) fn is_new(&self, node: NodeNumber, text: &str) -> bool {
        self.with(|notes| {
            if notes.wrong.get(&node).is_some_and(|last| last == text) {
                return false;
            }
            notes.wrong.insert(node, text.to_owned());
            true
        })
    }

    /// Nothing is wrong with it any more. Gives whether something was.
    pub(super) fn is_over(&self, node: NodeNumber) -> bool {
        self.with(|notes| notes.wrong.remove(&node).is_some())
    }

    /// Whether something may be said about strangers, and then how often it was not since the last time. Strangers do what
    /// they like as often as they like.
    pub(super) fn strangers(&self, now: Instant) -> Option<u64> {
        self.with(|notes| {
            if notes.strangers.is_some_and(|last| now.saturating_duration_since(last) < PAUSE) {
                notes.suppressed += 1;
                return None;
            }
            notes.strangers = Some(now);
            Some(std::mem::take(&mut notes.suppressed))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_node_is_said_once_per_change_by_all_threads() {
        let (one, other) = (PeerNotes::default(), NodeNumber(2));
        let two = one.clone();
        assert!(one.is_new(NodeNumber(1), "gone"));
        assert!(!two.is_new(NodeNumber(1), "gone"));
        assert!(two.is_new(other, "gone"));
        assert!(two.is_new(NodeNumber(1), "refused"));
        assert!(one.is_new(NodeNumber(1), "gone"));
        assert!(two.is_over(NodeNumber(1)) && !one.is_over(NodeNumber(1)));
        assert!(one.is_new(NodeNumber(1), "gone"));
    }

    #[test]
    fn strangers_get_a_line_now_and_then() {
        let (notes, start) = (PeerNotes::default(), Instant::now());
        assert_eq!(notes.strangers(start), Some(0));
        assert_eq!(notes.strangers(start + PAUSE / 2), None);
        assert_eq!(notes.strangers(start + PAUSE / 2), None);
        assert_eq!(notes.strangers(start + PAUSE), Some(2));
        assert_eq!(notes.strangers(start + PAUSE * 2), Some(0));
    }
}
