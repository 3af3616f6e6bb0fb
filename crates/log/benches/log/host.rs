//! A blocking host over real files, for benches: executes whatever the log asks, at once.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ringfort_env::{
    Disk, DiskAnswer, DiskCompletion, DiskError, DiskErrorKind, DiskOperation, FileName,
};
use ringfort_log::{FileLog, LogEvent, LogStore};
use ringfort_types::Monotonic;

/// The data directory.
pub(crate) struct Directory {
    path: PathBuf,
    files: BTreeMap<FileName, File>,
}

impl Directory {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, files: BTreeMap::new() }
    }

    fn file(&mut self, name: &FileName) -> io::Result<&File> {
        if !self.files.contains_key(name) {
            let path = self.path.join(name.as_str());
            let file = OpenOptions::new().read(true).write(true).open(path)?;
            self.files.insert(name.clone(), file);
        }
        Ok(&self.files[name])
    }

    fn perform(&mut self, operation: &DiskOperation) -> io::Result<DiskAnswer> {
        match operation {
            DiskOperation::Create(name) => {
                let path = self.path.join(name.as_str());
                OpenOptions::new().write(true).create_new(true).open(path)?;
            }
            DiskOperation::WriteAt { file, offset, bytes } => {
                self.file(file)?.write_all_at(bytes, *offset)?;
            }
            DiskOperation::Read { file, offset, len } => {
                return self.read(file, *offset, *len);
            }
            DiskOperation::SyncData(name) => self.file(name)?.sync_data()?,
            DiskOperation::SyncDirectory => {
                OpenOptions::new().read(true).open(&self.path)?.sync_all()?;
            }
            DiskOperation::Rename { from, to } => {
                let [from_path, to_path] = [from, to].map(|name| self.path.join(name.as_str()));
                std::fs::rename(from_path, to_path)?;
                if let Some(file) = self.files.remove(from) {
                    self.files.insert(to.clone(), file);
                }
            }
            DiskOperation::Truncate { file, len } => self.file(file)?.set_len(*len)?,
            DiskOperation::Delete(name) => {
                self.files.remove(name);
                std::fs::remove_file(self.path.join(name.as_str()))?;
            }
            DiskOperation::List => return self.entries(),
        }
        Ok(DiskAnswer::Done)
    }

    fn read(&mut self, file: &FileName, offset: u64, len: usize) -> io::Result<DiskAnswer> {
        let mut bytes = vec![0; len];
        let mut read = 0;
        while read < len {
            match self.file(file)?.read_at(&mut bytes[read..], offset + read as u64)? {
                0 => break,
                more => read += more,
            }
        }
        bytes.truncate(read);
        Ok(DiskAnswer::Read(Bytes::from(bytes)))
    }

    fn entries(&self) -> io::Result<DiskAnswer> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = FileName::new(&entry.file_name().to_string_lossy());
            files.push((name, entry.metadata()?.len()));
        }
        files.sort();
        Ok(DiskAnswer::Listed(files))
    }
}

impl Disk for Directory {
    fn execute(&mut self, operation: &DiskOperation) -> Result<DiskAnswer, DiskError> {
        self.perform(operation).map_err(|error| operation.error(DiskErrorKind::Other, error))
    }
}

/// The monotonic clock.
pub(crate) fn instant() -> Instant {
    Instant::now()
}

/// A log, its directory and its clock.
pub(crate) struct Host {
    pub(crate) directory: Directory,
    pub(crate) log: FileLog,
    start: Instant,
}

impl Host {
    pub(crate) fn new(directory: Directory, log: FileLog) -> Self {
        Self { directory, log, start: instant() }
    }

    pub(crate) fn now(&self) -> Monotonic {
        Monotonic(0) + self.start.elapsed()
    }

    /// Executes disk operations until there are none. Returns how many submissions' durability was told.
    pub(crate) fn pump(&mut self) -> u64 {
        while let Some(request) = self.log.poll_disk() {
            let result = self.directory.execute(&request.operation);
            // The request's bytes are let go before its end is told, as any host should.
            let id = request.id;
            drop(request);
            self.log.handle_disk(self.now(), DiskCompletion { id, result });
        }
        let mut told = 0;
        while let Some(event) = self.log.poll_event() {
            match event {
                LogEvent::Durable { .. } => told += 1,
                LogEvent::WantRebase { .. } | LogEvent::Headroom { .. } => {}
                LogEvent::Failed(error) => panic!("{error}"),
            }
        }
        told
    }

    /// Lets time pass until everything is quiet.
    pub(crate) fn settle(&mut self) {
        while let Some(due) = self.log.poll_timer() {
            let due = due.max(self.now()) + Duration::from_nanos(1);
            self.log.handle_timer(due);
            self.pump();
        }
    }
}
