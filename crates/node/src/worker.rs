//! One worker: the shards it owns, over one engine, and the requests under way on them.
//!
//! The host hands in requests and words of durability, then calls [`Worker::poll`] once for the turn: everything enqueued
//! becomes one entry per shard and one submission to the log; everything committed is applied and answered.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};

use ringfort_engine::{EngineError, Flushed, Generation, StorageEngine, StoreSize};
use ringfort_env::{DiskCompletion, DiskError, DiskRequest};
use ringfort_log::{Base, GroupWrite, SourceId, Submission, SubmissionId};
use ringfort_raft::PersistId;
use ringfort_replica::command::{CommandIdentity, POSITION_SINGLE};
use ringfort_replica::{ListQuery, MachineError, Output, Reading, Replica, Ticket};
use ringfort_types::request::{
    Answered, Batch, Consistency, Context, Done, Found, Get, Identity, List, Operation, Page, Write,
};
use ringfort_types::{
    Code, GroupId, Key, Monotonic, NamespaceId, Refusal, ReplicaId, ShardId, shard_of_token,
};

use crate::checkpoint::{Checkpoints, next_generation};
use crate::listing::{self, PageBounds};
use crate::pending::{Kind, Pending, Replied, Response, response};

/// Settings of a worker.
#[derive(Clone, Copy, Debug)]
pub struct WorkerConfig {
    /// This worker, as a source of submissions.
    pub source: SourceId,
    /// Shards of the cluster.
    pub shards: u32,
    /// Requests under way at most; more are refused as `overloaded`.
    pub requests_max: usize,
    /// Bytes of remembered answers per shard at most; keyed writes beyond are refused as `overloaded`.
    pub retry_bytes_max: u64,
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
    Now(Result<Option<Found>, Refusal>),
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
    /// What it holds.
    pub size: StoreSize,
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
    /// Requests refused by admission.
    pub refused: u64,
    /// Requests whose deadline passed.
    pub timeouts: u64,
}

enum Slot {
    Open(OpenShard),
    Closed { replica: ReplicaId, reason: String },
}

struct OpenShard {
    replica: Replica,
    last_generation: Generation,
    /// Bytes of log that the flush under way will make needless.
    flushing_log_bytes: u64,
    dirty: bool,
}

struct UnderWay {
    id: SubmissionId,
    persists: Vec<(GroupId, PersistId)>,
    rebase: Option<(GroupId, Base)>,
}

/// One worker. `W` is whoever waits for an answer: the host's own.
pub struct Worker<W> {
    config: WorkerConfig,
    engine: Box<dyn StorageEngine>,
    /// By shard; `None` where the shard is another worker's.
    slots: Vec<Option<Slot>>,
    mine: Vec<ShardId>,
    dirty: Vec<ShardId>,
    pending: Pending<W>,
    reads: BTreeMap<Ticket, (ShardId, Key)>,
    responses: Vec<(W, Response)>,
    submissions: VecDeque<Submission>,
    under_way: VecDeque<UnderWay>,
    last_submission: SubmissionId,
    checkpoints: Checkpoints,
    may_grow: bool,
    messages: Vec<String>,
    stats: WorkerStats,
}

impl<W> Worker<W> {
    /// A worker that owns no shard yet.
    #[must_use]
    pub fn new(config: WorkerConfig, engine: Box<dyn StorageEngine>) -> Self {
        Self {
            config,
            engine,
            slots: (0..config.shards).map(|_| None).collect(),
            mine: Vec::new(),
            dirty: Vec::new(),
            pending: Pending::new(),
            reads: BTreeMap::new(),
            responses: Vec::new(),
            submissions: VecDeque::new(),
            under_way: VecDeque::new(),
            last_submission: SubmissionId(0),
            checkpoints: Checkpoints::default(),
            may_grow: true,
            messages: Vec::new(),
            stats: WorkerStats::default(),
        }
    }

    /// The engine, for opening stores at start.
    pub(crate) fn engine_mut(&mut self) -> &mut dyn StorageEngine {
        self.engine.as_mut()
    }

    /// Takes a shard's replica, whose store is open.
    pub(crate) fn add_shard(&mut self, shard: ShardId, replica: Replica, generation: Generation) {
        let open = OpenShard {
            replica,
            last_generation: generation,
            flushing_log_bytes: 0,
            dirty: false,
        };
        self.set_slot(shard, Slot::Open(open));
        self.mark_dirty(shard);
    }

