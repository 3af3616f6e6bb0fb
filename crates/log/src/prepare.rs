//! Segment files around the ones in use: made in advance, recycled, deleted. All in the background lane, one operation at
//! a time, so that other background work gets its turns in between.
//!
//! ```text
//!   make:     create ─ (write zeros ... ─ sync) ... ─ sync directory ─▶ ready
//!   recycle:  rename ─ sync directory ─▶ ready
//!   delete:   delete ─ sync directory
//! ```
//!
//! A full disk, or another failure but that of a sync, is met by removing what was begun and trying again later. A failed
//! sync is fatal here as everywhere. Ids are given out in rising order and never twice: what a file held under its old id
//! never parses under its new one.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use ringfort_env::{DiskAnswer, DiskError, DiskErrorKind, DiskOperation};
use ringfort_types::Monotonic;

use crate::format::SegmentId;

/// Segments kept ready until the first one is taken: a start has little to write, and should not write many zeros.
const READY_AT_FIRST: usize = 1;
/// Segments kept ready from then on: while other work occupies the background lane for long, the log fills one and goes on
/// in the next.
const READY_BUSY: usize = 2;
/// Freed segments are recycled up to this many ready ones, then deleted. One more than is made: the next one that is taken is
/// replaced by one that is freed, and not by a new one.
const READY_MAX: usize = 3;
/// Zeros are written in pieces of this size. The page cache keeps what is written at once in one piece, and each small batch that
/// is written over it later costs a walk through the piece.
const ZEROS_BYTES: usize = 64 << 10;
/// So many zeros are synced at a time. The disk takes long over all of a segment, and a batch's own sync waits for it meanwhile.
const SYNC_BYTES: u64 = 1 << 20;
/// After a failure, the next attempt comes this much later.
const RETRY_DELAY: Duration = Duration::from_secs(1);

static ZEROS: [u8; ZEROS_BYTES] = [0; ZEROS_BYTES];

