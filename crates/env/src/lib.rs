//! What a core asks of the world, as plain data: disk operations that complete later, in any order. The clock and
//! randomness are inputs (`now`, seeds); the network is bytes to send.
//!
//! A core queues [`DiskRequest`]s; its host executes them and hands back [`DiskCompletion`]s under the same id. At start,
//! before anything runs beside it, a core may instead run operations one by one through the [`Disk`] trait.
//!
//! # What a disk promises
//! - A completed write is visible to reads. It is durable only once a [`DiskOperation::SyncData`] of that file, requested
//!   after the write completed, has completed.
//! - A created, renamed or deleted name is durable only once a [`DiskOperation::SyncDirectory`] requested after it has
//!   completed.
//! - Until then a power loss may keep any part of it: each sector of 512 bytes is old or new, each name is there or not.
//! - A crash of the process alone loses nothing that was completed, durable or not.
//! - A failed sync says nothing about what is on the disk, and must never be retried.

mod disk;

pub use disk::{
    Disk, DiskAnswer, DiskCompletion, DiskError, DiskErrorKind, DiskOperation, DiskRequest,
    FileName, Lane, OperationId,
};
