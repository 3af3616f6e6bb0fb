//! When commands that are queued are proposed: a pure policy.
//!
//! An entry costs a record on every replica and a share of frames, turns and syncs, however little it holds. With few commands
//! under way, one that comes is proposed at once: there is no company to wait for. With many, those who are answered next are
//! about to come back with their next commands, and the logs are busy meanwhile: commands wait until as many are together as
//! are under way, or those under way are applied, and for a short time at most (hosts whose timers count whole milliseconds
//! make it up to two). So the commands of many clients move through the cluster together.
//!
//! Measured, three nodes, two cores, medians of five interleaved rounds, with and without: at 64 connections 58.2 and 62.7 µs
//! CPU a put, 0.91 and 1.10 frames; at 256, 36.2 and 36.7 µs, 0.30 and 0.40 frames; at 16 and fewer no difference.

use std::time::Duration;

use ringfort_types::Monotonic;

/// The longest wait for company.
const WAIT_MAX: Duration = Duration::from_millis(1);

/// What is known of those that wait.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Company {
    until: Option<Monotonic>,
}

impl Company {
    /// Whether what is queued should wait. `few`: with no more than so many proposed, it never does.
    pub(crate) fn is_awaited(
        &mut self,
        now: Monotonic,
        queued: usize,
        proposed: usize,
        few: usize,
    ) -> bool {
        if queued == 0 || proposed <= few || queued >= proposed {
            self.until = None;
            return false;
        }
        let until = *self.until.get_or_insert(now + WAIT_MAX);
        if now >= until {
            self.until = None;
        }
        now < until
    }

    /// When the wait ends at the latest, if there is one.
    pub(crate) fn until(&self) -> Option<Monotonic> {
        self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FEW: usize = 8;
    const START: Monotonic = Monotonic(1_000_000);

    #[test]
    fn nobody_waits_while_few_are_under_way() {
        let mut company = Company::default();
        for proposed in 0..=FEW {
            assert!(!company.is_awaited(START, 1, proposed, FEW), "{proposed}");
        }
        assert!(!company.is_awaited(START, 0, 100, FEW), "nobody is there to wait");
        assert_eq!(company.until(), None);
    }

    #[test]
    fn as_many_as_are_under_way_wait_no_longer() {
        let mut company = Company::default();
        assert!(company.is_awaited(START, 19, 20, FEW));
        assert!(!company.is_awaited(START, 20, 20, FEW));
        assert!(company.is_awaited(START, 12, 20, FEW));
        assert!(!company.is_awaited(START, 12, FEW, FEW), "those under way were answered");
    }

    #[test]
    fn a_wait_ends_by_itself_and_the_next_one_is_as_long() {
        let mut company = Company::default();
        let mut now = START;
        for _ in 0..3 {
            assert!(company.is_awaited(now, 1, 100, FEW));
            assert_eq!(company.until(), Some(now + WAIT_MAX));
            assert!(
                company.is_awaited(now + WAIT_MAX / 2, 2, 100, FEW),
                "others do not prolong it"
            );
            now = now + WAIT_MAX;
            assert!(!company.is_awaited(now, 3, 100, FEW));
        }
    }
}
