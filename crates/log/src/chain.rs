//! The segments in use, and how much of each is still needed.
//!
//! ```text
//!   oldest ──────────────── previous ── active        spares: see `prepare`
//!   [ ..x.x ]  [ .xx... ]   [ xxx.xx ]  [ xx____ ]    x: live entries, .: no longer needed, _: not written
//! ```
//!
//! The segment before the active one is kept even when nothing in it is live: together with it, every group's state is on
//! the disk twice, so that damage to the active segment's opening loses nothing.

use std::collections::VecDeque;

use crate::format::SegmentId;

/// One segment that holds batches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(crate) id: SegmentId,
    /// Bytes of its file.
    pub(crate) capacity: u64,
    /// End of its last batch.
    pub(crate) end: u64,
    /// Entries in it that recovery needs.
    pub(crate) live_entries: u64,
    /// Their bytes.
    pub(crate) live_bytes: u64,
}

/// Segments from the oldest to the active one.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    segments: VecDeque<Segment>,
}

impl Chain {
    /// Adds a segment, which becomes the active one.
    pub(crate) fn push(&mut self, id: SegmentId, capacity: u64, end: u64) {
        let ordered = self.segments.back().is_none_or(|last| last.id < id);
        assert!(ordered, "segment ids rise along the chain");
        let segment = Segment { id, capacity, end, live_entries: 0, live_bytes: 0 };
        self.segments.push_back(segment);
    }

    /// The segment being written.
    pub(crate) fn active(&self) -> &Segment {
        self.segments.back().expect("a chain has an active segment")
    }

    /// The active segment's file was made with so many bytes.
    pub(crate) fn set_active_capacity(&mut self, capacity: u64) {
        self.segments.back_mut().expect("a chain has an active segment").capacity = capacity;
    }

    pub(crate) fn set_active_end(&mut self, end: u64) {
        self.segments.back_mut().expect("a chain has an active segment").end = end;
    }

    /// The segment before the active one.
    pub(crate) fn previous(&self) -> Option<&Segment> {
        self.segments.iter().rev().nth(1)
    }

    pub(crate) fn oldest(&self) -> &Segment {
        self.segments.front().expect("a chain has an active segment")
    }

    pub(crate) fn len(&self) -> usize {
        self.segments.len()
    }

    /// Bytes from the start of the oldest segment to the end of the newest batch.
    pub(crate) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.end).sum()
    }

    /// The oldest segment that recovery needs.
    pub(crate) fn oldest_needed(&self) -> SegmentId {
        let kept = self.previous().unwrap_or(self.active()).id;
        let needed = self.segments.iter().find(|s| s.live_entries > 0 || s.id >= kept);
        needed.map_or(kept, |segment| segment.id)
    }

    /// Takes the oldest segment out if it is older than `oldest`.
    pub(crate) fn pop_before(&mut self, oldest: SegmentId) -> Option<Segment> {
        self.segments.pop_front_if(|segment| segment.id < oldest)
    }

    /// Entries became live in a segment.
    pub(crate) fn add(&mut self, id: SegmentId, entries: u64, bytes: u64) {
        let segment = self.segment(id);
        segment.live_entries += entries;
        segment.live_bytes += bytes;
    }

    /// Entries in a segment are no longer needed there.
    pub(crate) fn remove(&mut self, id: SegmentId, entries: u64, bytes: u64) {
        let segment = self.segment(id);
        segment.live_entries -= entries;
        segment.live_bytes -= bytes;
    }

    #[cfg(test)]
    pub(crate) fn get(&self, id: SegmentId) -> &Segment {
        self.segments.iter().find(|segment| segment.id == id).unwrap()
    }

    fn segment(&mut self, id: SegmentId) -> &mut Segment {
        let last = self.segments.len() - 1;
        let at = if self.segments[last].id == id {
            last
        } else {
            let found = self.segments.binary_search_by_key(&id, |segment| segment.id);
            found.expect("a segment with live entries is in the chain")
        };
        &mut self.segments[at]
    }
}
