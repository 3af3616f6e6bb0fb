//! Bounds and defaults of a log's settings.

use std::time::Duration;

use crate::{LogError, LogOptions};

/// Smallest segment, in bytes.
pub const SEGMENT_BYTES_MIN: u64 = 256 << 10;
/// Largest segment, in bytes: lengths within a segment are 32-bit.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// A segment's size is a multiple of this.
const SEGMENT_BYTES_MULTIPLE: u64 = 4096;
/// A batch ends at about this size; a larger entry has a batch of its own.
const BATCH_BYTES_SOFT_MAX: u64 = 4 << 20;

impl LogOptions {
    /// Default settings with a node's salt.
    #[must_use]
    pub fn new(salt: u64) -> Self {
        Self {
            segment_bytes: 64 << 20,
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
        self.segment_bytes / 8 * 3
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
        if self.log_bytes_target < 2 * self.segment_bytes {
            let reason = format!("{} is less than two segments", self.log_bytes_target);
            return Err(LogError::Option { setting: "log_bytes_target", reason });
        }
        Ok(())
    }
}
