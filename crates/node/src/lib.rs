//! A node as a pure core: what one worker owns, how a node starts from its log, and when it may grow.
//!
//! ```text
//!            requests            durable, completions, ticks
//!               │                        │
//!               ▼                        ▼
//!        ┌──────────────────── Worker ────────────────────┐
//!        │ admission ▸ shard ▸ Replica (raft + machine)    │
//!        │                        over one StorageEngine   │
//!        └──┬──────────────┬──────────────────┬────────────┘
//!           ▼              ▼                  ▼
//!        answers      Submission to       disk operations
//!                     the node's log      of the engine
//! ```
//!
//! A node has one log and one or more workers; each shard belongs to one worker. Neither knows threads: the server runs
//! the log on a thread of its own and each worker on one, the simulator runs all of them in one.
//!
//! Invariants:
//! - A request is answered once: by its result, its deadline, or its replica's end.
//! - No answer that depends on durability leaves before the log has named its submission durable.
//! - A closed shard answers `unavailable` and nothing else; the others serve.

mod checkpoint;
mod company;
pub mod control;
mod forward;
mod guard;
mod limits;
mod listing;
mod member;
mod open;
mod outbox;
mod pace;
mod pairs;
mod pending;
mod rooms;
mod space;
mod worker;

pub use forward::{ForwardConfig, ForwardRequest, ForwardStats, Forwarded, Forwarder, Returned};
pub use guard::{NodeGuard, NodeGuards};
pub use limits::WorkerLimits;
pub use listing::merge_pages;
pub use member::{Member, MemberEffect};
pub use open::{
    FOUNDING_SOURCE, Founding, FoundingGroup, OpenError, OpenOptions, Opened, Part, divide,
    found_alone, founding, founding_of, open,
};
pub use pending::{Replied, Response};
pub use space::Space;
pub use worker::{
    GetAnswer, LifecycleError, ShardSummary, Worker, WorkerConfig, WorkerError, WorkerStats,
};

/// What a host runs beside the workers: the log, and the engines it makes for them.
pub mod host {
    pub use ringfort_engine::{MemoryEngine, MemoryOptions, StorageEngine};
    pub use ringfort_log::{
        FileLog, GroupWrite, Headroom, LogError, LogEvent, LogOptions, LogStats, LogStore,
        SourceId, Submission, SubmissionId, recover,
    };
    pub use ringfort_placement::{
        Capacity, MemberState, Replica, ReplicationFactor, Role as ReplicaRole, ShardPlacement,
        Zone,
    };
    pub use ringfort_raft::{Guards, LeaderHint, Reads, Role, Settings, Status};
}
