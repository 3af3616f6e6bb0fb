//! Opening a log: what is in it, what is damaged, and a fresh segment to go on with.
//!
//! 1. The newest segment that counts is found and surveyed: where it ends, and what of it is proven durable.
//! 2. Its headers lead back to the oldest segment still needed. All batches between are read in order and rebuild the
//!    groups; damage is met as described in [`replay`].
//! 3. Everything past the last proven offset may be in the page cache alone. A fresh segment is begun whose opening holds
//!    all group states and those entries, and is synced before anything else happens.
//! 4. What is not in the chain any more is recycled or deleted, later, in the background.
//!
//! A power loss at any of these points leaves what the next start needs: a segment counts only once its opening is
//! complete, and nothing it replaces is touched before that.

mod history;
mod reader;
mod reads;
mod reopen;
mod replay;
mod scan;
mod slots;
mod survey;

use ringfort_env::{Disk, FileName};
use ringfort_types::Monotonic;

use crate::format::SegmentId;
use crate::{FileLog, LogError, LogOptions, RecoveredLog};
use reads::Reads;

/// A place in the log, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) segment: SegmentId,
    pub(crate) offset: u64,
}

impl Spot {
    fn file(self) -> FileName {
        self.segment.file()
    }
}

/// Opens the log in a data directory, or begins one. Runs to its end; the log is then ready for submissions, and what it
/// gave back is durable again under a new segment. Files that are none of the log's are left alone.
///
/// # Errors
/// See [`LogError`]. Damage is no error: it is reported in what is given back, group by group. Nor are places that cannot
/// be read, unless there are many.
pub fn recover(
    disk: &mut dyn Disk,
    options: LogOptions,
    now: Monotonic,
) -> Result<(FileLog, RecoveredLog), LogError> {
    options.check()?;
    let files = history::segments(disk)?;
    let mut reads = Reads::new(disk);
    let history = history::find(&mut reads, &files, options.salt)?;
    let restored = history::read(&mut reads, &history, options.salt)?;
    reopen::reopen(disk, options, now, &files, restored)
}
