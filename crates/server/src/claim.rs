//! Before anything else a node finds out who it is, and to which cluster it belongs: its data directory says so, or it forms
//! the cluster with others.

use std::net::SocketAddr;
use std::sync::Arc;

use ringfort_env::Disk;
use ringfort_node::control::formation::FormationConfig;
use ringfort_node::control::{
    CATALOG_FILE, CacheError, CatalogCopy, ClusterSettings, DeltaError, FormationRecord, Identity,
    IdentityContent, NodeInfo, NodeName, ReadsBy, SettingsError,
};
use ringfort_node::host::{Capacity, ReplicationFactor, Zone};
use ringfort_types::{BootId, FeatureLevel, Incarnation, NodeId, NodeNumber};
use tokio::sync::{mpsc, watch};

use crate::certificates::Certificates;
use crate::disk::FileDisk;
use crate::formation::{Forming, FormingError, Init};
use crate::identity::{self, IdentityError};
use crate::options::{Reads, ServerOptions};
use crate::peers::{Directory, Own, PeerTls};
use crate::server::{Phase, StartError, random, system};

/// Longest copy of a catalog that is read, in bytes: 4,096 shards of some replicas are well below.
const CATALOG_BYTES_MAX: usize = 64 << 20;

/// Who this node is, in which cluster.
#[derive(Clone)]
pub(crate) struct Claimed {
    pub(crate) identity: IdentityContent,
    pub(crate) record: FormationRecord,
    pub(crate) number: NodeNumber,
    /// What it says of itself to nodes that form a cluster.
    pub(crate) formation: FormationConfig,
    pub(crate) boot: BootId,
    pub(crate) tls: Option<Arc<PeerTls>>,
}

/// Where the node is reached.
pub(crate) struct Addresses {
    pub(crate) client: SocketAddr,
    pub(crate) peer: SocketAddr,
}

/// Finds out who the node is. Blocks until it has a cluster; `None` if the start was given up before.
pub(crate) fn claim(
    disk: &mut FileDisk,
    options: &ServerOptions,
    certificates: &Certificates,
    addresses: &Addresses,
    socket: std::net::TcpListener,
    inits: mpsc::Receiver<Init>,
    phases: watch::Receiver<Phase>,
) -> Result<Option<Claimed>, StartError> {
    let identity = open(disk, options, addresses)?;
    let info = node_info(identity.name.clone(), options, addresses)?;
    let settings = settings(options)?;
    let boot = BootId(random_128()?);
    let tls = match &options.peer_tls {
        Some(files) => {
            let tls = Arc::new(PeerTls::load(files.clone(), identity.name.id.clone())?);
            certificates.set(&tls);
            Some(tls)
        }
        None => None,
    };
    let formation = FormationConfig {
        me: info,
        seeds: options.seeds.clone(),
        bootstrap_expect: options.bootstrap_expect,
        settings,
        seed: random_128()?,
    };
    let identity = match identity.formation.formed {
        Some(_) => identity,
        None => {
            let own = Own {
                cluster: None,
                node_id: identity.name.id.clone(),
                incarnation: identity.name.incarnation,
                boot_id: boot,
                number: NodeNumber(0),
                version: env!("CARGO_PKG_VERSION").to_owned(),
            };
            let forming = Forming {
                config: formation.clone(),
                identity,
                disk: disk.clone(),
                directory: Directory { own, peers: std::collections::BTreeMap::new() },
                tls: tls.clone(),
                socket,
                inits,
                phases,
            };
            match forming.run() {
                Ok(Some(identity)) => identity,
                Ok(None) => return Ok(None),
                Err(FormingError::Identity(error)) => return Err(error.into()),
                Err(FormingError::System(error)) => return Err(system("a runtime")(error)),
            }
        }
    };
    let record = identity.formation.formed.clone();
    let named = record.and_then(|record| Some((record.number_of(&identity.name)?, record)));
    let (number, record) = named.ok_or(IdentityError::NotNamed)?;
    let (node, cluster) = (&identity.name.id, record.cluster_id);
    tracing::info!(%node, %cluster, nodes = record.founders.len(), "this node has a cluster");
    Ok(Some(Claimed { identity, record, number, formation, boot, tls }))
}

/// The identity of the data directory: the one it has, or a new one.
fn open(
    disk: &mut FileDisk,
    options: &ServerOptions,
    addresses: &Addresses,
) -> Result<IdentityContent, StartError> {
    let found = identity::read(disk)?;
    let id = match &found {
        Some(Identity::Current(content)) => Some(content.name.id.clone()),
        Some(Identity::Earlier(node)) => Some(node.node_id.clone()),
        None => None,
    };
    if let (Some(found), Some(configured)) = (&id, &options.node_id)
        && found != configured
    {
        let (found, configured) = (found.to_string(), configured.to_string());
        return Err(IdentityError::OtherNode { found, configured }.into());
    }
    let content = match found {
        Some(Identity::Current(content)) => return Ok(content),
        Some(Identity::Earlier(node)) => {
            let incarnation = Incarnation(random_128()?);
            let name = NodeName { id: node.node_id.clone(), incarnation };
            node.upgrade(node_info(name, options, addresses)?, settings(options)?)
        }
        None => {
            // The number of shards is fixed from here on: what could not work with it is refused before.
            crate::settings::log_options(options, options.shards).check()?;
            let id = match &options.node_id {
                Some(node) => node.clone(),
                None => NodeId::parse(&format!("node-{:012x}", random_64()? >> 16))
                    .map_err(|_| system("a node id")(std::io::ErrorKind::Other.into()))?,
            };
            let incarnation = Incarnation(random_128()?);
            IdentityContent::new(NodeName { id, incarnation }, random_64()?)
        }
    };
    identity::write(disk, &content)?;
    Ok(content)
}

