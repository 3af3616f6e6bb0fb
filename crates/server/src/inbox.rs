//! A queue into an asynchronous worker, with one wake-up for everything that comes in one go.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// The sending and the receiving side at once. Holds no more than is under way: each sender has a bounded number of
/// requests or operations out.
#[derive(Debug)]
pub(crate) struct Inbox<T> {
    queue: Arc<Mutex<VecDeque<T>>>,
    wake: Arc<Notify>,
}

impl<T> Clone for Inbox<T> {
    fn clone(&self) -> Self {
        Self { queue: Arc::clone(&self.queue), wake: Arc::clone(&self.wake) }
    }
}

impl<T> Inbox<T> {
    pub(crate) fn new() -> Self {
        Self { queue: Arc::default(), wake: Arc::default() }
    }

    /// Puts something in and wakes the receiver if the queue was empty.
    pub(crate) fn push(&self, item: T) {
        let was_empty = {
            let mut queue = self.lock();
            queue.push_back(item);
            queue.len() == 1
        };
        if was_empty {
            self.wake.notify_one();
        }
    }

    /// Wakes the receiver.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Everything that is in.
    pub(crate) fn take(&self) -> VecDeque<T> {
        std::mem::take(&mut *self.lock())
    }

    /// Waits until there was a reason to look.
    pub(crate) async fn notified(&self) {
        self.wake.notified().await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<T>> {
        // Single calls only: a panic elsewhere leaves the queue whole.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
