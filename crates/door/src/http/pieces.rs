//! JSON documents that may become far larger than what an answer should hold in memory: a batch of a thousand reads of
//! 8 MiB, say. They are written while they are sent.

use bytes::Bytes;

use super::body::{Body, Pieces};
use super::json::BytesWriter;

/// A document up to this size is written at once and sent with its length.
const WHOLE_BYTES_MAX: usize = 128 << 10;
/// A longer one is sent in pieces that are as long as this, and by one piece of a value longer.
const PIECE_BYTES: usize = 64 << 10;

/// A document that writes itself step by step.
pub(crate) trait Document {
    /// Writes a little more: at most some kilobytes, and a value through the writer in [`Step::Value`].
    fn write_next(&mut self, out: &mut Vec<u8>) -> Step;
}

/// What a document did.
pub(crate) enum Step {
    /// It has written something and has more.
    More,
    /// It has begun a value, which is to be written before it goes on.
    Value(BytesWriter),
    /// It is complete.
    End,
}

struct Writing<D> {
    document: D,
    value: Option<BytesWriter>,
    ended: bool,
    ready: Vec<u8>,
}

impl<D: Document> Writing<D> {
    fn write(&mut self, bytes: usize) {
        while !self.ended && self.ready.len() < bytes {
            if let Some(value) = &mut self.value {
                if value.write_piece(&mut self.ready) {
                    self.value = None;
                }
                continue;
            }
            match self.document.write_next(&mut self.ready) {
                Step::More => {}
                Step::Value(value) => self.value = Some(value),
                Step::End => self.ended = true,
            }
        }
    }
}

impl<D: Document> Pieces for Writing<D> {
    fn next_piece(&mut self) -> Option<Bytes> {
        self.write(PIECE_BYTES);
        let piece = std::mem::take(&mut self.ready);
        (!piece.is_empty()).then(|| piece.into())
    }
}

/// The body that a document becomes.
pub(crate) fn body(document: impl Document + 'static) -> Body {
    let mut writing = Writing { document, value: None, ended: false, ready: Vec::new() };
    writing.write(WHOLE_BYTES_MAX);
    if writing.ended { Body::Full(writing.ready.into()) } else { Body::Pieces(Box::new(writing)) }
}
