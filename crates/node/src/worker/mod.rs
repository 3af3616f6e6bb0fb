//! One worker: the shards it owns, over one engine, and the requests under way on them.
//!
//! The host hands in requests and words of durability, then calls [`Worker::poll`] once for the turn: everything enqueued
//! becomes one entry per shard and one submission to the log; everything committed is applied and answered.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use ringfort_engine::{Generation, StorageEngine, StoreSize};
use ringfort_env::DiskError;
use ringfort_log::{Headroom, SourceId, Submission, SubmissionId};
use ringfort_raft::{Configuration, PersistId};
use ringfort_replica::{Load, MachineError, Replica, Ticket};
use ringfort_route::BudgetConfig;
use ringfort_types::request::{Answered, Done, Got};
use ringfort_types::{
    BootId, Code, Epoch, GroupId, Key, Monotonic, NodeNumber, Refusal, ReplicaId, ShardId,
};

use answers::{Gatherings, Waiter};
use flush::Record;
use install::Installing;
pub use lifecycle::LifecycleError;
pub(crate) use lifecycle::{Making, Restoring};
use list::Asked;
use stale::StaleReads;

use crate::checkpoint::Checkpoints;
use crate::company::Company;
use crate::control::ClusterMap;
use crate::forward::{ForwardConfig, Forwarder};
use crate::guard::NodeGuards;
use crate::limits::WorkerLimits;
use crate::outbox::Outbox;
use crate::pace::Pace;
use crate::pairs::Pairs;
use crate::pending::{Pending, Replied, Response};
use crate::rooms::Rooms;

mod answers;
mod batch;
pub(crate) mod catalog;
mod flush;
mod hand_over;
mod install;
mod leads;
mod lifecycle;
mod list;
mod pairs;
mod peer_requests;
mod peers;
mod requests;
mod room;
mod stale;
mod status;
mod turn;

/// A shard that has had no leader for so many election timeouts has no quorum: an election takes one and a half.
const LEADERLESS_TIMEOUTS: u32 = 3;

/// Settings of a worker.
#[derive(Clone, Copy, Debug)]
pub struct WorkerConfig {
    /// This worker, as a source of submissions.
    pub source: SourceId,
    /// This node.
    pub node: NodeNumber,
    /// Workers of the node. Shard `s` belongs to worker `s % workers`.
    pub workers: u16,
    /// This start of the node.
    pub boot: BootId,
    /// Shards of the cluster.
    pub shards: u32,
    /// Requests under way at most; more are refused as `overloaded`.
    pub requests_max: usize,
    /// Bytes of remembered answers per shard at most; keyed writes beyond are refused as `overloaded`.
    pub retry_bytes_max: u64,
    /// Bytes of commands queued, or proposed and not applied, at most; more are refused as `overloaded`. Counts what a
    /// stalled disk leaves behind when those who waited have gone.
    pub unapplied_bytes_max: usize,
    /// Bytes of values that the answer to one batch may hold.
    pub answer_bytes_max: usize,
    /// An entry that has grown to this size, in bytes, takes no further command.
    pub payload_bytes_target: usize,
    /// With no more commands than this under way, none waits for company.
    pub company_min: usize,
    /// Bytes of snapshots that this worker sends a second at most, on average; zero: no bound.
    pub snapshot_bytes_per_second: u64,
    /// How much is done at once.
    pub limits: WorkerLimits,
    /// The node's checks; all, but in tests.
    pub guards: NodeGuards,
}

/// Why a worker cannot go on: the process must end.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// A sync of the engine failed.
    #[error("an engine's disk failed; nothing more may be acknowledged")]
    Disk(#[from] DiskError),
}

/// What a read gives at once.
#[derive(Debug)]
pub enum GetAnswer {
    /// The answer.
    Now(Result<Got, Refusal>),
    /// It comes later, under the waiter.
    Later,
}

/// A shard as a worker sees it.
#[derive(Clone, Debug)]
pub struct ShardSummary {
    /// The shard.
    pub shard: ShardId,
    /// The replica on this node.
    pub replica: ReplicaId,
    /// Whether the replica leads its group.
    pub leads: bool,
    /// Why the shard is closed; `None`: it is open.
    pub closed: Option<String>,
    /// Why the replica is to be replaced under a new id: it is damaged, or had to stop, and its group has others. `None`: it
    /// is not.
    pub quarantined: Option<String>,
    /// Live keys, and the bytes of those keys and their values.
    pub size: StoreSize,
    /// Everything its store holds: expiry, remembered answers and overhead included.
    pub stored: StoreSize,
    /// Its Raft group and log, if it is open.
    pub status: Option<ringfort_replica::ReplicaStatus>,
}

