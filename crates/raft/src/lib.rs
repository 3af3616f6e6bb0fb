//! One consensus group: Raft without clock, thread, file, socket or randomness of its own.
//!
//! So far a group has one voter, which elects itself and commits what it has made durable. The contract below is the one
//! that groups of several voters keep as well; a host written against it does not notice the difference.
//!
//! # The contract between core and host
//!
//! The host calls inputs and, after any number of them, takes [`Effects`] with [`Group::poll_effects`] and executes
//! them. `now` is the host's monotonic clock and never goes back.
//!
//! | input | when |
//! | --- | --- |
//! | [`Group::handle_tick`] | regularly, at least every [`Config::tick`] |
//! | [`Group::propose`] | something is to be replicated |
//! | [`Group::read`] | somebody wants to read what is committed now |
//! | [`Group::handle_message`] | a message for this replica arrived |
//! | [`Group::handle_persisted`] | a [`Persist`] and all before it are durable |
//! | [`Group::handle_applied`] | the state machine has applied up to an index |
//! | [`Group::compact`] | the engine holds a durable state up to an index, and the log's record of it is durable |
//!
//! Effects of one [`Effects`] are executed in this order, those of an earlier one before those of a later one:
//!
//! 1. `persist`: hand hard state and entries to the log, in one submission. It may be under way while later effects are
//!    executed and later inputs come in; persists complete in order. Its [`PersistId`] comes back once it is durable.
//! 2. `messages`: send them now. They promise nothing that is not durable yet.
//! 3. `messages_after_persist`: send them once this effect's persist is durable, and not at all if the process ends
//!    before. Votes and append acknowledgements are here.
//! 4. `apply`: apply these committed entries, in order, and say so with `handle_applied`. They may be applied before they
//!    are durable on this replica, but an engine must make nothing durable beyond the durable log.
//! 5. `reads`: these reads may be served once the state machine has applied the index that stands with them.
//! 6. `role`: leadership came or went. Proposals under way in an older term may be lost: their outcome is unknown until
//!    their index is applied, with their term or another.
//!
//! What the host promises: it never reports a persist that could still be lost; it starts a group with the hard state,
//! base and entries that the log recovered, and never starts one whose hard state is unproven; a replica id is never
//! used for a second replica.
//!
//! # Left out on purpose
//!
//! Encoding of payloads, forwarding to a leader, snapshots of state machines, and every decision about which replicas a
//! group should have.

mod entries;
mod group;

pub use group::{
    Config, Effects, Group, LeaderHint, Message, Persist, PersistId, ProposeError, ReadId,
    ReadReady, Restored, Role, Status,
};
