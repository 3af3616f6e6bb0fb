//! One consensus group.
mod config;
mod configuration;
mod effects;
mod group;
mod guard;
mod log;
mod message;
mod persisting;
mod position;
mod progress;
mod quorum;
mod random;
mod status;

pub use config::{Config, Lost, Priority, Reads, Restored, Settings};
pub use configuration::{
    CONFIGURATION_MARK, Change, ChangeError, Configuration, DecodeError, Learner, MEMBERS_MAX,
};
pub use effects::{
    Effects, LeaderHint, Persist, PersistId, ProposeError, ReadId, ReadReady, Role, SnapshotEffect,
};
pub use group::{Group, TransferError};
pub use guard::{Guard, Guards};
pub use message::{Body, LostCopy, Message, Round, SnapshotId, SnapshotMeta};
pub use position::Position;
pub use progress::Sending;
pub use quorum::{Election, election, majority_value, quorum_value};
pub use status::{Counters, PeerStatus, Status};
