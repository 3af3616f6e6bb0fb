//! A machine's monotonic clock: virtual time, begun somewhere, a little fast or slow. It counts while a process is paused.

use std::time::Duration;

use ringfort_types::Monotonic;

/// The clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// What it showed at `since`.
    base: u64,
    /// Virtual time, in nanoseconds.
    since: u64,
    /// Parts of a million by which it is fast.
    drift: i64,
}

impl Clock {
    pub(super) fn new(base: u64, since: u64, drift: i64) -> Self {
        Self { base, since, drift }
    }

    /// What it shows at a virtual time.
    pub(super) fn at(&self, time: u64) -> Monotonic {
        let passed = i128::from(time.saturating_sub(self.since));
        let shown = passed + passed * i128::from(self.drift) / 1_000_000;
        Monotonic(self.base + u64::try_from(shown).unwrap_or(0))
    }

    /// The virtual time at which it shows this at the earliest.
    pub(super) fn when(&self, shows: Monotonic) -> u64 {
        let ahead = i128::from(shows.0.saturating_sub(self.base));
        let passed = ahead * 1_000_000 / (1_000_000 + i128::from(self.drift));
        let mut time = self.since + u64::try_from(passed).unwrap_or(0);
        while self.at(time) < shows {
            time += 1;
        }
        time
    }

    /// From now on it runs at another speed.
    pub(super) fn set_drift(&mut self, time: u64, drift: i64) {
        *self = Self { base: self.at(time).0, since: time, drift };
    }
}

/// Nanoseconds of a duration.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_rings_when_it_shows_the_time_and_never_goes_back() {
        for drift in [-90_000, -7, 0, 13, 60_000] {
            let mut clock = Clock::new(5_000, 1_000, drift);
            for wanted in [5_000, 5_001, 123_456, 987_654_321] {
                let time = clock.when(Monotonic(wanted));
                assert!(clock.at(time).0 >= wanted, "{drift} {wanted}");
                assert!(time == 1_000 || clock.at(time - 1).0 <= wanted, "{drift} {wanted}");
            }
            let before = clock.at(1_000_000);
            clock.set_drift(1_000_000, -drift);
            assert_eq!(clock.at(1_000_000), before);
        }
    }
}
