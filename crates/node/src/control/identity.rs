//! What makes a data directory this node's: the content of `identity.json`, and its bytes.
//!
//! Pure: how the file gets onto the disk, whole and durable, is the host's affair. Formats 1 and 2 were written by versions
//! whose clusters were single nodes; they are read, and go on as clusters of one founder. The layout is described in
//! `docs/formats/README.md`.

use ringfort_placement::{Capacity, ReplicationFactor, Zone};
use ringfort_types::{ClusterId, FeatureLevel, Incarnation, NodeId};
use serde::{Deserialize, Serialize};

use super::formation::{FormationState, Grant};
use super::record::{FormationRecord, NodeInfo, NodeName, RecordError};
use super::settings::{ClusterSettings, ReadsBy, millis};

/// The newest format.
pub const IDENTITY_FORMAT: u32 = 3;

/// How far the groups of a node are in its log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Founded {
    /// Groups that the log does not know are founded.
    #[default]
    Nothing,
    /// Those of the shards are there: one that the log does not know is lost. The catalog's is founded where it is missing.
    Shards,
    /// All are there: one that the log does not know is lost.
    Everything,
}

/// What a data directory is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityContent {
    /// The node's id and the directory's incarnation.
    pub name: NodeName,
    /// The secret of the log's checksums.
    pub log_salt: u64,
    /// Grant and cluster.
    pub formation: FormationState,
    /// How far founding is.
    pub founded: Founded,
}

/// What an earlier version left: a node alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SingleNode {
    /// The format it was read from.
    pub format: u32,
    /// The node's id.
    pub node_id: NodeId,
    /// The cluster.
    pub cluster_id: ClusterId,
    /// Its shards.
    pub shards: u32,
    /// Its replication factor.
    pub replication_factor: ReplicationFactor,
    /// The secret of the log's checksums.
    pub log_salt: u64,
    /// Every group of a shard was founded.
    pub formed: bool,
}

/// An identity as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Of this format.
    Current(IdentityContent),
    /// Of an earlier one: see [`SingleNode::upgrade`].
    Earlier(SingleNode),
}

/// Why bytes are no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// No JSON, or a member is missing or unknown.
    #[error("line {line}, column {column}: {reason}", line = .0.line(), column = .0.column(), reason = .0)]
    Json(#[from] serde_json::Error),
    /// A member holds what no version wrote.
    #[error("{0} is malformed")]
    Field(&'static str),
    /// The formation record breaks a rule.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A member does not hold what was written.
    #[error("its checksum is {stored:?} and should be {computed:?}")]
    Checksum {
        /// What the file says.
        stored: String,
        /// What its other members give.
        computed: String,
    },
    /// A newer format.
    #[error(
        "it has format {0}, this executable reads up to {IDENTITY_FORMAT}: start the newer ringfort that wrote it"
    )]
    Newer(u32),
}

#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
}