/// Counters of a worker since its start.
#[derive(Clone, Copy, Debug, Default)]
pub struct WorkerStats {
    /// Entries submitted to the log.
    pub entries: u64,
    /// Commands answered.
    pub commands: u64,
    /// Flushes that ended well.
    pub flushes: u64,
    /// Flushes that were given up.
    pub flushes_failed: u64,
    /// Bytes of those that ended well.
    pub flush_bytes: u64,
    /// Snapshots of other replicas that became a group's state.
    pub snapshots_installed: u64,
    /// Snapshots of other replicas that were refused: their bytes were damaged.
    pub snapshots_refused: u64,
    /// Requests refused by admission.
    pub refused: u64,
    /// Requests whose deadline passed.
    pub timeouts: u64,
    /// Parts of frames of other nodes that could not be read.
    pub frames_malformed: u64,
    /// Messages that came from another node than their replica's.
    pub frames_foreign: u64,
    /// Frames that were full before a turn was over.
    pub frames_split: u64,
    /// Ticks that left groups to be woken to the next one.
    pub wakes_put_off: u64,
    /// Turns that left groups to the next one, having applied as much as one may.
    pub groups_put_off: u64,
    /// Turns that left a listing to the next one.
    pub listings_put_off: u64,
    /// Chunks of snapshots that did not wait for their time: without them the log might not have reached to the end.
    pub chunks_urgent: u64,
}

/// A group that may not be served.
#[derive(Debug)]
pub(crate) struct ClosedGroup {
    pub(crate) replica: ReplicaId,
    /// Why, for people.
    pub(crate) reason: String,
    /// Its group has others: it may be replaced.
    pub(crate) quarantined: bool,
    /// The log knows the group.
    pub(crate) in_log: bool,
    /// The generation that its base names; 0: none.
    pub(crate) generation: Generation,
}

enum Slot {
    Open(Box<OpenShard>),
    Closed(ClosedGroup),
    /// Its founding is on its way to the log: nobody hears of the replica before that is durable. What is left of the one
    /// before it goes then.
    Making {
        replica: ReplicaId,
        left: Generation,
    },
    /// Its end is on its way to the log.
    Ending {
        replica: ReplicaId,
        left: Generation,
    },
}

impl Slot {
    fn replica(&self) -> ReplicaId {
        match self {
            Self::Open(open) => open.replica.id(),
            Self::Closed(closed) => closed.replica,
            Self::Making { replica, .. } | Self::Ending { replica, .. } => *replica,
        }
    }
}

struct OpenShard {
    replica: Replica,
    last_generation: Generation,
    /// The flush under way of what is applied, and the bytes of log that it will make needless.
    flushing: Option<(Generation, u64)>,
    /// A snapshot of another replica is in the store, and does not count yet.
    installing: Option<Installing>,
    /// Entries that it had lost have to come from others: its store is flushed when they have.
    healing: bool,
    dirty: bool,
    /// Its queue waits for company.
    held: bool,
}

struct UnderWay {
    id: SubmissionId,
    persists: Vec<(GroupId, PersistId)>,
    record: Option<Record>,
}

