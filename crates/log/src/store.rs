//! The log as its users see it: what they hand in, what they are told, what a start gives back.

use std::collections::BTreeMap;
use std::time::Duration;

use ringfort_env::{DiskCompletion, DiskError, DiskRequest, FileName};
use ringfort_types::{Applied, Entry, GroupId, HardState, Index, Monotonic, ReplicaId};

/// A worker, as a source of submissions. Counted from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub u16);

/// Numbers the submissions of one source, from 1, without gaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubmissionId(pub u64);

/// Where a group's log begins: everything up to `applied` stands in the engine's durable generation `generation`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Base {
    /// The position the generation holds.
    pub applied: Applied,
    /// The engine's generation; 0 holds nothing.
    pub generation: u64,
}

/// What one turn of a worker wants written for one group.
#[derive(Clone, Debug)]
pub enum GroupWrite {
    /// The group's founding: an empty log under a replica id never used before on this node.
    Create {
        /// The group.
        group: GroupId,
        /// Its replica.
        replica: ReplicaId,
    },
    /// New hard state, new entries, or both. Entries are contiguous; they follow the last one, or replace everything from
    /// their first index on. They are written before the hard state: where a crash cuts in between, a start gives back the
    /// newest entry's term, and no vote in it. Committed entries are never replaced.
    Append {
        /// The group.
        group: GroupId,
        /// Hard state to keep, if it changed.
        hard_state: Option<HardState>,
        /// Entries, in order.
        entries: Vec<Entry>,
    },
    /// The commit point of a flush or of an installed snapshot: entries up to the base may go. A base beyond the last
    /// entry, or one whose term differs there, empties the log.
    Rebase {
        /// The group.
        group: GroupId,
        /// Its new base.
        base: Base,
    },
    /// The replica is gone for good.
    Drop {
        /// The group.
        group: GroupId,
    },
}

/// Everything one worker's turn wants written: durable as a whole when [`LogEvent::Durable`] names it.
#[derive(Clone, Debug)]
pub struct Submission {
    /// Who.
    pub source: SourceId,
    /// Its number.
    pub id: SubmissionId,
    /// What.
    pub writes: Vec<GroupWrite>,
    /// Client operations that wait for it; the log paces itself by them.
    pub operations: u32,
}

/// How far the log can still be written, whatever the disk says of its free space: a quota, a bound on the size of files
/// or a disk that refuses new files does not show there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Headroom {
    /// Segments are made as they are needed.
    #[default]
    Ample,
    /// The last attempt to make another segment failed. What is left is for what shrinks the data, and for rebases.
    Short,
    /// Next to nothing is left: what is submitted now may wait until another segment can be made.
    Exhausted,
}

/// What the log tells its users.
#[derive(Clone, Debug)]
pub enum LogEvent {
    /// This submission and all earlier ones of its source are durable.
    Durable {
        /// Whose.
        source: SourceId,
        /// Up to which.
        id: SubmissionId,
    },
    /// The log holds more than it should: these groups hold back its oldest segment and should be flushed and rebased.
    WantRebase {
        /// The groups, those that hold back most bytes first.
        groups: Vec<GroupId>,
    },
    /// The headroom has changed. The log goes on trying to make segments by itself.
    Headroom {
        /// What it is now.
        headroom: Headroom,
        /// Why the last segment could not be made, unless it is ample.
        why: Option<DiskError>,
    },
    /// A write or sync failed. Nothing more becomes durable: the process must end without another acknowledgement.
    Failed(DiskError),
}

/// Settings of a log.
#[derive(Clone, Copy, Debug)]
pub struct LogOptions {
    /// Size of a segment file in bytes; a multiple of 4,096, at least 256 KiB. Default 64 MiB.
    pub segment_bytes: u64,
    /// Groups that the log is to hold at most: each segment begins with the state of every one. Default 64.
    pub groups_max: u32,
    /// Beyond this size the log asks for rebases. Default 256 MiB; at least two segments. The host raises it with the data.
    pub log_bytes_target: u64,
    /// Secret of this node, mixed into every checksum, so that no client can write bytes that parse as a batch. Drawn once,
    /// kept in the data directory.
    pub salt: u64,
    /// Longest time that a sync waits for company. 0: never.
    pub sync_delay_max: Duration,
    /// An idle log marks its last batch durable after this time. Default 100 ms.
    pub marker_delay: Duration,
}

