//! The data directory, held by one process at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
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
    /// Makes the directory if there is none, durably, and takes hold of it.
    pub(crate) fn hold(path: &Path) -> Result<Self, DataDirError> {
        let unusable = |source| DataDirError::Unusable { path: path.to_owned(), source };
        make(path).map_err(unusable)?;
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

/// Makes a directory and those above it that are missing. Each new name is durable before anything is put under it: what a
/// power loss takes of the path, it takes with everything below.
fn make(path: &Path) -> io::Result<()> {
    let missing: Vec<_> = path.ancestors().take_while(|path| is_missing(path)).collect();
    for path in missing.into_iter().rev() {
        match std::fs::create_dir(path) {
            Ok(()) => File::open(parent(path))?.sync_all()?,
            // Another process was faster, or it is a detour such as `new/..`.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether a name leads nowhere. One that cannot be looked at fails when it is used, which says why.
fn is_missing(path: &Path) -> bool {
    !path.as_os_str().is_empty() && matches!(path.try_exists(), Ok(false))
}

fn parent(path: &Path) -> &Path {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_made_with_those_above_it_and_held_once() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a/b/../c/d/");
        let held = DataDir::hold(&path).unwrap();
        assert!(home.path().join("a/c/d").is_dir());
        let again = DataDir::hold(&home.path().join("a/c/d"));
        assert!(matches!(again, Err(DataDirError::Held { .. })), "{again:?}");
        drop(held);
        DataDir::hold(&path).unwrap();
    }

    #[test]
    fn a_path_that_cannot_be_a_directory_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("file");
        std::fs::write(&file, "").unwrap();
        for path in [file.clone(), file.join("below")] {
            let refused = DataDir::hold(&path);
            assert!(matches!(refused, Err(DataDirError::Unusable { .. })), "{refused:?}");
        }
    }

    #[test]
    fn a_relative_name_lies_in_the_present_directory() {
        assert_eq!(parent(Path::new("data")), Path::new("."));
        assert_eq!(parent(Path::new("a/b")), Path::new("a"));
        assert_eq!(parent(Path::new("/a")), Path::new("/"));
    }
}
