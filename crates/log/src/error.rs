//! Why a log could not be opened.

use ringfort_env::{DiskError, FileName};

/// Why a log could not be opened. Nothing that was durable has changed; it may be tried again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The disk failed.
    #[error("the log cannot be opened: {0}")]
    Disk(#[from] DiskError),
    /// The log was written by a newer executable.
    #[error(
        "{file} has log format version {found}, this executable reads up to {known}: start a newer one"
    )]
    NewerFormat {
        /// The file.
        file: FileName,
        /// Its version.
        found: u16,
        /// The newest one known here.
        known: u16,
    },
    /// There are segments in use, and not one of them can be read: the salt is not the one they were written with, or all
    /// of them are damaged. Nothing was touched.
    #[error(
        "{file} and the other log segments cannot be read: the node's identity does not match them, or they are damaged"
    )]
    Unreadable {
        /// A segment in use.
        file: FileName,
    },
    /// A setting is out of range.
    #[error("log setting {setting}: {reason}")]
    Option {
        /// Its name.
        setting: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A segment cannot hold the state of all groups and what recovery brings along.
    #[error(
        "segments of {segment_bytes} bytes are too small for this log: set segment_bytes to at least {needed}"
    )]
    SegmentTooSmall {
        /// Their size in bytes.
        segment_bytes: u64,
        /// The size needed, in bytes.
        needed: u64,
    },
}
