//! One process: the log and the workers of a node, each a thread with an inbox, as the server runs them; here a thread is a
//! turn that somebody calls.
//!
//! ```text
//!   frames, requests, ticks ──▶ inbox ▸ Worker ──▶ submissions ──▶ inbox ▸ Log ──▶ disk
//!                                 ▲  └─▶ frames, answers, disk              │
//!                                 └─────────────── durable, wishes ─────────┘
//! ```

mod catalog_file;
mod inputs;
mod look;
mod member;
mod turns;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ringfort_engine::StorageEngine;
use ringfort_env::{DiskCompletion, DiskRequest, OperationId};
use ringfort_log::{
    FileLog, Headroom, LogOptions, LogStats, LogStore, Submission, SubmissionId, recover,
};
use ringfort_node::control::{ClusterMap, Control, Founded, GroupReport, Held, Instruction};
use ringfort_node::{
    ForwardStats, Founding, Member, NodeGuards, OpenOptions, Opened, ShardSummary, Worker,
    WorkerConfig, WorkerLimits, WorkerStats, divide, founding, open,
};
use ringfort_proto::peer::{Channel, Frame};
use ringfort_raft::{Configuration, Guards, Settings, Status};
use ringfort_types::request::{
    Answered, Batch, Context, Get, Identity, List, Operation, Page, Write,
};
use ringfort_types::{
    Applied, BootId, Epoch, GroupId, Index, Levels, Monotonic, NodeNumber, Refusal,
};

use super::formed::Formed;
use super::mutants::{self, Mutant};
use crate::{SimDisk, Stopped};
use catalog_file::CatalogFile;
pub(super) use look::{Look, Source};

/// Frames that wait for a worker at most; more are dropped, as a peer that does not read makes its senders do.
const FRAMES_MAX: usize = 512;

/// A thread of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Thread {
    /// The log's.
    Log,
    /// A worker's.
    Worker(usize),
}

impl Thread {
    /// The log is 0.
    pub(super) fn number(self) -> usize {
        match self {
            Self::Log => 0,
            Self::Worker(worker) => worker + 1,
        }
    }
}

/// How a process is started.
#[derive(Clone, Debug)]
pub(super) struct NodeOptions {
    pub(super) number: NodeNumber,
    pub(super) shards: u32,
    pub(super) workers: u16,
    pub(super) founded: Founded,
    pub(super) formed: Arc<Formed>,
    pub(super) founding: Arc<Founding>,
    pub(super) log: LogOptions,
    pub(super) raft: Settings,
    pub(super) guards: Guards,
    pub(super) node_guards: NodeGuards,
    pub(super) retry_bytes_max: u64,
    pub(super) requests_max: usize,
    pub(super) unapplied_bytes_max: usize,
    pub(super) limits: WorkerLimits,
    pub(super) payload_bytes_target: usize,
    pub(super) snapshot_bytes_per_second: u64,
    /// Fresh at each start.
    pub(super) seed: u64,
    pub(super) mutant: Option<Mutant>,
}

/// What a client asks.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    Get { get: Get },
    Write { write: Write },
    Batch { batch: Batch },
    List { list: List },
}

/// A request, and who waits for its answer.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) client: usize,
    pub(super) request: u64,
    pub(super) timeout: Duration,
    pub(super) ask: Ask,
}

/// An answer: one result for each operation; one for all of an atomic batch that was refused.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) results: Result<Vec<Result<Answered, Refusal>>, Refusal>,
    /// Of a stale read.
    pub(super) staleness_ms: Option<u64>,
    /// Of a listing; there are no results then.
    pub(super) page: Option<Page>,
}

/// Who waits within a process: an open request, and the position of its operation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiter {
    open: u64,
    position: usize,
}

/// A request that is not answered yet.
#[derive(Debug)]
struct OpenRequest {
    client: usize,
    request: u64,
    results: Vec<Option<Result<Answered, Refusal>>>,
    left: usize,
    /// Of a listing, one of each worker so far, and what bounds them all.
    pages: Vec<Page>,
    bounds: Option<(usize, usize)>,
}

#[derive(Clone, Copy, Debug)]
enum Owner {
    Log,
    CatalogFile,
    Worker(usize),
}

#[derive(Debug)]
enum LogInput {
    Submit(Submission),
    Disk(DiskCompletion),
    Timer,
    Target(u64),
}

