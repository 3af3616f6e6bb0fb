//! The log on disk, as a core.
//!
//! ```text
//!   submit ─▶ pending ─┐
//!                      ├─▶ batch ─▶ write, sync ─▶ durable ─▶ events
//!   stragglers ────────┘     ▲
//!                            └── a new segment's opening comes first
//! ```
//!
//! # Invariants
//! - At most one batch is neither durable nor failed, and none spans segments. So a batch on disk proves all before it.
//! - A segment goes only once a durable batch says that recovery does not need it.
//! - After a failed write or sync of a batch, or any failed sync, nothing is told but that failure.
//!
//! What is left out: retrying anything that failed in the log's lane. The process ends, and a start finds out what is
//! there.

mod fill;

use std::collections::{BTreeMap, VecDeque};

use ringfort_env::OperationId;
use ringfort_env::{DiskCompletion, DiskError, DiskOperation, DiskRequest, Lane};
use ringfort_types::{GroupId, Monotonic};

use crate::builder::{Batch, BatchBuilder, Place};
use crate::chain::Chain;
use crate::format::SegmentId;
use crate::group::Group;
use crate::options::opening_bytes;
use crate::pacing::Pacing;
use crate::pending::Pending;
use crate::prepare::Preparer;
use crate::straggler::Stragglers;
use crate::writer::Retired;
use crate::{
    Headroom, LogEvent, LogOptions, LogStats, LogStore, SourceId, Submission, SubmissionId,
};
use fill::Fill;

/// What recovery hands over to a running log.
pub(crate) struct Parts {
    pub(crate) options: LogOptions,
    pub(crate) groups: BTreeMap<GroupId, Group>,
    pub(crate) chain: Chain,
    pub(crate) place: Place,
    /// Number of the next batch.
    pub(crate) sequence: u64,
    pub(crate) preparer: Preparer,
    /// The newest batch on disk is an opening: marked by its very nature, unless it brought entries along.
    pub(crate) marked: bool,
}

/// A batch on its way to the disk.
#[derive(Debug)]
struct Flight {
    write: OperationId,
    sync: OperationId,
    written: bool,
    batch: Batch,
    operations: u64,
    ended: Vec<(SourceId, SubmissionId)>,
    started: Monotonic,
}

/// The log on disk; see [`crate::recover`].
#[derive(Debug)]
pub struct FileLog {
    options: LogOptions,
    pub(crate) groups: BTreeMap<GroupId, Group>,
    pub(crate) chain: Chain,
    builder: BatchBuilder,
    /// Number of the next batch.
    sequence: u64,
    pending: Pending,
    /// Since when pending submissions wait though the disk is free.
    waiting_since: Monotonic,
    /// Submissions whose last record is in the batch being filled.
    ended: Vec<(SourceId, SubmissionId)>,
    /// Their client operations.
    ended_operations: u64,
    retired: Vec<Retired>,
    /// Batches of a new segment's opening, still to be written.
    opening: VecDeque<Batch>,
    /// The active segment is full and no other is ready.
    waits_for_segment: bool,
    flight: Option<Flight>,
    pub(crate) preparer: Preparer,
    prepare_operation: Option<OperationId>,
    pub(crate) stragglers: Stragglers,
    /// The last batch had no room for any of them.
    rewrites_put_off: bool,
    straggler_operation: Option<OperationId>,
    pacing: Pacing,
    marker_due: Option<Monotonic>,
    /// As it was told last.
    headroom: Headroom,
    operation: u64,
    disk: VecDeque<DiskRequest>,
    events: VecDeque<LogEvent>,
    failed: bool,
    pub(crate) stats: LogStats,
}

impl FileLog {
    pub(crate) fn new(parts: Parts, now: Monotonic) -> Self {
        let options = parts.options;
        let mut log = Self {
            options,
            groups: parts.groups,
            chain: parts.chain,
            builder: BatchBuilder::new(parts.place),
            sequence: parts.sequence,
            pending: Pending::default(),
            waiting_since: now,
            ended: Vec::new(),
            ended_operations: 0,
            retired: Vec::new(),
            opening: VecDeque::new(),
            waits_for_segment: false,
            flight: None,
            preparer: parts.preparer,
            prepare_operation: None,
            stragglers: Stragglers::new(options.log_bytes_target, options.segment_bytes),
            rewrites_put_off: false,
            straggler_operation: None,
            pacing: Pacing::new(options.sync_delay_max),
            marker_due: (!parts.marked).then(|| now + options.marker_delay),
            headroom: Headroom::default(),
            operation: 0,
            disk: VecDeque::new(),
            events: VecDeque::new(),
            failed: false,
            stats: LogStats::default(),
        };
        let terms = log.groups.values().map(|group| group.live.terms().len());
        if terms.map(opening_bytes).sum::<u64>() > options.states_bytes_soft() {
            log.ask_for_fewer_terms();
        }
        log.advance(now);
        log
    }

