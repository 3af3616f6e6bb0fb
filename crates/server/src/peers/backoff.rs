//! How long to wait before the next dial.

use std::time::Duration;

/// Doubles from attempt to attempt, and spreads each wait over its upper half, so that nodes that lost the same peer do not
/// come back in step.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(super) const MIN: Duration = Duration::from_millis(50);
    pub(super) const MAX: Duration = Duration::from_secs(2);

    pub(super) fn new() -> Self {
        Self { next: Self::MIN }
    }

    /// The next wait, by a random number.
    pub(super) fn next(&mut self, random: u64) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(Self::MAX);
        let share = u32::try_from(random % 1024).unwrap_or(0);
        whole / 2 + whole / 2 * share / 1024
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_bound_and_are_spread() {
        let mut backoff = Backoff::new();
        let mut whole = Backoff::MIN;
        for random in [0, 1023, u64::MAX, 512, 7, 0, 0, 0] {
            let wait = backoff.next(random);
            assert!(whole / 2 <= wait && wait <= whole, "{wait:?} of {whole:?}");
            whole = (whole * 2).min(Backoff::MAX);
        }
        assert_eq!(backoff.next(0), Backoff::MAX / 2);
        assert_ne!(backoff.next(0), backoff.next(1000));
    }
}
