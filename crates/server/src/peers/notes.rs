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
    /// Since when something is wrong with a node, and what was said of it last.
    wrong: BTreeMap<NodeNumber, (Instant, Option<String>)>,
    /// When something was said about strangers, and how often it was not said since.
    strangers: Option<Instant>,
    suppressed: u64,
}

/// What is wrong with a node is said once it has lasted for so long: nodes that start, restart or form a cluster do not reach each
/// other for a moment.
const LASTS: Duration = Duration::from_secs(5);
/// At most one line about strangers in this time.
const PAUSE: Duration = Duration::from_secs(5);

impl PeerNotes {
    fn with<T>(&self, used: impl FnOnce(&mut Notes) -> T) -> T {
        // Single calls only: a panic elsewhere leaves the notes whole.
        used(&mut self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether a person should read that this is wrong with a node: once, however often it is found, and not before something
    /// has been wrong with it for a while.
    pub(super) fn is_due(&self, now: Instant, node: NodeNumber, text: &str) -> bool {
        self.with(|notes| {
            let (since, said) = notes.wrong.entry(node).or_insert((now, None));
            let lasts = now.saturating_duration_since(*since) >= LASTS;
            if !lasts || said.as_deref() == Some(text) {
                return false;
            }
            *said = Some(text.to_owned());
            true
        })
    }

    /// Nothing is wrong with it any more. Gives whether a person read that something was.
    pub(super) fn is_over(&self, node: NodeNumber) -> bool {
        self.with(|notes| notes.wrong.remove(&node).is_some_and(|(_, said)| said.is_some()))
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
        let (one, node, other) = (PeerNotes::default(), NodeNumber(1), NodeNumber(2));
        let (two, start) = (one.clone(), Instant::now());
        assert!(!one.is_due(start, node, "gone") && !two.is_due(start, other, "gone"));
        let later = start + LASTS;
        assert!(one.is_due(later, node, "gone"));
        assert!(!two.is_due(later, node, "gone"));
        assert!(two.is_due(later, other, "gone"));
        assert!(two.is_due(later, node, "refused"));
        assert!(one.is_due(later, node, "gone"));
        assert!(two.is_over(node) && !one.is_over(node));
        assert!(!one.is_due(later, node, "gone"));
        assert!(one.is_due(later + LASTS, node, "gone"));
    }

    #[test]
    fn what_is_over_soon_is_not_said() {
        let (notes, node, start) = (PeerNotes::default(), NodeNumber(1), Instant::now());
        assert!(!notes.is_due(start, node, "no cluster yet"));
        assert!(!notes.is_due(start + LASTS / 2, node, "gone"));
        assert!(!notes.is_over(node), "nobody read of it");
        assert!(!notes.is_due(start + LASTS * 2, node, "gone"), "this is another time");
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
