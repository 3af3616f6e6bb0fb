//! What happens seldom in production, often: limits so low that they are reached, and turns of a host that it may take at any
//! time and hardly ever takes.
//!
//! - *Limits* are plain data in the settings of the cores; a seed has each of them as production has it, or low.
//! - *Points* are places in this host. A seed has each of them or not, with a chance of its own. Nothing that a point does is a
//!   fault: it needs no excuse, and nothing may come of it.
//!
//! Both are drawn from a stream beside the run's own, so that what a seed chose before there were any stays as it was; one seed
//! in four has none. What was met is counted: what never is shows as 0.
//!
//! # Sources
//! FoundationDB's BUGGIFY and its randomized knobs (Zhou et al., "FoundationDB: A Distributed Unbundled Transactional Key Value
//! Store", 2021, section 4), without its macro: see `docs/rfd/0006-buggify-by-parameters.md`.

use ringfort_env::{DiskCompletion, Lane};
use ringfort_types::GroupId;

use super::Run;
use super::mix::{MILLI, Mix};
use super::node::{Look, Source};
use super::queue::Event;
use super::report::{Count, Violation};
use crate::Random;

/// Sets its stream apart from the run's.
const STREAM: u64 = 0x6275_6767_6966_7921;
/// Chances are of this.
const OF: u64 = 1024;

/// A place where this host may do what is seldom done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Point {
    /// A thread takes nothing of what waits for it.
    TurnEmpty,
    /// A thread takes only a part of it.
    TurnCut,
    /// A thread hears nothing of one source in a turn: another order between sources.
    SourceHeld,
    /// A connection takes no frame just now.
    FrameRefused,
    /// A disk operation has ended, and whoever asked for it hears of that late.
    CompletionLate,
    /// All other nodes flush as a node starts: where the log behind a flush is not kept, it gets snapshots.
    FlushOnStart,
    /// A node hands over all that it leads.
    HandOver,
}

impl Point {
    const ALL: [Self; 7] = [
        Self::TurnEmpty,
        Self::TurnCut,
        Self::SourceHeld,
        Self::FrameRefused,
        Self::CompletionLate,
        Self::FlushOnStart,
        Self::HandOver,
    ];

    /// The greatest chance of it, of [`OF`] each time that it may happen.
    fn chance_max(self) -> u64 {
        match self {
            Self::TurnEmpty | Self::TurnCut | Self::SourceHeld => 200,
            Self::FrameRefused => 30,
            Self::CompletionLate => 60,
            Self::FlushOnStart => OF,
            // Asked at each tick of a node.
            Self::HandOver => 4,
        }
    }
}

/// What of it a seed has.
#[derive(Clone, Debug)]
pub(super) struct Buggify {
    random: Random,
    any: bool,
    /// By point, of [`OF`]; 0: never.
    chances: [u64; Point::ALL.len()],
}

impl Buggify {
    /// What a seed has.
    pub(super) fn choose(seed: u64) -> Self {
        let mut random = Random::new(seed ^ STREAM);
        let any = !random.one_in(4);
        let mut chances = [0; Point::ALL.len()];
        for point in Point::ALL.into_iter().filter(|_| any) {
            if random.one_in(2) {
                chances[point as usize] = random.between(1, point.chance_max());
            }
        }
        Self { random, any, chances }
    }

    /// Lowers limits, half of them, to where a small cluster reaches them.
    pub(super) fn lower(&mut self, mix: &mut Mix) {
        if !self.any {
            return;
        }
        let settings = &mut mix.settings;
        self.perhaps(&mut settings.inflight_bytes_max, |random| 1 << random.between(0, 12));
        self.perhaps(&mut settings.uncommitted_bytes_max, |random| 1 << random.between(7, 12));
        self.perhaps(&mut settings.apply_bytes_max, |random| 1 << random.between(0, 12));
        self.perhaps(&mut settings.catch_up_bytes, |random| 1 << random.between(10, 18));
        self.perhaps(&mut settings.writes_in_flight_max, |random| 1 << random.between(0, 2));
        self.perhaps(&mut mix.requests_max, |random| 4 + random.index(16));
        self.perhaps(&mut mix.unapplied_bytes_max, |random| 1 << random.between(9, 13));
        let limits = &mut mix.limits;
        self.perhaps(&mut limits.frame_bytes_target, |random| 1 << random.between(6, 12));
        self.perhaps(&mut limits.wakes_per_tick, |random| 1 + random.index(2));
        self.perhaps(&mut limits.listing_units_per_turn, |random| 1 + random.index(24));
        self.perhaps(&mut limits.expire_keys_max, |random| 1 + random.index(3));
        self.perhaps(&mut limits.apply_bytes_per_turn, |random| 1 << random.between(0, 12));
        self.perhaps(&mut mix.along_bytes_max, |random| random.index(1024));
    }

    fn perhaps(&mut self, limit: &mut usize, low: impl Fn(&mut Random) -> usize) {
        if self.random.one_in(2) {
            *limit = low(&mut self.random);
        }
    }
}

impl Run {
    /// Whether a point is taken now.
    pub(super) fn takes(&mut self, point: Point) -> bool {
        let chance = self.buggify.chances[point as usize];
        !self.healed && chance > 0 && self.buggify.random.below(OF) < chance
    }