    /// Takes a shard that may not be served.
    pub(crate) fn add_closed_shard(&mut self, shard: ShardId, replica: ReplicaId, reason: String) {
        self.set_slot(shard, Slot::Closed { replica, reason });
    }

    fn set_slot(&mut self, shard: ShardId, slot: Slot) {
        self.slots[shard.0 as usize] = Some(slot);
        self.mine.push(shard);
        self.mine.sort_unstable();
    }

    // --- requests ---

    /// The shard of a key.
    #[must_use]
    pub fn shard_of(&self, key: &Key) -> ShardId {
        shard_of_token(key.token(NamespaceId::default()), self.config.shards)
    }

    /// Reads one key: at once where that is safe, else later under the waiter.
    pub fn get(
        &mut self,
        now: Monotonic,
        context: &Context,
        get: &Get,
        waiter: impl FnOnce() -> W,
    ) -> GetAnswer {
        let shard = self.shard_of(&get.key);
        let open = match open_shard(&mut self.slots, shard) {
            Ok(open) => open,
            Err(refusal) => return GetAnswer::Now(Err(refusal)),
        };
        if !open.replica.can_read_now() {
            return self.get_later(shard, context, get, waiter);
        }
        match open.replica.get(self.engine.as_ref(), now, &get.key) {
            Ok(Reading::Found(found)) => {
                GetAnswer::Now(Ok(found.map(|found| fresh(found, get.consistency))))
            }
            Ok(Reading::Due(..)) if get.consistency == Consistency::Stale => {
                GetAnswer::Now(Ok(None))
            }
            Ok(Reading::Due(data_key, version)) => {
                open.replica.enqueue_expire(&[(data_key, version)]);
                let operation = Operation::Get {
                    key: get.key.clone(),
                };
                match self.enqueue(
                    now,
                    context,
                    shard,
                    &CommandIdentity::None,
                    false,
                    &[operation],
                    Kind::Read,
                    waiter,
                ) {
                    Ok(()) => GetAnswer::Later,
                    Err(refusal) => GetAnswer::Now(Err(refusal)),
                }
            }
            Err(error) => GetAnswer::Now(Err(self.close(shard, &error))),
        }
    }

    fn get_later(
        &mut self,
        shard: ShardId,
        context: &Context,
        get: &Get,
        waiter: impl FnOnce() -> W,
    ) -> GetAnswer {
        if get.consistency == Consistency::Stale {
            let detail = "no bound can be given for how old an answer would be";
            return GetAnswer::Now(Err(Refusal::new(Code::Unavailable, detail)));
        }
        if self.pending.len() >= self.config.requests_max {
            return GetAnswer::Now(Err(self.overloaded(false)));
        }
        match open_shard(&mut self.slots, shard) {
            Ok(open) if open.replica.leads() => {
                let ticket = self.pending.insert(context.deadline, Kind::Read, waiter());
                open.replica.enqueue_read(ticket);
                self.reads.insert(ticket, (shard, get.key.clone()));
                self.mark_dirty(shard);
                GetAnswer::Later
            }
            Ok(_) => GetAnswer::Now(Err(Refusal::new(
                Code::Unavailable,
                "the shard has no leader",
            ))),
            Err(refusal) => GetAnswer::Now(Err(refusal)),
        }
    }

    /// Writes one key; the answer comes under the waiter.
    ///
    /// # Errors
    /// The write was refused, and never happens.
    pub fn write(
        &mut self,
        now: Monotonic,
        context: &Context,
        write: &Write,
        waiter: impl FnOnce() -> W,
    ) -> Result<(), Refusal> {
        let identity =
            CommandIdentity::of(&write.identity, context.principal.as_str(), POSITION_SINGLE);
        let operations = std::slice::from_ref(&write.operation);
        let shard = self.shard_of(write.operation.key());
        self.enqueue(
            now,
            context,
            shard,
            &identity,
            false,
            operations,
            Kind::Write,
            waiter,
        )
    }

