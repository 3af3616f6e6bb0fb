//! One process: the log and the workers of a node, each a thread with an inbox, as the server runs them; here a thread is a
//! turn that somebody calls.
//!
//! ```text
//!   frames, requests, ticks ──▶ inbox ▸ Worker ──▶ submissions ──▶ inbox ▸ Log ──▶ disk
//!                                 ▲  └─▶ frames, answers, disk              │
//!                                 └─────────────── durable, wishes ─────────┘
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ringfort_engine::StorageEngine;
use ringfort_env::{DiskCompletion, DiskOperation, DiskRequest, OperationId};
use ringfort_log::{
    FileLog, Headroom, LogEvent, LogOptions, LogStats, LogStore, Submission, SubmissionId, recover,
};
use ringfort_node::control::Founded;
use ringfort_node::{
    Founding, GetAnswer, OpenOptions, Opened, Replied, Response, ShardSummary, Space, Worker,
    WorkerConfig, WorkerStats, divide, founding, open,
};
use ringfort_placement::ShardPlacement;
use ringfort_proto::peer::{Channel, Frame};
use ringfort_raft::{Guards, Settings};
use ringfort_types::request::{
    Answered, Batch, Context, Done, Get, Identity, Operation, Principal, Write,
};
use ringfort_types::{
    Applied, BootId, Code, Epoch, GroupId, Monotonic, NamespaceId, NodeNumber, Refusal, ShardId,
    shard_of_token,
};

use super::mutants::{self, Mutant};
use crate::{SimDisk, Stopped};

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
    pub(super) founding: Arc<Founding>,
    pub(super) map: Arc<[ShardPlacement]>,
    pub(super) log: LogOptions,
    pub(super) raft: Settings,
    pub(super) guards: Guards,
    pub(super) retry_bytes_max: u64,
    pub(super) payload_bytes_target: usize,
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
}

#[derive(Clone, Copy, Debug)]
enum Owner {
    Log,
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
    Batch(u64, Context, Identity, Vec<(u16, Operation)>),
    Durable(SubmissionId),
    WantRebase(Vec<GroupId>),
    Headroom(Headroom),
    Disk(DiskCompletion),
    Tick,
    Room(u64),
}

/// What became of a connection with another node.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    /// It was made.
    Up,
    /// One for requests, or for their answers, broke.
    RequestsDown,
    /// The one for consensus broke.
    ConsensusDown,
}

/// What a turn gives.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    pub(super) disk: Vec<DiskRequest>,
    pub(super) frames: Vec<(usize, NodeNumber, Channel, Frame)>,
    pub(super) replies: Vec<(usize, u64, Reply)>,
    pub(super) messages: Vec<String>,
}

