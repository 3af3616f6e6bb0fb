//! Who a data directory belongs to: the file `identity.json`, written once per change, replaced atomically.

use ringfort_env::{Disk, DiskAnswer, DiskError, DiskOperation, FileName};
use ringfort_types::{ClusterId, NodeId};
use serde::{Deserialize, Serialize};

const FILE: &str = "identity.json";
const FILE_NEW: &str = "identity.json.tmp";
/// The newest format this executable knows.
const FORMAT: u32 = 1;
const BYTES_MAX: usize = 64 << 10;

/// What makes a data directory this node's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    /// Version of this format.
    pub(crate) format: u32,
    /// The node's name.
    pub(crate) node_id: String,
    /// The cluster, 32 hexadecimal digits.
    pub(crate) cluster_id: String,
    /// Shards, set at formation.
    pub(crate) shards: u32,
    /// Replicas of each shard, set at formation.
    pub(crate) replication_factor: u32,
    /// The secret of the log's checksums, 16 hexadecimal digits.
    pub(crate) log_salt: String,
    /// Every group was founded: from here on a missing one is lost.
    pub(crate) formed: bool,
}

/// Why a data directory is not taken.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The file is none of ours, or damaged.
    #[error("{FILE} is damaged at line {line}, column {column}: {reason}; restore it from a backup: it names the cluster and the secret that the log is read with", line = .0.line(), column = .0.column(), reason = .0)]
    Damaged(#[source] serde_json::Error),
    /// A field holds what no version of ours wrote.
    #[error("{FILE} is damaged: {0} is malformed; restore it from a backup")]
    Field(&'static str),
    /// A newer format.
    #[error(
        "{FILE} has format {0}, this executable reads up to {FORMAT}: start the newer ringfort that wrote it"
    )]
    Newer(u32),
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
    /// There is a log without the file that says whose it is.
    #[error(
        "the data directory holds a log but no {FILE}: restore it from a backup, or name an empty directory"
    )]
    Missing,
}

#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
}

impl Identity {
    /// Reads the identity; `None` in an empty directory.
    pub(crate) fn read(disk: &mut dyn Disk) -> Result<Option<Self>, IdentityError> {
        let files = disk.list()?;
        let file = FileName::new(FILE);
        if !files.iter().any(|(name, _)| *name == file) {
            let has_log = files.iter().any(|(name, _)| name.as_str().starts_with("log-"));
            return if has_log { Err(IdentityError::Missing) } else { Ok(None) };
        }
        let bytes = disk.read(&file, 0, BYTES_MAX)?;
        let FormatOnly { format } =
            serde_json::from_slice(&bytes).map_err(IdentityError::Damaged)?;
        if format > FORMAT {
            return Err(IdentityError::Newer(format));
        }
        let identity: Self = serde_json::from_slice(&bytes).map_err(IdentityError::Damaged)?;
        identity.node()?;
        identity.cluster()?;
        identity.salt()?;
        if identity.shards == 0 || identity.shards > ringfort_types::limits::SHARDS_MAX {
            return Err(IdentityError::Field("shards"));
        }
        Ok(Some(identity))
    }

    /// A new identity.
    pub(crate) fn new(
        node: &NodeId,
        cluster: ClusterId,
        shards: u32,
        replication_factor: u32,
        salt: u64,
    ) -> Self {
        Self {
            format: FORMAT,
            node_id: node.to_string(),
            cluster_id: cluster.to_string(),
            shards,
            replication_factor,
            log_salt: format!("{salt:016x}"),
            formed: false,
        }
    }

    /// Writes the identity: whole and durable, or the old one stays.
    pub(crate) fn write(&self, disk: &mut dyn Disk) -> Result<(), IdentityError> {
        let (file, new) = (FileName::new(FILE), FileName::new(FILE_NEW));
        let mut text = serde_json::to_vec_pretty(self).map_err(IdentityError::Damaged)?;
        text.push(b'\n');
        if disk.list()?.iter().any(|(name, _)| *name == new) {
            run(disk, &DiskOperation::Delete(new.clone()))?;
        }
        run(disk, &DiskOperation::Create(new.clone()))?;
        run(disk, &DiskOperation::WriteAt { file: new.clone(), offset: 0, bytes: text.into() })?;
        run(disk, &DiskOperation::SyncData(new.clone()))?;
        run(disk, &DiskOperation::Rename { from: new, to: file })?;
        run(disk, &DiskOperation::SyncDirectory)
    }

    pub(crate) fn node(&self) -> Result<NodeId, IdentityError> {
        NodeId::parse(&self.node_id).map_err(|_| IdentityError::Field("node_id"))
    }

    pub(crate) fn cluster(&self) -> Result<ClusterId, IdentityError> {
        self.cluster_id.parse().map_err(|_| IdentityError::Field("cluster_id"))
    }

    pub(crate) fn salt(&self) -> Result<u64, IdentityError> {
        u64::from_str_radix(&self.log_salt, 16).map_err(|_| IdentityError::Field("log_salt"))
    }
}

fn run(disk: &mut dyn Disk, operation: &DiskOperation) -> Result<(), IdentityError> {
    let answer = disk.execute(operation)?;
    debug_assert_eq!(answer, DiskAnswer::Done);
    Ok(())
}
