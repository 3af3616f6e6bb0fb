//! Disk operations as data.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

/// Names one operation among those its core has under way. Chosen by the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(pub u64);

/// A file of the data directory, by its plain name: no directories, no separators.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName(Arc<str>);

impl FileName {
    /// Takes a plain name.
    ///
    /// # Panics
    /// The name is empty, holds a separator, or is `.` or `..`: names are made by our own code only.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let plain =
            !name.is_empty() && !name.contains(['/', '\\', '\0']) && name != "." && name != "..";
        assert!(plain, "{name:?} is no plain file name");
        Self(name.into())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who waits for an operation. Operations of one lane run in the order they were requested; lanes do not wait for each
/// other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// An acknowledgement waits for it: appends to the log and their syncs.
    Log,
    /// Nobody waits: preparing segments, snapshots, deletions.
    Background,
}

/// One thing to do to one file of the data directory.
#[derive(Clone, Debug)]
pub enum DiskOperation {
    /// Makes a new empty file; an error if the name exists.
    Create(FileName),
    /// Writes bytes at an offset, extending the file if it is shorter. All of the bytes or an error.
    WriteAt {
        /// The file, which exists.
        file: FileName,
        /// Where, in bytes from the start.
        offset: u64,
        /// What.
        bytes: Bytes,
    },
    /// Reads at most `len` bytes at an offset; fewer only at the end of the file.
    Read {
        /// The file.
        file: FileName,
        /// Where, in bytes from the start.
        offset: u64,
        /// How many bytes at most.
        len: usize,
    },
    /// Makes all completed writes to the file durable (`fdatasync`).
    SyncData(FileName),
    /// Makes all completed creations, renames and deletions durable.
    SyncDirectory,
    /// Gives a file another name, replacing what has that name.
    Rename {
        /// The old name.
        from: FileName,
        /// The new one.
        to: FileName,
    },
    /// Cuts a file, or extends it with zeros.
    Truncate {
        /// The file.
        file: FileName,
        /// Its new length in bytes.
        len: u64,
    },
    /// Removes a file; an error if there is none.
    Delete(FileName),
    /// Lists all files of the data directory with their lengths, in order of names.
    List,
}

/// An operation to be executed by the host.
#[derive(Clone, Debug)]
pub struct DiskRequest {
    /// Comes back with the completion.
    pub id: OperationId,
    /// Who waits.
    pub lane: Lane,
    /// What to do.
    pub operation: DiskOperation,
}

/// What a completed operation gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskAnswer {
    /// It is done.
    Done,
    /// The bytes read.
    Read(Bytes),
    /// Names and lengths in bytes.
    Listed(Vec<(FileName, u64)>),
}

/// The end of an operation.
#[derive(Clone, Debug)]
pub struct DiskCompletion {
    /// The request's id.
    pub id: OperationId,
    /// How it ended.
    pub result: Result<DiskAnswer, DiskError>,
}

/// What kind of failure a disk reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DiskErrorKind {
    /// The file does not exist.
    NotFound,
    /// The file exists already.
    Exists,
    /// There is no space left (or a quota is reached).
    Full,
    /// Anything else: treat the file's content as unknown.
    Other,
}

/// A failed disk operation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{operation} of {file}: {message}")]
pub struct DiskError {
    /// What kind of failure.
    pub kind: DiskErrorKind,
    /// The verb: `write`, `sync`, …
    pub operation: &'static str,
    /// The file, or `the data directory`.
    pub file: String,
    /// What the operating system said.
    pub message: String,
}

impl DiskOperation {
    /// The verb, for messages and metrics.
    #[must_use]
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Create(_) => "create",
            Self::WriteAt { .. } => "write",
            Self::Read { .. } => "read",
            Self::SyncData(_) | Self::SyncDirectory => "sync",
            Self::Rename { .. } => "rename",
            Self::Truncate { .. } => "truncate",
            Self::Delete(_) => "delete",
            Self::List => "list",
        }
    }

    /// The file it is about; `None` for the directory.
    #[must_use]
    pub fn file(&self) -> Option<&FileName> {
        match self {
            Self::Create(file) | Self::SyncData(file) | Self::Delete(file) => Some(file),
            Self::WriteAt { file, .. } | Self::Read { file, .. } | Self::Truncate { file, .. } => {
                Some(file)
            }
            Self::Rename { from, .. } => Some(from),
            Self::SyncDirectory | Self::List => None,
        }
    }

    /// An error of this operation.
    #[must_use]
    pub fn error(&self, kind: DiskErrorKind, message: impl fmt::Display) -> DiskError {
        let file = self.file().map_or_else(|| "the data directory".to_owned(), ToString::to_string);
        DiskError { kind, operation: self.verb(), file, message: message.to_string() }
    }
}

/// Executes operations one by one, each to its end. Used by hosts on their disk threads, and by cores at start.
pub trait Disk {
    /// Executes one operation.
    ///
    /// # Errors
    /// The operation failed; except for a failed write or sync, nothing has changed.
    fn execute(&mut self, operation: &DiskOperation) -> Result<DiskAnswer, DiskError>;

    /// All files with their lengths.
    ///
    /// # Errors
    /// The directory cannot be read.
    fn list(&mut self) -> Result<Vec<(FileName, u64)>, DiskError> {
        let operation = DiskOperation::List;
        match self.execute(&operation)? {
            DiskAnswer::Listed(files) => Ok(files),
            other => {
                Err(operation.error(DiskErrorKind::Other, format!("unexpected answer {other:?}")))
            }
        }
    }

    /// At most `len` bytes of a file at an offset; fewer only at its end.
    ///
    /// # Errors
    /// The file cannot be read.
    fn read(&mut self, file: &FileName, offset: u64, len: usize) -> Result<Bytes, DiskError> {
        let operation = DiskOperation::Read { file: file.clone(), offset, len };
        match self.execute(&operation)? {
            DiskAnswer::Read(bytes) => Ok(bytes),
            other => {
                Err(operation.error(DiskErrorKind::Other, format!("unexpected answer {other:?}")))
            }
        }
    }
}
