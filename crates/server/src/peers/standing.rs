//! Whether the others take this process for the node that it says it is.
//!
//! ```text
//!   a node refuses it as another start ──▶ Doubted: it sends nothing to anybody, holds no connection, and dials on
//!   no node does any more              ──▶ it is the node
//!   for a while all that answer do     ──▶ it is not: the process ends
//! ```
//!
//! Each node decides by itself which start it lets in, so two of them may be let in by different nodes. While one of them is
//! refused anywhere it neither votes nor acknowledges anything anywhere, and its seats are free for the other.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// Clones are one and the same: a process has one, whatever its threads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standing(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    refusals: Mutex<Refusals>,
    is_doubted: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Refusals {
    last: u64,
    /// Links whose last dial was refused.
    refused: BTreeSet<u64>,
    /// Since when every dial that was answered was refused.
    since: Option<Instant>,
}

/// What one link found, for as long as there is that link.
#[derive(Debug)]
pub(super) struct Word {
    standing: Standing,
    link: u64,
}

impl Standing {
    /// The word of a new link.
    pub(super) fn word(&self) -> Word {
        let link = self.with(|refusals| {
            refusals.last += 1;
            refusals.last
        });
        Word { standing: self.clone(), link }
    }

    /// Whether a node refuses this process as another start of its node.
    pub(super) fn is_doubted(&self) -> bool {
        *self.0.is_doubted.borrow()
    }

    /// Waits until a node refuses this process.
    pub(super) async fn doubted(&self) {
        // The sender is held here.
        drop(self.0.is_doubted.subscribe().wait_for(|is_doubted| *is_doubted).await);
    }

    fn with<T>(&self, change: impl FnOnce(&mut Refusals) -> T) -> T {
        // Single calls only: a panic elsewhere leaves it whole.
        let mut refusals = self.0.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut refusals);
        if refusals.refused.is_empty() {
            refusals.since = None;
        }
        // Under the lock, so that it ends as the last change has it.
        let is_doubted = !refusals.refused.is_empty();
        self.0
            .is_doubted
            .send_if_modified(|before| std::mem::replace(before, is_doubted) != is_doubted);
        result
    }
}

impl Word {
    /// The node refuses this process as another start. Gives for how long no node has let it in.
    pub(super) fn refused(&self, now: Instant) -> Duration {
        self.standing.with(|refusals| {
            refusals.refused.insert(self.link);
            now.saturating_duration_since(*refusals.since.get_or_insert(now))
        })
    }

    /// The node lets this process in.
    pub(super) fn accepted(&self) {
        self.standing.with(|refusals| {
            refusals.refused.remove(&self.link);
            refusals.since = None;
        });
    }

    /// The node says neither.
    pub(super) fn unanswered(&self) {
        self.standing.with(|refusals| refusals.refused.remove(&self.link));
    }
}

impl Drop for Word {
    fn drop(&mut self) {
        self.unanswered();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_doubted_while_a_link_is_refused_and_ends_where_none_is_accepted() {
        let standing = Standing::default();
        let (one, two, away) = (standing.word(), standing.word(), standing.word());
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(one.refused(at(0)), Duration::ZERO);
        assert!(standing.is_doubted());
        away.unanswered();
        assert_eq!(two.refused(at(1)), Duration::from_secs(1));
        assert_eq!(one.refused(at(9)), Duration::from_secs(9));
        // One node that lets it in is enough to go on, and not enough to speak.
        two.accepted();
        assert!(standing.is_doubted());
        assert_eq!(one.refused(at(10)), Duration::ZERO);
        assert_eq!(two.refused(at(12)), Duration::from_secs(2));
        one.accepted();
        // A node that is gone refuses nothing.
        drop(two);
        assert!(!standing.is_doubted());
        assert_eq!(one.refused(at(20)), Duration::ZERO);
        one.unanswered();
        assert!(!standing.is_doubted());
    }
}