    /// Executes an atomic batch, whose keys share one shard; the answer comes under the waiter.
    ///
    /// # Errors
    /// The batch was refused, and never happens.
    pub fn atomic(
        &mut self,
        now: Monotonic,
        context: &Context,
        batch: &Batch,
        waiter: impl FnOnce() -> W,
    ) -> Result<(), Refusal> {
        let Some(first) = batch.operations.first() else {
            return Err(Refusal::not_applied(
                Code::InvalidArgument,
                "the batch has no operation",
            ));
        };
        let shard = self.shard_of(first.key());
        let identity = CommandIdentity::of(&batch.identity, context.principal.as_str(), 0);
        self.enqueue(
            now,
            context,
            shard,
            &identity,
            true,
            &batch.operations,
            Kind::Write,
            waiter,
        )
    }

    /// Executes one operation of a batch that is not atomic. A get is `ordered` where an earlier operation of the batch
    /// writes to the same shard: it then goes through the log behind it.
    pub fn batch_operation(
        &mut self,
        now: Monotonic,
        context: &Context,
        identity: &Identity,
        (position, operation): (u16, &Operation),
        ordered: bool,
        waiter: impl FnOnce() -> W,
    ) -> Option<Response> {
        let shard = self.shard_of(operation.key());
        if let Operation::Get { key } = operation
            && !ordered
        {
            let get = Get {
                key: key.clone(),
                consistency: Consistency::Linearizable,
            };
            return match self.get(now, context, &get, waiter) {
                GetAnswer::Now(result) => Some(result.map(|found| replied(Done::Got(found)))),
                GetAnswer::Later => None,
            };
        }
        let (identity, kind) = if operation.is_write() {
            (
                CommandIdentity::of(identity, context.principal.as_str(), position),
                Kind::Write,
            )
        } else {
            (CommandIdentity::None, Kind::Read)
        };
        let operations = std::slice::from_ref(operation);
        self.enqueue(
            now, context, shard, &identity, false, operations, kind, waiter,
        )
        .err()
        .map(Err)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the one funnel that all commands go through"
    )]
    fn enqueue(
        &mut self,
        now: Monotonic,
        context: &Context,
        shard: ShardId,
        identity: &CommandIdentity,
        atomic: bool,
        operations: &[Operation],
        kind: Kind,
        waiter: impl FnOnce() -> W,
    ) -> Result<(), Refusal> {
        if self.pending.len() >= self.config.requests_max {
            return Err(self.overloaded(kind == Kind::Write));
        }
        let grows = operations
            .iter()
            .any(|operation| matches!(operation, Operation::Put { .. }));
        if grows && !self.may_grow {
            return Err(refused(
                kind,
                Code::StorageFull,
                "the disk is full up to its reserve; deletes and reads go on",
            ));
        }
        let open = open_shard(&mut self.slots, shard)
            .map_err(|refusal| refused(kind, refusal.code, refusal.detail))?;
        if *identity != CommandIdentity::None
            && open.replica.retry_bytes() >= self.config.retry_bytes_max
        {
            return Err(refused(
                kind,
                Code::Overloaded,
                "the memory for idempotency keys is full (limits.idempotency_bytes)",
            ));
        }
        if !open.replica.leads() {
            return Err(refused(kind, Code::Unavailable, "the shard has no leader"));
        }
        let ticket = self.pending.insert(context.deadline, kind, waiter());
        let engine = self.engine.as_ref();
        if let Err(error) = open
            .replica
            .enqueue(engine, now, ticket, identity, atomic, operations)
        {
            // The waiter is answered with everything else that the shard gives up.
            self.close(shard, &error);
            let lost = self.pending.lose(vec![ticket]);
            self.responses.extend(lost);
            return Ok(());
        }
        self.mark_dirty(shard);
        Ok(())
    }

    /// One page of the keys of this worker's shards.
    ///
    /// # Errors
    /// A shard cannot be read: a listing without it would not be true.
    pub fn list(&mut self, now: Monotonic, list: &List) -> Result<Page, Refusal> {
        for shard in &self.mine {
            let open = open_shard(&mut self.slots, *shard)?;
            if !open.replica.can_read_now() {
                return Err(Refusal::new(
                    Code::Unavailable,
                    format!("shard {shard} has no leader"),
                ));
            }
        }
        let bounds = PageBounds {
            limit: list.limit,
            bytes_max: list.bytes_max,
        };
        let (slots, engine) = (&mut self.slots, self.engine.as_ref());
        let page = listing::merge(
            &self.mine,
            list.after.as_ref(),
            bounds,
            |shard, after, limit| {
                let query = ListQuery {
                    namespace: NamespaceId::default(),
                    prefix: list.prefix.clone(),
                    start: list.start.clone(),
                    end: list.end.clone(),
                    after: after.cloned(),
                    limit,
                    bytes_max: list.bytes_max,
                    keys_only: list.keys_only,
                };
                let open = open_shard(slots, shard).map_err(|refusal| (shard, Err(refusal)))?;
                open.replica
                    .list(engine, now, &query)
                    .map_err(|error| (shard, Ok(error)))
            },
        );
        page.map_err(|(shard, error)| match error {
            Ok(error) => self.close(shard, &error),
            Err(refusal) => refusal,
        })
    }

    // --- the turn ---

    /// Takes word that a submission of this worker, and all before it, are durable.
    pub fn handle_durable(&mut self, id: SubmissionId) {
        while let Some(done) = self.under_way.pop_front_if(|under_way| under_way.id <= id) {
            for (group, persist) in done.persists {
                if let Some(shard) = group.shard()
                    && let Ok(open) = open_shard(&mut self.slots, shard)
                {
                    open.replica.handle_persisted(persist);
                    self.mark_dirty(shard);
                }
            }
            if let Some((group, base)) = done.rebase {
                self.handle_rebased(group, base);
            }
        }
    }

    /// Takes the passing of time: deadlines and expiry.
    pub fn handle_tick(&mut self, now: Monotonic) {
        let expired = self.pending.expire(now);
        self.stats.timeouts += expired.len() as u64;
        self.responses.extend(expired);
        self.reads
            .retain(|ticket, _| self.pending.contains(*ticket));
        for position in 0..self.mine.len() {
            let shard = self.mine[position];
            let Ok(open) = open_shard(&mut self.slots, shard) else {
                continue;
            };
            let result = open.replica.handle_tick(self.engine.as_ref(), now);
            let queued = open.replica.has_queued();
            match result {
                Ok(()) if queued => self.mark_dirty(shard),
                Ok(()) => {}
                Err(error) => drop(self.close(shard, &error)),
            }
        }
    }

    /// Takes the decision whether writes that grow the data are admitted.
    pub fn handle_space(&mut self, may_grow: bool) {
        self.may_grow = may_grow;
    }

    /// Takes the log's wish that stores be flushed. Those of other workers are passed over.
    pub fn handle_want_rebase(&mut self, groups: &[GroupId]) {
        let slots = &self.slots;
        let open = |group: &&GroupId| {
            let slot = group.shard().and_then(|shard| slots.get(shard.0 as usize));
            matches!(slot, Some(Some(Slot::Open(_))))
        };
        self.checkpoints.want(groups.iter().filter(open).copied());
    }

    /// Takes the end of a disk operation of the engine.
    ///
    /// # Errors
    /// A sync failed: the process must end.
    pub fn handle_disk(&mut self, completion: DiskCompletion) -> Result<(), WorkerError> {
        Ok(self.engine.handle_disk(completion)?)
    }

    /// Whether a turn has something to do.
    #[must_use]
    pub fn has_work(&self) -> bool {
        !self.dirty.is_empty() || !self.responses.is_empty()
    }

    /// Does one turn.
    pub fn poll(&mut self, now: Monotonic) {
        let mut out = Output::default();
        for shard in std::mem::take(&mut self.dirty) {
            let Ok(open) = open_shard(&mut self.slots, shard) else {
                continue;
            };
            open.dirty = false;
            if let Err(error) = open.replica.poll(self.engine.as_mut(), now, &mut out) {
                self.close(shard, &error);
            }
        }
        self.poll_flushes(&mut out);
        self.start_flush();
        self.submit(&mut out);
        self.stats.commands += out.answers.len() as u64;
        for (ticket, answer) in out.answers {
            if let Some(waiter) = self.pending.take(ticket) {
                self.responses.push((waiter, response(answer)));
            }
        }
        for ticket in out.reads {
            self.finish_read(now, ticket);
        }
        self.responses.extend(self.pending.lose(out.lost));
    }

    fn submit(&mut self, out: &mut Output) {
        if out.writes.is_empty() {
            return;
        }
        let writes = std::mem::take(&mut out.writes);
        self.stats.entries += writes.len() as u64;
        let persists = std::mem::take(&mut out.persists);
        self.submit_writes(writes, persists, None);
    }

    fn submit_writes(
        &mut self,
        writes: Vec<GroupWrite>,
        persists: Vec<(GroupId, PersistId)>,
        rebase: Option<(GroupId, Base)>,
    ) {
        self.last_submission = SubmissionId(self.last_submission.0 + 1);
        let id = self.last_submission;
        let operations = u32::try_from(self.pending.len()).unwrap_or(u32::MAX);
        self.submissions.push_back(Submission {
            source: self.config.source,
            id,
            writes,
            operations,
        });
        self.under_way.push_back(UnderWay {
            id,
            persists,
            rebase,
        });
    }

    fn finish_read(&mut self, now: Monotonic, ticket: Ticket) {
        let Some((shard, key)) = self.reads.remove(&ticket) else {
            return;
        };
        let Some(waiter) = self.pending.take(ticket) else {
            return;
        };
        let result = match open_shard(&mut self.slots, shard) {
            Ok(open) => open.replica.get(self.engine.as_ref(), now, &key),
            Err(refusal) => return self.responses.push((waiter, Err(refusal))),
        };
        let response = match result {
            Ok(Reading::Found(found)) => Ok(replied(Done::Got(found))),
            // Confirmed as of now: to whoever asked, the key is gone.
            Ok(Reading::Due(..)) => Ok(replied(Done::Got(None))),
            Err(error) => Err(self.close(shard, &error)),
        };
        self.responses.push((waiter, response));
    }

    // --- checkpoints ---

    fn start_flush(&mut self) {
        while let Some(group) = self.checkpoints.next() {
            let Some(shard) = group.shard() else { continue };
            let Ok(open) = open_shard(&mut self.slots, shard) else {
                self.checkpoints.finish(true);
                continue;
            };
            open.last_generation = next_generation(open.last_generation);
            open.flushing_log_bytes = open.replica.status().log_bytes;
            if let Err(error) = self.engine.flush(group, open.last_generation) {
                self.flush_failed(group, &error);
            }
        }
    }

    fn poll_flushes(&mut self, out: &mut Output) {
        while let Some(flushed) = self.engine.poll_flushed() {
            match flushed {
                Ok(flushed) => self.record_flush(flushed, out),
                Err((group, error)) => self.flush_failed(group, &error),
            }
        }
    }

    fn record_flush(&mut self, flushed: Flushed, out: &mut Output) {
        let Flushed {
            group,
            generation,
            applied,
            bytes,
        } = flushed;
        self.stats.flushes += 1;
        self.stats.flush_bytes += bytes;
        // What was enqueued in this turn goes first: the log keeps a source's submissions in order.
        self.submit(out);
        let base = Base {
            applied,
            generation: generation.0,
        };
        self.submit_writes(
            vec![GroupWrite::Rebase { group, base }],
            Vec::new(),
            Some((group, base)),
        );
    }

    fn handle_rebased(&mut self, group: GroupId, base: Base) {
        self.checkpoints.finish(true);
        let Some(shard) = group.shard() else { return };
        let Ok(open) = open_shard(&mut self.slots, shard) else {
            return;
        };
        let before = open.replica.status().base;
        open.replica.handle_rebased(base, open.flushing_log_bytes);
        self.engine
            .remove_generation(group, Generation(before.generation));
    }

    fn flush_failed(&mut self, group: GroupId, error: &EngineError) {
        self.stats.flushes_failed += 1;
        self.messages
            .push(format!("group {group}: flush given up: {error}"));
        self.checkpoints.finish(false);
    }

    // --- outputs ---

    /// The next answer and whoever waits for it.
    pub fn poll_response(&mut self) -> Option<(W, Response)> {
        self.responses.pop()
    }

    /// The next submission for the log. Submissions are to be handed over in order.
    pub fn poll_submission(&mut self) -> Option<Submission> {
        self.submissions.pop_front()
    }

    /// The next disk operation of the engine.
    pub fn poll_disk(&mut self) -> Option<DiskRequest> {
        self.engine.poll_disk()
    }

    /// The next thing that a person should read.
    pub fn poll_message(&mut self) -> Option<String> {
        self.messages.pop()
    }

    /// Requests under way.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> WorkerStats {
        self.stats
    }

    /// Every shard of this worker.
    #[must_use]
    pub fn shards(&self) -> Vec<ShardSummary> {
        self.mine
            .iter()
            .filter_map(|shard| self.summary(*shard))
            .collect()
    }

    /// Whether every open shard of this worker can be read and written.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.slots.iter().flatten().all(|slot| match slot {
            Slot::Open(open) => open.replica.can_read_now(),
            Slot::Closed { .. } => true,
        })
    }

    /// A hash over the state of a shard; `None` if it is closed or another worker's.
    #[must_use]
    pub fn state_hash(&self, shard: ShardId) -> Option<u128> {
        match self.slots.get(shard.0 as usize)? {
            Some(Slot::Open(open)) => open.replica.state_hash(self.engine.as_ref()).ok(),
            _ => None,
        }
    }

    fn summary(&self, shard: ShardId) -> Option<ShardSummary> {
        let size = self
            .engine
            .size(GroupId::of_shard(shard))
            .unwrap_or_default();
        Some(match self.slots.get(shard.0 as usize)?.as_ref()? {
            Slot::Open(open) => ShardSummary {
                shard,
                replica: open.replica.id(),
                leads: open.replica.leads(),
                closed: None,
                size,
                status: Some(open.replica.status()),
            },
            Slot::Closed { replica, reason } => ShardSummary {
                shard,
                replica: *replica,
                leads: false,
                closed: Some(reason.clone()),
                size,
                status: None,
            },
        })
    }

    // --- helpers ---

    fn mark_dirty(&mut self, shard: ShardId) {
        if let Ok(open) = open_shard(&mut self.slots, shard)
            && !open.dirty
        {
            open.dirty = true;
            self.dirty.push(shard);
        }
    }

    /// Closes a shard whose replica had to stop, answers all that waits for it, and gives the refusal for whoever asked.
    fn close(&mut self, shard: ShardId, error: &MachineError) -> Refusal {
        let reason = describe(error);
        self.messages
            .push(format!("shard {shard} is closed: {reason}"));
        if let Some(Some(slot)) = self.slots.get_mut(shard.0 as usize)
            && let Slot::Open(open) = slot
        {
            let lost = open.replica.abandon();
            let replica = open.replica.id();
            *slot = Slot::Closed {
                replica,
                reason: reason.clone(),
            };
            self.responses.extend(self.pending.lose(lost));
        }
        closed(shard, &reason)
    }

    fn overloaded(&mut self, write: bool) -> Refusal {
        self.stats.refused += 1;
        let detail = "too many requests are under way on this worker";
        if write {
            Refusal::not_applied(Code::Overloaded, detail)
        } else {
            Refusal::new(Code::Overloaded, detail)
        }
    }
}

