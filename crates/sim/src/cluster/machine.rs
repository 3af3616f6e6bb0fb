//! One machine: its disk, its clock, and the process on it, if it is up.

use std::collections::{BTreeSet, VecDeque};

use ringfort_env::{DiskOperation, DiskRequest, FileName, Lane};
use ringfort_types::{ReplicaId, ShardId};

use super::clock::Clock;
use super::node::{ClusterNode, Thread};
use crate::SimDisk;

/// A machine.
pub(super) struct Machine {
    pub(super) disk: SimDisk,
    pub(super) clock: Clock,
    /// Counts starts and ends of processes: an odd one is up.
    pub(super) boot: u64,
    pub(super) process: Option<ClusterNode>,
    /// The process does not run, and does not know.
    pub(super) paused: bool,
    /// The founding was durable once.
    pub(super) formed: bool,
    /// Bits of its disk were lost that had been synced.
    pub(super) damaged: bool,
    /// The newest start found every replica, and nothing lost of it.
    pub(super) found_all: bool,
    /// No process starts before this time.
    pub(super) held_until: u64,
    /// Replicas that a start found damaged.
    pub(super) quarantined: BTreeSet<(ShardId, ReplicaId)>,
    /// How much slower than others its disk is.
    pub(super) disk_factor: u64,
    /// A lane completes nothing before this time.
    pub(super) stalled_until: [u64; 2],
    /// An operation of the lane is under way.
    pub(super) busy: [bool; 2],
    /// Threads whose next turn is planned, by number.
    pub(super) planned: Vec<bool>,
    /// When the log's timer is planned to ring.
    pub(super) timer: Option<u64>,
    /// The newest writes to the log since the start, oldest first.
    log_writes: VecDeque<Place>,
}

/// Where bytes lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: FileName,
    pub(super) from: u64,
    pub(super) to: u64,
}

/// Writes to the log that are remembered.
const WRITES_MAX: usize = 64;
/// Of the log, the last batch that is synced and one that is being written are not proven by anything behind them: what
/// damages them cannot be told from a torn tail.
const UNPROVEN_WRITES: usize = 2;

impl Machine {
    pub(super) fn new(disk: SimDisk, clock: Clock, disk_factor: u64) -> Self {
        Self {
            disk,
            clock,
            boot: 0,
            process: None,
            paused: false,
            formed: false,
            damaged: false,
            found_all: true,
            held_until: 0,
            quarantined: BTreeSet::new(),
            disk_factor,
            stalled_until: [0; 2],
            busy: [false; 2],
            planned: Vec::new(),
            timer: None,
            log_writes: VecDeque::new(),
        }
    }

    /// A process is there now.
    pub(super) fn begin(&mut self, process: ClusterNode) {
        self.boot += 1;
        self.planned = process.threads().map(|_| false).collect();
        self.process = Some(process);
        self.paused = false;
        self.timer = None;
        self.busy = [false; 2];
        self.log_writes.clear();
    }

    /// The process is gone; what it leaves is the caller's.
    pub(super) fn end(&mut self) -> Option<ClusterNode> {
        self.boot += 1;
        self.process.take()
    }

    /// Whether a thread is to be planned for a turn now.
    pub(super) fn take_turn_wish(&mut self, thread: Thread) -> bool {
        let Some(process) = &self.process else { return false };
        let planned = &mut self.planned[thread.number()];
        let wish = !self.paused && !*planned && process.wants_turn(thread);
        *planned |= wish;
        wish
    }

    /// Hands an operation to the disk.
    pub(super) fn submit(&mut self, request: DiskRequest) {
        if let (Lane::Log, DiskOperation::WriteAt { file, offset, bytes }) =
            (request.lane, &request.operation)
        {
            if self.log_writes.len() == WRITES_MAX {
                self.log_writes.pop_front();
            }
            let to = offset + bytes.len() as u64;
            self.log_writes.push_back(Place { file: file.clone(), from: *offset, to });
        }
        self.disk.submit(request);
    }

    /// Batches of the log that later ones prove, oldest first.
    pub(super) fn proven_writes(
        &self,
    ) -> impl ExactSizeIterator<Item = &Place> + DoubleEndedIterator {
        let proven = self.log_writes.len().saturating_sub(UNPROVEN_WRITES);
        self.log_writes.iter().take(proven)
    }

    /// Whether damage to a place can be told from a torn tail.
    pub(super) fn is_proven(&self, place: &Place) -> bool {
        let touches = |write: &&Place| {
            write.file == place.file && write.from < place.to && place.from < write.to
        };
        let mut unproven = self.log_writes.iter().rev().take(UNPROVEN_WRITES);
        self.log_writes.len() >= UNPROVEN_WRITES && !unproven.any(|write| touches(&write))
    }
}
