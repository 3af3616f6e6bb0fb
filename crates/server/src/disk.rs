//! Executes disk operations in the data directory, through the standard library.
//!
//! Files under write are kept open ([`handles`]), and so is the directory itself: what an acknowledgement waits for needs no
//! new descriptor. A file that is only read is opened for each read.

mod handles;

#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ringfort_env::{Disk, DiskAnswer, DiskError, DiskErrorKind, DiskOperation, FileName};

use self::handles::Handles;
use crate::clock;

/// Names of files that are written again after a rename: the log's segments, which are recycled.
const RECYCLED_PREFIX: &str = "log-";

/// A core that was offered to others and came back later than this was wanted by somebody.
const TAKEN: Duration = Duration::from_micros(20);
/// Short reads are many, and cost less than what would be waited for them.
const LONG_READ_BYTES: usize = 256 << 10;
/// So long it is left to them then, behind each long read.
const LEFT_FOR: Duration = Duration::from_millis(1);

/// The data directory. Clones share their open files, so that a rename on one thread is known on the others.
#[derive(Clone, Debug)]
pub(crate) struct FileDisk {
    directory: Arc<Directory>,
    handles: Arc<Mutex<Handles>>,
}

#[derive(Debug)]
struct Directory {
    path: PathBuf,
    /// To sync it.
    handle: File,
}

impl FileDisk {
    /// Opens the data directory, which exists.
    pub(crate) fn new(path: &Path) -> io::Result<Self> {
        let directory = Directory { path: path.to_owned(), handle: File::open(path)? };
        Ok(Self { directory: Arc::new(directory), handles: Arc::default() })
    }

    fn run(&self, operation: &DiskOperation) -> io::Result<DiskAnswer> {
        match operation {
            DiskOperation::Create(file) => {
                let created = OpenOptions::new()
                    .read(true)
                    .write(true)
                    .create_new(true)
                    .open(self.path(file))?;
                self.handles().keep(file, created, true);
            }
            DiskOperation::WriteAt { file, offset, bytes } => {
                self.for_write(file)?.write_all_at(bytes, *offset)?;
            }
            DiskOperation::Read { file, offset, len } => {
                let read = read_at(&*self.for_read(file)?, *offset, *len)?;
                give_way(read.len());
                return Ok(DiskAnswer::Read(read));
            }
            DiskOperation::SyncData(file) => self.sync(file)?,
            DiskOperation::SyncDirectory => self.directory.handle.sync_all()?,
            DiskOperation::Rename { from, to } => self.rename(from, to)?,
            DiskOperation::Truncate { file, len } => self.for_write(file)?.set_len(*len)?,
            DiskOperation::Delete(file) => {
                self.handles().close(file);
                std::fs::remove_file(self.path(file))?;
            }
            DiskOperation::List => return self.list_files().map(DiskAnswer::Listed),
        }
        Ok(DiskAnswer::Done)
    }

    fn rename(&self, from: &FileName, to: &FileName) -> io::Result<()> {
        let written_on = to.as_str().starts_with(RECYCLED_PREFIX);
        if written_on && self.handles().for_read(from).is_none() {
            // Opened here, where a failure is met by another attempt: the write that follows has none.
            let file = self.open_to_write(from)?;
            self.handles().keep(from, file, false);
        }
        std::fs::rename(self.path(from), self.path(to))?;
        self.handles().renamed(from, to, written_on);
        Ok(())
    }

    #[cfg(not(feature = "mutant-skip-sync"))]
    fn sync(&self, file: &FileName) -> io::Result<()> {
        self.for_sync(file)?.sync_data()
    }

    /// The mutant that the crash tests must catch: it says that data is durable when it is not.
    #[cfg(feature = "mutant-skip-sync")]
    fn sync(&self, file: &FileName) -> io::Result<()> {
        self.for_sync(file).map(drop)
    }

    fn list_files(&self) -> io::Result<Vec<(FileName, u64)>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.directory.path)? {
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
        self.directory.path.join(file.as_str())
    }

    fn for_write(&self, name: &FileName) -> io::Result<Arc<File>> {
        if let Some(file) = self.handles().for_write(name) {
            return Ok(file);
        }
        let file = self.open_to_write(name)?;
        Ok(self.handles().keep(name, file, true))
    }

    fn for_sync(&self, name: &FileName) -> io::Result<Arc<File>> {
        if let Some(file) = self.handles().for_sync(name) {
            return Ok(file);
        }
        self.open_to_write(name).map(Arc::new)
    }

    fn for_read(&self, name: &FileName) -> io::Result<Arc<File>> {
        if let Some(file) = self.handles().for_read(name) {
            return Ok(file);
        }
        File::open(self.path(name)).map(Arc::new)
    }

    fn open_to_write(&self, name: &FileName) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(self.path(name))
    }

    fn handles(&self) -> MutexGuard<'_, Handles> {
        // Handles are changed by single calls only: a panic elsewhere leaves them whole.
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk for FileDisk {
    fn execute(&mut self, operation: &DiskOperation) -> Result<DiskAnswer, DiskError> {
        self.run(operation).map_err(|error| operation.error(kind(&error), error))
    }
}

/// Offers the core to others behind a read, and leaves it to them for a moment if the read was long and somebody wanted it. A start
/// reads the whole log, piece by piece, and this machine may have other nodes that serve: whoever takes the core when it is offered
/// does it for the little that a request takes, and sleeps until the next one comes, which would find the core taken again. When that
/// comes nobody can say beforehand: there is no condition to await.
fn give_way(read_bytes: usize) {
    let offered = clock::now();
    std::thread::yield_now();
    if read_bytes >= LONG_READ_BYTES && clock::now().since(offered) >= TAKEN {
        std::thread::sleep(LEFT_FOR);
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
