//! Who a data directory belongs to: the file `identity.json`, written once per change, replaced atomically.

use ringfort_env::{Disk, DiskAnswer, DiskError, DiskOperation, FileName};
use ringfort_types::{ClusterId, NodeId};
use serde::{Deserialize, Serialize};

const FILE: &str = "identity.json";
const FILE_NEW: &str = "identity.json.tmp";
/// The newest format this executable knows. Format 1 is the same without the checksum.
const FORMAT: u32 = 2;
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
    /// CRC-32C of everything above, 8 hexadecimal digits: a digit of `shards` that became another one would have keys looked
    /// for where they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checksum: Option<String>,
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
    /// A field does not hold what was written.
    #[error(
        "{FILE} is damaged: its checksum is {stored:?} and should be {computed:?}; restore it from a backup: it names the cluster and the secret that the log is read with"
    )]
    Checksum {
        /// What the file says.
        stored: String,
        /// What its other members give.
        computed: String,
    },
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
        if format == 0 {
            return Err(IdentityError::Field("format"));
        }
        let identity: Self = serde_json::from_slice(&bytes).map_err(IdentityError::Damaged)?;
        let (stored, computed) = (identity.checksum.clone(), identity.computed_checksum());
        if stored != computed {
            let [stored, computed] = [stored, computed].map(Option::unwrap_or_default);
            return Err(IdentityError::Checksum { stored, computed });
        }
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
            checksum: None,
        }
    }

    /// Whether an older executable wrote it: one without a checksum.
    pub(crate) fn is_old(&self) -> bool {
        self.format < FORMAT
    }

    /// The checksum that stands in a file of this format; format 1 has none.
    fn computed_checksum(&self) -> Option<String> {
        let Self { format, node_id, cluster_id, shards, replication_factor, log_salt, .. } = self;
        let formed = self.formed;
        let text = format!(
            "{format}\n{node_id}\n{cluster_id}\n{shards}\n{replication_factor}\n{log_salt}\n{formed}\n"
        );
        (*format > 1).then(|| format!("{:08x}", crc32c::crc32c(text.as_bytes())))
    }

    /// Writes the identity in the newest format: whole and durable, or the old one stays.
    pub(crate) fn write(&mut self, disk: &mut dyn Disk) -> Result<(), IdentityError> {
        self.format = FORMAT;
        self.checksum = self.computed_checksum();
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

    fn read(text: &str) -> Result<Option<Identity>, IdentityError> {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join(FILE), text).unwrap();
        Identity::read(&mut FileDisk::new(home.path()).unwrap())
    }

    #[test]
    fn format_1_is_read_and_written_as_format_2() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join(FILE), FORMAT_1).unwrap();
        let mut disk = FileDisk::new(home.path()).unwrap();
        let mut identity = Identity::read(&mut disk).unwrap().unwrap();
        assert!(identity.is_old());
        assert_eq!((identity.shards, identity.formed), (64, true));
        identity.write(&mut disk).unwrap();
        let text = std::fs::read_to_string(home.path().join(FILE)).unwrap();
        assert_eq!(text, FORMAT_2, "frozen");
        assert_eq!(Identity::read(&mut disk).unwrap(), Some(identity.clone()));
        assert!(!identity.is_old());
    }

    /// Format 2, with its checksum.
    const FORMAT_2: &str = r#"{
  "format": 2,
  "node_id": "n0",
  "cluster_id": "45953bb1efb9b48622325cb59c97918a",
  "shards": 64,
  "replication_factor": 1,
  "log_salt": "84cc8625a7f3a274",
  "formed": true,
  "checksum": "8e57950c"
}
"#;

    #[test]
    fn a_flipped_bit_is_never_taken_for_an_identity() {
        let whole = read(FORMAT_2).unwrap();
        for position in 0..FORMAT_2.len() {
            for bit in 0..8 {
                let mut bytes = FORMAT_2.as_bytes().to_vec();
                bytes[position] ^= 1 << bit;
                let Ok(text) = String::from_utf8(bytes) else { continue };
                match read(&text) {
                    // White space between members may be other white space.
                    Ok(found) => assert_eq!(found, whole, "bit {bit} of byte {position}"),
                    Err(error) => {
                        let words = ["damaged", "start the newer ringfort"];
                        let said = error.to_string();
                        assert!(words.iter().any(|word| said.contains(word)), "{said}");
                    }
                }
            }
        }
    }
}
