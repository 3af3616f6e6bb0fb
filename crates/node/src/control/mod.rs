//! What a node knows and does as a member of its cluster.

pub mod formation;
mod random;
mod record;
mod settings;

pub use record::{
    FOUNDERS_MAX, FormationRecord, FoundedGroup, NodeInfo, NodeName, RecordError, TEXT_BYTES_MAX,
};
pub use settings::{ClusterSettings, FEATURE_LEVEL, ReadsBy, SettingsError};
