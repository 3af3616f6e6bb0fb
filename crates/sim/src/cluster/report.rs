//! What a run did: counts, a hash, and what it broke.

use std::any::Any;
use std::fmt;
use std::fmt::Write as _;

use ringfort_log::LogStats;
use ringfort_node::{ShardSummary, WorkerStats};
use ringfort_raft::{PeerStatus, Sending};

use super::network::NetworkCounts;
use super::node::{ClusterNode, Reply};

/// A property that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The property.
    pub name: &'static str,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.what)
    }
}

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// What is counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        pub enum Count {
            $($(#[$doc])* $name,)*
        }

        const NAMES: &[&str] = &[$($text),*];

        impl Count {
            /// Every count.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Its name in texts and in JSON.
            #[must_use]
            pub fn name(self) -> &'static str {
                NAMES[self as usize]
            }
        }
    };
}

counts! {
    /// Events of the simulation.
    Events = "events",
    /// Simulated time, in milliseconds: under faults and healed.
    VirtualMillis = "virtual_millis",
    /// That part of it which was under faults and with 50 or more operations a second.
    FaultMillis = "fault_millis",
    /// Operations that clients began.
    Operations = "operations",
    /// Requests they sent for that.
    Requests = "requests",
    /// Operations in the histories that were checked.
    OperationsChecked = "operations_checked",
    /// Writes acknowledged.
    Acknowledged = "acknowledged_writes",
    /// Writes of unknown outcome.
    Unknown = "unknown_writes",
    /// Listings that came to their end.
    Listings = "listings",
    /// Pages of listings.
    Pages = "pages_listed",
    /// Histories that the checker gave up.
    Undecided = "histories_undecided",
    /// Votes asked for.
    Elections = "elections",
    /// Terms led.
    TermsLed = "terms_led",
    /// Uncommitted entries replaced.
    Truncations = "conflicts_truncated",
    /// Reads by lease.
    LeaseReads = "lease_reads",
    /// Reads by a round of heartbeats.
    IndexReads = "index_reads",
    /// Snapshots begun for a follower.
    SnapshotsBegun = "snapshots_begun",
    /// Snapshots on their way as the process at one end of it ended, or its machine.
    SnapshotsInterrupted = "snapshots_interrupted",
    /// Snapshots that went on where they had stopped.
    SnapshotsResumed = "snapshots_resumed",
    /// Snapshots installed.
    SnapshotsInstalled = "snapshots_installed",
    /// Leaderships given up as the disk stalled.
    StalledLeaders = "stalled_leaders",
    /// Leaderships given up for want of a quorum.
    QuorumsLost = "quorums_lost",
    /// Answers given from the memory of retries.
    Replayed = "retries_answered_from_the_table",
    /// Segments of the log recycled.
    Recycled = "segments_recycled",
    /// Entries of stragglers rewritten.
    Stragglers = "stragglers_rewritten",
    /// Stores flushed.
    Flushes = "flushes",
    /// Flushes given up.
    FlushesFailed = "flushes_failed",
    /// Replicas found damaged at a start, and closed; each counted once.
    Quarantines = "quarantines",
    /// Replicas that the catalog took for damaged, and that a later start found whole.
    WellAgain = "replicas_well_again",
    /// Requests sent by an older map that came back, and were then served.
    StaleMapsCorrected = "stale_maps_corrected",
    /// Answers that a replica does not lead, from nodes with a newer map.
    StaleMaps = "stale_maps_told",
    /// Replicas that another one replaced.
    Replaced = "replicas_replaced",
    /// Learners that became voters.
    Promoted = "learners_promoted",
    /// Damaged nodes that had everything again.
    Mended = "nodes_mended",
    /// Records that the catalog applied.
    CatalogRecords = "catalog_records_applied",
    /// Maps that nodes gave their workers.
    MapsSpread = "maps_spread",
    /// Looks at which nodes had maps of different epochs.
    EpochsDiffered = "looks_at_different_epochs",
    /// Copies of the catalog written to disk.
    CatalogsSaved = "catalog_files_written",
    /// Starts that found one.
    CatalogsFound = "catalog_files_found",
    /// Starts that found none, or none that can be used.
    CatalogsMissed = "catalog_files_missed",
    /// Replicas that a start found to have lost entries, and that vote again once they have them.
    EntriesLost = "replicas_that_lost_entries",
    /// Requests whose time passed at a node.
    Timeouts = "timeouts",
    /// Processes started.
    Starts = "starts",
    /// Starts that did not come to an end.
    StartsStruck = "starts_struck",
    /// Processes that crashed.
    Crashes = "process_crashes",
    /// Machines that lost their power.
    PowerLosses = "power_losses",
    /// Processes paused.
    Pauses = "pauses",
    /// Partitions.
    Partitions = "partitions",
    /// Leaders deposed while they may hold a lease.
    Coups = "coups",
    /// Connections cut.
    Cuts = "connections_cut",
    /// Frames delivered.
    Frames = "frames_delivered",
    /// Frames lost.
    FramesLost = "frames_lost",
    /// Frames that no connection took.
    FramesUnsent = "frames_unsent",
    /// Frames doubled.
    FramesDoubled = "frames_doubled",
    /// Frames overtaken by later ones.
    FramesOvertaken = "frames_overtaken",
    /// Lanes of disks that stalled.
    Stalls = "disk_stalls",
    /// Disks that were full for a while.
    FullDisks = "full_disks",
    /// Places of what had been synced that were struck; of these:
    Damages = "damaged_places",
    /// Bits flipped.
    BitsFlipped = "bits_flipped",
    /// Sectors that hold zeros.
    SectorsLost = "sectors_lost",
    /// Sectors that hold what belongs elsewhere.
    SectorsMisdirected = "sectors_misdirected",
    /// Places that could not be read for a while.
    Unreadable = "places_unreadable",
    /// Turns that took nothing of what waited for them.
    TurnsEmpty = "turns_that_took_nothing",
    /// Turns that took a part of what waited for them.
    TurnsCut = "turns_that_took_a_part",
    /// Turns that heard nothing of a source that had something to say.
    SourcesHeld = "sources_held_back",
    /// Frames refused by connections that could have taken them.
    FramesRefused = "frames_refused",
    /// Operations of disks whose end was heard of late.
    CompletionsLate = "completions_late",
    /// Processes that flushed as another one started.
    FlushesOnStart = "flushes_on_a_start",
    /// Processes that were to hand over what they lead.
    HandOvers = "hand_overs",
    /// Leaders that handed their leadership over.
    Transfers = "leaders_that_handed_over",
    /// Looks of leaders that found too much under way to a follower.
    AppendsHeld = "appends_held",
    /// Proposals refused, as too much was not committed.
    ProposalsRefused = "proposals_refused",
    /// Looks of replicas that found too many writes under way.
    WritesGathered = "writes_gathered",
    /// Parts of what was committed that were applied before the rest was handed out.
    AppliesCut = "applies_cut",
    /// Chunks of snapshots that went before their time, as the log behind them was nearly too long.
    ChunksUrgent = "chunks_urgent",
    /// Requests refused by the admission of a worker.
    RequestsRefused = "requests_refused",
    /// Requests refused as too many were under way to other nodes.
    ForwardsRefused = "forwards_refused",
    /// Frames that were full before a turn was over.
    FramesSplit = "frames_split",
    /// Frames with requests that went on the connection for consensus.
    RequestsAlong = "requests_along",
    /// Those that went on their own.
    RequestsApart = "requests_apart",
    /// Ticks that left sleeping groups to be woken later.
    WakesPutOff = "wakes_put_off",
    /// Turns that left a listing to be gone on with.
    ListingsPutOff = "listings_put_off",
    /// Turns that left groups to the next one, having applied as much as one may.
    GroupsPutOff = "groups_put_off",
    /// Expire commands that named as many keys as one may.
    ExpiresFull = "expires_full",
    /// Batches of the log that waited for a segment.
    SegmentWaits = "segment_waits",
    /// Time from the end of faults until all was well, in milliseconds.
    HealMillis = "heal_millis",
    /// The longest of those.
    HealMillisMax = "heal_millis_max",
}

