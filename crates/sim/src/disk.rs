//! A disk that forgets what was not synced, and fails on request.
//!
//! ```text
//!             write                 sync
//!   core ──────────────▶ page cache ──────────────▶ platter
//!                            │                          ▲
//!             power loss ────┴── any part of it ────────┘   sector by sector, name by name
//!             process crash: nothing completed is lost
//! ```
//!
//! It may be used in two ways at once: operation by operation, as a blocking [`Disk`]; or as a host's disk threads would
//! be, with requests queued per lane and completed when asked, the lane chosen by the seed.
//!
//! # Model
//! - A file has its present content, and what was replaced since its last sync. At a power loss each sector of 512 bytes
//!   that was written since is old or new, by one of several patterns: none kept, a prefix kept (torn), any kept.
//! - Names created, renamed or deleted since the last directory sync are each there or not.
//! - Sectors are atomic. Bits flip only on request.
//!
//! What is left out: sectors of an intermediate age (written twice between syncs), and files that share sectors.

mod content;
mod faults;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use ringfort_env::{
    Disk, DiskAnswer, DiskCompletion, DiskError, DiskErrorKind, DiskOperation, DiskRequest,
    FileName, Lane,
};

use crate::Random;
use content::Content;
use faults::Faults;

/// How many operations of each sort were executed, failed ones included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskCounts {
    /// Operations of any sort.
    pub operations: u64,
    /// Writes.
    pub writes: u64,
    /// Bytes written.
    pub bytes_written: u64,
    /// Reads.
    pub reads: u64,
    /// Syncs of files.
    pub syncs: u64,
    /// Syncs of the directory.
    pub directory_syncs: u64,
}

/// What a power loss makes of sectors that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerLoss {
    /// Nothing that was not synced is left.
    LoseAll,
    /// The writes up to some sector are there, the rest is not.
    Torn,
    /// Each sector and each name is there or not.
    Partial,
    /// Everything happens to be there.
    KeepAll,
    /// One of the others, by the seed.
    Any,
}

/// Names a file, whatever it is called.
type Inode = u64;

/// A change of names since the last directory sync.
#[derive(Clone, Debug)]
enum NameChange {
    Bind(FileName, Inode),
    Unbind(FileName),
    Rename(FileName, Inode),
}

/// The simulated disk.
#[derive(Clone, Debug)]
pub struct SimDisk {
    random: Random,
    names: BTreeMap<FileName, Inode>,
    durable_names: BTreeMap<FileName, Inode>,
    name_changes: Vec<NameChange>,
    contents: BTreeMap<Inode, Content>,
    next_inode: Inode,
    lanes: [VecDeque<DiskRequest>; 2],
    faults: Faults,
    counts: DiskCounts,
}

