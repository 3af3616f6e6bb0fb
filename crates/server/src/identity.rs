//! Who a data directory belongs to: the file `identity.json`, replaced atomically. What is in it is the node's to know.

use ringfort_env::{Disk, DiskAnswer, DiskError, DiskOperation, FileName};
use ringfort_node::control::{Identity, IdentityContent, IdentityError as ContentError};

const FILE: &str = "identity.json";
const FILE_NEW: &str = "identity.json.tmp";
const BYTES_MAX: usize = 1 << 20;

/// Why a data directory is not taken.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A newer format.
    #[error("{FILE}: {0}")]
    Newer(#[source] ContentError),
    /// The file is none of ours, or damaged.
    #[error(
        "{FILE} is damaged: {0}; restore it from a backup: it names the cluster and the secret that the log is read with"
    )]
    Damaged(#[source] ContentError),
    /// Another node's directory.
    #[error(
        "the data directory belongs to node {found:?}, the configuration says node.id = {configured:?}: set node.id to {found:?}, or name another data directory"
    )]
    OtherNode {
        /// Whose it is.
        found: String,
        /// Who asks.
        configured: String,
    },
    /// The cluster that it names was formed without this node.
    #[error(
        "{FILE} names a cluster that was not formed with this node and this directory: restore it from a backup"
    )]
    NotNamed,
    /// There is a log without the file that says whose it is.
    #[error(
        "the data directory holds a log but no {FILE}: restore it from a backup, or name an empty directory"
    )]
    Missing,
}

/// Reads the identity; `None` in an empty directory.
pub(crate) fn read(disk: &mut dyn Disk) -> Result<Option<Identity>, IdentityError> {
    let files = disk.list()?;
    let file = FileName::new(FILE);
    if !files.iter().any(|(name, _)| *name == file) {
        let has_log = files.iter().any(|(name, _)| name.as_str().starts_with("log-"));
        return if has_log { Err(IdentityError::Missing) } else { Ok(None) };
    }
    let bytes = disk.read(&file, 0, BYTES_MAX)?;
    Identity::decode(&bytes).map(Some).map_err(|error| match error {
        newer @ ContentError::Newer(_) => IdentityError::Newer(newer),
        damaged => IdentityError::Damaged(damaged),
    })
}

/// Writes the identity: whole and durable, or the old one stays.
pub(crate) fn write(disk: &mut dyn Disk, content: &IdentityContent) -> Result<(), IdentityError> {
    replace(disk, FILE, FILE_NEW, content.encode().into())
}

/// Replaces a small file: whole and durable, or the old one stays.
pub(crate) fn replace(
    disk: &mut dyn Disk,
    file: &str,
    new: &str,
    bytes: bytes::Bytes,
) -> Result<(), IdentityError> {
    let (file, new) = (FileName::new(file), FileName::new(new));
    if disk.list()?.iter().any(|(name, _)| *name == new) {
        run(disk, &DiskOperation::Delete(new.clone()))?;
    }
    run(disk, &DiskOperation::Create(new.clone()))?;
    run(disk, &DiskOperation::WriteAt { file: new.clone(), offset: 0, bytes })?;
    run(disk, &DiskOperation::SyncData(new.clone()))?;
    run(disk, &DiskOperation::Rename { from: new, to: file })?;
    run(disk, &DiskOperation::SyncDirectory)
}

fn run(disk: &mut dyn Disk, operation: &DiskOperation) -> Result<(), IdentityError> {
    let answer = disk.execute(operation)?;
    debug_assert_eq!(answer, DiskAnswer::Done);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::FileDisk;

    /// What an executable without checksums wrote.
    const FORMAT_1: &str = r#"{
  "format": 1,
  "node_id": "n0",
  "cluster_id": "45953bb1efb9b48622325cb59c97918a",
  "shards": 64,
  "replication_factor": 1,
  "log_salt": "84cc8625a7f3a274",
  "formed": true
}
"#;

    #[test]
    fn what_an_earlier_version_left_is_read() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join(FILE), FORMAT_1).unwrap();
        let mut disk = FileDisk::new(home.path()).unwrap();
        let Some(Identity::Earlier(node)) = read(&mut disk).unwrap() else { panic!() };
        assert_eq!((node.shards, node.formed), (64, true));
    }

    #[test]
    fn a_file_that_is_no_identity_is_named() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join(FILE), &FORMAT_1[..40]).unwrap();
        let mut disk = FileDisk::new(home.path()).unwrap();
        let error = read(&mut disk).unwrap_err().to_string();
        assert!(error.contains("identity.json is damaged"), "{error}");
        std::fs::write(home.path().join(FILE), "{\"format\": 99}").unwrap();
        let error = read(&mut disk).unwrap_err().to_string();
        assert!(error.contains("start the newer ringfort"), "{error}");
        std::fs::remove_file(home.path().join(FILE)).unwrap();
        std::fs::write(home.path().join("log-1.seg"), "").unwrap();
        assert!(matches!(read(&mut disk), Err(IdentityError::Missing)));
    }
}
