//! The catalog's records, and the copy of them that every node keeps.
//!
//! ```text
//!   settings        shards, replication factor, timing, reads, feature level
//!   node/0007       a node by its number: id, incarnation, addresses, zone, capacity, state
//!   shard/00042     a shard's group: replicas, wish, highest id, a learner that is to come
//!   catalog         the catalog's own, likewise
//!   counter         the counter of the next replica id
//! ```
//!
//! The catalog is a group like any other, and these are its keys. Its revision is the **epoch** of the cluster's map; a
//! record's version is the epoch that wrote it. Records are never deleted, so that all records of a version above `e` are what
//! changed since epoch `e`.
//!
//! A copy begins with what follows from the formation record, at epoch 1. What the catalog's first leader writes is the same,
//! in one batch that begins with `settings`, so every revision from there on is news or the same.
//!
//! # Invariants
//!
//! - A copy holds all records that its epoch has. A delta that begins beyond the copy's epoch is refused.
//! - A record is never overwritten by an older one.
//! - Records that make no [`ClusterMap`] never get into a copy.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use ringfort_placement::{MemberState, Replica, Role, ShardPlacement, Wish};
use ringfort_raft::Age;
use ringfort_types::{
    ClusterId, Epoch, GroupId, NODE_NUMBER_MAX, NodeId, NodeNumber, ReplicaId, ShardId, Version,
};

use super::map::{ClusterMap, MapError, MapMember};
use super::record::{FormationRecord, NodeInfo};
use super::settings::{ClusterSettings, SettingsError};

/// The epoch of what follows from the formation record.
pub const FORMATION_EPOCH: Epoch = Epoch(1);
/// Counter of the first replica that is added.
const FIRST_COUNTER: u64 = 2;

/// Names a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKey {
    /// The cluster's settings.
    Settings,
    /// The next counter of a replica id.
    Counter,
    /// A node.
    Node(NodeNumber),
    /// A shard's group, or the catalog's own.
    Group(GroupId),
}

/// What a record holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordValue {
    /// The cluster's settings.
    Settings(ClusterSettings),
    /// The next counter of a replica id.
    Counter(u64),
    /// A node.
    Node(NodeRecord),
    /// A group.
    Group(GroupRecord),
}

/// A node as the catalog knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRecord {
    /// Name, data directory, addresses, zone, capacity.
    pub info: NodeInfo,
    /// What may be asked of it.
    pub state: MemberState,
}

/// A group as the catalog knows it: a copy of what the group says, and what is to become of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupRecord {
    /// Its replicas, in the order in which they came. Each id names its node.
    pub replicas: Vec<ReplicaRecord>,
    /// The nodes that are to hold it, by number.
    pub wish: Vec<NodeNumber>,
    /// The highest id that the group has had, as of `replicas`; 0: the highest of these, as in the founding record.
    pub highest: ReplicaId,
    /// A learner that is to be added.
    pub intent: Option<Intent>,
}

/// One replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaRecord {
    /// Which.
    pub id: ReplicaId,
    /// What it does.
    pub role: Role,
    /// It neither votes nor acknowledges until it is replaced.
    pub quarantined: bool,
}

/// A replica that has its id, and may or may not be in its group yet. It is written before the group is asked, so that an id
/// is never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intent {
    /// Its id, which names its node.
    pub id: ReplicaId,
    /// The voter whose place it is to take.
    pub replaces: Option<ReplicaId>,
}

/// A record as it stands in the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its name.
    pub key: RecordKey,
    /// The epoch that wrote it.
    pub version: Version,
    /// What it holds.
    pub value: RecordValue,
}

/// What changed between two epochs: every record of a version above `since`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogDelta {
    /// The epoch it begins behind.
    pub since: Epoch,
    /// A copy that takes it is of this epoch, or of its own if that is newer.
    pub epoch: Epoch,
    /// The records, by key.
    pub records: Vec<Record>,
}

/// Why a delta was not taken. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeltaError {
    /// It begins beyond what is held: ask for one from there.
    #[error("the delta begins behind epoch {since}, and only epoch {held} is held")]
    Gap {
        /// Where it begins.
        since: Epoch,
        /// What is held.
        held: Epoch,
    },
    /// A record's value does not belong under its key.
    #[error("record {0} holds what does not belong there")]
    Kind(RecordKey),
    /// Settings out of range.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A record is missing, of another number than the settings say, or names an unknown node.
    #[error("record {0} is missing, or names an unknown node")]
    Missing(RecordKey),
    /// The records contradict each other.
    #[error(transparent)]
    Map(#[from] MapError),
}

/// A node's copy of the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogCopy {
    cluster_id: ClusterId,
    epoch: Epoch,
    records: BTreeMap<RecordKey, (Version, RecordValue)>,
}

