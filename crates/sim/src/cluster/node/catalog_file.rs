//! The file `catalog.bin` on a simulated disk: read at a start, replaced when the catalog has changed. A crash may leave the
//! old one, the new one, or none; whatever is found, the node starts.
//!
//! ```text
//!   list ▸ delete what an earlier try left ▸ create ▸ write ▸ sync ▸ rename ▸ sync the directory
//! ```

use std::collections::VecDeque;

use bytes::Bytes;
use ringfort_env::{Disk, DiskAnswer, DiskCompletion, DiskOperation, FileName};
use ringfort_node::control::{CATALOG_FILE, CatalogCopy};

use crate::SimDisk;

const CATALOG_FILE_NEW: &str = "catalog.bin.tmp";
/// A catalog of a few shards is a few kilobytes.
const CATALOG_BYTES_MAX: usize = 1 << 20;

/// What becomes of the file: one operation after the other.
#[derive(Debug, Default)]
pub(super) struct CatalogFile {
    /// What is to be written next; a newer copy takes the place of one that waits.
    next: Option<Bytes>,
    /// What is being written.
    writing: Option<Bytes>,
    steps: VecDeque<DiskOperation>,
    under_way: bool,
    /// Copies that were written to the end.
    pub(super) saved: u64,
}

/// What a start finds: the copy, or why there is none.
pub(super) fn read(disk: &mut SimDisk) -> Result<CatalogCopy, String> {
    let file = FileName::new(CATALOG_FILE);
    let files = disk.list().map_err(|error| error.to_string())?;
    if !files.iter().any(|(name, _)| *name == file) {
        return Err(format!("there is no {CATALOG_FILE}"));
    }
    let bytes = disk.read(&file, 0, CATALOG_BYTES_MAX).map_err(|error| error.to_string())?;
    CatalogCopy::decode(&bytes).map_err(|error| error.to_string())
}

impl CatalogFile {
    /// Has the file replaced.
    pub(super) fn save(&mut self, bytes: Bytes) {
        self.next = Some(bytes);
    }

    /// The next operation, once the one before it has ended.
    pub(super) fn poll_disk(&mut self) -> Option<DiskOperation> {
        if self.under_way {
            return None;
        }
        let operation = match self.steps.pop_front() {
            Some(step) => step,
            None => {
                self.writing = Some(self.next.take()?);
                DiskOperation::List
            }
        };
        self.under_way = true;
        Some(operation)
    }

    /// Takes the end of an operation. A copy that cannot be written is given up: it is no more than a copy.
    pub(super) fn handle_disk(&mut self, completion: DiskCompletion) {
        self.under_way = false;
        match completion.result {
            Ok(DiskAnswer::Listed(files)) => {
                let bytes = self.writing.take().unwrap_or_default();
                let (file, new) = (FileName::new(CATALOG_FILE), FileName::new(CATALOG_FILE_NEW));
                if files.iter().any(|(name, _)| *name == new) {
                    self.steps.push_back(DiskOperation::Delete(new.clone()));
                }
                self.steps.extend([
                    DiskOperation::Create(new.clone()),
                    DiskOperation::WriteAt { file: new.clone(), offset: 0, bytes },
                    DiskOperation::SyncData(new.clone()),
                    DiskOperation::Rename { from: new, to: file },
                    DiskOperation::SyncDirectory,
                ]);
            }
            Ok(_) => self.saved += u64::from(self.steps.is_empty()),
            Err(_) => self.steps.clear(),
        }
    }
}
