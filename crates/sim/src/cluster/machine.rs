//! One machine: its disk, its clock, and the process on it, if it is up.

use ringfort_env::{DiskOperation, DiskRequest, FileName, Lane};

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
    log_writes: Vec<LogWrite>,
}

/// Where a batch of the log lies.
#[derive(Clone, Debug)]
struct LogWrite {
    file: FileName,
    from: u64,
    to: u64,
}

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
            disk_factor,
            stalled_until: [0; 2],
            busy: [false; 2],
            planned: Vec::new(),
            timer: None,
            log_writes: Vec::new(),
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
            if self.log_writes.len() == UNPROVEN_WRITES {
                self.log_writes.remove(0);
            }
            let to = offset + bytes.len() as u64;
            self.log_writes.push(LogWrite { file: file.clone(), from: *offset, to });
        }
        self.disk.submit(request);
    }

    /// Whether damage to a place can be told from a torn tail.
    pub(super) fn is_proven(&self, file: &FileName, from: u64, to: u64) -> bool {
        let unproven = |write: &LogWrite| write.file == *file && write.from < to && from < write.to;
        self.log_writes.len() == UNPROVEN_WRITES && !self.log_writes.iter().any(unproven)
    }
}
