//! A snapshot being read: a content as it was after one batch, as a stream, part by part, while writers go on.
//!
//! A part walks two ordered sequences side by side, the keys that live now and those with superseded records, from the key
//! after the last one read. A key that lives and was last written by the snapshot's batch or before is taken as it is;
//! else the history may hold the record that was visible then; else the key came later.

use std::iter::Peekable;
use std::ops::Bound;

use bytes::Bytes;

use super::content::Content;
use super::history::SupersededKeys;
use super::index::Keys;
use super::record::{Record, Sequence};
use crate::store::SnapshotId;
use crate::stream::{Encoder, Frame, StreamHead};

/// No part is allocated larger than this ahead of its records.
const PART_BYTES_AHEAD_MAX: usize = 1 << 20;

enum Progress {
    /// Nothing was read.
    Head,
    /// Every record up to this key was read; `None`: the head was.
    Records(Option<Box<[u8]>>),
    /// All records were read, the tail was not.
    Tail,
    /// All was read.
    End,
}

/// One snapshot of a content.
pub(super) struct View {
    sequence: Sequence,
    progress: Progress,
    encoder: Encoder,
}

impl View {
    /// A view of the state after a batch.
    pub(super) fn new(sequence: Sequence, head: StreamHead) -> Self {
        Self { sequence, progress: Progress::Head, encoder: Encoder::new(head) }
    }

    /// Whether it has yet to read a record written by batch `from` and superseded by batch `until`.
    pub(super) fn needs(&self, key: &[u8], from: Sequence, until: Sequence) -> bool {
        let visible = from <= self.sequence && self.sequence < until;
        visible
            && match &self.progress {
                Progress::Head | Progress::Records(None) => true,
                Progress::Records(Some(passed)) => key > &**passed,
                Progress::Tail | Progress::End => false,
            }
    }

    /// The next part of the stream, of about `bytes_max` bytes; at least one record, if there is one left.
    fn read(&mut self, content: &Content, bytes_max: usize) -> Option<Bytes> {
        let whole = usize::try_from(self.encoder.stream_bytes_max()).unwrap_or(usize::MAX);
        let mut part = Vec::with_capacity(bytes_max.min(PART_BYTES_AHEAD_MAX).min(whole));
        if matches!(self.progress, Progress::Head) {
            self.encoder.put_head(&mut part);
            self.progress = Progress::Records(None);
        }
        if let Progress::Records(passed) = &mut self.progress {
            let writer = PartWriter { encoder: &mut self.encoder, part: &mut part, bytes_max };
            match writer.write_records(content, passed.as_deref(), self.sequence) {
                Some(key) => *passed = Some(key.into()),
                None => self.progress = Progress::Tail,
            }
        }
        // What is one byte too long for the tail waits for a part of its own.
        let room = part.is_empty() || part.len() + Encoder::TAIL_BYTES <= bytes_max;
        if matches!(self.progress, Progress::Tail) && room {
            self.encoder.put_tail(&mut part);
            self.progress = Progress::End;
        }
        (!part.is_empty()).then(|| part.into())
    }
}

impl Content {
    /// The next part of a snapshot's stream; `None` at its end, or if there is no such snapshot.
    pub(super) fn read_view(&mut self, id: SnapshotId, bytes_max: usize) -> Option<Bytes> {
        // Out and in again: the view changes while it reads the rest of the content.
        let mut view = self.views.remove(&id)?;
        let part = view.read(self, bytes_max);
        self.views.insert(id, view);
        part
    }
}

struct PartWriter<'a> {
    encoder: &'a mut Encoder,
    part: &'a mut Vec<u8>,
    bytes_max: usize,
}

impl PartWriter<'_> {
    /// Writes frames of records from the one after `passed` on. Returns the key of the last one if the part is full, and
    /// nothing if there are no more records.
    fn write_records<'c>(
        self,
        content: &'c Content,
        passed: Option<&[u8]>,
        at: Sequence,
    ) -> Option<&'c [u8]> {
        let Self { encoder, part, bytes_max } = self;
        let mut last: Option<&[u8]> = None;
        let mut frame = Encoder::begin_frame(part);
        for record in Visible::new(content, passed, at) {
            let joined = record.joined();
            let mut grown = part.len() + Encoder::record_bytes_max(joined.len());
            let full = !Encoder::takes(&frame, part, joined.len());
            if full {
                grown += Encoder::FRAME_BYTES;
            }
            if let Some(last) = last
                && grown > bytes_max
            {
                encoder.end_frame(frame, part);
                return Some(last);
            }
            if full {
                frame = Self::next_frame(encoder, part, frame);
            }
            encoder.put_record(&mut frame, part, record.key_len(), joined);
            last = Some(record.key());
        }
        encoder.end_frame(frame, part);
        None
    }

    fn next_frame(encoder: &mut Encoder, part: &mut Vec<u8>, frame: Frame) -> Frame {
        encoder.end_frame(frame, part);
        Encoder::begin_frame(part)
    }
}

/// The records of a content that were visible after a batch, in order of keys.
struct Visible<'a> {
    content: &'a Content,
    at: Sequence,
    live: Peekable<Keys<'a>>,
    superseded: Peekable<SupersededKeys<'a>>,
}

impl<'a> Visible<'a> {
    fn new(content: &'a Content, passed: Option<&[u8]>, at: Sequence) -> Self {
        let from = passed.map_or(Bound::Unbounded, Bound::Excluded);
        Self {
            content,
            at,
            live: content.index.range(from).peekable(),
            superseded: content.history.range(from).peekable(),
        }
    }
}

impl<'a> Iterator for Visible<'a> {
    type Item = &'a Record;

    fn next(&mut self) -> Option<&'a Record> {
        loop {
            let (lives, key) = match (self.live.peek(), self.superseded.peek()) {
                (None, None) => return None,
                (Some(live), Some(superseded)) if superseded < live => {
                    (false, self.superseded.next()?)
                }
                (Some(live), superseded) => {
                    if superseded == Some(live) {
                        self.superseded.next();
                    }
                    (true, self.live.next()?)
                }
                (None, Some(_)) => (false, self.superseded.next()?),
            };
            let live = if lives { self.content.find(key) } else { None };
            let visible = live.filter(|record| record.sequence() <= self.at);
            let visible = visible.or_else(|| self.content.history.visible(key, self.at));
            if visible.is_some() {
                return visible;
            }
        }
    }
}
