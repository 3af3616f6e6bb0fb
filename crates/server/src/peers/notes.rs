//! Keeps a log readable while something goes wrong again and again.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use ringfort_types::NodeNumber;
use tokio::time::Instant;

/// Says what is wrong with a node once per change, however often it is found out.
#[derive(Debug, Default)]
pub(super) struct Changes {
    said: RefCell<BTreeMap<NodeNumber, String>>,
}

impl Changes {
    /// Whether this is news.
    pub(super) fn is_new(&self, node: NodeNumber, text: &str) -> bool {
        let mut said = self.said.borrow_mut();
        if said.get(&node).is_some_and(|last| last == text) {
            return false;
        }
        said.insert(node, text.to_owned());
        true
    }

    /// Nothing is wrong with it any more. Whether something was.
    pub(super) fn is_over(&self, node: NodeNumber) -> bool {
        self.said.borrow_mut().remove(&node).is_some()
    }
}

/// At most one line in this time.
const PAUSE: Duration = Duration::from_secs(5);

/// Says what strangers do, but not as often as they do it.
#[derive(Debug, Default)]
pub(super) struct Seldom {
    last: Cell<Option<Instant>>,
    suppressed: Cell<u64>,
}

impl Seldom {
    /// Whether to say it now, and how often it was not said since the last time.
    pub(super) fn permit(&self) -> Option<u64> {
        if self.last.get().is_some_and(|last| last.elapsed() < PAUSE) {
            self.suppressed.set(self.suppressed.get() + 1);
            return None;
        }
        self.last.set(Some(Instant::now()));
        Some(self.suppressed.take())
    }
}