/// The name as the catalog's key has it.
impl fmt::Display for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Settings => f.write_str("settings"),
            Self::Counter => f.write_str("counter"),
            Self::Node(number) => write!(f, "node/{:04}", number.0),
            Self::Group(group) => match group.shard() {
                Some(shard) => write!(f, "shard/{:05}", shard.0),
                None => f.write_str("catalog"),
            },
        }
    }
}

impl RecordKey {
    /// The record of this name; `None` where no record has it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let key = match text.split_once('/') {
            None if text == "settings" => Self::Settings,
            None if text == "counter" => Self::Counter,
            None if text == "catalog" => Self::Group(GroupId::CATALOG),
            Some(("node", digits)) => {
                let number = digits.parse().ok().filter(|number| *number <= NODE_NUMBER_MAX);
                Self::Node(NodeNumber(number?))
            }
            Some(("shard", digits)) => {
                let shard = digits.parse().ok().filter(|shard| *shard < u32::MAX);
                Self::Group(GroupId::of_shard(ShardId(shard?)))
            }
            _ => return None,
        };
        // One name for one record: no other width, no sign.
        (key.to_string() == text).then_some(key)
    }
}

impl ReplicaRecord {
    /// One that votes.
    pub(super) fn voter(id: ReplicaId) -> Self {
        Self { id, role: Role::Voter, quarantined: false }
    }
}

impl GroupRecord {
    /// The record of a group that stands so.
    #[must_use]
    pub fn of(placement: &ShardPlacement, number: impl Fn(&NodeId) -> Option<NodeNumber>) -> Self {
        let record = |replica: &Replica| ReplicaRecord {
            id: replica.id,
            role: replica.role,
            quarantined: replica.quarantined,
        };
        Self {
            replicas: placement.replicas().iter().map(record).collect(),
            wish: placement.wish().nodes().iter().filter_map(number).collect(),
            highest: ReplicaId(0),
            intent: None,
        }
    }

    /// How far the group's membership had come as its replicas were copied.
    #[must_use]
    pub fn age(&self) -> Age {
        let learners =
            self.replicas.iter().filter(|replica| matches!(replica.role, Role::Learner { .. }));
        let learners = learners.count();
        let named = self.replicas.iter().map(|replica| replica.id).max().unwrap_or_default();
        Age::new(self.highest.max(named), self.replicas.len() - learners, learners)
    }

    /// The group as placement sees it; `None` where a replica or wish names an unknown node.
    pub(super) fn placement<'a>(
        &self,
        id: impl Fn(NodeNumber) -> Option<&'a NodeId>,
    ) -> Option<ShardPlacement> {
        let replica = |record: &ReplicaRecord| {
            let ReplicaRecord { id: replica, role, quarantined } = *record;
            Some(Replica { id: replica, node: id(replica.node())?.clone(), role, quarantined })
        };
        let replicas = self.replicas.iter().map(replica).collect::<Option<_>>()?;
        let wish = self.wish.iter().map(|number| id(*number).cloned()).collect::<Option<Vec<_>>>();
        Some(ShardPlacement::new(replicas, Wish::new(wish?)))
    }
}

impl CatalogCopy {
    /// The copy that a founder begins with: what follows from the formation record.
    #[must_use]
    pub fn founding(formation: &FormationRecord) -> Self {
        let version = Version(FORMATION_EPOCH.0);
        let records = founding_records(formation).into_iter();
        let records = records.map(|(key, value)| (key, (version, value))).collect();
        Self { cluster_id: formation.cluster_id, epoch: FORMATION_EPOCH, records }
    }

    /// A copy of these records, as a file held them.
    ///
    /// # Errors
    /// They make no map.
    pub fn restored(
        cluster_id: ClusterId,
        epoch: Epoch,
        records: Vec<Record>,
    ) -> Result<Self, DeltaError> {
        let records =
            records.into_iter().map(|record| (record.key, (record.version, record.value)));
        let copy = Self { cluster_id, epoch, records: records.collect() };
        copy.map()?;
        Ok(copy)
    }

    /// The cluster.
    #[must_use]
    pub fn cluster_id(&self) -> ClusterId {
        self.cluster_id
    }

    /// The epoch that is held.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// One record's version and value.
    #[must_use]
    pub fn get(&self, key: RecordKey) -> Option<(Version, &RecordValue)> {
        self.records.get(&key).map(|(version, value)| (*version, value))
    }

    /// One group's version and record.
    #[must_use]
    pub fn group(&self, group: GroupId) -> Option<(Version, &GroupRecord)> {
        match self.get(RecordKey::Group(group))? {
            (version, RecordValue::Group(record)) => Some((version, record)),
            _ => None,
        }
    }

    /// All records, by key.
    pub fn records(&self) -> impl Iterator<Item = Record> {
        self.records.iter().map(|(key, (version, value))| Record {
            key: *key,
            version: *version,
            value: value.clone(),
        })
    }

