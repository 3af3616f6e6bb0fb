//! The node's one write-ahead log, shared by all its replicas.

mod store;

pub use store::{
    Base, Damage, DamageKind, GroupWrite, LogEvent, LogOptions, LogStats, LogStore, RecoveredGroup,
    RecoveredLog, SourceId, Submission, SubmissionId,
};