/// Zeros to write at `offset` of a file that is to have `total` bytes.
pub(crate) fn zeros(offset: u64, total: u64) -> Bytes {
    let rest = usize::try_from(total.saturating_sub(offset)).unwrap_or(usize::MAX);
    let rest = rest.min(ZEROS_BYTES);
    Bytes::from_static(&ZEROS[..rest])
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Job {
    Make(SegmentId),
    Recycle { from: SegmentId, to: SegmentId },
    Delete(SegmentId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Create,
    /// From this offset on.
    Write(u64),
    /// Of what was written up to this offset.
    Sync(u64),
    Rename,
    Delete,
    SyncDirectory,
}

/// Makes, recycles and deletes segment files.
#[derive(Debug)]
pub(crate) struct Preparer {
    segment_bytes: u64,
    next: SegmentId,
    /// In order of their ids: the log's segments follow each other in that order.
    ready: VecDeque<SegmentId>,
    /// The newest that was taken. One with an older id comes too late, and gets a new id first.
    taken: SegmentId,
    /// So many are to be ready.
    wanted: usize,
    jobs: VecDeque<Job>,
    /// Jobs that failed and wait for the next attempt.
    failed: Vec<Job>,
    current: Option<(Job, Step)>,
    /// The current step's operation was handed out and has not ended.
    running: bool,
    retry_at: Option<Monotonic>,
    /// Why the last attempt to have another segment ready failed, if it did.
    failing: Option<DiskError>,
    pub(crate) recycled: u64,
    pub(crate) failures: u64,
}

impl Preparer {
    /// Gives out ids from `next` on; `ready` are segments prepared earlier.
    pub(crate) fn new(segment_bytes: u64, next: SegmentId, mut ready: Vec<SegmentId>) -> Self {
        ready.sort_unstable();
        Self {
            segment_bytes,
            next,
            ready: ready.into(),
            taken: SegmentId(0),
            wanted: READY_AT_FIRST,
            jobs: VecDeque::new(),
            failed: Vec::new(),
            current: None,
            running: false,
            retry_at: None,
            failing: None,
            recycled: 0,
            failures: 0,
        }
    }

    /// Segments ready to be written.
    pub(crate) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// Why fewer segments are ready than should be, if the last attempt to have another failed.
    pub(crate) fn shortage(&self) -> Option<&DiskError> {
        self.failing.as_ref().filter(|_| self.ready.len() < self.wanted)
    }

    /// Takes the next ready segment.
    pub(crate) fn take(&mut self) -> Option<SegmentId> {
        self.wanted = READY_BUSY;
        let id = self.ready.pop_front()?;
        self.taken = id;
        Some(id)
    }

    /// Files that exist beside those in use, about.
    pub(crate) fn files(&self) -> usize {
        let jobs = self.jobs.iter().chain(&self.failed).filter(|job| !matches!(job, Job::Make(_)));
        self.ready.len() + jobs.count() + usize::from(self.current.is_some())
    }

    /// A segment is no longer needed.
    pub(crate) fn release(&mut self, id: SegmentId, capacity: u64) {
        let coming = self.making();
        if capacity == self.segment_bytes && self.ready.len() + coming < READY_MAX {
            let to = self.next_id();
            self.jobs.push_back(Job::Recycle { from: id, to });
        } else {
            self.jobs.push_back(Job::Delete(id));
        }
    }

    fn making(&self) -> usize {
        let current = self.current.iter().map(|(job, _)| job);
        self.jobs.iter().chain(current).filter(|job| !matches!(job, Job::Delete(_))).count()
    }

    fn next_id(&mut self) -> SegmentId {
        let id = self.next;
        self.next = SegmentId(id.0 + 1);
        id
    }

    /// When to try again what failed.
    pub(crate) fn timer(&self) -> Option<Monotonic> {
        self.retry_at
    }

    /// The next operation, if none is under way and there is something to do now.
    pub(crate) fn poll(&mut self, now: Monotonic) -> Option<DiskOperation> {
        if self.running {
            return None;
        }
        if self.retry_at.is_some_and(|at| now >= at) {
            self.retry_at = None;
            self.jobs.extend(self.failed.drain(..));
        }
        if self.current.is_none() {
            self.current = self.next_job();
        }
        let (job, step) = self.current?;
        self.running = true;
        Some(self.operation(job, step))
    }

    fn next_job(&mut self) -> Option<(Job, Step)> {
        let wanted = self.ready.len() + self.making() < self.wanted;
        if wanted && self.retry_at.is_none() {
            let id = self.next_id();
            self.jobs.push_front(Job::Make(id));
        }
        let job = self.jobs.pop_front()?;
        let step = match job {
            Job::Make(_) => Step::Create,
            Job::Recycle { .. } => Step::Rename,
            Job::Delete(_) => Step::Delete,
        };
        Some((job, step))
    }

    fn operation(&self, job: Job, step: Step) -> DiskOperation {
        let (Job::Make(id) | Job::Delete(id) | Job::Recycle { to: id, .. }) = job;
        match (step, job) {
            (Step::Create, _) => DiskOperation::Create(id.file()),
            (Step::Write(offset), _) => DiskOperation::WriteAt {
                file: id.file(),
                offset,
                bytes: zeros(offset, self.segment_bytes),
            },
            (Step::Sync(_), _) => DiskOperation::SyncData(id.file()),
            (Step::Rename, Job::Recycle { from, to }) => {
                DiskOperation::Rename { from: from.file(), to: to.file() }
            }
            (Step::Rename | Step::Delete, _) => DiskOperation::Delete(id.file()),
            (Step::SyncDirectory, _) => DiskOperation::SyncDirectory,
        }
    }

    /// Takes the end of the operation last polled.
    ///
    /// # Errors
    /// A sync failed: fatal.
    pub(crate) fn handle(
        &mut self,
        now: Monotonic,
        result: Result<DiskAnswer, DiskError>,
    ) -> Result<(), DiskError> {
        self.running = false;
        let Some((job, step)) = self.current.take() else {
            return Ok(());
        };
        match result {
            Ok(_) => self.proceed(job, step),
            Err(error) => return self.recover(now, job, step, error),
        }
        Ok(())
    }

    fn proceed(&mut self, job: Job, step: Step) {
        let next = match step {
            Step::Create => Step::Write(0),
            Step::Write(offset) => {
                let next = offset + zeros(offset, self.segment_bytes).len() as u64;
                let is_piece = next.is_multiple_of(SYNC_BYTES) || next >= self.segment_bytes;
                if is_piece { Step::Sync(next) } else { Step::Write(next) }
            }
            Step::Sync(upto) if upto < self.segment_bytes => Step::Write(upto),
            Step::Sync(_) | Step::Rename | Step::Delete => Step::SyncDirectory,
            Step::SyncDirectory => {
                match job {
                    Job::Make(id) => self.keep_ready(id),
                    Job::Recycle { to, .. } => {
                        self.keep_ready(to);
                        self.recycled += 1;
                    }
                    Job::Delete(_) => {}
                }
                return;
            }
        };
        self.current = Some((job, next));
    }

    /// Keeps a prepared segment ready. Jobs do not end in the order of their ids: a job that failed is tried again after
    /// later ones, and a segment that is wanted at once is made before those that wait.
    fn keep_ready(&mut self, id: SegmentId) {
        if id < self.taken {
            let to = self.next_id();
            self.jobs.push_back(Job::Recycle { from: id, to });
            return;
        }
        self.failing = None;
        let place = self.ready.partition_point(|ready| *ready < id);
        self.ready.insert(place, id);
    }

    fn recover(
        &mut self,
        now: Monotonic,
        job: Job,
        step: Step,
        error: DiskError,
    ) -> Result<(), DiskError> {
        let gone = error.kind == DiskErrorKind::NotFound;
        if !matches!(job, Job::Delete(_)) {
            self.failing = Some(error.clone());
        }
        match (step, job) {
            (Step::Sync(_) | Step::SyncDirectory, _) => return Err(error),
            (Step::Delete, _) if gone => {
                self.proceed(job, step);
                return Ok(());
            }
            // What was begun gives its space back at once; the next attempt takes a new id.
            (_, Job::Make(id)) => self.jobs.push_front(Job::Delete(id)),
            (_, Job::Recycle { from, .. }) => self.failed.push(Job::Delete(from)),
            (_, Job::Delete(_)) => self.failed.push(job),
        }
        self.failures += 1;
        self.retry_at = Some(now + RETRY_DELAY);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_synced_piece_by_piece() {
        let now = Monotonic(0);
        let mut preparer = Preparer::new(5 << 19, SegmentId(1), Vec::new());
        let mut story = String::new();
        let mut written = 0;
        while let Some(operation) = preparer.poll(now) {
            match operation {
                DiskOperation::Create(_) => story += "create",
                DiskOperation::WriteAt { offset, bytes, .. } => {
                    assert_eq!(offset, written, "{story}");
                    written += bytes.len() as u64;
                }
                DiskOperation::SyncData(_) => story += &format!(", {} KiB", written >> 10),
                DiskOperation::SyncDirectory => story += ", directory",
                other => panic!("{story}, {other:?}"),
            }
            preparer.handle(now, Ok(DiskAnswer::Done)).unwrap();
        }
        assert_eq!(story, "create, 1024 KiB, 2048 KiB, 2560 KiB, directory");
        assert_eq!(preparer.ready(), READY_AT_FIRST);
    }
}
