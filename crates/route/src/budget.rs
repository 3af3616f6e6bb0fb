//! How many retries there may be: a share of the requests, so that a service in trouble is not buried by its clients.

use ringfort_types::Monotonic;

/// Bounds of retries that cost a server work.
#[derive(Clone, Copy, Debug)]
pub struct BudgetConfig {
    /// Retries per hundred requests. Default: 20.
    pub percent: u32,
    /// Retries that may be saved up, and the number at hand at the start. Default: 100. Those who keep many requests under
    /// way at once choose it near that number, since all of them may fail together.
    pub burst: u32,
    /// Retries per second, whatever the number of requests. Default: 10.
    pub floor_per_second: u32,
}

impl Default for BudgetConfig {
    fn default() -> Self {
        Self { percent: 20, burst: 100, floor_per_second: 10 }
    }
}

/// A bucket of retries. Over any time, no more are taken than `burst`, and `percent` of the requests, and the floor.
#[derive(Clone, Debug)]
pub struct RetryBudget {
    config: BudgetConfig,
    /// Hundredths of a retry.
    saved: u64,
    /// The floor is paid up to here.
    paid: Monotonic,
}

impl RetryBudget {
    /// A full bucket.
    #[must_use]
    pub fn new(now: Monotonic, config: BudgetConfig) -> Self {
        Self { config, saved: u64::from(config.burst) * 100, paid: now }
    }

    /// A request has begun.
    pub fn handle_request(&mut self) {
        self.save(u64::from(self.config.percent));
    }

    /// Takes a retry; false where none is left.
    pub fn take(&mut self, now: Monotonic) -> bool {
        let ms = u64::try_from(now.since(self.paid).as_millis()).unwrap_or(u64::MAX);
        let earned = ms.saturating_mul(u64::from(self.config.floor_per_second)) / 10;
        if earned > 0 {
            self.paid = now;
            self.save(earned);
        }
        match self.saved.checked_sub(100) {
            Some(rest) => {
                self.saved = rest;
                true
            }
            None => false,
        }
    }

    fn save(&mut self, hundredths: u64) {
        let most = u64::from(self.config.burst) * 100;
        self.saved = self.saved.saturating_add(hundredths).min(most);
    }
}
