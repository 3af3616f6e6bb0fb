//! Bounds and defaults of a log's settings.

use std::time::Duration;

use crate::format::{DIRECTORY_ENTRY_BYTES, state_bytes};
use crate::{LogError, LogOptions};

/// Smallest segment, in bytes.
pub const SEGMENT_BYTES_MIN: u64 = 256 << 10;
/// Largest segment, in bytes: lengths within a segment are 32-bit.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// A segment's size is a multiple of this.
const SEGMENT_BYTES_MULTIPLE: u64 = 4096;
/// A batch ends at about this size; a larger entry has a batch of its own.
const BATCH_BYTES_SOFT_MAX: u64 = 4 << 20;
/// The largest payload takes so many eighths of a segment.
const PAYLOAD_EIGHTHS: u64 = 3;
/// The states of all groups take at most so many eighths, as far as settings can tell. The rest is for terms beyond
/// [`USUAL_TERMS`], what a start brings along, and headers.
const STATES_EIGHTHS: u64 = 2;
/// Terms among the live entries of a group that settings allow for: each start adds one, each flush takes the older ones
/// away.
const USUAL_TERMS: usize = 4;
/// A log that cannot get another segment takes nothing more once this part of one is left. A start may have begun with
/// [`SHORT_SHARE`] of one.
const EXHAUSTED_SHARE: u64 = 32;
/// A segment made at a start has room for its opening and this part of the usual size.
pub(crate) const SHORT_SHARE: u64 = 16;

const _: () = assert!(EXHAUSTED_SHARE > SHORT_SHARE);
const _: () = assert!(PAYLOAD_EIGHTHS + STATES_EIGHTHS < 8);

/// Bytes that a group's state takes in an opening, with so many terms among its live entries.
pub(crate) fn opening_bytes(terms: usize) -> u64 {
    (state_bytes(terms) + DIRECTORY_ENTRY_BYTES) as u64
}

impl LogOptions {
    /// Default settings with a node's salt.
    #[must_use]
    pub fn new(salt: u64) -> Self {
        Self {
            segment_bytes: 64 << 20,
            groups_max: 64,
            log_bytes_target: 256 << 20,
            salt,
            sync_delay_max: Duration::from_millis(1),
            marker_delay: Duration::from_millis(100),
        }
    }

    /// The largest payload of an entry that is sure to fit: three eighths of a segment. (The rest is room for group states
    /// and for what a start brings along.)
    #[must_use]
    pub fn payload_bytes_max(&self) -> u64 {
        self.segment_bytes / 8 * PAYLOAD_EIGHTHS
    }

    /// Bytes that the states of all groups may take in a segment before groups are asked for rebases, which make them
    /// smaller.
    pub(crate) fn states_bytes_soft(&self) -> u64 {
        self.segment_bytes / 8 * STATES_EIGHTHS
    }

    /// Checks that openings of `states` bytes leave room for the largest entry, behind whatever the segment begins with.
    pub(crate) fn check_states(&self, states: u64) -> Result<(), LogError> {
        let eighths = 8 - PAYLOAD_EIGHTHS - 1;
        if states <= self.segment_bytes / 8 * eighths {
            return Ok(());
        }
        let needed = (states.div_ceil(eighths) * 8).next_multiple_of(SEGMENT_BYTES_MULTIPLE);
        Err(LogError::SegmentTooSmall { segment_bytes: self.segment_bytes, needed })
    }

    /// The smallest segment for this number of groups, in bytes.
    fn segment_bytes_min(&self) -> u64 {
        let states = u64::from(self.groups_max) * opening_bytes(USUAL_TERMS);
        let least = states.div_ceil(STATES_EIGHTHS) * 8;
        least.next_multiple_of(SEGMENT_BYTES_MULTIPLE).max(SEGMENT_BYTES_MIN)
    }

    /// What is left of the log, in bytes, when nothing more should be submitted: room for rebases, by which it heals.
    pub(crate) fn exhausted_bytes(&self) -> u64 {
        self.segment_bytes / EXHAUSTED_SHARE
    }

    /// A batch that is not one large entry ends at this size.
    pub(crate) fn batch_bytes_soft(&self) -> u64 {
        BATCH_BYTES_SOFT_MAX.min(self.segment_bytes / 8)
    }

    /// Checks ranges.
    ///
    /// # Errors
    /// [`LogError::Option`] names the setting.
    pub fn check(&self) -> Result<(), LogError> {
        let bounds = SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX;
        if !bounds.contains(&self.segment_bytes)
            || !self.segment_bytes.is_multiple_of(SEGMENT_BYTES_MULTIPLE)
        {
            let reason = format!(
                "{} is not a multiple of {SEGMENT_BYTES_MULTIPLE} from {SEGMENT_BYTES_MIN} to {SEGMENT_BYTES_MAX}",
                self.segment_bytes
            );
            return Err(LogError::Option { setting: "segment_bytes", reason });
        }
        let least = self.segment_bytes_min();
        if self.segment_bytes < least {
            let reason = format!(
                "{} is too small for the states of {} groups, with which each segment begins: set at least {least}",
                self.segment_bytes, self.groups_max
            );
            return Err(LogError::Option { setting: "segment_bytes", reason });
        }
        if self.log_bytes_target < 2 * self.segment_bytes {
            let reason = format!("{} is less than two segments", self.log_bytes_target);
            return Err(LogError::Option { setting: "log_bytes_target", reason });
        }
        Ok(())
    }
}
