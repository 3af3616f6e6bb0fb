//! The pacer of an open loop: says when each operation is due, whatever became of those before.
//!
//! Operation `n` is due `n / rate` after the start. A lane takes the next due time and waits for it; a lane that is late
//! does not wait, and its operation's latency still counts from the due time. Due times come from one sequence, so lanes
//! that wait stand in a queue in order, and one timer for its front serves them all. The timer is a `timerfd`: the
//! runtime's own timers are coarse (1 ms), and an open loop would count their lateness as the server's.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::net::unix::pipe::Receiver;
use tokio::sync::Notify;

/// See the module.
#[derive(Debug)]
pub(crate) struct Pacer {
    start: Instant,
    period_ns: f64,
    next: Cell<u64>,
    waiting: RefCell<VecDeque<(Instant, Rc<Notify>)>>,
    /// Someone has begun to wait.
    arrived: Notify,
}

impl Pacer {
    /// A pacer of `rate` operations per second from now on.
    pub(crate) fn new(rate: f64) -> Self {
        Self {
            start: Instant::now(),
            period_ns: 1e9 / rate,
            next: Cell::new(0),
            waiting: RefCell::default(),
            arrived: Notify::new(),
        }
    }

    /// Takes the next due time and waits for it.
    pub(crate) async fn due(&self) -> Instant {
        let number = self.next.get();
        self.next.set(number + 1);
        // A due time is a positive number of nanoseconds far below 2^64.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let offset = Duration::from_nanos((number as f64 * self.period_ns) as u64);
        let due = self.start + offset;
        if due > Instant::now() {
            let wake = Rc::new(Notify::new());
            self.waiting.borrow_mut().push_back((due, Rc::clone(&wake)));
            self.arrived.notify_one();
            wake.notified().await;
        }
        due
    }

    /// Lets everybody who waits go on at once: the run is over.
    pub(crate) fn release(&self) {
        for (_, wake) in self.waiting.borrow_mut().drain(..) {
            wake.notify_one();
        }
    }

    /// Wakes lanes as they come due. Runs beside them until it is dropped.
    pub(crate) async fn run(&self) -> std::io::Result<()> {
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )?;
        // A timer is read like a pipe, and that is the only safe door the runtime has for a descriptor of ours.
        let timer = Receiver::from_owned_fd_unchecked(timer)?;
        loop {
            let front = self.waiting.borrow().front().map(|(due, _)| *due);
            let Some(due) = front else {
                self.arrived.notified().await;
                continue;
            };
            let wait = due.saturating_duration_since(Instant::now());
            if !wait.is_zero() {
                sleep(&timer, wait).await?;
            }
            self.wake_due(Instant::now());
        }
    }

    fn wake_due(&self, now: Instant) {
        let mut waiting = self.waiting.borrow_mut();
        while waiting.front().is_some_and(|(due, _)| *due <= now) {
            if let Some((_, wake)) = waiting.pop_front() {
                wake.notify_one();
            }
        }
    }
}

async fn sleep(timer: &Receiver, wait: Duration) -> std::io::Result<()> {
    let at = Itimerspec {
        it_interval: Timespec::default(),
        it_value: Timespec::try_from(wait).unwrap_or_default(),
    };
    timerfd_settime(timer, TimerfdTimerFlags::empty(), &at)?;
    loop {
        timer.readable().await?;
        let mut expirations = [0; 8];
        match timer.try_read(&mut expirations) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A lane that is held up takes late due times: their distance stays the period.
    #[test]
    fn due_times_do_not_move_when_lanes_are_late() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let pacer = Pacer::new(10_000.0);
        runtime.block_on(async {
            let lane = async {
                let mut last = pacer.due().await;
                for _ in 0..200 {
                    let due = pacer.due().await;
                    assert!(Instant::now() >= due);
                    let gap = due.duration_since(last).as_nanos();
                    assert!((99_990..=100_010).contains(&gap), "{gap} ns");
                    last = due;
                }
                assert!(pacer.start.elapsed() >= Duration::from_micros(19_900));
            };
            tokio::select! {
                () = lane => {}
                result = pacer.run() => panic!("the pacer ended: {result:?}"),
            }
        });
    }
}
