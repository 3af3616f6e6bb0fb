//! What a run did: counts, a hash, and what it broke.

use std::any::Any;
use std::fmt::Write as _;

use ringfort_raft::Counters;

use super::Violation;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
#[expect(missing_docs, reason = "the names say it, and NAMES says it in words")]
pub enum Count {
    Steps,
    VirtualMillis,
    Proposals,
    Reads,
    ReadsAnswered,
    Elections,
    TermsLed,
    Truncations,
    ChangesBegun,
    ChangesEnded,
    Transfers,
    LeaseReads,
    IndexReads,
    SnapshotsBegun,
    SnapshotsInterrupted,
    SnapshotsResumed,
    SnapshotsInstalled,
    ChunksLost,
    Sleeps,
    Wakes,
    Stalls,
    QuorumsLost,
    LeadersRemoved,
    PairAcks,
    Crashes,
    PowerLosses,
    WritesLost,
    Pauses,
    Partitions,
    MessagesLost,
    Replays,
    Losses,
    LossesRecovered,
    Wipes,
    Promotions,
    Replacements,
    Replaced,
    HealedPercent,
    HealedPercentMax,
}

const COUNTS: usize = Count::HealedPercentMax as usize + 1;

/// Each count in words, and how many of it a thousand seeds have at the least; 0 where it does not matter.
const NAMES: [(&str, u64); COUNTS] = [
    ("steps", 0),
    ("virtual_millis", 0),
    ("proposals", 1000),
    ("reads", 1000),
    ("reads_answered", 1000),
    ("elections", 1000),
    ("terms_led", 1000),
    ("conflicts_truncated", 200),
    ("joint_changes_begun", 500),
    ("joint_changes_ended", 500),
    ("transfers", 100),
    ("lease_reads", 500),
    ("index_reads", 500),
    ("snapshots_begun", 500),
    ("snapshots_interrupted", 50),
    ("snapshots_resumed", 50),
    ("snapshots_installed", 200),
    ("snapshot_chunks_lost", 50),
    ("sleeps", 100),
    ("wakes", 100),
    ("stalled_leaders", 20),
    ("quorums_lost", 100),
    ("leaders_removed", 50),
    ("pair_acknowledgements", 1000),
    ("process_crashes", 500),
    ("power_losses", 500),
    ("writes_lost", 100),
    ("pauses", 200),
    ("partitions", 500),
    ("messages_lost", 1000),
    ("replayed_messages", 500),
    ("disks_that_lost_entries", 50),
    ("lost_entries_recovered", 30),
    ("disks_wiped", 20),
    ("learners_promoted", 100),
    ("replacements_promoted", 20),
    ("damaged_replicas_removed", 10),
    ("healed_percent_of_election_timeout", 0),
    ("healed_percent_of_election_timeout_max", 0),
];

/// Counts of one run or of many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Totals([u64; COUNTS]);

impl Default for Totals {
    fn default() -> Self {
        Self([0; COUNTS])
    }
}

impl Totals {
    /// A count.
    #[must_use]
    pub fn of(&self, count: Count) -> u64 {
        self.0[count as usize]
    }

    pub(super) fn add(&mut self, count: Count, by: u64) {
        self.0[count as usize] += by;
    }

    pub(super) fn highest(&mut self, count: Count, value: u64) {
        self.0[count as usize] = self.0[count as usize].max(value);
    }

    /// Adds the counts of another run.
    pub fn merge(&mut self, other: &Self) {
        for (at, value) in other.0.iter().enumerate() {
            if at == Count::HealedPercentMax as usize {
                self.0[at] = self.0[at].max(*value);
            } else {
                self.0[at] += value;
            }
        }
    }

    pub(super) fn gather(&mut self, counters: &Counters) {
        for (count, by) in [
            (Count::Elections, counters.elections),
            (Count::TermsLed, counters.terms_led),
            (Count::Truncations, counters.truncations),
            (Count::ChangesBegun, counters.changes_begun),
            (Count::ChangesEnded, counters.changes_ended),
            (Count::Transfers, counters.transfers),
            (Count::LeaseReads, counters.reads_by_lease),
            (Count::IndexReads, counters.reads_by_round),
            (Count::SnapshotsBegun, counters.snapshots_begun),
            (Count::SnapshotsResumed, counters.snapshots_resumed),
            (Count::SnapshotsInstalled, counters.snapshots_installed),
            (Count::Sleeps, counters.sleeps),
            (Count::Wakes, counters.wakes),
            (Count::Stalls, counters.stalls),
            (Count::QuorumsLost, counters.lost_quorum),
            (Count::LeadersRemoved, counters.removals),
        ] {
            self.add(count, by);
        }
    }

    /// The counts of which so many seeds had too few: what was hardly tested.
    #[must_use]
    pub fn rare(&self, seeds: u64) -> Vec<&'static str> {
        let few = |(at, (_, least)): &(usize, &(&str, u64))| self.0[*at] < least * seeds / 1000;
        NAMES.iter().enumerate().filter(few).map(|(_, (name, _))| *name).collect()
    }

    /// The counts, one to a line.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        for ((name, _), value) in NAMES.iter().zip(self.0) {
            let _ = writeln!(out, "{name:<40} {value:>14}");
        }
        out
    }

    /// The counts as members of a JSON object.
    #[must_use]
    pub fn json(&self) -> String {
        let member = |((name, _), value): (&(&str, u64), u64)| format!("\"{name}\":{value}");
        NAMES.iter().zip(self.0).map(member).collect::<Vec<_>>().join(",")
    }
}

/// What came of one seed.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Which.
    pub seed: u64,
    /// What was found broken, if anything.
    pub violation: Option<Violation>,
    /// Over all that happened.
    pub hash: u64,
    /// Steps of both phases.
    pub steps: u64,
    /// What happened how often.
    pub totals: Totals,
}

/// A panic as a violation: of an invariant if it names one.
pub(super) fn of_panic(panic: &(dyn Any + Send)) -> Violation {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("of no known kind");
    let name = if text.contains("raft: ") { "invariant" } else { "panic" };
    Violation { name, what: text.to_owned() }
}