/// Counters of a log since its start, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Batches made durable.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of those batches, padding included.
    pub bytes: u64,
    /// Syncs of segments.
    pub syncs: u64,
    /// Segments that were recycled instead of made new.
    pub segments_recycled: u64,
    /// Entries of stragglers rewritten forward.
    pub stragglers_rewritten: u64,
    /// Segments that exist, prepared ones included.
    pub segments: u64,
    /// Bytes from the start of the oldest segment still needed to the end of the newest batch.
    pub live_bytes: u64,
    /// Attempts to prepare, recycle or delete a segment that failed and are made again later; a full disk shows here.
    pub segments_failed: u64,
    /// Batches that had to wait for a segment.
    pub segment_waits: u64,
    /// Bytes that can be written before another segment has to be prepared.
    pub room_bytes: u64,
}

/// What a group lost to damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DamageKind {
    /// Records are missing and nothing proves what they held: the replica may have voted or acknowledged what it no longer
    /// knows.
    HardStateLost,
    /// Hard state is proven; entries in this range of indexes, both inclusive, are lost: those that are missing, and all behind
    /// the first of them.
    EntriesLost {
        /// First index that is lost.
        first: Index,
        /// Last index that is known to have been there.
        last: Index,
    },
}

/// Damage that recovery found before the last proven offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The segment file in which it was found first.
    pub file: FileName,
    /// Where, in bytes.
    pub offset: u64,
    /// What the group lost.
    pub kind: DamageKind,
}

/// A group as a start finds it.
#[derive(Clone, Debug)]
pub struct RecoveredGroup {
    /// Its replica.
    pub replica: ReplicaId,
    /// Its hard state; the newest known one if it is damaged.
    pub hard_state: HardState,
    /// Where its log begins.
    pub base: Base,
    /// Its entries, contiguous from the one after the base. Cut before the first missing one if it is damaged.
    pub entries: Vec<Entry>,
    /// Damage: the replica must neither vote nor acknowledge nor serve. Kept in the log until the group is dropped.
    pub damage: Option<Damage>,
}

/// The whole log as a start finds it.
#[derive(Clone, Debug, Default)]
pub struct RecoveredLog {
    /// Every group that exists.
    pub groups: BTreeMap<GroupId, RecoveredGroup>,
    /// Everything that is wrong, also where no group suffered, one line each with file and offset, for people.
    pub findings: Vec<String>,
    /// Damage may have hidden the very existence of groups: one that is absent here may have been founded, may have voted
    /// and acknowledged. Kept in the log from then on.
    pub groups_may_be_missing: bool,
}

/// A log as a core: submissions and completions in, disk operations and events out. After any input the host executes
/// what [`LogStore::poll_disk`] gives and hands on what [`LogStore::poll_event`] gives, until both give nothing.
pub trait LogStore {
    /// Takes a submission. Never refused: bounds are kept by the workers, each of which has a bounded number of operations
    /// under way.
    fn submit(&mut self, now: Monotonic, submission: Submission);

    /// Takes the end of a disk operation.
    fn handle_disk(&mut self, now: Monotonic, completion: DiskCompletion);

    /// Takes the passing of time; due when [`LogStore::poll_timer`] says.
    fn handle_timer(&mut self, now: Monotonic);

    /// Sets the size beyond which the log asks for rebases.
    fn set_log_bytes_target(&mut self, bytes: u64);

    /// When the log wants [`LogStore::handle_timer`] next.
    fn poll_timer(&self) -> Option<Monotonic>;

    /// The next disk operation to execute.
    fn poll_disk(&mut self) -> Option<DiskRequest>;

    /// The next thing to tell.
    fn poll_event(&mut self) -> Option<LogEvent>;

    /// Counters.
    fn stats(&self) -> LogStats;
}