    /// What a thread finds in this turn of what waits for it.
    pub(super) fn look_of_turn(&mut self) -> Look {
        if self.takes(Point::TurnEmpty) {
            return Look::Part(0);
        }
        if self.takes(Point::TurnCut) {
            return Look::Part(1 + self.buggify.random.index(15));
        }
        match self.takes(Point::SourceHeld) {
            true => Look::Without(Source::ALL[self.buggify.random.index(Source::ALL.len())]),
            false => Look::All,
        }
    }

    /// Counts what such a turn took, and what it left.
    pub(super) fn count_look(&mut self, look: Look, taken: usize, left: usize) {
        let count = match look {
            Look::All => return,
            _ if left == 0 => return,
            Look::Part(_) if taken == 0 => Count::TurnsEmpty,
            Look::Part(_) => Count::TurnsCut,
            Look::Without(_) => Count::SourcesHeld,
        };
        self.totals.add(count, 1);
    }

    /// Whether a connection refuses a frame that it could take.
    pub(super) fn refuses_frame(&mut self) -> bool {
        let refuses = self.takes(Point::FrameRefused);
        self.totals.add(Count::FramesRefused, refuses.into());
        refuses
    }

    /// How long nobody hears of the end of an operation that has ended; 0: no time. On the background lane it may be so long
    /// that the log comes to the end of what is prepared for it.
    pub(super) fn completion_waits(&mut self, lane: Lane) -> u64 {
        if !self.takes(Point::CompletionLate) {
            return 0;
        }
        self.totals.add(Count::CompletionsLate, 1);
        let most = if lane == Lane::Log { 100 * MILLI } else { 2_000 * MILLI };
        self.buggify.random.between(MILLI, most)
    }

    /// The end of an operation that was late is heard of.
    pub(super) fn hear_late(
        &mut self,
        node: usize,
        boot: u64,
        lane: Lane,
        completion: DiskCompletion,
    ) -> Result<(), Violation> {
        if self.machines[node].boot != boot {
            return Ok(());
        }
        self.machines[node].busy[usize::from(lane == Lane::Background)] = false;
        self.hand_completion(node, lane, Some(completion))
    }

    /// A node has started.
    pub(super) fn flush_others(&mut self, node: usize) {
        if !self.takes(Point::FlushOnStart) {
            return;
        }
        let groups: Vec<_> = (0..=self.mix.shards).map(GroupId).collect();
        for other in (0..self.mix.nodes).filter(|other| *other != node) {
            let Some(process) = &mut self.machines[other].process else { continue };
            process.want_flush(&groups);
            self.totals.add(Count::FlushesOnStart, 1);
            self.plan_turns(other);
        }
    }

    /// A node's tick.
    pub(super) fn hand_over(&mut self, node: usize) {
        if self.takes(Point::HandOver)
            && let Some(process) = &mut self.machines[node].process
        {
            process.want_hand_over();
            self.totals.add(Count::HandOvers, 1);
            self.note(|| format!("node {node} hands over what it leads"));
        }
    }

    /// An operation that was put off is planned: see [`Run::completion_waits`].
    pub(super) fn plan_late(
        &mut self,
        node: usize,
        lane: Lane,
        wait: u64,
        completion: DiskCompletion,
    ) {
        let machine = &mut self.machines[node];
        machine.busy[usize::from(lane == Lane::Background)] = true;
        let boot = machine.boot;
        self.queue.push(self.now + wait, Event::Late { node, boot, lane, completion });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_seeds_chose_before_stays_and_each_limit_and_point_is_somewhere() {
        let mut plain = 0;
        let mut chances = [0; Point::ALL.len()];
        let mut lowered = [false; 13];
        for seed in 0..100 {
            let usual = Mix::choose(&mut Random::new(seed));
            let mut mix = usual.clone();
            let mut buggify = Buggify::choose(seed);
            buggify.lower(&mut mix);
            plain += usize::from(!buggify.any);
            for (sum, chance) in chances.iter_mut().zip(buggify.chances) {
                *sum += chance;
            }
            let (before, after) = (limits_of(&usual), limits_of(&mix));
            for (at, (before, after)) in before.iter().zip(after).enumerate() {
                lowered[at] |= *before != after;
                assert!(buggify.any || *before == after, "seed {seed}");
            }
            let Mix {
                settings, requests_max, unapplied_bytes_max, limits, along_bytes_max, ..
            } = usual;
            let rest =
                Mix { settings, requests_max, unapplied_bytes_max, limits, along_bytes_max, ..mix };
            let again = Mix::choose(&mut Random::new(seed));
            assert_eq!(format!("{rest:?}"), format!("{again:?}"), "seed {seed}");
        }
        assert!((10..50).contains(&plain), "{plain} seeds have none");
        assert!(chances.iter().all(|sum| *sum > 0), "{chances:?}");
        assert_eq!(lowered, [true; 13]);
    }

    fn limits_of(mix: &Mix) -> [usize; 13] {
        let (settings, limits) = (&mix.settings, &mix.limits);
        [
            settings.inflight_bytes_max,
            settings.uncommitted_bytes_max,
            settings.apply_bytes_max,
            settings.catch_up_bytes,
            settings.writes_in_flight_max,
            mix.requests_max,
            mix.unapplied_bytes_max,
            limits.frame_bytes_target,
            limits.wakes_per_tick,
            limits.listing_units_per_turn,
            limits.expire_keys_max,
            limits.apply_bytes_per_turn,
            mix.along_bytes_max,
        ]
    }
}
