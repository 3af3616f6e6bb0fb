//! What a node knows and does as a member of its cluster.

mod cache;
mod catalog;
pub mod formation;
mod identity;
mod map;
mod random;
mod record;
mod settings;
mod wire;

pub use cache::{CATALOG_FILE, CacheError};
pub use catalog::{
    CatalogCopy, CatalogDelta, DeltaError, FORMATION_EPOCH, Intent, NodeRecord, RawRecord, Record,
    RecordKey, RecordValue, ReplicaRecord, ShardRecord, founding_records,
};
pub use identity::{
    Founded, IDENTITY_FORMAT, Identity, IdentityContent, IdentityError, SingleNode,
};
pub use map::{ClusterMap, MapError, MapMember};
pub use record::{
    FOUNDERS_MAX, FormationRecord, FoundedGroup, NodeInfo, NodeName, RecordError, TEXT_BYTES_MAX,
};
pub use settings::{ClusterSettings, FEATURE_LEVEL, ReadsBy, SettingsError};
pub use wire::{FormationMessage, WireError};