#[derive(Debug)]
enum WorkerInput {
    Frame(NodeNumber, Frame),
    Unsent(Frame),
    Connection(NodeNumber, Change),
    Get(Waiter, Context, Get),
    Write(Waiter, Context, Write),
    Atomic(Waiter, Context, Batch),
    List(Waiter, Context, List),
    Batch(u64, Context, Identity, Vec<(u16, Operation)>),
    Durable(SubmissionId),
    WantRebase(Vec<GroupId>),
    Headroom(Headroom),
    Disk(DiskCompletion),
    Tick,
    Room(u64),
    /// What is led here is to be led elsewhere.
    HandOver,
    /// A newer map.
    Map(Arc<ClusterMap>),
    /// A step that the catalog's leader wants taken.
    Instruct(Instruction),
    /// The member wants to know how shards stand.
    Report,
    /// How they stand.
    Reports(Vec<(GroupId, Option<GroupReport>)>),
    /// Another node routed a request to another worker by this epoch.
    Epoch(NodeNumber, Epoch),
    /// An operation on `catalog.bin` has ended.
    CatalogFile(DiskCompletion),
}

/// What became of a connection with another node.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    /// It was made.
    Up,
    /// One that may carry requests, or their answers, broke.
    RequestsDown,
    /// The one for consensus broke.
    ConsensusDown,
}

/// What a turn gives.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    pub(super) disk: Vec<DiskRequest>,
    pub(super) frames: Vec<(usize, NodeNumber, Channel, Frame)>,
    /// About the catalog, on the channel for consensus; each may be lost.
    pub(super) words: Vec<(NodeNumber, Frame)>,
    pub(super) replies: Vec<(usize, u64, Reply)>,
    pub(super) messages: Vec<String>,
    /// What the member found wrong with the catalog. It never should.
    pub(super) findings: Vec<String>,
    /// Inputs that the turn took, and that it left.
    pub(super) taken: (usize, usize),
}

/// A running process.
pub(super) struct ClusterNode {
    options: NodeOptions,
    log: FileLog,
    log_inbox: Vec<LogInput>,
    workers: Vec<Worker<Waiter>>,
    inboxes: Vec<Vec<WorkerInput>>,
    /// On the first worker's thread.
    member: Member,
    last_member_tick: Monotonic,
    catalog_file: CatalogFile,
    /// The start found a copy of the catalog.
    pub(super) had_catalog_file: bool,
    pub(super) maps_spread: u64,
    frames: usize,
    owners: BTreeMap<OperationId, (Owner, OperationId)>,
    last_operation: u64,
    open: BTreeMap<u64, OpenRequest>,
    last_open: u64,
    founded: bool,
    log_has_room: bool,
    pub(super) frames_dropped: u64,
}

impl ClusterNode {
    /// Starts a process on a disk; gives what a person would read of the start, too.
    ///
    /// # Errors
    /// The disk failed under the start.
    pub(super) fn start(
        disk: &mut SimDisk,
        options: NodeOptions,
        now: Monotonic,
        mut engine: impl FnMut() -> Box<dyn StorageEngine>,
    ) -> Result<(Self, Vec<String>), Stopped> {
        let (mut log, mut recovered) =
            recover(disk, options.log, now).map_err(|error| stopped(&error))?;
        mutants::forget(options.mutant, &mut recovered);
        let cached = catalog_file::read(disk);
        let had_catalog_file = cached.is_ok();
        let mut unread = Vec::new();
        let cached = cached.map_err(|finding| unread.push(finding)).ok();
        let record = options.formed.record.clone();
        let control = Control::new(options.number, record, cached);
        let control = control.map_err(|error| stopped(&error))?;
        let levels = Levels::active(control.map().settings().feature_level);
        let open_options = open_options(&options, levels);
        let (parts, mut findings) = divide(recovered, &open_options);
        findings.append(&mut unread);
        let boot = open_options.worker.boot;
        let (mut workers, mut founded) = (Vec::new(), Vec::new());
        for part in parts {
            let opened = open(disk, part, &open_options, now, engine(), &mut || {});
            let Opened { worker, founded: new, findings: more } =
                opened.map_err(|error| stopped(&error))?;
            workers.push(worker);
            founded.extend(new);
            findings.extend(more);
        }
        let founding = founding(founded);
        let founded = founding.is_none();
        if let Some(founding) = founding {
            log.submit(now, founding);
        }
        let inboxes = workers.iter().map(|_| vec![WorkerInput::Tick]).collect();
        let node = Self {
            member: Member::new(options.number, control, boot, ""),
            options,
            log,
            log_inbox: Vec::new(),
            workers,
            inboxes,
            last_member_tick: Monotonic::default(),
            catalog_file: CatalogFile::default(),
            had_catalog_file,
            maps_spread: 0,
            frames: 0,
            owners: BTreeMap::new(),
            last_operation: 0,
            open: BTreeMap::new(),
            last_open: 0,
            founded,
            log_has_room: true,
            frames_dropped: 0,
        };
        Ok((node, findings))
    }