    /// Does whatever can be done now.
    fn advance(&mut self, now: Monotonic) {
        if self.failed {
            return;
        }
        self.advance_stragglers();
        while self.flight.is_none() && self.start_batch(now) {}
        self.advance_background(now);
        self.tell_headroom();
    }

    /// Tells how far the log can still be written, where that has changed.
    fn tell_headroom(&mut self) {
        let why = self.preparer.shortage();
        let headroom = match why {
            None => Headroom::Ample,
            Some(_) if self.waits_for_segment => Headroom::Exhausted,
            Some(_) if self.room() <= self.options.exhausted_bytes() => Headroom::Exhausted,
            Some(_) => Headroom::Short,
        };
        if !self.failed && headroom != self.headroom {
            self.headroom = headroom;
            self.events.push_back(LogEvent::Headroom { headroom, why: why.cloned() });
        }
    }

    /// Bytes that can be written before another segment has to be prepared.
    fn room(&self) -> u64 {
        let active = self.chain.active();
        let ready = self.preparer.ready() as u64;
        active.capacity.saturating_sub(active.end) + ready * self.options.segment_bytes
    }

    /// Starts the next batch, if there is one to be written now; says whether to go on trying.
    fn start_batch(&mut self, now: Monotonic) -> bool {
        if let Some(batch) = self.opening.pop_front() {
            self.launch(now, batch);
            return false;
        }
        if self.waits_for_segment && self.preparer.ready() == 0 {
            return false;
        }
        let submissions_due = !self.pending.is_empty() && now >= self.batch_due();
        let marker_due = self.marker_due.is_some_and(|due| now >= due);
        if !submissions_due && !marker_due && self.stragglers.rewrites.is_empty() {
            return false;
        }
        match self.fill() {
            Fill::Batch => {
                self.finish_and_launch(now);
                false
            }
            Fill::Nothing if marker_due => {
                self.finish_and_launch(now);
                false
            }
            Fill::Nothing => {
                self.tell_durable();
                false
            }
            Fill::SegmentFull(needed) => self.rotate(needed),
        }
    }

    /// When pending submissions should be written.
    fn batch_due(&self) -> Monotonic {
        self.pacing.due(self.pending.operations(), self.waiting_since)
    }

    fn finish_and_launch(&mut self, now: Monotonic) {
        let batch = self.builder.finish(0, self.chain.oldest_needed());
        self.sequence += 1;
        self.launch(now, batch);
    }

    fn launch(&mut self, now: Monotonic, batch: Batch) {
        let file = batch.header.segment.file();
        let offset = batch.header.offset;
        let bytes = batch.bytes.clone();
        self.chain.set_active_end(batch.header.end());
        self.marker_due = None;
        let write = DiskOperation::WriteAt { file: file.clone(), offset, bytes };
        let write = self.request(Lane::Log, write);
        let sync = self.request(Lane::Log, DiskOperation::SyncData(file));
        self.flight = Some(Flight {
            write,
            sync,
            written: false,
            batch,
            operations: std::mem::take(&mut self.ended_operations),
            ended: std::mem::take(&mut self.ended),
            started: now,
        });
        self.waiting_since = now;
    }

    fn request(&mut self, lane: Lane, operation: DiskOperation) -> OperationId {
        self.operation += 1;
        let id = OperationId(self.operation);
        self.disk.push_back(DiskRequest { id, lane, operation });
        id
    }

    fn handle_write(&mut self) {
        if let Some(flight) = &mut self.flight {
            flight.written = true;
        }
    }

    /// The batch under way is durable.
    fn handle_synced(&mut self, now: Monotonic) {
        let Some(flight) = self.flight.take() else {
            return;
        };
        assert!(flight.written, "operations of a lane end in order");
        let header = flight.batch.header;
        self.stats.batches += 1;
        self.stats.syncs += 1;
        self.stats.records += u64::from(header.records);
        self.stats.bytes += header.end() - header.offset;
        let took = now.since(flight.started);
        if flight.operations > 0 {
            self.pacing.observe(flight.operations, self.pending.operations(), took);
        }
        // From here on the next batch could start: only what it waits from now on is of its own choice.
        self.waiting_since = now;
        self.ended = flight.ended;
        self.tell_durable();
        while let Some(segment) = self.chain.pop_before(header.oldest) {
            self.stragglers.forget(segment.id);
            self.preparer.release(segment.id, segment.capacity);
        }
        let unmarked = header.records > 0 && !header.is_opening();
        let freeable = self.chain.oldest().id < self.chain.oldest_needed();
        if unmarked || freeable {
            self.marker_due = Some(now + self.options.marker_delay);
        }
    }

