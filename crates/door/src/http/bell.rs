//! Something that is waited for beside the work, and rarely happens: polled only when it asked for it.
//!
//! A connection's task wakes for every request. To poll its alarm and its shutdown signal each time costs locks and
//! clock reads; a waker of their own says when there is a reason to.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// Tells whether what it was given to as a waker has woken, and wakes the task in its place.
pub(crate) struct Bell {
    ringer: Arc<Ringer>,
    /// The ringer, as what is waited for knows it.
    waker: Waker,
    /// The task, as the ringer knows it.
    task: Waker,
}

struct Ringer {
    rung: AtomicBool,
    task: Mutex<Waker>,
}

impl Wake for Ringer {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        // A waker is replaced whole: a panic elsewhere leaves none that is half one.
        self.task.lock().unwrap_or_else(PoisonError::into_inner).wake_by_ref();
    }
}

impl Bell {
    /// A bell in the task that polls, rung once so that what waits for it is polled a first time.
    pub(crate) fn new(task: &Waker) -> Self {
        let ringer =
            Arc::new(Ringer { rung: AtomicBool::new(true), task: Mutex::new(task.clone()) });
        Self { waker: ringer.clone().into(), ringer, task: task.clone() }
    }

    /// Rings it: the task polls again soon, and what waits with it.
    pub(crate) fn ring(&self) {
        self.ringer.wake_by_ref();
    }

    /// Polls, but only if the bell rang since it last did.
    pub(crate) fn poll<T>(
        &mut self,
        cx: &Context<'_>,
        poll: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        if !self.task.will_wake(cx.waker()) {
            self.task.clone_from(cx.waker());
            let mut task = self.ringer.task.lock().unwrap_or_else(PoisonError::into_inner);
            task.clone_from(cx.waker());
        }
        if self.ringer.rung.swap(false, Ordering::AcqRel) {
            poll(&mut Context::from_waker(&self.waker))
        } else {
            Poll::Pending
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::{Future, poll_fn};
    use std::pin::pin;
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_waits_is_polled_first_and_when_it_rings() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let polled = Cell::new(0);
            let (mut work, mut rest) = (0, pin!(tokio::time::sleep(Duration::from_secs(1))));
            let mut bell: Option<Bell> = None;
            poll_fn(|cx| {
                let bell = bell.get_or_insert_with(|| Bell::new(cx.waker()));
                let rang = bell.poll(cx, |cx| {
                    polled.set(polled.get() + 1);
                    rest.as_mut().poll(cx)
                });
                if rang.is_ready() {
                    return Poll::Ready(());
                }
                work += 1;
                if work < 100 {
                    cx.waker().wake_by_ref();
                }
                Poll::Pending
            })
            .await;
            assert_eq!((work, polled.get()), (100, 2));
        });
    }
}