/// One worker. `W` is whoever waits for an answer: the host's own.
pub struct Worker<W> {
    config: WorkerConfig,
    engine: Box<dyn StorageEngine>,
    making: Making,
    /// By group; `None` where the group is another worker's, or has no replica on this node.
    slots: Vec<Option<Slot>>,
    /// This worker's groups, in order.
    mine: Vec<GroupId>,
    dirty: Vec<GroupId>,
    /// By group: it slept through the newest tick, and nothing has happened to it since.
    rests: Vec<bool>,
    pending: Pending<Waiter<W>>,
    gatherings: Gatherings<W>,
    forwarder: Forwarder<Option<Waiter<W>>>,
    /// Answers to proposals to the catalog.
    catalog_answers: VecDeque<(u64, Response)>,
    /// Something is to be done about forwarded requests.
    forwards_due: bool,
    /// It was told of placements.
    has_map: bool,
    /// The newest map, and whether it asks for something that was not possible then.
    map: Option<Arc<ClusterMap>>,
    map_due: bool,
    stale: StaleReads,
    pairs: Pairs,
    /// Every other node.
    nodes: BTreeSet<NodeNumber>,
    /// Of other nodes' requests: epochs that are not this worker's, where the member should know, of each node the oldest.
    epochs_heard: BTreeMap<NodeNumber, Epoch>,
    /// When it is told next who leads.
    leads_due: Monotonic,
    reads: BTreeMap<Ticket, (GroupId, Key)>,
    /// Listings under way: the first is worked on, none but that one holds items.
    listings: VecDeque<Asked>,
    /// A turn would get a listing on.
    listing_due: bool,
    responses: VecDeque<(W, Response)>,
    /// What goes to other nodes.
    outbox: Outbox,
    submissions: VecDeque<Submission>,
    under_way: VecDeque<UnderWay>,
    last_submission: SubmissionId,
    checkpoints: Checkpoints,
    /// Bytes by which this worker's shards may grow until the host looks at the disk again.
    room: u64,
    /// How far the log can be written.
    headroom: Headroom,
    /// A put was refused for want of room on this node since then.
    refused_for_room: bool,
    /// What other nodes said of theirs.
    rooms: Rooms,
    /// When they are told next of this one's.
    room_due: Monotonic,
    /// A flush that was put off may be begun.
    flush_due: bool,
    /// Commands that are queued, or proposed and not applied, whether or not anybody still waits for them.
    load: Load,
    company: Company,
    /// Groups whose queues wait for company.
    held: Vec<GroupId>,
    /// Chunks of snapshots on their way out.
    pace: Pace,
    messages: VecDeque<String>,
    stats: WorkerStats,
    /// Groups with a snapshot in the store that does not count yet.
    installs: Vec<GroupId>,
    /// The newest time that was told.
    now: Monotonic,
}

impl<W> Worker<W> {
    /// A worker that owns no shard yet.
    #[must_use]
    pub(crate) fn new(
        now: Monotonic,
        config: WorkerConfig,
        making: Making,
        engine: Box<dyn StorageEngine>,
    ) -> Self {
        Self {
            config,
            engine,
            making,
            slots: (0..=config.shards).map(|_| None).collect(),
            mine: Vec::new(),
            dirty: Vec::new(),
            rests: vec![false; config.shards as usize + 1],
            pending: Pending::new(),
            gatherings: Gatherings::default(),
            forwards_due: false,
            has_map: false,
            map: None,
            map_due: false,
            catalog_answers: VecDeque::new(),
            forwarder: Forwarder::new(now, forward_config(&config, &making)),
            stale: StaleReads::default(),
            pairs: Pairs::default(),
            nodes: BTreeSet::new(),
            epochs_heard: BTreeMap::new(),
            leads_due: Monotonic::default(),
            reads: BTreeMap::new(),
            listings: VecDeque::new(),
            listing_due: false,
            responses: VecDeque::new(),
            outbox: Outbox::new(config.limits.frame_bytes_target),
            submissions: VecDeque::new(),
            under_way: VecDeque::new(),
            last_submission: SubmissionId(0),
            checkpoints: Checkpoints::default(),
            room: u64::MAX,
            headroom: Headroom::default(),
            refused_for_room: false,
            rooms: Rooms::default(),
            room_due: Monotonic::default(),
            flush_due: false,
            load: Load::default(),
            company: Company::default(),
            held: Vec::new(),
            pace: Pace::new(config.snapshot_bytes_per_second),
            messages: VecDeque::new(),
            stats: WorkerStats::default(),
            installs: Vec::new(),
            now,
        }
    }

    /// The engine, for opening stores at start.
    pub(crate) fn engine_mut(&mut self) -> &mut dyn StorageEngine {
        self.engine.as_mut()
    }

    /// Takes a group's replica, whose store is open.
    pub(crate) fn add_group(&mut self, group: GroupId, replica: Replica, generation: Generation) {
        let healing = replica.has_lost();
        let open = OpenShard {
            replica,
            last_generation: generation,
            flushing: None,
            installing: None,
            healing,
            dirty: false,
            held: false,
        };
        self.set_slot(group, Slot::Open(Box::new(open)));
        self.mark_dirty(group);
    }

    /// Takes a group that may not be served.
    pub(crate) fn add_closed_group(&mut self, group: GroupId, closed: ClosedGroup) {
        self.set_slot(group, Slot::Closed(closed));
    }

    fn set_slot(&mut self, group: GroupId, slot: Slot) {
        self.rests[group.0 as usize] = false;
        self.slots[group.0 as usize] = Some(slot);
        if let Err(position) = self.mine.binary_search(&group) {
            self.mine.insert(position, group);
        }
    }

    /// Has a turn look at a group that something has happened to.
    fn mark_dirty(&mut self, group: GroupId) {
        self.rests[group.0 as usize] = false;
        if let Ok(open) = open_group_mut(&mut self.slots, group)
            && !open.dirty
        {
            open.dirty = true;
            self.dirty.push(group);
        }
    }

