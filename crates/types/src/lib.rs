//! The words of Ringfort as types: keys, tokens, ids, terms, indexes, versions, limits, durations, and the requests
//! and answers that doors and nodes exchange.
//!
//! Plain data without clock, file, socket or randomness. Every other crate may use this one; it uses none of them.
//! A value of one of these types is right by construction (parse, don't validate): past the door nobody checks the
//! length of a [`Key`] again.

mod consensus;
mod duration;
mod id;
mod key;
mod level;
pub mod limits;
mod refusal;
pub mod request;
mod time;

pub use consensus::{Applied, Entry, GroupId, HardState, Index, Term};
pub use duration::{DurationError, format_duration, parse_duration};
pub use id::{
    BootId, ClusterId, Epoch, Incarnation, NODE_NUMBER_MAX, NamespaceId, NodeId, NodeIdError,
    NodeNumber, ReplicaId, SessionId, ShardId,
};
pub use key::{
    Key, KeyError, Token, TokenRange, Version, shard_of_token, token_of, token_of_prefix,
    token_range_of_shard,
};
pub use level::{FeatureLevel, Levels};
pub use refusal::{Code, Outcome, Refusal};
pub use time::{Monotonic, ShardTime};
