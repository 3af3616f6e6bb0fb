//! One consensus group: Raft without clock, thread, file, socket or randomness of its own.
//!
//! A host has one [`Group`] for each replica that it holds, thousands of them. A group is told what happened (`handle_*`,
//! `propose`, `read`), and asked what to do ([`Group::poll_effects`]). Several inputs may come before one poll: what they
//! ask for is gathered.
//!
//! ```text
//!             messages, time, proposals, reads
//!                          │
//!                          ▼
//!   ┌────────────────── Group ──────────────────┐
//!   │ log in memory, term, vote, configuration, │
//!   │ what is durable, what others have         │
//!   └───────────────────────────────────────────┘
//!        │          │           │           │
//!     persist    messages    snapshots    apply, reads, role
//! ```
//!
//! # The contract between core and host
//!
//! ## Inputs
//!
//! `now` is the host's monotonic clock, one that counts while the machine sleeps. A group takes the newest it was told.
//!
//! | input | when |
//! | --- | --- |
//! | [`Group::new`] | once for each start of a replica, with what log and engine gave back |
//! | [`Group::handle_tick`] | at [`Group::deadline`] at the latest; more often does no harm. Never needed while it sleeps |
//! | [`Group::handle_message`] | a message arrived, from wherever |
//! | [`Group::propose`], [`Group::propose_change`] | something is to be replicated; members are to change |
//! | [`Group::read`], [`Group::can_read_now`] | somebody wants to read what is committed now |
//! | [`Group::transfer`], [`Group::set_priority`] | somebody else should lead |
//! | [`Group::handle_persisted`] | a [`Persist`] and all before it are durable |
//! | [`Group::handle_applied`] | the state machine has applied up to an index |
//! | [`Group::compact`] | the engine's durable state has reached an index, and the log's record of it is durable |
//! | [`Group::handle_snapshot_chunk`], [`Group::handle_snapshot_failed`] | answers to [`SnapshotEffect::Read`] |
//! | [`Group::handle_staged`], [`Group::handle_staging_failed`], [`Group::handle_installed`] | answers to [`SnapshotEffect::Stage`] and [`SnapshotEffect::Install`] |
//! | [`Group::handle_unreachable`] | what was sent to a peer may be lost: it sends again sooner, or follows another leader sooner |
//! | [`Group::handle_pair_heartbeat`], [`Group::handle_pair_ack`] | one heartbeat between two nodes stands for all their groups |
//! | [`Group::handle_wake`] | a node of a sleeping group is lost or started anew |
//!
//! ## Effects
//!
//! Those of one [`Effects`] are executed in this order, those of an earlier one before those of a later one:
//!
//! 1. `persist`: hand hard state and entries to the log, in one submission. It may be under way while everything that
//!    follows is executed and later inputs come in; writes complete in order. Report it when it is durable, not before.
//! 2. `messages`: send them now, in any order. All that they promise is durable already: the group itself holds back votes
//!    and acknowledgements until the write that covers them was reported. A leader's appends are not held back: its disk
//!    and the network work at the same time.
//! 3. `snapshots`: read, stage or install. Reading and staging may take their time. Between an install that was asked for
//!    and [`Group::handle_installed`] nothing is applied.
//! 4. `apply`: apply these entries in order, those of configurations too (the engine keeps the newest one it has applied
//!    with its state), and report it. They may be applied before they are durable on this replica, but no state may become
//!    durable beyond [`Group::durable`].
//! 5. `reads`: may be served once the index that stands with them is applied. `reads_lost` will never be confirmed.
//! 6. `role`: leadership came or went. Whatever was proposed in an older term and is not applied yet may be lost, or may
//!    come yet: its outcome is unknown until its index is applied, with its term or another.
//!
//! ## What the host promises
//!
//! - It never reports a write that could still be lost, nor an install.
//! - A start gets the hard state, base, configuration and entries that log and engine have, all durable, and is told what
//!   is missing ([`Lost`]). Where neither is proven, it is told so.
//! - A replica is founded once, with the founding configuration ([`Configuration::founding`]), before anything is written
//!   under its id. One that joins starts blank, and is a learner before it is a voter.
//! - A replica id is never used for a second replica: a disk that lost everything comes back under a new id.
//! - [`Settings`] agree on all replicas where they say so; clocks differ by less than [`Settings::lease_margin`] over one
//!   [`Settings::lease`], or reads are [`Reads::Index`].
//! - A sleeping group is woken ([`Group::handle_wake`]) before it is given a message of a peer that may ask for a vote, if
//!   this node has promised anything for it meanwhile.
//!
//! ## What the group promises
//!
//! - Nothing in a message makes it panic. What cannot be is dropped and counted ([`Counters`]).
//! - A broken invariant of its own, or of its host, is a panic that begins with `raft:` and names it.
//! - It holds memory for entries within [`Settings::uncommitted_bytes_max`], [`Settings::trailing_bytes`] and what is not
//!   applied; a peer that lags costs what is in flight to it.
//!
//! # Sources
//!
//! Ongaro, "Consensus: Bridging Theory and Practice" (the dissertation; sections are named where they are used); Ongaro
//! and Ousterhout, "In Search of an Understandable Consensus Algorithm"; what etcd's raft made of them. Leases that start
//! at the time of sending, promises that outlive terms, learners that replace, and refusing blank and damaged copies are
//! described where they stand.
//!
//! # Left out on purpose
//!
//! Encoding of payloads and messages, forwarding of proposals, the content of snapshots, and every decision about which
//! replicas a group should have.

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
mod room;
mod status;

pub use config::{Config, Lost, Priority, Reads, Restored, Settings};
pub use configuration::{
    Age, CONFIGURATION_MARK, Change, ChangeError, Configuration, DecodeError, Learner, MEMBERS_MAX,
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