/// Counts of one run or of many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Totals([u64; NAMES.len()]);

impl Default for Totals {
    fn default() -> Self {
        Self([0; NAMES.len()])
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

    pub(super) fn set(&mut self, count: Count, value: u64) {
        self.0[count as usize] = value;
    }

    /// Each count by its name.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
        NAMES.iter().copied().zip(self.0)
    }

    /// Takes a count by its name. Gives whether there is such a one.
    pub fn take(&mut self, name: &str, value: u64) -> bool {
        let at = NAMES.iter().position(|known| *known == name);
        at.map(|at| self.0[at] = value).is_some()
    }

    /// Adds the counts of another run.
    pub fn merge(&mut self, other: &Self) {
        for (at, value) in other.0.iter().enumerate() {
            if at == Count::HealMillisMax as usize {
                self.0[at] = self.0[at].max(*value);
            } else {
                self.0[at] += value;
            }
        }
    }

    pub(super) fn count_reply(&mut self, reply: &Reply) {
        let replayed = match &reply.results {
            Ok(results) => results
                .iter()
                .filter(|result| match result {
                    Ok(answered) => answered.replayed,
                    Err(refusal) => refusal.replayed,
                })
                .count(),
            Err(refusal) => usize::from(refusal.replayed),
        };
        self.add(Count::Replayed, replayed as u64);
    }