    /// Closes a shard whose replica had to stop, answers all that waits for it, and gives the refusal for whoever asked.
    fn close(&mut self, group: GroupId, error: &MachineError) -> Refusal {
        let reason = self.reason(group, error);
        self.close_for(group, &reason)
    }

    /// Closes a group for this reason.
    fn close_for(&mut self, group: GroupId, reason: &str) -> Refusal {
        self.messages.push_back(format!("{} is closed: {reason}", name_of(group)));
        if let Some(Some(slot)) = self.slots.get_mut(group.0 as usize)
            && let Slot::Open(open) = slot
        {
            self.load = self.load.moved(open.replica.load(), Load::default());
            open.replica.release_snapshots(self.engine.as_mut());
            let lost = open.replica.abandon();
            let replica = open.replica.id();
            // One that was told nothing of its group joined one.
            let configuration = open.replica.configuration();
            let quarantined = configuration.is_blank() || has_others(configuration, replica);
            let generation = Generation(open.replica.base().generation);
            *slot = Slot::Closed(ClosedGroup {
                replica,
                reason: reason.to_owned(),
                quarantined,
                in_log: true,
                generation,
            });
            self.rests[group.0 as usize] = false;
            self.checkpoints.forget(group);
            // A successor may be wanted already.
            self.map_due = true;
            let lost = self.pending.lose(lost);
            self.answer_all(lost);
        }
        closed(group, reason)
    }

    /// Why a shard's replica had to stop, with the file that its store was read from if that is what is wrong.
    fn reason(&self, group: GroupId, error: &MachineError) -> String {
        let what = describe(error);
        let generation = |open: &OpenShard| open.replica.status().base.generation;
        match (error, open_group(&self.slots, group).map(generation)) {
            (MachineError::Malformed(_), Ok(generation @ 1..)) => {
                let file = self.engine.file(group, Generation(generation));
                format!("{file}: {what}; restore the data directory or a backup")
            }
            _ => what,
        }
    }
}

fn forward_config(config: &WorkerConfig, making: &Making) -> ForwardConfig {
    ForwardConfig {
        node: config.node,
        worker: config.source.0,
        requests_max: config.requests_max,
        bytes_max: config.unapplied_bytes_max,
        budget: BudgetConfig {
            // All requests to a node fail together when it goes.
            burst: u32::try_from(config.requests_max).unwrap_or(u32::MAX),
            ..BudgetConfig::default()
        },
        leaderless_max: making.settings.election_timeout * LEADERLESS_TIMEOUTS,
        seed: making.seed ^ u64::from(config.source.0).rotate_left(17),
    }
}

fn open_group_mut(slots: &mut [Option<Slot>], group: GroupId) -> Result<&mut OpenShard, Refusal> {
    match slots.get_mut(group.0 as usize) {
        Some(Some(Slot::Open(open))) => Ok(open),
        slot => Err(not_open(group, slot.and_then(|slot| slot.as_ref()))),
    }
}

fn open_group(slots: &[Option<Slot>], group: GroupId) -> Result<&OpenShard, Refusal> {
    match slots.get(group.0 as usize) {
        Some(Some(Slot::Open(open))) => Ok(open),
        slot => Err(not_open(group, slot.and_then(Option::as_ref))),
    }
}

fn open_shard(slots: &[Option<Slot>], shard: ShardId) -> Result<&OpenShard, Refusal> {
    open_group(slots, GroupId::of_shard(shard))
}

fn not_open(group: GroupId, slot: Option<&Slot>) -> Refusal {
    match slot {
        Some(Slot::Closed(is)) => closed(group, &is.reason),
        _ => {
            let detail = format!("{} has no replica on this worker", name_of(group));
            Refusal::new(Code::Unavailable, detail)
        }
    }
}

fn closed(group: GroupId, reason: &str) -> Refusal {
    Refusal::new(Code::Unavailable, format!("{} is closed: {reason}", name_of(group)))
}

/// Whether somebody else is in a replica's group, as far as a configuration says. Nobody knows of a blank one's.
pub(crate) fn has_others(configuration: &Configuration, replica: ReplicaId) -> bool {
    configuration.is_blank() || configuration.members() != [replica]
}

/// A group, as people read it.
pub(crate) fn name_of(group: GroupId) -> String {
    group.shard().map_or_else(|| "the catalog".to_owned(), |shard| format!("shard {shard}"))
}

fn replied(done: Done) -> Replied {
    Replied::One(Answered { done, replayed: false })
}

fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
