//! Figures of a campaign: what was run and how often things happened, as JSON that parts leave and that adds up; and what the
//! full campaign must have.

use serde_json::{Map, Value};

use super::report::{Count, Totals};

/// Counts of which the full campaign must have [`EACH_MIN`] or more: what is rare and must have been met.
pub const WANTED: &[Count] = &[
    Count::Elections,
    Count::Truncations,
    Count::SnapshotsInterrupted,
    Count::SnapshotsResumed,
    Count::Recycled,
    Count::Stragglers,
    Count::LeaseReads,
    Count::StaleMapsCorrected,
    Count::Quarantines,
    Count::Replayed,
];

/// What lies behind limits that seeds lower, and points that this host takes: see `buggify`. The full campaign must have met
/// each.
pub const POINTS: &[Count] = &[
    Count::TurnsEmpty,
    Count::TurnsCut,
    Count::SourcesHeld,
    Count::FramesRefused,
    Count::CompletionsLate,
    Count::FlushesOnStart,
    Count::HandOvers,
    Count::Transfers,
    Count::AppendsHeld,
    Count::ProposalsRefused,
    Count::WritesGathered,
    Count::AppliesCut,
    Count::ChunksUrgent,
    Count::RequestsRefused,
    Count::ForwardsRefused,
    Count::FramesSplit,
    Count::RequestsAlong,
    Count::RequestsApart,
    Count::WakesPutOff,
    Count::ListingsPutOff,
    Count::GroupsPutOff,
    Count::ExpiresFull,
    Count::SegmentWaits,
];

/// See [`WANTED`].
const EACH_MIN: u64 = 1_000;
const SEEDS_MIN: u64 = 5_000;
const HOURS_MIN: u64 = 1_000;
const MILLIS_OF_HOUR: u64 = 3_600_000;
/// Of so many histories one may be undecided.
const UNDECIDED_OF: u64 = 1_000;

/// Seeds that were run for so long each, of one build.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    commit: String,
    first_seed: u64,
    seeds: u64,
    seconds_each: u64,
}

/// What came of a campaign, or of several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    parts: Vec<Part>,
    /// Seeds with a violation.
    pub broken: u64,
    /// How often things happened.
    pub totals: Totals,
}

impl Figures {
    /// The figures of one campaign; `commit` says of which code.
    #[must_use]
    pub fn new(
        commit: &str,
        seeds: std::ops::Range<u64>,
        seconds_each: u64,
        broken: u64,
        totals: Totals,
    ) -> Self {
        let commit = commit.to_owned();
        let (first_seed, seeds) = (seeds.start, seeds.end.saturating_sub(seeds.start));
        Self { parts: vec![Part { commit, first_seed, seeds, seconds_each }], broken, totals }
    }

    /// Seeds that were run.
    #[must_use]
    pub fn seeds(&self) -> u64 {
        self.parts.iter().map(|part| part.seeds).sum()
    }

    /// Adds other figures to these.
    ///
    /// # Errors
    /// Both hold the same seed of the same length and code, which would count twice.
    pub fn add(&mut self, other: Self) -> Result<(), String> {
        for part in other.parts {
            if let Some(same) = self.parts.iter().find(|known| known.overlaps(&part)) {
                return Err(format!("{part:?} and {same:?} hold the same seeds"));
            }
            self.parts.push(part);
        }
        self.broken += other.broken;
        self.totals.merge(&other.totals);
        Ok(())
    }

    /// What the full campaign lacks, in words; nothing if it is good.
    #[must_use]
    pub fn shortfalls(&self) -> Vec<String> {
        let mut lacks = Vec::new();
        let mut lack = |bad: bool, what: String| lacks.extend(bad.then_some(what));
        let (seeds, broken) = (self.seeds(), self.broken);
        lack(broken > 0, format!("{broken} seeds broke something"));
        lack(seeds < SEEDS_MIN, format!("{seeds} seeds, {SEEDS_MIN} are wanted"));
        let hours = self.totals.of(Count::FaultMillis) / MILLIS_OF_HOUR;
        let what = format!("{hours} simulated hours that count, {HOURS_MIN} are wanted");
        lack(hours < HOURS_MIN, what);
        let undecided = self.totals.of(Count::Undecided);
        let what = format!("{undecided} histories of {seeds} are undecided");
        lack(undecided * UNDECIDED_OF > seeds, what);
        for count in WANTED {
            let (name, happened) = (count.name(), self.totals.of(*count));
            let what = format!("{name}: {happened}, {EACH_MIN} are wanted");
            lack(happened < EACH_MIN, what);
        }
        for count in self.never_met() {
            lack(true, format!("{}: never met", count.name()));
        }
        lacks
    }