    /// Tells that the submissions in `ended` are durable: one event per source.
    fn tell_durable(&mut self) {
        self.ended_operations = 0;
        let first = self.events.len();
        for (source, id) in self.ended.drain(..) {
            let known = self.events.iter_mut().skip(first).find_map(|event| match event {
                LogEvent::Durable { source: known, id } if *known == source => Some(id),
                _ => None,
            });
            match known {
                Some(newest) => *newest = id,
                None => self.events.push_back(LogEvent::Durable { source, id }),
            }
        }
    }

    /// Nothing more happens but that this is told.
    fn fail(&mut self, error: DiskError) {
        self.failed = true;
        self.flight = None;
        self.opening.clear();
        self.disk.clear();
        self.events.clear();
        self.events.push_back(LogEvent::Failed(error));
    }

    fn advance_stragglers(&mut self) {
        if let Some(groups) = self.stragglers.decide(&self.chain, &self.groups) {
            self.events.push_back(LogEvent::WantRebase { groups });
        }
    }

    fn advance_background(&mut self, now: Monotonic) {
        if self.prepare_operation.is_none()
            && let Some(operation) = self.preparer.poll(now)
        {
            self.prepare_operation = Some(self.request(Lane::Background, operation));
        }
        self.poll_stragglers();
        if let Some(segment) = self.stragglers.take_ended() {
            self.give_up_missing(segment);
            if self.chain.oldest().id < self.chain.oldest_needed() {
                self.marker_due.get_or_insert(now + self.options.marker_delay);
            }
        }
    }

    fn poll_stragglers(&mut self) {
        if self.straggler_operation.is_none()
            && let Some(operation) = self.stragglers.poll()
        {
            self.straggler_operation = Some(self.request(Lane::Background, operation));
        }
    }

    /// A segment was read to its end and all that was found there is written. Nothing is held back any longer for what was
    /// not found of groups that are known to be damaged.
    fn give_up_missing(&mut self, segment: SegmentId) {
        let active = self.chain.active().id;
        for group in self.groups.values_mut().filter(|group| group.damage.is_some()) {
            group.live.give_up(&mut self.chain, segment, active);
        }
        let oldest = self.chain.oldest();
        if oldest.id == segment && oldest.live_entries > 0 {
            self.stragglers.set_unreadable(segment);
        }
    }
}

impl LogStore for FileLog {
    fn submit(&mut self, now: Monotonic, submission: Submission) {
        if self.failed {
            return;
        }
        if self.pending.is_empty() {
            self.waiting_since = now;
        }
        self.pending.push(submission);
        self.advance(now);
    }

    fn handle_disk(&mut self, now: Monotonic, completion: DiskCompletion) {
        if self.failed {
            return;
        }
        let DiskCompletion { id, result } = completion;
        let flight = self.flight.as_ref().map(|flight| (flight.write, flight.sync));
        if Some(id) == self.prepare_operation {
            self.prepare_operation = None;
            if let Err(error) = self.preparer.handle(now, result) {
                self.fail(error);
            }
        } else if Some(id) == self.straggler_operation {
            self.straggler_operation = None;
            self.stragglers.handle(result, &self.groups, self.options.salt);
        } else if let Err(error) = result {
            self.fail(error);
        } else if Some(id) == flight.map(|(write, _)| write) {
            self.handle_write();
        } else if Some(id) == flight.map(|(_, sync)| sync) {
            self.handle_synced(now);
        }
        self.advance(now);
    }

    fn handle_timer(&mut self, now: Monotonic) {
        self.advance(now);
    }

    fn set_log_bytes_target(&mut self, bytes: u64) {
        let bytes = bytes.max(2 * self.options.segment_bytes);
        self.stragglers.set_target(bytes, self.chain.bytes());
        if !self.failed {
            self.advance_stragglers();
            self.poll_stragglers();
        }
    }

    fn poll_timer(&self) -> Option<Monotonic> {
        if self.failed {
            return None;
        }
        let idle = self.flight.is_none() && self.opening.is_empty();
        let idle = idle && !self.waits_for_segment;
        let batch = (idle && !self.pending.is_empty()).then(|| self.batch_due());
        let marker = self.marker_due.filter(|_| idle);
        [batch, marker, self.preparer.timer()].into_iter().flatten().min()
    }

    fn poll_disk(&mut self) -> Option<DiskRequest> {
        self.disk.pop_front()
    }

    fn poll_event(&mut self) -> Option<LogEvent> {
        self.events.pop_front()
    }

    fn stats(&self) -> LogStats {
        LogStats {
            segments_recycled: self.preparer.recycled,
            segments: (self.chain.len() + self.preparer.files()) as u64,
            live_bytes: self.chain.bytes(),
            segments_failed: self.preparer.failures,
            room_bytes: self.room(),
            ..self.stats
        }
    }
}
