//! Executes disk operations in the data directory, through the standard library.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use ringfort_env::{Disk, DiskAnswer, DiskError, DiskErrorKind, DiskOperation, FileName};

/// The data directory. Clones share their open files, so that a rename on one thread is known on the others.
#[derive(Clone, Debug)]
pub(crate) struct FileDisk {
    directory: Arc<PathBuf>,
    open: Arc<Mutex<HashMap<FileName, Arc<File>>>>,
}

impl FileDisk {
    pub(crate) fn new(directory: &Path) -> Self {
        Self { directory: Arc::new(directory.to_owned()), open: Arc::default() }
    }

    fn run(&self, operation: &DiskOperation) -> io::Result<DiskAnswer> {
        match operation {
            DiskOperation::Create(file) => {
                let created = OpenOptions::new()
                    .read(true)
                    .write(true)
                    .create_new(true)
                    .open(self.path(file))?;
                self.remember(file, created);
            }
            DiskOperation::WriteAt { file, offset, bytes } => {
                self.file(file)?.write_all_at(bytes, *offset)?;
            }
            DiskOperation::Read { file, offset, len } => {
                return Ok(DiskAnswer::Read(read_at(&*self.file(file)?, *offset, *len)?));
            }
            DiskOperation::SyncData(file) => self.sync(file)?,
            DiskOperation::SyncDirectory => File::open(self.directory.as_path())?.sync_all()?,
            DiskOperation::Rename { from, to } => {
                std::fs::rename(self.path(from), self.path(to))?;
                let moved = self.forget(from);
                self.forget(to);
                if let Some(file) = moved {
                    self.lock().insert(to.clone(), file);
                }
            }
            DiskOperation::Truncate { file, len } => self.file(file)?.set_len(*len)?,
            DiskOperation::Delete(file) => {
                self.forget(file);
                std::fs::remove_file(self.path(file))?;
            }
            DiskOperation::List => return self.list_files().map(DiskAnswer::Listed),
        }
        Ok(DiskAnswer::Done)
    }

    #[cfg(not(feature = "mutant-skip-sync"))]
    fn sync(&self, file: &FileName) -> io::Result<()> {
        self.file(file)?.sync_data()
    }

    /// The mutant that the crash tests must catch: it says that data is durable when it is not.
    #[cfg(feature = "mutant-skip-sync")]
    fn sync(&self, file: &FileName) -> io::Result<()> {
        self.file(file).map(drop)
    }

    fn list_files(&self) -> io::Result<Vec<(FileName, u64)>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(self.directory.as_path())? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            // Names that are no UTF-8 are none of ours.
            if let (true, Ok(name)) = (metadata.is_file(), entry.file_name().into_string()) {
                files.push((FileName::new(&name), metadata.len()));
            }
        }
        files.sort();
        Ok(files)
    }

    fn path(&self, file: &FileName) -> PathBuf {
        self.directory.join(file.as_str())
    }

    fn file(&self, name: &FileName) -> io::Result<Arc<File>> {
        if let Some(file) = self.lock().get(name) {
            return Ok(Arc::clone(file));
        }
        let file = OpenOptions::new().read(true).write(true).open(self.path(name))?;
        Ok(self.remember(name, file))
    }

    fn remember(&self, name: &FileName, file: File) -> Arc<File> {
        let file = Arc::new(file);
        self.lock().insert(name.clone(), Arc::clone(&file));
        file
    }

    fn forget(&self, name: &FileName) -> Option<Arc<File>> {
        self.lock().remove(name)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<FileName, Arc<File>>> {
        // The map is changed by single calls only: a panic elsewhere leaves it whole.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk for FileDisk {
    fn execute(&mut self, operation: &DiskOperation) -> Result<DiskAnswer, DiskError> {
        self.run(operation).map_err(|error| operation.error(kind(&error), error))
    }
}

fn read_at(file: &File, offset: u64, len: usize) -> io::Result<Bytes> {
    let size = file.metadata()?.len();
    let available = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX);
    let mut buffer = BytesMut::zeroed(len.min(available));
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer.truncate(filled);
    Ok(buffer.freeze())
}

fn kind(error: &io::Error) -> DiskErrorKind {
    match error.kind() {
        io::ErrorKind::NotFound => DiskErrorKind::NotFound,
        io::ErrorKind::AlreadyExists => DiskErrorKind::Exists,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DiskErrorKind::Full,
        _ => DiskErrorKind::Other,
    }
}
