//! Frames that wait for their link, already as bytes.

use bytes::BytesMut;
use prost::Message;
use ringfort_proto::peer::Frame;
use ringfort_proto::put_frame;

/// What a buffer that is used again may hold on to.
const SPARE_BYTES_MAX: usize = 256 << 10;

/// Bounds of a link's queue. A single frame always fits into an empty one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) frames_max: usize,
    pub(super) bytes_max: usize,
}

/// Frames that wait, one behind the other in one buffer: a write takes all of them, whatever their number.
#[derive(Debug)]
pub(super) struct Queue {
    bounds: Bounds,
    waiting: BytesMut,
    waiting_frames: usize,
    /// Under way in a write; these count until it has ended.
    writing_bytes: usize,
    writing_frames: usize,
    spare: BytesMut,
}

/// All that waited.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) bytes: BytesMut,
    pub(super) frames: usize,
}

/// Why a frame was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overflow {
    Full,
    TooLarge,
}

impl Queue {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            waiting: BytesMut::new(),
            waiting_frames: 0,
            writing_bytes: 0,
            writing_frames: 0,
            spare: BytesMut::new(),
        }
    }

    /// Appends a frame.
    pub(super) fn push(&mut self, frame: &Frame) -> Result<(), Overflow> {
        let is_empty = self.frames() == 0;
        let Bounds { frames_max, bytes_max } = self.bounds;
        if !is_empty && (self.frames() >= frames_max || self.bytes() >= bytes_max) {
            return Err(Overflow::Full);
        }
        let before = self.waiting.len();
        put_frame(frame, &mut self.waiting).map_err(|_| Overflow::TooLarge)?;
        if !is_empty && self.bytes() > bytes_max {
            self.waiting.truncate(before);
            return Err(Overflow::Full);
        }
        self.waiting_frames += 1;
        Ok(())
    }

    /// Appends a frame if all that waits or is being written has no more bytes than this with it.
    pub(super) fn push_along(&mut self, frame: &Frame, bytes_max: usize) -> bool {
        self.bytes() + frame.encoded_len() <= bytes_max && self.push(frame).is_ok()
    }

    /// Takes all that waits; it counts until [`Self::written`].
    pub(super) fn take(&mut self) -> Option<Batch> {
        if self.waiting_frames == 0 {
            return None;
        }
        let bytes = std::mem::replace(&mut self.waiting, std::mem::take(&mut self.spare));
        let frames = std::mem::take(&mut self.waiting_frames);
        (self.writing_bytes, self.writing_frames) = (bytes.len(), frames);
        Some(Batch { bytes, frames })
    }

    /// A batch has been written.
    pub(super) fn written(&mut self, batch: Batch) {
        (self.writing_bytes, self.writing_frames) = (0, 0);
        let mut bytes = batch.bytes;
        if bytes.capacity() <= SPARE_BYTES_MAX {
            bytes.clear();
            self.spare = bytes;
        }
    }

    /// Drops everything, what is under way in a write included. Gives the number of frames.
    pub(super) fn clear(&mut self) -> usize {
        let frames = self.frames();
        *self = Self::new(self.bounds);
        frames
    }

    /// Frames that wait or are being written.
    pub(super) fn frames(&self) -> usize {
        self.waiting_frames + self.writing_frames
    }

    /// Their bytes.
    pub(super) fn bytes(&self) -> usize {
        self.waiting.len() + self.writing_bytes
    }
}
