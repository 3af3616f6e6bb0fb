//! The data directory, held by one process at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

const LOCK: &str = "LOCK";

/// Why a data directory cannot be held.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// It cannot be made or used.
    #[error("the data directory {path} cannot be used: {source}")]
    Unusable {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another process holds it.
    #[error(
        "the data directory {path} is held by another ringfort process{holder}: stop that one, or name another directory"
    )]
    Held {
        /// Where.
        path: PathBuf,
        /// ` (process 123)`, as far as it is known.
        holder: String,
    },
}

/// The lock on a data directory; dropping it lets go.
#[derive(Debug)]
pub(crate) struct DataDir {
    _lock: File,
}

impl DataDir {
    /// Makes the directory if there is none, and takes hold of it.
    pub(crate) fn hold(path: &Path) -> Result<Self, DataDirError> {
        let unusable = |source| DataDirError::Unusable { path: path.to_owned(), source };
        std::fs::create_dir_all(path).map_err(unusable)?;
        let lock_path = path.join(LOCK);
        let options =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&lock_path);
        let mut lock = options.map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = std::fs::read_to_string(&lock_path).unwrap_or_default();
                let holder = holder.trim();
                let holder =
                    if holder.is_empty() { String::new() } else { format!(" (process {holder})") };
                return Err(DataDirError::Held { path: path.to_owned(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
        lock.set_len(0)
            .and_then(|()| writeln!(lock, "{}", std::process::id()))
            .map_err(unusable)?;
        Ok(Self { _lock: lock })
    }
}