fn open_shard(slots: &mut [Option<Slot>], shard: ShardId) -> Result<&mut OpenShard, Refusal> {
    match slots.get_mut(shard.0 as usize) {
        Some(Some(Slot::Open(open))) => Ok(open),
        Some(Some(Slot::Closed { reason, .. })) => Err(closed(shard, reason)),
        _ => Err(Refusal::new(
            Code::Unavailable,
            format!("shard {shard} is not on this worker"),
        )),
    }
}

/// A refusal of a command that was not enqueued.
fn refused(kind: Kind, code: Code, detail: impl Into<Cow<'static, str>>) -> Refusal {
    match kind {
        Kind::Read => Refusal::new(code, detail),
        Kind::Write => Refusal::not_applied(code, detail),
    }
}

fn closed(shard: ShardId, reason: &str) -> Refusal {
    Refusal::new(
        Code::Unavailable,
        format!("shard {shard} is closed: {reason}"),
    )
}

fn replied(done: Done) -> Replied {
    Replied::One(Answered {
        done,
        replayed: false,
    })
}

/// The one replica of a group that leads it is never behind.
fn fresh(found: Found, consistency: Consistency) -> Found {
    let staleness_ms = (consistency == Consistency::Stale).then_some(0);
    Found {
        staleness_ms,
        ..found
    }
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