    /// The [`POINTS`] that were never met.
    pub fn never_met(&self) -> impl Iterator<Item = Count> {
        POINTS.iter().copied().filter(|count| self.totals.of(*count) == 0)
    }

    /// As one JSON object.
    #[must_use]
    pub fn json(&self) -> String {
        let part = |part: &Part| {
            serde_json::json!({
                "commit": part.commit,
                "first_seed": part.first_seed,
                "seeds": part.seeds,
                "seconds_each": part.seconds_each,
            })
        };
        let named = self.totals.named().map(|(name, count)| (name.to_owned(), count.into()));
        let object = serde_json::json!({
            "parts": self.parts.iter().map(part).collect::<Vec<_>>(),
            "seeds": self.seeds(),
            "broken": self.broken,
            "counts": named.collect::<Map<String, Value>>(),
        });
        format!("{object:#}\n")
    }

    /// Reads what [`Figures::json`] wrote.
    ///
    /// # Errors
    /// It is something else, or has a count that this build does not know.
    pub fn parse(text: &str) -> Result<Self, String> {
        let object: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let parts = object["parts"].as_array().ok_or("it has no parts")?;
        let parts = parts.iter().map(Part::of).collect::<Result<Vec<_>, _>>()?;
        let mut totals = Totals::default();
        for (name, value) in object["counts"].as_object().ok_or("it has no counts")? {
            let value = value.as_u64().ok_or(format!("{name} is no count"))?;
            if !totals.take(name, value) {
                return Err(format!("{name} is counted by another build"));
            }
        }
        Ok(Self { parts, broken: whole(&object, "broken")?, totals })
    }
}

impl Part {
    fn of(object: &Value) -> Result<Self, String> {
        Ok(Self {
            commit: object["commit"].as_str().ok_or("a part has no commit")?.to_owned(),
            first_seed: whole(object, "first_seed")?,
            seeds: whole(object, "seeds")?,
            seconds_each: whole(object, "seconds_each")?,
        })
    }

    fn overlaps(&self, other: &Self) -> bool {
        let run = |part: &Self| (part.commit.clone(), part.seconds_each);
        run(self) == run(other)
            && self.first_seed < other.first_seed + other.seeds
            && other.first_seed < self.first_seed + self.seeds
    }
}

fn whole(object: &Value, name: &str) -> Result<u64, String> {
    object[name].as_u64().ok_or(format!("{name} is no whole number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enough(first: u64) -> Figures {
        let mut totals = Totals::default();
        for count in WANTED {
            totals.set(*count, 500);
        }
        POINTS.iter().for_each(|count| totals.set(*count, 1));
        totals.set(Count::FaultMillis, 500 * MILLIS_OF_HOUR);
        Figures::new("abc", first..first + 2_500, 720, 0, totals)
    }

    #[test]
    fn parts_add_up_through_their_json() {
        let mut sum = Figures::parse(&enough(0).json()).unwrap();
        assert_eq!(sum, enough(0));
        sum.add(Figures::parse(&enough(2_500).json()).unwrap()).unwrap();
        assert_eq!(sum.seeds(), 5_000);
        assert_eq!(sum.shortfalls(), Vec::<String>::new());
        assert!(sum.add(enough(4_999)).is_err(), "seeds count once");
    }

    #[test]
    fn each_rule_of_the_full_campaign_is_kept() {
        let full = || {
            let mut full = enough(0);
            full.add(enough(2_500)).unwrap();
            full
        };
        assert_eq!(enough(0).shortfalls().len(), 2 + WANTED.len());
        for count in WANTED {
            let mut lacking = full();
            lacking.totals.set(*count, 999);
            assert_eq!(lacking.shortfalls().len(), 1, "{count:?}");
        }
        for count in POINTS {
            let mut lacking = full();
            lacking.totals.set(*count, 0);
            assert_eq!(lacking.never_met().collect::<Vec<_>>(), [*count]);
            assert_eq!(lacking.shortfalls().len(), 1, "{count:?}");
        }
        let mut broken = full();
        broken.broken = 1;
        assert_eq!(broken.shortfalls().len(), 1);
        let mut undecided = full();
        undecided.totals.set(Count::Undecided, 5);
        assert_eq!(undecided.shortfalls().len(), 0);
        undecided.totals.set(Count::Undecided, 6);
        assert_eq!(undecided.shortfalls().len(), 1);
    }
}
