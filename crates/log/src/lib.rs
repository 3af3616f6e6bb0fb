//! The node's one write-ahead log, shared by all its replicas.
//!
//! [`LogStore`] is what its users see, and says what they may rely on. [`FileLog`] keeps the log in segment files;
//! [`recover`] opens it, says what is in it and what is damaged. [`MemoryLog`] has the same face and no disk.
//!
//! Both are cores: disk operations and events are polled from them, completions and the time are handed in. Only
//! [`recover`] runs to its end, at start, on a disk that blocks.

mod builder;
mod chain;
mod error;
mod file_log;
mod format;
mod group;
mod live;
mod memory_log;
mod opening;
mod options;
mod pacing;
mod pending;
mod pieces;
mod prepare;
mod recovery;
mod store;
mod straggler;
mod writer;

pub use error::LogError;
pub use file_log::FileLog;
pub use format::FORMAT_VERSION;
pub use memory_log::MemoryLog;
pub use options::{SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};
pub use recovery::recover;
pub use store::{
    Base, Damage, DamageKind, GroupWrite, Headroom, LogEvent, LogOptions, LogStats, LogStore,
    RecoveredGroup, RecoveredLog, SourceId, Submission, SubmissionId,
};
