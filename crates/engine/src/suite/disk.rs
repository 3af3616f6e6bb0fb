//! The plainest disk: files in memory, every operation done at once and durable.

use std::collections::BTreeMap;

use bytes::Bytes;
use ringfort_env::{Disk, DiskAnswer, DiskError, DiskErrorKind, DiskOperation, FileName};

/// Files in memory. For power losses and faults there is the simulator's disk.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk {
    files: BTreeMap<FileName, Vec<u8>>,
}

impl MemoryDisk {
    /// A file's bytes, to look at or to damage.
    pub fn file_mut(&mut self, name: &FileName) -> Option<&mut Vec<u8>> {
        self.files.get_mut(name)
    }

    /// Puts a file in place.
    pub fn put(&mut self, name: FileName, bytes: Vec<u8>) {
        self.files.insert(name, bytes);
    }

    fn existing(
        &mut self,
        name: &FileName,
        operation: &DiskOperation,
    ) -> Result<&mut Vec<u8>, DiskError> {
        let missing = || operation.error(DiskErrorKind::NotFound, "no such file");
        self.files.get_mut(name).ok_or_else(missing)
    }
}

impl Disk for MemoryDisk {
    fn execute(&mut self, operation: &DiskOperation) -> Result<DiskAnswer, DiskError> {
        let number = |offset: u64| {
            usize::try_from(offset).map_err(|error| operation.error(DiskErrorKind::Other, error))
        };
        match operation {
            DiskOperation::Create(file) if self.files.contains_key(file) => {
                return Err(operation.error(DiskErrorKind::Exists, "the file exists"));
            }
            DiskOperation::Create(file) => {
                self.files.insert(file.clone(), Vec::new());
            }
            DiskOperation::WriteAt { file, offset, bytes } => {
                let start = number(*offset)?;
                let content = self.existing(file, operation)?;
                let end = start + bytes.len();
                content.resize(content.len().max(end), 0);
                content[start..end].copy_from_slice(bytes);
            }
            DiskOperation::Read { file, offset, len } => {
                let start = number(*offset)?;
                let content = self.existing(file, operation)?;
                let rest = content.get(start..).unwrap_or_default();
                let bytes = Bytes::copy_from_slice(&rest[..rest.len().min(*len)]);
                return Ok(DiskAnswer::Read(bytes));
            }
            DiskOperation::SyncData(file) => {
                self.existing(file, operation)?;
            }
            DiskOperation::SyncDirectory => {}
            DiskOperation::Rename { from, to } => {
                self.existing(from, operation)?;
                if let Some(content) = self.files.remove(from) {
                    self.files.insert(to.clone(), content);
                }
            }
            DiskOperation::Truncate { file, len } => {
                let len = number(*len)?;
                self.existing(file, operation)?.resize(len, 0);
            }
            DiskOperation::Delete(file) => {
                self.existing(file, operation)?;
                self.files.remove(file);
            }
            DiskOperation::List => {
                let files = self.files.iter();
                let listed = files.map(|(name, bytes)| (name.clone(), bytes.len() as u64));
                return Ok(DiskAnswer::Listed(listed.collect()));
            }
        }
        Ok(DiskAnswer::Done)
    }
}