impl SimDisk {
    /// An empty disk whose choices come from a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            name_changes: Vec::new(),
            contents: BTreeMap::new(),
            next_inode: 1,
            lanes: [VecDeque::new(), VecDeque::new()],
            faults: Faults::default(),
            counts: DiskCounts::default(),
        }
    }

    /// Goes on with other choices: for one history with several ends.
    pub fn reseed(&mut self, seed: u64) {
        self.random = Random::new(seed);
    }

    /// Operations executed so far.
    #[must_use]
    pub fn counts(&self) -> DiskCounts {
        self.counts
    }

    // Asynchronous side.

    /// Queues a request in its lane.
    pub fn submit(&mut self, request: DiskRequest) {
        self.lanes[lane_number(request.lane)].push_back(request);
    }

    /// Requests that wait.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.lanes.iter().map(VecDeque::len).sum()
    }

    /// The next request of a lane.
    #[must_use]
    pub fn front(&self, lane: Lane) -> Option<&DiskRequest> {
        self.lanes[lane_number(lane)].front()
    }

    /// Executes the next request of a lane that the seed chooses among those that have one and are not stalled.
    pub fn complete_any(&mut self) -> Option<DiskCompletion> {
        let ready = |lane: usize| !self.lanes[lane].is_empty() && !self.faults.stalled[lane];
        let lane = match (ready(0), ready(1)) {
            (true, true) => self.random.index(2),
            (true, false) => 0,
            (false, true) => 1,
            (false, false) => return None,
        };
        self.complete_number(lane)
    }

    /// Executes the next request of a lane, unless it is stalled.
    pub fn complete(&mut self, lane: Lane) -> Option<DiskCompletion> {
        let lane = lane_number(lane);
        if self.faults.stalled[lane] { None } else { self.complete_number(lane) }
    }

    fn complete_number(&mut self, lane: usize) -> Option<DiskCompletion> {
        let request = self.lanes[lane].pop_front()?;
        let result = self.execute(&request.operation);
        Some(DiskCompletion { id: request.id, result })
    }

    // Crashes.

    /// The process is gone, the machine is not: requests that wait are lost, but for some at the head of each lane, of
    /// which the last write may be cut short. The page cache stays.
    pub fn process_crash(&mut self) {
        for lane in 0..2 {
            let executed = self.random.index(self.lanes[lane].len() + 1);
            let requests: Vec<DiskRequest> = self.lanes[lane].drain(..).collect();
            for request in &requests[..executed] {
                let _ = self.execute(&request.operation);
            }
            if let Some(request) = requests.get(executed) {
                self.cut_short(&request.operation);
            }
        }
        self.faults.crash_in = None;
        self.faults.crashed = false;
    }

    /// The power fails: of what was not synced, any part is lost. Requests that wait are lost too.
    pub fn power_loss(&mut self, pattern: PowerLoss) {
        for lane in &mut self.lanes {
            lane.clear();
        }
        let pattern = match pattern {
            PowerLoss::Any => match self.random.below(8) {
                0 | 1 => PowerLoss::LoseAll,
                2 | 3 => PowerLoss::Torn,
                4..=6 => PowerLoss::Partial,
                _ => PowerLoss::KeepAll,
            },
            chosen => chosen,
        };
        self.lose_names(pattern);
        for content in self.contents.values_mut() {
            content.lose(pattern, &mut self.random);
        }
        self.faults.crash_in = None;
        self.faults.crashed = false;
    }

    fn lose_names(&mut self, pattern: PowerLoss) {
        let mut names = std::mem::take(&mut self.durable_names);
        let changes = std::mem::take(&mut self.name_changes);
        let upto = self.random.index(changes.len() + 1);
        for (at, change) in changes.into_iter().enumerate() {
            let kept = match pattern {
                PowerLoss::LoseAll => false,
                PowerLoss::Torn => at < upto,
                PowerLoss::Partial => self.random.one_in(2),
                PowerLoss::KeepAll | PowerLoss::Any => true,
            };
            if kept {
                apply_change(&mut names, change);
            }
        }
        self.contents.retain(|inode, _| names.values().any(|named| named == inode));
        self.names.clone_from(&names);
        self.durable_names = names;
    }

    // Execution.

    fn inode(&self, operation: &DiskOperation, file: &FileName) -> Result<Inode, DiskError> {
        let inode = self.names.get(file).copied();
        inode.ok_or_else(|| operation.error(DiskErrorKind::NotFound, "no such file"))
    }

    fn content_mut(
        &mut self,
        operation: &DiskOperation,
        file: &FileName,
    ) -> Result<&mut Content, DiskError> {
        let inode = self.inode(operation, file)?;
        Ok(self.contents.entry(inode).or_default())
    }

    fn count(&mut self, operation: &DiskOperation) {
        self.counts.operations += 1;
        match operation {
            DiskOperation::WriteAt { bytes, .. } => {
                self.counts.writes += 1;
                self.counts.bytes_written += bytes.len() as u64;
            }
            DiskOperation::Read { .. } => self.counts.reads += 1,
            DiskOperation::SyncData(_) => self.counts.syncs += 1,
            DiskOperation::SyncDirectory => self.counts.directory_syncs += 1,
            _ => {}
        }
    }

    fn write(
        &mut self,
        operation: &DiskOperation,
        file: &FileName,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), DiskError> {
        let used = self.used();
        let capacity = self.faults.capacity;
        let content = self.content_mut(operation, file)?;
        let end = offset + bytes.len() as u64;
        let growth = end.saturating_sub(content.now.len() as u64);
        if growth > 0 && capacity.is_some_and(|capacity| used + growth > capacity) {
            return Err(operation.error(DiskErrorKind::Full, "no space left on device"));
        }
        content.write(offset, bytes);
        Ok(())
    }

    fn perform(&mut self, operation: &DiskOperation) -> Result<DiskAnswer, DiskError> {
        match operation {
            DiskOperation::Create(file) => {
                if self.names.contains_key(file) {
                    return Err(operation.error(DiskErrorKind::Exists, "the file exists"));
                }
                let inode = self.next_inode;
                self.next_inode += 1;
                self.contents.insert(inode, Content::default());
                self.change(NameChange::Bind(file.clone(), inode));
            }
            DiskOperation::WriteAt { file, offset, bytes } => {
                self.write(operation, file, *offset, bytes)?;
            }
            DiskOperation::Read { file, offset, len } => {
                let inode = self.inode(operation, file)?;
                return Ok(DiskAnswer::Read(self.contents[&inode].read(*offset, *len)));
            }
            DiskOperation::SyncData(_) if self.faults.skips_syncs => {}
            DiskOperation::SyncData(file) => {
                self.content_mut(operation, file)?.replaced.clear();
            }
            DiskOperation::SyncDirectory => {
                self.name_changes.clear();
                self.durable_names.clone_from(&self.names);
            }
            DiskOperation::Rename { from, to } => {
                let inode = self.inode(operation, from)?;
                self.change(NameChange::Rename(to.clone(), inode));
            }
            DiskOperation::Truncate { file, len } => {
                let len = usize::try_from(*len).unwrap_or(usize::MAX);
                self.content_mut(operation, file)?.truncate(len);
            }
            DiskOperation::Delete(file) => {
                self.inode(operation, file)?;
                self.change(NameChange::Unbind(file.clone()));
            }
            DiskOperation::List => {
                return Ok(DiskAnswer::Listed(self.files()));
            }
        }
        Ok(DiskAnswer::Done)
    }

    fn change(&mut self, change: NameChange) {
        self.name_changes.push(change.clone());
        apply_change(&mut self.names, change);
        let (names, durable) = (&self.names, &self.durable_names);
        let pending = &self.name_changes;
        self.contents.retain(|inode, _| {
            names.values().chain(durable.values()).any(|named| named == inode)
                || pending.iter().any(|change| change.binds(*inode))
        });
    }
}

impl Disk for SimDisk {
    fn execute(&mut self, operation: &DiskOperation) -> Result<DiskAnswer, DiskError> {
        self.count(operation);
        self.strike(operation)?;
        self.perform(operation)
    }
}

impl NameChange {
    fn binds(&self, wanted: Inode) -> bool {
        match self {
            Self::Bind(_, inode) | Self::Rename(_, inode) => *inode == wanted,
            Self::Unbind(_) => false,
        }
    }
}

fn apply_change(names: &mut BTreeMap<FileName, Inode>, change: NameChange) {
    match change {
        NameChange::Bind(name, inode) => {
            names.insert(name, inode);
        }
        NameChange::Unbind(name) => {
            names.remove(&name);
        }
        NameChange::Rename(to, inode) => {
            // Of two renames in a row the first may be lost and the second kept: a file still has one name only.
            names.retain(|_, named| *named != inode);
            names.insert(to, inode);
        }
    }
}

fn lane_number(lane: Lane) -> usize {
    match lane {
        Lane::Log => 0,
        Lane::Background => 1,
    }
}