    /// What changed since an epoch.
    #[must_use]
    pub fn delta_since(&self, since: Epoch) -> CatalogDelta {
        let newer = |record: &Record| record.version.0 > since.0;
        CatalogDelta { since, epoch: self.epoch, records: self.records().filter(newer).collect() }
    }

    /// Takes what changed. Gives whether anything is news.
    ///
    /// # Errors
    /// The delta begins beyond what is held, or makes no map. Nothing has changed.
    pub fn apply_delta(&mut self, delta: CatalogDelta) -> Result<bool, DeltaError> {
        if delta.since > self.epoch {
            return Err(DeltaError::Gap { since: delta.since, held: self.epoch });
        }
        let is_news = delta.epoch > self.epoch;
        let mut next = Self { epoch: self.epoch.max(delta.epoch), ..self.clone() };
        let mut changed = false;
        for Record { key, version, value } in delta.records {
            let held = next.records.get(&key).map(|(version, _)| *version);
            if held.is_none_or(|held| held < version) {
                next.records.insert(key, (version, value));
                changed = true;
            }
        }
        if !changed && !is_news {
            return Ok(false);
        }
        next.map()?;
        *self = next;
        Ok(true)
    }

    /// The map that the records make.
    ///
    /// # Errors
    /// They make none.
    pub fn map(&self) -> Result<ClusterMap, DeltaError> {
        let settings = match self.records.get(&RecordKey::Settings) {
            Some((_, RecordValue::Settings(settings))) => *settings,
            Some(_) => return Err(DeltaError::Kind(RecordKey::Settings)),
            None => return Err(DeltaError::Missing(RecordKey::Settings)),
        };
        settings.check()?;
        let mut members = BTreeMap::new();
        let mut groups = BTreeMap::new();
        for (key, (_, value)) in &self.records {
            match (key, value) {
                (RecordKey::Node(number), RecordValue::Node(node)) => {
                    members.insert(*number, node);
                }
                (RecordKey::Group(group), RecordValue::Group(record)) => {
                    groups.insert(*group, record);
                }
                (RecordKey::Settings, RecordValue::Settings(_))
                | (RecordKey::Counter, RecordValue::Counter(_)) => {}
                _ => return Err(DeltaError::Kind(*key)),
            }
        }
        let id = |number: NodeNumber| members.get(&number).map(|node| &node.info.name.id);
        let place = |group: GroupId| {
            let placement = groups.get(&group).and_then(|record| record.placement(id));
            placement.ok_or(DeltaError::Missing(RecordKey::Group(group)))
        };
        let catalog = place(GroupId::CATALOG)?;
        let shards = (0..settings.shards).map(|shard| place(GroupId::of_shard(ShardId(shard))));
        let shards = shards.collect::<Result<Vec<_>, _>>()?;
        let (found, expected) = (groups.len() - 1, settings.shards);
        if shards.len() != found {
            return Err(MapError::Shards { found, expected }.into());
        }
        let member = |(number, node): (&NodeNumber, &&NodeRecord)| MapMember {
            number: *number,
            info: node.info.clone(),
            recorded: node.info.peer.clone(),
            state: node.state,
        };
        let members = members.iter().map(member).collect();
        Ok(ClusterMap::new(self.epoch, self.cluster_id, settings, members, catalog, shards)?)
    }
}

/// The records that the catalog begins with, `settings` first.
#[must_use]
pub fn founding_records(formation: &FormationRecord) -> Vec<(RecordKey, RecordValue)> {
    let number = |id: &NodeId| formation.founder(id).map(|(number, _)| number);
    let nodes = formation.numbered().map(|(number, info)| {
        let record = NodeRecord { info: info.clone(), state: MemberState::Active };
        (RecordKey::Node(number), RecordValue::Node(record))
    });
    let placement = formation.placement();
    let shards = (0..).map(ShardId).zip(placement.shards()).map(|(shard, placement)| {
        let record = GroupRecord::of(placement, number);
        (RecordKey::Group(GroupId::of_shard(shard)), RecordValue::Group(record))
    });
    let catalog = formation.catalog_voters().into_iter();
    let (replicas, wish) = catalog.map(|id| (ReplicaRecord::voter(id), id.node())).unzip();
    let catalog = GroupRecord { replicas, wish, ..GroupRecord::default() };
    let mut records = vec![
        (RecordKey::Settings, RecordValue::Settings(formation.settings)),
        (RecordKey::Counter, RecordValue::Counter(FIRST_COUNTER)),
        (RecordKey::Group(GroupId::CATALOG), RecordValue::Group(catalog)),
    ];
    records.extend(nodes);
    records.extend(shards);
    records
}

/// A record as the catalog's state machine holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawRecord {
    /// The key.
    pub key: Bytes,
    /// Its version.
    pub version: Version,
    /// The value.
    pub value: Bytes,
}