/// Format 1 and 2.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EarlierFile {
    format: u32,
    node_id: String,
    cluster_id: String,
    shards: u32,
    replication_factor: u32,
    log_salt: String,
    formed: bool,
    #[serde(default)]
    checksum: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: u32,
    node_id: String,
    incarnation: String,
    log_salt: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    grant: Option<GrantFile>,
    #[serde(skip_serializing_if = "Option::is_none")]
    formation: Option<FormationFile>,
    founded: Founded,
    #[serde(skip_serializing_if = "Option::is_none")]
    checksum: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GrantFile {
    cluster_id: String,
    proposer: String,
    incarnation: String,
    peer: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FormationFile {
    cluster_id: String,
    shards: u32,
    replication_factor: u8,
    heartbeat_ms: u64,
    election_timeout_ms: u64,
    reads: String,
    feature_level: u8,
    from_single_node: bool,
    founders: Vec<FounderFile>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FounderFile {
    id: String,
    incarnation: String,
    peer: String,
    client: String,
    zone: String,
    capacity_hundredths: u32,
}

impl IdentityContent {
    /// A new data directory.
    #[must_use]
    pub fn new(name: NodeName, log_salt: u64) -> Self {
        let (formation, founded) = (FormationState::default(), Founded::default());
        Self { name, log_salt, formation, founded }
    }

    /// The bytes of the file.
    ///
    /// # Panics
    /// Never: the content is plain data.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut file = self.file();
        file.checksum = Some(checksum(&file));
        let mut text = serde_json::to_vec_pretty(&file).expect("plain data is JSON");
        text.push(b'\n');
        text
    }

    fn file(&self) -> File {
        let formation = &self.formation;
        File {
            format: IDENTITY_FORMAT,
            node_id: self.name.id.to_string(),
            incarnation: self.name.incarnation.to_string(),
            log_salt: format!("{:016x}", self.log_salt),
            grant: formation.grant.as_ref().map(|grant| GrantFile {
                cluster_id: grant.cluster_id.to_string(),
                proposer: grant.proposer.id.to_string(),
                incarnation: grant.proposer.incarnation.to_string(),
                peer: grant.peer.clone(),
            }),
            formation: formation.formed.as_ref().map(put_formation),
            founded: self.founded,
            checksum: None,
        }
    }
}

impl Identity {
    /// The identity with these bytes, of whatever format up to this one.
    ///
    /// # Errors
    /// They are damaged, or of a newer format.
    pub fn decode(bytes: &[u8]) -> Result<Self, IdentityError> {
        let FormatOnly { format } = serde_json::from_slice(bytes)?;
        match format {
            0 => Err(IdentityError::Field("format")),
            1 | 2 => decode_earlier(bytes).map(Self::Earlier),
            IDENTITY_FORMAT => decode_current(bytes).map(Self::Current),
            newer => Err(IdentityError::Newer(newer)),
        }
    }
}

impl SingleNode {
    /// The same node in this format: the one founder of its cluster, with an incarnation drawn now. `me` gives addresses, zone
    /// and capacity; `settings` gives what the earlier version took from its configuration.
    #[must_use]
    pub fn upgrade(&self, me: NodeInfo, settings: ClusterSettings) -> IdentityContent {
        let name = me.name.clone();
        let (shards, replication_factor) = (self.shards, self.replication_factor);
        let record = FormationRecord {
            cluster_id: self.cluster_id,
            settings: ClusterSettings { shards, replication_factor, ..settings },
            founders: vec![me],
            from_single_node: true,
        };
        let formation = FormationState { grant: None, formed: Some(record) };
        let founded = if self.formed { Founded::Shards } else { Founded::Nothing };
        IdentityContent { name, log_salt: self.log_salt, formation, founded }
    }
}

/// Of the members above it, as JSON without white space.
fn checksum(file: &File) -> String {
    let text = serde_json::to_vec(file).expect("plain data is JSON");
    format!("{:08x}", crc32c::crc32c(&text))
}

fn checked(stored: Option<String>, computed: Option<String>) -> Result<(), IdentityError> {
    if stored == computed {
        return Ok(());
    }
    let [stored, computed] = [stored, computed].map(Option::unwrap_or_default);
    Err(IdentityError::Checksum { stored, computed })
}

fn decode_earlier(bytes: &[u8]) -> Result<SingleNode, IdentityError> {
    let file: EarlierFile = serde_json::from_slice(bytes)?;
    let EarlierFile { format, node_id, cluster_id, shards, replication_factor, log_salt, .. } =
        &file;
    let formed = file.formed;
    let text = format!(
        "{format}\n{node_id}\n{cluster_id}\n{shards}\n{replication_factor}\n{log_salt}\n{formed}\n"
    );
    let computed = (*format > 1).then(|| format!("{:08x}", crc32c::crc32c(text.as_bytes())));
    checked(file.checksum.clone(), computed)?;
    if *shards == 0 || *shards > ringfort_types::limits::SHARDS_MAX {
        return Err(IdentityError::Field("shards"));
    }
    let factor = u8::try_from(*replication_factor).ok();
    let factor = factor.and_then(|factor| ReplicationFactor::new(factor).ok());
    Ok(SingleNode {
        format: *format,
        node_id: NodeId::parse(node_id).map_err(|_| IdentityError::Field("node_id"))?,
        cluster_id: cluster_id.parse().map_err(|_| IdentityError::Field("cluster_id"))?,
        shards: *shards,
        replication_factor: factor.ok_or(IdentityError::Field("replication_factor"))?,
        log_salt: get_salt(log_salt)?,
        formed,
    })
}

fn decode_current(bytes: &[u8]) -> Result<IdentityContent, IdentityError> {
    let mut file: File = serde_json::from_slice(bytes)?;
    let stored = file.checksum.take();
    checked(stored, Some(checksum(&file)))?;
    let grant = |grant: GrantFile| {
        let cluster_id = get_cluster(&grant.cluster_id)?;
        let proposer = get_name(&grant.proposer, &grant.incarnation)?;
        Ok::<_, IdentityError>(Grant { cluster_id, proposer, peer: grant.peer })
    };
    let grant = file.grant.map(grant).transpose()?;
    let formed = file.formation.map(get_formation).transpose()?;
    Ok(IdentityContent {
        name: get_name(&file.node_id, &file.incarnation)?,
        log_salt: get_salt(&file.log_salt)?,
        formation: FormationState { grant, formed },
        founded: file.founded,
    })
}

fn get_salt(text: &str) -> Result<u64, IdentityError> {
    u64::from_str_radix(text, 16).map_err(|_| IdentityError::Field("log_salt"))
}

fn get_cluster(text: &str) -> Result<ClusterId, IdentityError> {
    text.parse().map_err(|_| IdentityError::Field("cluster_id"))
}

fn get_name(id: &str, incarnation: &str) -> Result<NodeName, IdentityError> {
    let incarnation: Incarnation =
        incarnation.parse().map_err(|_| IdentityError::Field("incarnation"))?;
    let id = NodeId::parse(id).map_err(|_| IdentityError::Field("node_id"))?;
    Ok(NodeName { id, incarnation })
}

fn put_formation(record: &FormationRecord) -> FormationFile {
    let founder = |info: &NodeInfo| FounderFile {
        id: info.name.id.to_string(),
        incarnation: info.name.incarnation.to_string(),
        peer: info.peer.clone(),
        client: info.client.clone(),
        zone: info.zone.0.to_string(),
        capacity_hundredths: info.capacity.hundredths(),
    };
    let settings = &record.settings;
    FormationFile {
        cluster_id: record.cluster_id.to_string(),
        shards: settings.shards,
        replication_factor: u8::try_from(settings.replication_factor.get()).unwrap_or(u8::MAX),
        heartbeat_ms: millis(settings.heartbeat),
        election_timeout_ms: millis(settings.election_timeout),
        reads: settings.reads.as_str().into(),
        feature_level: settings.feature_level.0,
        from_single_node: record.from_single_node,
        founders: record.founders.iter().map(founder).collect(),
    }
}

fn get_formation(file: FormationFile) -> Result<FormationRecord, IdentityError> {
    use std::time::Duration;
    let founder = |founder: FounderFile| {
        Ok(NodeInfo {
            name: get_name(&founder.id, &founder.incarnation)?,
            peer: founder.peer,
            client: founder.client,
            zone: Zone(founder.zone.into()),
            capacity: Capacity::from_hundredths(founder.capacity_hundredths)
                .map_err(|_| IdentityError::Field("capacity_hundredths"))?,
        })
    };
    let reads = match file.reads.as_str() {
        "lease" => ReadsBy::Lease,
        "read_index" => ReadsBy::ReadIndex,
        _ => return Err(IdentityError::Field("reads")),
    };
    let settings = ClusterSettings {
        shards: file.shards,
        replication_factor: ReplicationFactor::new(file.replication_factor)
            .map_err(|_| IdentityError::Field("replication_factor"))?,
        heartbeat: Duration::from_millis(file.heartbeat_ms),
        election_timeout: Duration::from_millis(file.election_timeout_ms),
        reads,
        feature_level: FeatureLevel(file.feature_level),
    };
    let founders = file.founders.into_iter().map(founder).collect::<Result<_, IdentityError>>()?;
    let record = FormationRecord {
        cluster_id: get_cluster(&file.cluster_id)?,
        settings,
        founders,
        from_single_node: file.from_single_node,
    };
    record.check()?;
    Ok(record)
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