fn node_info(
    name: NodeName,
    options: &ServerOptions,
    addresses: &Addresses,
) -> Result<NodeInfo, StartError> {
    let advertised = |name: &Option<String>, address: SocketAddr| {
        name.clone().unwrap_or_else(|| address.to_string())
    };
    Ok(NodeInfo {
        name,
        peer: advertised(&options.advertise_peer, addresses.peer),
        client: advertised(&options.advertise_client, addresses.client),
        zone: Zone(options.zone.as_str().into()),
        capacity: capacity(options.capacity)?,
    })
}

/// The weight in hundredths, at least one.
fn capacity(weight: f64) -> Result<Capacity, StartError> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked behind it"
    )]
    let hundredths = (weight * 100.0).round().clamp(1.0, f64::from(u32::MAX)) as u32;
    Capacity::from_hundredths(hundredths).map_err(|error| StartError::Setting {
        setting: "node.capacity",
        reason: error.to_string(),
    })
}

/// Settings of a cluster that this node would propose, and by which it is warned where its cluster has others.
pub(crate) fn settings(options: &ServerOptions) -> Result<ClusterSettings, StartError> {
    let wrong = |setting, reason: String| StartError::Setting { setting, reason };
    let factor = u8::try_from(options.replication_factor).unwrap_or(u8::MAX);
    let settings = ClusterSettings {
        shards: options.shards,
        replication_factor: ReplicationFactor::new(factor)
            .map_err(|error| wrong("cluster.replication_factor", error.to_string()))?,
        heartbeat: options.heartbeat,
        election_timeout: options.election_timeout,
        reads: match options.reads {
            Reads::Lease => ReadsBy::Lease,
            Reads::ReadIndex => ReadsBy::ReadIndex,
        },
        feature_level: FeatureLevel::NEWEST,
    };
    settings.check().map_err(|error| wrong("cluster", error.to_string()))?;
    Ok(settings)
}

fn random_64() -> Result<u64, StartError> {
    random().map_err(system("random bytes"))
}

fn random_128() -> Result<u128, StartError> {
    Ok(u128::from(random_64()?) << 64 | u128::from(random_64()?))
}

/// The copy of the catalog that an earlier start left, if it can be used.
///
/// # Errors
/// Its cluster has come to a feature level that this executable does not know. So may have what else is in the data directory.
pub(crate) fn cached_catalog(disk: &mut dyn Disk) -> Result<Option<CatalogCopy>, StartError> {
    let Some(bytes) = read_file(disk, CATALOG_FILE, CATALOG_BYTES_MAX) else { return Ok(None) };
    match CatalogCopy::decode(&bytes) {
        Ok(copy) => Ok(Some(copy)),
        Err(CacheError::Records(DeltaError::Settings(error @ SettingsError::FeatureLevel(_)))) => {
            Err(StartError::Setting { setting: CATALOG_FILE, reason: error.to_string() })
        }
        Err(error) => {
            tracing::warn!("{CATALOG_FILE} cannot be used, and comes again from others: {error}");
            Ok(None)
        }
    }
}

/// Bytes of a small file; `None` where there is none.
fn read_file(disk: &mut dyn Disk, name: &str, bytes_max: usize) -> Option<bytes::Bytes> {
    let file = ringfort_env::FileName::new(name);
    let there = disk.list().ok()?.iter().any(|(found, _)| *found == file);
    if !there {
        return None;
    }
    match disk.read(&file, 0, bytes_max) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            tracing::warn!("{name} cannot be read: {error}");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ringfort_types::ClusterId;

    use super::*;

    fn catalog(level: FeatureLevel) -> CatalogCopy {
        let info = NodeInfo {
            name: NodeName { id: NodeId::parse("n0").unwrap(), incarnation: Incarnation(1) },
            peer: "n0:7401".into(),
            client: "n0:7400".into(),
            zone: Zone::default(),
            capacity: Capacity::ONE,
        };
        let settings = ClusterSettings {
            shards: 4,
            replication_factor: ReplicationFactor::new(1).unwrap(),
            heartbeat: Duration::from_millis(100),
            election_timeout: Duration::from_secs(1),
            reads: ReadsBy::Lease,
            feature_level: FeatureLevel::NEWEST,
        };
        let mut record = FormationRecord::new(ClusterId(7), settings, vec![info]).unwrap();
        record.settings.feature_level = level;
        CatalogCopy::founding(&record)
    }

    #[test]
    fn a_catalog_of_an_unknown_feature_level_is_no_start_and_a_damaged_one_is() {
        let home = tempfile::tempdir().unwrap();
        let mut disk = FileDisk::new(home.path()).unwrap();
        let mut read = |bytes: &[u8]| {
            std::fs::write(home.path().join(CATALOG_FILE), bytes).unwrap();
            cached_catalog(&mut disk)
        };
        let known = catalog(FeatureLevel::NEWEST);
        assert_eq!(read(&known.encode()).unwrap(), Some(known));
        assert_eq!(read(b"of no use").unwrap(), None);
        let newer = catalog(FeatureLevel(FeatureLevel::NEWEST.0 + 1));
        let error = read(&newer.encode()).unwrap_err().to_string();
        assert!(error.contains("catalog.bin: feature level 2 is none"), "{error}");
        assert!(error.contains("start a newer ringfort"), "{error}");
    }
}
