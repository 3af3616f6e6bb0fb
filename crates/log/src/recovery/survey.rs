//! Finds out where a segment that has no successor ends, and which part of it is proven.
//!
//! ```text
//!   | batch | batch | BAD | batch | batch | BAD, or nothing valid behind it
//!   '------------- proven --------'   '-- the tail: never acknowledged, not kept
//!                                 '------- last valid batch: perhaps acknowledged, perhaps only in the page cache
//! ```
//! A bad batch with a valid header anywhere behind it is damage: a batch is written only once the one before it is synced.
//! So is what cannot be read of the last batch, or close behind it, where more of them may have stood; and what cannot be read
//! anywhere behind it, if another one was begun there: whether that was never ended, or is damaged, might be seen where nothing
//! can.

use super::reader::SegmentReader;
use crate::LogError;
use crate::format::{BatchHeader, BatchRead, SegmentId};

/// What is known of the newest segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Survey {
    /// Everything before this was synced.
    pub(super) proven_end: u64,
    /// Number of the batch behind that, if known.
    pub(super) after: Option<u64>,
    /// End of the last valid batch.
    pub(super) end: u64,
    /// The last valid header: that of the last valid batch, or of a torn one behind it.
    pub(super) last: BatchHeader,
    /// The oldest segment needed. A torn batch has no say in it: it may have ended the need for one.
    pub(super) oldest: SegmentId,
    /// Nothing but the opening stands in the segment: it may be that the segment's predecessor was not left yet.
    pub(super) opening_only: bool,
}

/// Surveys a segment; `None` if its opening is not complete, so that it does not count.
pub(super) fn survey(reader: &mut SegmentReader<'_, '_>) -> Result<Option<Survey>, LogError> {
    let mut records = Vec::new();
    let mut counts = false;
    let mut last = None;
    let mut oldest = None;
    let mut offset = 0;
    while let Some(header) = reader.header_from(offset, u64::MAX)? {
        let whole = matches!(reader.batch_at(header.offset, &mut records)?, BatchRead::Valid(_));
        counts |= !header.is_opening() || (whole && !header.more_opening());
        let proven = last.map(|(header, _): (BatchHeader, bool)| header.oldest);
        oldest = if whole { Some(header.oldest) } else { proven.or(oldest) };
        last = Some((header, whole));
        offset = header.end();
    }
    let Some((last, whole)) = last.filter(|_| counts) else {
        return Ok(None);
    };
    let survey = Survey {
        proven_end: last.offset,
        after: Some(last.sequence),
        end: if whole { last.end() } else { last.offset },
        last,
        oldest: oldest.unwrap_or(last.oldest),
        opening_only: last.is_opening(),
    };
    let behind = last.end();
    let hides = reader.may_hide_batches(behind, Some(last.sequence + 1))?;
    if let Some(end) = reader.unreadable_from(behind..u64::MAX).filter(|_| hides) {
        let damaged = Survey { proven_end: end, after: None, end, opening_only: false, ..survey };
        return Ok(Some(damaged));
    }
    if !whole && reader.unreadable_from(last.offset..behind).is_some() {
        let after = Some(last.sequence + 1);
        let (proven_end, end) = (behind, behind);
        let damaged = Survey { proven_end, after, end, opening_only: false, ..survey };
        return Ok(Some(damaged));
    }
    Ok(Some(survey))
}
