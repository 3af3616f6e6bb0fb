//! The largest version known by a moment.

/// Versions by the moment they became known, as a staircase.
#[derive(Default)]
pub(super) struct Floor {
    /// Moments and the largest version known by then; both rise.
    steps: Vec<(u64, u64)>,
}

impl Floor {
    /// From (moment, version), in any order.
    pub(super) fn new(known: impl Iterator<Item = (u64, u64)>) -> Self {
        let mut steps: Vec<_> = known.collect();
        steps.sort_unstable();
        let mut largest = 0;
        for step in &mut steps {
            largest = largest.max(step.1);
            step.1 = largest;
        }
        Self { steps }
    }

    /// The largest version known before this moment; 0 if none was.
    pub(super) fn at(&self, moment: u64) -> u64 {
        let before = self.steps.partition_point(|(known, _)| *known < moment);
        before.checked_sub(1).map_or(0, |last| self.steps[last].1)
    }
}
