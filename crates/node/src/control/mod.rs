//! What a node knows and does as a member of its cluster.
//!
//! ```text
//!   identity.json ──▶ Formation ── decided ──▶ FormationRecord ──▶ groups to found
//!                       │   ▲                        │
//!                 questions answers                  ▼
//!                       ▼   │          gossip ──▶ Control ──▶ ClusterMap, Directory
//!                    other nodes       deltas ──▶    │   ◀── records that the catalog's replica applied
//!                                                    ▼
//!                          of the catalog's leader: proposals to the catalog, instructions to leaders of shards
//! ```
//!
//! All cores: no clock, file, thread or randomness but the bits handed in. [`formation::Formation`] serves from a node's first
//! start, also behind the decision, for founders that have not heard of it. [`Control`] begins with the decided record.
//!
//! Left out on purpose: nodes that join or leave, and who is alive.

mod addresses;
mod cache;
mod catalog;
mod core;
mod duties;
pub mod formation;
mod identity;
mod map;
mod random;
mod record;
mod report;
mod settings;
mod wire;

pub use self::core::{Control, ControlEffect, Said, Word};
pub use addresses::Addresses;
pub use cache::{CATALOG_FILE, CacheError};
pub use catalog::{
    CatalogCopy, CatalogDelta, DeltaError, FORMATION_EPOCH, GroupRecord, Intent, NodeRecord,
    RawRecord, Record, RecordKey, RecordValue, ReplicaRecord, founding_records,
};
pub use duties::{MOVES_MAX, ProposalId, Proposed, Update};
pub use identity::{
    Founded, IDENTITY_FORMAT, Identity, IdentityContent, IdentityError, SingleNode,
};
pub use map::{ClusterMap, MapError, MapMember};
pub use record::{
    FOUNDERS_MAX, FormationRecord, FoundedGroup, NodeInfo, NodeName, RecordError, TEXT_BYTES_MAX,
};
pub use report::{GroupReport, Held, Instruction, Leading};
pub use settings::{ClusterSettings, ReadsBy, SettingsError};
pub use wire::{FormationMessage, WireError};
