//! Faults on request: crashes in the middle of an operation, failing writes and syncs, a full disk, stalls, rot.

use std::ops::Range;
use std::sync::Arc;

use ringfort_env::{DiskError, DiskErrorKind, DiskOperation, FileName, Lane};

use super::{Inode, SimDisk, lane_number};

/// Faults to come.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    pub(super) sync_in: Option<u64>,
    pub(super) write_in: Option<u64>,
    pub(super) crash_in: Option<u64>,
    pub(super) stalled: [bool; 2],
    pub(super) capacity: Option<u64>,
    pub(super) crashed: bool,
    pub(super) skips_syncs: bool,
    /// Places that cannot be read.
    pub(super) unreadable: Vec<(Inode, Range<u64>)>,
}

impl SimDisk {
    /// After so many more operations, counted from 0, every operation fails until the next crash is called: the one it
    /// hits may be half done.
    pub fn crash_in(&mut self, operations: u64) {
        self.faults.crash_in = Some(operations);
    }

    /// Whether the crash asked for by [`SimDisk::crash_in`] has happened.
    #[must_use]
    pub fn crashed(&self) -> bool {
        self.faults.crashed
    }

    /// The sync of a file or directory after so many others fails, once.
    pub fn fail_sync_in(&mut self, syncs: u64) {
        self.faults.sync_in = Some(syncs);
    }

    /// The write after so many others fails, once, half done.
    pub fn fail_write_in(&mut self, writes: u64) {
        self.faults.write_in = Some(writes);
    }

    /// Bounds the bytes of all files; `None`: no bound.
    pub fn set_capacity(&mut self, bytes: Option<u64>) {
        self.faults.capacity = bytes;
    }

    /// Nothing is to fail any more, and nothing is full or stalled. What was damaged stays so.
    pub fn heal(&mut self) {
        let unreadable = std::mem::take(&mut self.faults.unreadable);
        self.faults = Faults { crashed: self.faults.crashed, unreadable, ..Faults::default() };
    }

    /// From now on syncs of files say that they are done and do nothing, as disks that lie do.
    pub fn skip_syncs(&mut self, skip: bool) {
        self.faults.skips_syncs = skip;
    }

    /// Bytes by which files may grow; `None`: no bound.
    #[must_use]
    pub fn free(&self) -> Option<u64> {
        self.faults.capacity.map(|capacity| capacity.saturating_sub(self.used()))
    }

    /// A lane completes nothing, or does again.
    pub fn stall(&mut self, lane: Lane, stalled: bool) {
        self.faults.stalled[lane_number(lane)] = stalled;
    }

    /// Reads of a file that touch this range fail from now on, as those of bad sectors do, but for what is written.
    /// Returns whether there is such a file.
    pub fn fail_reads_of(&mut self, file: &FileName, range: Range<u64>) -> bool {
        let inode = self.names.get(file).copied();
        self.faults.unreadable.extend(inode.map(|inode| (inode, range)));
        inode.is_some()
    }

    /// What could not be read can be read again.
    pub fn read_again(&mut self) {
        self.faults.unreadable.clear();
    }

    /// Flips one bit of a file where it lies; durable, as rot is. Returns whether there is such a bit.
    pub fn flip_bit(&mut self, file: &FileName, offset: u64, bit: u8) -> bool {
        let content = self.names.get(file).and_then(|inode| self.contents.get_mut(inode));
        let byte = content.and_then(|content| {
            Arc::make_mut(&mut content.now).get_mut(usize::try_from(offset).ok()?)
        });
        byte.map(|byte| *byte ^= 1 << (bit % 8)).is_some()
    }

    /// Overwrites bytes of a file where they lie, as a misdirected write does. Returns whether the file is that long.
    pub fn overwrite(&mut self, file: &FileName, offset: u64, bytes: &[u8]) -> bool {
        let content = self.names.get(file).and_then(|inode| self.contents.get_mut(inode));
        let target = content.and_then(|content| {
            let offset = usize::try_from(offset).ok()?;
            Arc::make_mut(&mut content.now).get_mut(offset..offset.checked_add(bytes.len())?)
        });
        target.map(|target| target.copy_from_slice(bytes)).is_some()
    }

    /// A file's present content.
    #[must_use]
    pub fn content(&self, file: &FileName) -> Option<&[u8]> {
        let content = self.contents.get(self.names.get(file)?)?;
        Some(&content.now)
    }

    /// All files with their lengths in bytes, in order of names.
    #[must_use]
    pub fn files(&self) -> Vec<(FileName, u64)> {
        let length = |inode| self.contents.get(inode).map_or(0, |content| content.now.len() as u64);
        self.names.iter().map(|(name, inode)| (name.clone(), length(inode))).collect()
    }

    /// Bytes of all files.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.contents.values().map(|content| content.now.len() as u64).sum()
    }

    /// The part of an operation that a crash in its middle leaves.
    pub(super) fn cut_short(&mut self, operation: &DiskOperation) {
        if let DiskOperation::WriteAt { file, offset, bytes } = operation {
            let kept = self.random.index(bytes.len() + 1);
            if let Ok(content) = self.content_mut(operation, file) {
                content.write(*offset, &bytes[..kept]);
            }
        }
    }

    /// Faults that hit this operation.
    pub(super) fn strike(&mut self, operation: &DiskOperation) -> Result<(), DiskError> {
        if self.faults.crashed {
            return Err(operation.error(DiskErrorKind::Other, "the machine is down"));
        }
        if count_down(&mut self.faults.crash_in) {
            self.faults.crashed = true;
            self.cut_short(operation);
            return Err(operation.error(DiskErrorKind::Other, "the machine went down"));
        }
        let is_sync =
            matches!(operation, DiskOperation::SyncData(_) | DiskOperation::SyncDirectory);
        if is_sync && count_down(&mut self.faults.sync_in) {
            return Err(operation.error(DiskErrorKind::Other, "input/output error (injected)"));
        }
        let is_write = matches!(operation, DiskOperation::WriteAt { .. });
        if is_write && count_down(&mut self.faults.write_in) {
            self.cut_short(operation);
            return Err(operation.error(DiskErrorKind::Other, "input/output error (injected)"));
        }
        self.strike_read(operation)
    }

    fn strike_read(&mut self, operation: &DiskOperation) -> Result<(), DiskError> {
        let (file, from, to) = match operation {
            DiskOperation::Read { file, offset, len } => (file, *offset, offset + *len as u64),
            DiskOperation::WriteAt { file, offset, bytes } => {
                (file, *offset, offset + bytes.len() as u64)
            }
            _ => return Ok(()),
        };
        let Some(inode) = self.names.get(file).copied() else {
            return Ok(());
        };
        let unreadable = &mut self.faults.unreadable;
        if matches!(operation, DiskOperation::WriteAt { .. }) {
            let cut = |(of, range): (Inode, Range<u64>)| match of == inode {
                true => vec![
                    (of, range.start..range.end.min(from)),
                    (of, range.start.max(to)..range.end),
                ],
                false => vec![(of, range)],
            };
            *unreadable = std::mem::take(unreadable).into_iter().flat_map(cut).collect();
            unreadable.retain(|(_, range)| !range.is_empty());
        } else if unreadable
            .iter()
            .any(|(of, range)| *of == inode && range.start < to && from < range.end)
        {
            return Err(operation.error(DiskErrorKind::Other, "input/output error (injected)"));
        }
        Ok(())
    }
}

fn count_down(left: &mut Option<u64>) -> bool {
    match left {
        Some(0) => {
            *left = None;
            true
        }
        Some(count) => {
            *count -= 1;
            false
        }
        None => false,
    }
}
