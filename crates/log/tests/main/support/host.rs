//! Runs a file log over a simulated disk, step by step.

use std::time::Duration;

use ringfort_env::{DiskError, DiskOperation, Lane};
use ringfort_log::{
    FileLog, Headroom, LogError, LogEvent, LogOptions, LogStore, RecoveredLog, Submission,
};
use ringfort_sim::SimDisk;
use ringfort_types::{GroupId, Monotonic};

/// The smallest segments: what takes gigabytes in production takes kilobytes here.
pub(crate) fn small_options() -> LogOptions {
    LogOptions { segment_bytes: 256 << 10, log_bytes_target: 512 << 10, ..LogOptions::new(0x5a17) }
}

/// What the log said.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) durable: Vec<(u16, u64)>,
    pub(crate) want_rebase: Vec<GroupId>,
    pub(crate) headroom: Vec<Headroom>,
    pub(crate) failed: Option<DiskError>,
}

/// A log that could not be started, and its disk.
#[derive(Debug)]
pub(crate) struct Down {
    pub(crate) disk: Box<SimDisk>,
    pub(crate) error: LogError,
}

/// A log that runs.
pub(crate) struct Host {
    pub(crate) disk: SimDisk,
    pub(crate) log: FileLog,
    pub(crate) now: Monotonic,
}

impl Host {
    /// Starts a log on what is on a disk.
    pub(crate) fn start(disk: SimDisk, options: LogOptions) -> Result<(Self, RecoveredLog), Down> {
        let mut disk = disk;
        let now = Monotonic(1_000_000_000);
        match ringfort_log::recover(&mut disk, options, now) {
            Ok((log, recovered)) => Ok((Self { disk, log, now }, recovered)),
            Err(error) => Err(Down { disk: Box::new(disk), error }),
        }
    }

    /// Starts a log on an empty disk.
    pub(crate) fn fresh(seed: u64, options: LogOptions) -> Self {
        let (host, recovered) = Self::start(SimDisk::new(seed), options).unwrap();
        assert!(recovered.groups.is_empty() && recovered.findings.is_empty());
        host
    }

    pub(crate) fn submit(&mut self, submission: Submission) {
        self.log.submit(self.now, submission);
        self.hand_over();
    }

    /// Moves requests from the log to the disk's queues.
    pub(crate) fn hand_over(&mut self) {
        while let Some(request) = self.log.poll_disk() {
            self.disk.submit(request);
        }
    }

    /// Whether the next operation of the log's lane is a sync.
    pub(crate) fn before_sync(&self) -> bool {
        let front = self.disk.front(Lane::Log);
        front.is_some_and(|request| matches!(request.operation, DiskOperation::SyncData(_)))
    }

    /// Completes one disk operation, of a lane or of any; says whether there was one.
    pub(crate) fn step(&mut self, lane: Option<Lane>) -> bool {
        self.now = self.now + Duration::from_micros(50);
        let completion = match lane {
            Some(lane) => self.disk.complete(lane),
            None => self.disk.complete_any(),
        };
        let Some(completion) = completion else {
            return false;
        };
        self.log.handle_disk(self.now, completion);
        self.hand_over();
        true
    }

    /// What the log said since.
    pub(crate) fn said(&mut self) -> Said {
        let mut said = Said::default();
        while let Some(event) = self.log.poll_event() {
            match event {
                LogEvent::Durable { source, id } => said.durable.push((source.0, id.0)),
                LogEvent::WantRebase { groups } => said.want_rebase.extend(groups),
                LogEvent::Headroom { headroom, .. } => said.headroom.push(headroom),
                LogEvent::Failed(error) => said.failed = Some(error),
            }
        }
        said
    }

    /// Lets the log's timer pass, if it has one.
    pub(crate) fn pass_timer(&mut self) -> bool {
        let Some(due) = self.log.poll_timer() else {
            return false;
        };
        self.now = self.now.max(due);
        self.log.handle_timer(self.now);
        self.hand_over();
        true
    }

    /// Completes everything that is under way, timers included, until nothing is left to do.
    pub(crate) fn settle(&mut self) -> Said {
        let mut all = Said::default();
        self.hand_over();
        loop {
            while self.step(None) {}
            let said = self.said();
            all.durable.extend(said.durable);
            all.want_rebase.extend(said.want_rebase);
            all.headroom.extend(said.headroom);
            all.failed = all.failed.or(said.failed);
            if !self.pass_timer() && self.disk.queued() == 0 {
                return all;
            }
        }
    }
}