    /// Whether the founding of its groups is durable.
    pub(super) fn is_founded(&self) -> bool {
        self.founded
    }

    pub(super) fn threads(&self) -> impl Iterator<Item = Thread> + use<> {
        std::iter::once(Thread::Log).chain((0..self.workers.len()).map(Thread::Worker))
    }

    /// Whether a thread has something to do.
    pub(super) fn wants_turn(&self, thread: Thread) -> bool {
        match thread {
            Thread::Log => !self.log_inbox.is_empty(),
            // Nothing is served before the founding is durable, as the server has it.
            Thread::Worker(worker) => {
                self.founded
                    && (!self.inboxes[worker].is_empty() || self.workers[worker].has_work())
            }
        }
    }

    /// Every shard that this node holds.
    pub(super) fn shards(&self) -> Vec<ShardSummary> {
        let mut shards: Vec<_> = self.workers.iter().flat_map(Worker::shards).collect();
        shards.sort_by_key(|summary| summary.shard);
        shards
    }

    fn owner_of(&self, group: GroupId) -> &Worker<Waiter> {
        let shard = group.shard().unwrap_or_default();
        &self.workers[shard.0 as usize % self.workers.len()]
    }

    /// How far a group's store has come, and a hash over its state; `None` where there is none, or it is closed.
    pub(super) fn state(&self, group: GroupId) -> Option<(Applied, u128)> {
        self.owner_of(group).applied_state(group)
    }

    /// How far a group's replica here has applied its log.
    pub(super) fn applied(&self, group: GroupId) -> Option<Index> {
        self.owner_of(group).group_status(group).map(|status| status.applied)
    }

    /// The newest configuration of a group that is committed, as the replica here knows it.
    pub(super) fn configuration(&self, group: GroupId) -> Option<&Configuration> {
        self.owner_of(group).committed_configuration(group).map(|(_, configuration)| configuration)
    }

    /// The replicas that the node has, by group.
    pub(super) fn held(&self) -> BTreeMap<GroupId, Held> {
        let reports = self.workers.iter().flat_map(Worker::reports);
        reports.filter_map(|(group, report)| Some((group, report?.held))).collect()
    }

    /// The replica of the catalog; `None` where there is none, or it is closed.
    pub(super) fn catalog(&self) -> Option<Status> {
        self.workers[0].group_status(GroupId::CATALOG)
    }

    /// Whether every replica that the node is to have is open, and has lost nothing that it may have acknowledged.
    pub(super) fn lacks_nothing(&self) -> bool {
        self.options.founding.keys().all(|group| {
            self.owner_of(*group).group_status(*group).is_some_and(|status| !status.lost)
        })
    }

    /// Why the replica of the catalog is quarantined, if it is.
    pub(super) fn catalog_damage(&self) -> Option<&str> {
        let catalog =
            |(group, _, reason): (GroupId, _, _)| group.shard().is_none().then_some(reason);
        self.workers[0].quarantined().find_map(catalog)
    }

    /// The node's map of the cluster. Its workers may have older ones.
    pub(super) fn map(&self) -> &Arc<ClusterMap> {
        self.member.map()
    }

    /// Copies of the catalog that were written.
    pub(super) fn catalog_files(&self) -> u64 {
        self.catalog_file.saved
    }

    pub(super) fn forward_stats(&self) -> Vec<ForwardStats> {
        self.workers.iter().map(Worker::forward_stats).collect()
    }

    pub(super) fn log_stats(&self) -> LogStats {
        self.log.stats()
    }

    pub(super) fn worker_stats(&self) -> Vec<WorkerStats> {
        self.workers.iter().map(Worker::stats).collect()
    }
}

/// Why a process ends, with all causes.
fn stopped(error: &dyn std::error::Error) -> Stopped {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    Stopped(text)
}

fn open_options(options: &NodeOptions, levels: Levels) -> OpenOptions {
    OpenOptions {
        shards: options.shards,
        workers: options.workers,
        founded: options.founded,
        founding: Arc::clone(&options.founding),
        worker: WorkerConfig {
            source: ringfort_log::SourceId(0),
            node: options.number,
            workers: options.workers,
            boot: BootId(u128::from(options.seed)),
            shards: options.shards,
            requests_max: options.requests_max,
            retry_bytes_max: options.retry_bytes_max,
            unapplied_bytes_max: options.unapplied_bytes_max,
            answer_bytes_max: 16 << 20,
            payload_bytes_target: options.payload_bytes_target,
            // Clients are few here: commands are to wait for company often.
            company_min: 1,
            snapshot_bytes_per_second: options.snapshot_bytes_per_second,
            limits: options.limits,
            guards: options.node_guards,
        },
        raft: options.raft,
        levels,
        guards: options.guards,
        seed: options.seed,
    }
}