/// A running process.
pub(super) struct ClusterNode {
    options: NodeOptions,
    log: FileLog,
    log_inbox: Vec<LogInput>,
    workers: Vec<Worker<Waiter>>,
    inboxes: Vec<Vec<WorkerInput>>,
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
        let open_options = open_options(&options);
        let (parts, mut findings) = divide(recovered, &open_options);
        let (mut workers, mut founded) = (Vec::new(), Vec::new());
        for part in parts {
            let opened = open(disk, part, &open_options, now, engine());
            let Opened { mut worker, founded: new, findings: more } =
                opened.map_err(|error| stopped(&error))?;
            worker.handle_placements(Epoch(1), &options.map);
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
            options,
            log,
            log_inbox: Vec::new(),
            workers,
            inboxes,
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

    // --- inputs ---

    /// Takes a frame of another node.
    pub(super) fn handle_frame(&mut self, from: NodeNumber, frame: Frame) {
        if self.frames >= FRAMES_MAX {
            self.frames_dropped += 1;
            return;
        }
        let (inboxes, frames) = (&mut self.inboxes, &mut self.frames);
        frame.divide(self.options.workers, |worker, part| {
            inboxes[usize::from(worker)].push(WorkerInput::Frame(from, part));
            *frames += 1;
        });
    }

    /// Takes a frame of a worker back: no connection took it.
    pub(super) fn handle_unsent(&mut self, worker: usize, frame: Frame) {
        self.inboxes[worker].push(WorkerInput::Unsent(frame));
    }

    /// Takes word of a connection with another node.
    pub(super) fn handle_connection(&mut self, node: NodeNumber, change: Change) {
        for inbox in &mut self.inboxes {
            inbox.push(WorkerInput::Connection(node, change));
        }
    }

    /// Takes a request.
    pub(super) fn handle_request(&mut self, now: Monotonic, asked: Asked) {
        let Asked { client, request, timeout, ask } = asked;
        let context =
            Context { arrived: now, deadline: now + timeout, principal: Principal::default() };
        self.last_open += 1;
        let open = self.last_open;
        let waiter = Waiter { open, position: 0 };
        let (worker, input, operations) = match ask {
            Ask::Get { get } => {
                (self.worker_of(&get.key), WorkerInput::Get(waiter, context, get), 1)
            }
            Ask::Write { write } => {
                let worker = self.worker_of(write.operation.key());
                (worker, WorkerInput::Write(waiter, context, write), 1)
            }
            Ask::Batch { batch } if batch.atomic => {
                let worker =
                    batch.operations.first().map_or(0, |first| self.worker_of(first.key()));
                (worker, WorkerInput::Atomic(waiter, context, batch), 1)
            }
            Ask::Batch { batch } => {
                return self.handle_batch(open, context, client, request, batch);
            }
        };
        self.open_request(open, client, request, operations);
        self.inboxes[worker].push(input);
    }

    fn handle_batch(
        &mut self,
        open: u64,
        context: Context,
        client: usize,
        request: u64,
        batch: Batch,
    ) {
        self.open_request(open, client, request, batch.operations.len());
        let mut parts: BTreeMap<usize, Vec<(u16, Operation)>> = BTreeMap::new();
        for (position, operation) in (0..).zip(batch.operations) {
            let worker = self.worker_of(operation.key());
            parts.entry(worker).or_default().push((position, operation));
        }
        for (worker, operations) in parts {
            let identity = batch.identity.clone();
            let input = WorkerInput::Batch(open, context.clone(), identity, operations);
            self.inboxes[worker].push(input);
        }
    }

    fn open_request(&mut self, open: u64, client: usize, request: u64, operations: usize) {
        let results = vec![None; operations];
        self.open.insert(open, OpenRequest { client, request, results, left: operations });
    }

    fn worker_of(&self, key: &ringfort_types::Key) -> usize {
        let shard = shard_of_token(key.token(NamespaceId::default()), self.options.shards);
        shard.0 as usize % self.workers.len()
    }

    /// Takes the passing of time.
    pub(super) fn handle_tick(&mut self) {
        for inbox in &mut self.inboxes {
            if !inbox.iter().any(|input| matches!(input, WorkerInput::Tick)) {
                inbox.push(WorkerInput::Tick);
            }
        }
    }

    /// Takes what the disk has free: see the server's housekeeping.
    pub(super) fn handle_free(&mut self, free: u64) {
        let (mut largest_store, mut unflushed, mut total) = (0, 0, 0);
        for shard in self.shards() {
            let in_log = shard.status.map_or(0, |status| status.log_bytes);
            largest_store = shard.stored.bytes.max(largest_store);
            unflushed += shard.stored.bytes.min(in_log);
            total += shard.stored.bytes;
        }
        let workers = self.workers.len() as u64;
        let segment = self.options.log.segment_bytes;
        let (free, share) = (free / workers, segment / workers);
        let room = Space { free, segment: share, largest_store, unflushed }.room();
        for inbox in &mut self.inboxes {
            inbox.push(WorkerInput::Room(room));
        }
        let target = if self.log_has_room && room > 0 {
            self.options.log.log_bytes_target.max(total)
        } else {
            2 * segment
        };
        self.log_inbox.push(LogInput::Target(target));
    }

    /// Has stores flushed, as the log would ask for when it is long.
    pub(super) fn want_flush(&mut self, groups: &[GroupId]) {
        for inbox in &mut self.inboxes {
            inbox.push(WorkerInput::WantRebase(groups.to_vec()));
        }
    }

    /// Takes the end of a disk operation.
    pub(super) fn handle_disk(&mut self, completion: DiskCompletion) -> Result<(), Stopped> {
        let Some((owner, id)) = self.owners.remove(&completion.id) else {
            return Err(Stopped(format!("operation {:?} was never asked for", completion.id)));
        };
        let completion = DiskCompletion { id, ..completion };
        match owner {
            Owner::Log => self.log_inbox.push(LogInput::Disk(completion)),
            Owner::Worker(worker) => self.inboxes[worker].push(WorkerInput::Disk(completion)),
        }
        Ok(())
    }

    /// When the log wants its timer to ring, if it has not just rung.
    pub(super) fn log_timer(&self) -> Option<Monotonic> {
        let rung = self.log_inbox.iter().any(|input| matches!(input, LogInput::Timer));
        if rung { None } else { self.log.poll_timer() }
    }

    /// The log's timer rings.
    pub(super) fn handle_log_timer(&mut self) {
        self.log_inbox.push(LogInput::Timer);
    }

    // --- turns ---

    /// A thread does its turn.
    ///
    /// # Errors
    /// The process ends.
    pub(super) fn turn(
        &mut self,
        thread: Thread,
        now: Monotonic,
        out: &mut Outputs,
    ) -> Result<(), Stopped> {
        match thread {
            Thread::Log => self.log_turn(now, out),
            Thread::Worker(worker) => self.worker_turn(worker, now, out),
        }
    }

    fn log_turn(&mut self, now: Monotonic, out: &mut Outputs) -> Result<(), Stopped> {
        for input in std::mem::take(&mut self.log_inbox) {
            match input {
                LogInput::Submit(submission) => {
                    if self.options.mutant == Some(Mutant::DurableAtOnce) {
                        self.tell(usize::from(submission.source.0), submission.id);
                    }
                    self.log.submit(now, submission);
                }
                LogInput::Disk(completion) => self.log.handle_disk(now, completion),
                LogInput::Timer => {
                    if self.log.poll_timer().is_some_and(|due| due <= now) {
                        self.log.handle_timer(now);
                    }
                }
                LogInput::Target(bytes) => self.log.set_log_bytes_target(bytes),
            }
        }
        while let Some(event) = self.log.poll_event() {
            match event {
                LogEvent::Durable { source, id } => self.tell(usize::from(source.0), id),
                LogEvent::WantRebase { groups } => self.want_flush(&groups),
                LogEvent::Headroom { headroom, .. } => {
                    self.log_has_room = headroom == Headroom::Ample;
                    for inbox in &mut self.inboxes {
                        inbox.push(WorkerInput::Headroom(headroom));
                    }
                }
                LogEvent::Failed(error) => return Err(stopped(&error)),
            }
        }
        while let Some(request) = self.log.poll_disk() {
            let request = self.own(Owner::Log, request);
            out.disk.push(request);
        }
        Ok(())
    }

    fn tell(&mut self, source: usize, id: SubmissionId) {
        match self.inboxes.get_mut(source) {
            Some(inbox) => inbox.push(WorkerInput::Durable(id)),
            None => self.founded = true,
        }
    }

    fn own(&mut self, owner: Owner, request: DiskRequest) -> DiskRequest {
        self.last_operation += 1;
        let id = OperationId(self.last_operation);
        self.owners.insert(id, (owner, request.id));
        DiskRequest { id, ..request }
    }

    fn worker_turn(
        &mut self,
        number: usize,
        now: Monotonic,
        out: &mut Outputs,
    ) -> Result<(), Stopped> {
        for input in std::mem::take(&mut self.inboxes[number]) {
            self.handle_input(number, now, input, out)?;
        }
        let worker = &mut self.workers[number];
        worker.poll(now);
        while let Some(submission) = worker.poll_submission() {
            self.log_inbox.push(LogInput::Submit(submission));
        }
        while let Some((to, channel, frame)) = worker.poll_frame() {
            out.frames.push((number, to, channel, frame));
        }
        while let Some(message) = worker.poll_message() {
            out.messages.push(message);
        }
        while let Some((waiter, response)) = self.workers[number].poll_response() {
            self.answer(waiter, response, out);
        }
        while let Some(mut request) = self.workers[number].poll_disk() {
            let is_sync = matches!(request.operation, DiskOperation::SyncData(_));
            if is_sync && self.options.mutant == Some(Mutant::SkipFlushSync) {
                request.operation = DiskOperation::SyncDirectory;
            }
            let request = self.own(Owner::Worker(number), request);
            out.disk.push(request);
        }
        Ok(())
    }

    fn handle_input(
        &mut self,
        number: usize,
        now: Monotonic,
        input: WorkerInput,
        out: &mut Outputs,
    ) -> Result<(), Stopped> {
        let worker = &mut self.workers[number];
        match input {
            WorkerInput::Frame(from, frame) => {
                self.frames -= 1;
                worker.handle_frame(now, from, frame);
            }
            WorkerInput::Unsent(frame) => worker.handle_unsent(now, frame),
            WorkerInput::Connection(node, change) => match change {
                Change::Up => worker.handle_node_up(node),
                Change::RequestsDown => worker.handle_node_down(now, node),
                Change::ConsensusDown => worker.handle_consensus_down(node),
            },
            WorkerInput::Get(waiter, context, get) => {
                if let GetAnswer::Now(result) = worker.get(now, &context, &get, || waiter) {
                    self.answer(waiter, result.map(Replied::Got), out);
                }
            }
            WorkerInput::Write(waiter, context, write) => {
                if let Err(refusal) = worker.write(now, &context, &write, || waiter) {
                    self.answer(waiter, Err(refusal), out);
                }
            }
            WorkerInput::Atomic(waiter, context, batch) => {
                if let Err(refusal) = worker.atomic(now, &context, &batch, || waiter) {
                    self.answer(waiter, Err(refusal), out);
                }
            }
            WorkerInput::Batch(open, context, identity, operations) => {
                self.start_batch(number, now, open, &context, &identity, &operations, out);
            }
            WorkerInput::Durable(id) => worker.handle_durable(id),
            WorkerInput::WantRebase(groups) => worker.handle_want_rebase(&groups),
            WorkerInput::Headroom(headroom) => worker.handle_headroom(headroom),
            WorkerInput::Disk(completion) => {
                worker.handle_disk(completion).map_err(|error| stopped(&error))?;
            }
            WorkerInput::Tick => worker.handle_tick(now),
            WorkerInput::Room(room) => {
                let _ = worker.handle_room(room);
            }
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "a batch and where it goes")]
    fn start_batch(
        &mut self,
        number: usize,
        now: Monotonic,
        open: u64,
        context: &Context,
        identity: &Identity,
        operations: &[(u16, Operation)],
        out: &mut Outputs,
    ) {
        let mut positions = operations.iter().map(|(position, _)| usize::from(*position));
        let waiter = || Waiter { open, position: positions.next().unwrap_or_default() };
        let started = self.workers[number].batch(now, context, identity, operations, waiter);
        for ((position, _), response) in operations.iter().zip(started) {
            if let Some(response) = response {
                let waiter = Waiter { open, position: usize::from(*position) };
                self.answer(waiter, response, out);
            }
        }
    }

    fn answer(&mut self, waiter: Waiter, response: Response, out: &mut Outputs) {
        let Some(open) = self.open.get_mut(&waiter.open) else { return };
        let mut staleness_ms = None;
        let one = match response {
            Ok(Replied::One(answered)) => Ok(answered),
            Ok(Replied::Got(got)) => {
                staleness_ms = got.staleness_ms;
                Ok(Answered { done: Done::Got(got.found), replayed: false })
            }
            Ok(Replied::All(all)) => {
                let reply = Reply { results: Ok(all.into_iter().map(Ok).collect()), staleness_ms };
                return self.close_request(waiter.open, reply, out);
            }
            Ok(Replied::Each(_) | Replied::Page(_)) => {
                Err(Refusal::new(Code::Internal, "an answer of another kind"))
            }
            Err(refusal) => Err(refusal),
        };
        if open.results.len() == 1 {
            let results = one.map(|answered| vec![Ok(answered)]);
            return self.close_request(waiter.open, Reply { results, staleness_ms }, out);
        }
        if open.results[waiter.position].replace(one).is_none() {
            open.left -= 1;
        }
        if open.left == 0 {
            let results = std::mem::take(&mut open.results).into_iter().flatten().collect();
            self.close_request(waiter.open, Reply { results: Ok(results), staleness_ms }, out);
        }
    }

    fn close_request(&mut self, open: u64, reply: Reply, out: &mut Outputs) {
        if let Some(OpenRequest { client, request, .. }) = self.open.remove(&open) {
            out.replies.push((client, request, reply));
        }
    }

    // --- looks ---

    /// Every shard that this node holds.
    pub(super) fn shards(&self) -> Vec<ShardSummary> {
        let mut shards: Vec<_> = self.workers.iter().flat_map(Worker::shards).collect();
        shards.sort_by_key(|summary| summary.shard);
        shards
    }

    /// How far a shard's store has come, and a hash over its state.
    pub(super) fn state(&self, shard: ShardId) -> Option<(Applied, u128)> {
        let worker = &self.workers[shard.0 as usize % self.workers.len()];
        worker.applied_state(GroupId::of_shard(shard))
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

fn open_options(options: &NodeOptions) -> OpenOptions {
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
            requests_max: 1_000,
            retry_bytes_max: options.retry_bytes_max,
            unapplied_bytes_max: 4 << 20,
            answer_bytes_max: 16 << 20,
            payload_bytes_target: options.payload_bytes_target,
        },
        raft: options.raft,
        guards: options.guards,
        seed: options.seed,
    }
}