    pub(super) fn count_shards(&mut self, shards: &[ShardSummary]) {
        for status in shards.iter().filter_map(|shard| shard.status.as_ref()) {
            let counters = &status.raft.counters;
            for (count, by) in [
                (Count::Elections, counters.elections),
                (Count::TermsLed, counters.terms_led),
                (Count::Truncations, counters.truncations),
                (Count::LeaseReads, counters.reads_by_lease),
                (Count::IndexReads, counters.reads_by_round),
                (Count::SnapshotsBegun, counters.snapshots_begun),
                (Count::SnapshotsResumed, counters.snapshots_resumed),
                (Count::SnapshotsInstalled, counters.snapshots_installed),
                (Count::StalledLeaders, counters.stalls),
                (Count::QuorumsLost, counters.lost_quorum),
                (Count::Transfers, counters.transfers),
                (Count::AppendsHeld, counters.appends_held),
                (Count::ProposalsRefused, counters.proposals_refused),
                (Count::WritesGathered, counters.writes_gathered),
                (Count::AppliesCut, counters.applies_cut),
                (Count::ExpiresFull, status.expires_full),
            ] {
                self.add(count, by);
            }
        }
    }

    /// Counts the snapshots that the end of a process cuts off.
    pub(super) fn count_interrupted(&mut self, shards: &[ShardSummary]) {
        for status in shards.iter().filter_map(|shard| shard.status.as_ref()) {
            let sends = |peer: &&PeerStatus| matches!(peer.sending, Sending::Snapshot { offset, .. } if offset > 0);
            let sent = status.raft.peers.iter().filter(sends).count();
            let received = usize::from(status.raft.staged.is_some_and(|bytes| bytes > 0));
            self.add(Count::SnapshotsInterrupted, (sent + received) as u64);
        }
    }

    pub(super) fn count_process(&mut self, log: &LogStats, workers: &[WorkerStats]) {
        self.add(Count::Recycled, log.segments_recycled);
        self.add(Count::Stragglers, log.stragglers_rewritten);
        self.add(Count::SegmentWaits, log.segment_waits);
        for stats in workers {
            self.add(Count::Flushes, stats.flushes);
            self.add(Count::FlushesFailed, stats.flushes_failed);
            self.add(Count::Timeouts, stats.timeouts);
            self.add(Count::ChunksUrgent, stats.chunks_urgent);
            self.add(Count::RequestsRefused, stats.refused);
            self.add(Count::FramesSplit, stats.frames_split);
            self.add(Count::WakesPutOff, stats.wakes_put_off);
            self.add(Count::ListingsPutOff, stats.listings_put_off);
            self.add(Count::GroupsPutOff, stats.groups_put_off);
        }
    }

    pub(super) fn count_member(&mut self, process: &ClusterNode) {
        self.add(Count::MapsSpread, process.maps_spread);
        self.add(Count::CatalogsSaved, process.catalog_files());
        for stats in process.forward_stats() {
            self.add(Count::StaleMaps, stats.stale_maps);
            self.add(Count::StaleMapsCorrected, stats.stale_maps_corrected);
            self.add(Count::ForwardsRefused, stats.refused);
        }
    }

    pub(super) fn count_network(&mut self, counts: &NetworkCounts) {
        self.add(Count::Frames, counts.delivered);
        self.add(Count::FramesLost, counts.lost);
        self.add(Count::FramesUnsent, counts.unsent);
        self.add(Count::FramesDoubled, counts.doubled);
        self.add(Count::FramesOvertaken, counts.overtaken);
        self.add(Count::Cuts, counts.cuts);
    }

    /// The counts, one to a line.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        for (name, value) in NAMES.iter().zip(self.0) {
            let _ = writeln!(out, "{name:<40} {value:>14}");
        }
        out
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
    /// What happened how often.
    pub totals: Totals,
    /// What clients asked and were told.
    pub history: Vec<ringfort_check::Event>,
}

/// A panic as a violation.
pub(super) fn of_panic(panic: &(dyn Any + Send)) -> Violation {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("of no known kind");
    Violation { name: "panic", what: text.to_owned() }
}
