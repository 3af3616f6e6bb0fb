//! Filling batches: from pending submissions and stragglers to records, and on to the next segment.

use ringfort_env::{DiskErrorKind, DiskOperation};

use super::FileLog;
use crate::LogEvent;
use crate::builder::Place;
use crate::format::{ALIGNMENT, BATCH_HEADER_BYTES, RECORD_HEADER_BYTES, Sealer};
use crate::group::Group;
use crate::opening::Opening;
use crate::pending::Piece;
use crate::writer::Writer;

/// At most so many bytes of stragglers go into one batch, so that they never delay submissions much.
const REWRITE_BYTES_PER_BATCH: u64 = 256 << 10;
/// Bytes of a batch without records: a marker.
const MARKER_BYTES: u64 = ALIGNMENT;

const _: () = assert!((BATCH_HEADER_BYTES + RECORD_HEADER_BYTES) as u64 <= MARKER_BYTES);

/// How filling a batch ended.
pub(super) enum Fill {
    /// There is something to write.
    Batch,
    /// There is nothing to write, or not yet.
    Nothing,
    /// What comes next does not fit in the rest of the segment.
    SegmentFull(u64),
}

impl FileLog {
    /// Fills a batch: submissions first, then stragglers; the other way round where those had no room in the last one. It is as
    /// long as a batch should be, or has one record: a start brings the last batch along, and has room for that.
    pub(super) fn fill(&mut self) -> Fill {
        let active = *self.chain.active();
        let room = active.capacity - active.end;
        if room < MARKER_BYTES {
            return Fill::SegmentFull(MARKER_BYTES);
        }
        self.builder.begin(active.end, self.sequence);
        self.retired.clear();
        let full = if std::mem::take(&mut self.rewrites_put_off) {
            self.fill_rewrites(room).or_else(|| self.fill_submissions(room))
        } else {
            self.fill_submissions(room).or_else(|| self.fill_rewrites(room))
        };
        if !self.builder.is_empty() {
            return Fill::Batch;
        }
        full.map_or(Fill::Nothing, Fill::SegmentFull)
    }

    /// Writes pieces until the batch is long enough or full; in the latter case says how many bytes were missing room.
    fn fill_submissions(&mut self, room: u64) -> Option<u64> {
        let soft = self.options.batch_bytes_soft();
        let mut writer = Writer {
            groups: &mut self.groups,
            chain: &mut self.chain,
            builder: &mut self.builder,
            retired: &mut self.retired,
        };
        while let Some(piece) = self.pending.front() {
            if let Piece::End(source, id, operations) = piece {
                self.ended.push((source, id));
                self.ended_operations += u64::from(operations);
            } else {
                let length = writer.builder.length_with(piece.record_bytes());
                if length > room {
                    return Some(length);
                }
                if length > soft && !writer.builder.is_empty() {
                    return None;
                }
                self.stragglers.earn(piece.record_bytes() as u64);
                writer.write(piece);
            }
            self.pending.advance();
        }
        None
    }

    fn fill_rewrites(&mut self, room: u64) -> Option<u64> {
        let from = self.stragglers.segment()?;
        let soft = self.options.batch_bytes_soft();
        let mut bytes = 0;
        let mut writer = Writer {
            groups: &mut self.groups,
            chain: &mut self.chain,
            builder: &mut self.builder,
            retired: &mut self.retired,
        };
        while let Some(entry) = self.stragglers.rewrites.front() {
            let length = writer.builder.length_with(entry.record_bytes());
            if length > room {
                return Some(length);
            }
            if length > soft && !writer.builder.is_empty() {
                self.rewrites_put_off = bytes == 0;
                return None;
            }
            if bytes > REWRITE_BYTES_PER_BATCH {
                return None;
            }
            if writer.rewrite(entry, from) {
                bytes += entry.record_bytes() as u64;
                self.stats.stragglers_rewritten += 1;
            }
            self.stragglers.rewrites.pop_front();
        }
        None
    }

    /// Goes on to a prepared segment, if there is one; says whether it did. `needed` bytes must fit in it.
    pub(super) fn rotate(&mut self, needed: u64) -> bool {
        let old = *self.chain.active();
        let segment_bytes = self.options.segment_bytes;
        let soft = self.options.batch_bytes_soft().max(MARKER_BYTES);
        let Some(id) = self.preparer.take() else {
            self.stats.segment_waits += u64::from(!self.waits_for_segment);
            self.waits_for_segment = true;
            return false;
        };
        self.waits_for_segment = false;
        self.chain.push(id, segment_bytes, 0);
        self.builder.set_place(Place {
            segment: id,
            sealer: Sealer::new(self.options.salt, id),
            previous: old.id,
            previous_end: old.end,
            flags: self.builder.place().flags,
        });
        let opening = Opening {
            builder: &mut self.builder,
            chain: &self.chain,
            sequence: self.sequence,
            batch_bytes: soft,
        };
        let batches = opening.build(&self.groups, &[]);
        let opened = batches.last().map_or(0, |batch| batch.header.end());
        if opened + needed > segment_bytes {
            let message = format!(
                "a segment of {segment_bytes} bytes cannot hold its opening of {opened} and a batch of {needed}"
            );
            let operation = DiskOperation::SyncData(id.file());
            self.fail(operation.error(DiskErrorKind::Other, message));
            return false;
        }
        self.sequence += batches.len() as u64;
        self.opening = batches.into();
        if opened > self.options.states_bytes_soft() {
            self.ask_for_fewer_terms();
        }
        true
    }

    /// Asks groups with many terms among their live entries for a rebase: their states fill the segments' openings.
    pub(super) fn ask_for_fewer_terms(&mut self) {
        let long = |group: &Group| group.damage.is_none() && group.live.terms().len() > 1;
        let groups = self.groups.iter().filter(|(_, group)| long(group));
        let groups: Vec<_> = groups.map(|(id, _)| *id).collect();
        if !groups.is_empty() {
            self.events.push_back(LogEvent::WantRebase { groups });
        }
    }
}
