//! The clock of the cores.

use ringfort_types::Monotonic;
use rustix::time::{ClockId, clock_gettime};

/// Now, on a clock that also counts while the machine sleeps.
pub(crate) fn now() -> Monotonic {
    let time = clock_gettime(ClockId::Boottime);
    // Neither part of a boot-time reading is negative.
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Monotonic(seconds * 1_000_000_000 + nanos)
}
