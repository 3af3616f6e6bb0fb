//! Open files, kept so that a write or a sync needs no new descriptor, and few, however many files there are.
//!
//! A file is kept from its creation or its first write until it is deleted or renamed to what is only read from then on. Of
//! those with nothing left to sync, the ones used longest ago are closed. One with something left to sync is never closed:
//! the kernel may report a failed write-back to the descriptors open at that time, and to no later one.

use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;

use ringfort_env::FileName;

/// Files that are kept open with nothing left to sync: the log's newest segments, and flushes about to be renamed.
pub(super) const SYNCED_MAX: usize = 16;

/// A file kept open.
#[derive(Debug)]
struct Handle {
    file: Arc<File>,
    /// Something was written that no sync begun since covers.
    unsynced: bool,
    /// When it was used last, counted in uses.
    used: u64,
}

/// The files kept open.
#[derive(Debug, Default)]
pub(super) struct Handles {
    open: HashMap<FileName, Handle>,
    uses: u64,
}

impl Handles {
    /// A file to read from, if it is open.
    pub(super) fn for_read(&self, name: &FileName) -> Option<Arc<File>> {
        self.open.get(name).map(|handle| Arc::clone(&handle.file))
    }

    /// A file that is about to be written, if it is open.
    pub(super) fn for_write(&mut self, name: &FileName) -> Option<Arc<File>> {
        self.used(name, true)
    }

    /// A file that is about to be synced, if it is open. What is written from now on needs another sync; a sync that fails
    /// is the process's end.
    pub(super) fn for_sync(&mut self, name: &FileName) -> Option<Arc<File>> {
        let file = self.used(name, false);
        self.close_idle();
        file
    }

    /// Keeps a file open that was opened or created to be written.
    pub(super) fn keep(&mut self, name: &FileName, file: File, unsynced: bool) -> Arc<File> {
        let file = Arc::new(file);
        self.uses += 1;
        let handle = Handle { file: Arc::clone(&file), unsynced, used: self.uses };
        self.open.insert(name.clone(), handle);
        self.close_idle();
        file
    }

    /// A file has another name now, under which it is written on or not.
    pub(super) fn renamed(&mut self, from: &FileName, to: &FileName, written_on: bool) {
        self.open.remove(to);
        if let Some(handle) = self.open.remove(from).filter(|_| written_on) {
            self.open.insert(to.clone(), handle);
        }
    }

    /// A file is to be deleted.
    pub(super) fn close(&mut self, name: &FileName) {
        self.open.remove(name);
    }

    fn used(&mut self, name: &FileName, unsynced: bool) -> Option<Arc<File>> {
        self.uses += 1;
        let handle = self.open.get_mut(name)?;
        handle.unsynced = unsynced;
        handle.used = self.uses;
        Some(Arc::clone(&handle.file))
    }

    /// Closes what was used longest ago of what is synced and too many.
    fn close_idle(&mut self) {
        let synced = || self.open.iter().filter(|(_, handle)| !handle.unsynced);
        if synced().count() <= SYNCED_MAX {
            return;
        }
        let idle = synced().min_by_key(|(_, handle)| handle.used).map(|(name, _)| name.clone());
        if let Some(name) = idle {
            self.open.remove(&name);
        }
    }
}
