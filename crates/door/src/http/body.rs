//! Bodies of answers: one concrete type, so that no answer is boxed for being sent.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

/// A body that is produced piece by piece, because the whole of it might be far larger than what memory should hold.
pub(crate) trait Pieces {
    /// The next piece, never empty; `None` at the end.
    fn next_piece(&mut self) -> Option<Bytes>;
}

/// The body of an answer.
pub(crate) enum Body {
    /// Nothing.
    Empty,
    /// Everything at once.
    Full(Bytes),
    /// Piece by piece.
    Pieces(Box<dyn Pieces>),
}

impl Body {
    /// The length in bytes, where it is known.
    pub(crate) fn len(&self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Full(bytes) => Some(bytes.len() as u64),
            Self::Pieces(_) => None,
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        let piece = match this {
            Self::Empty => None,
            Self::Full(bytes) => Some(std::mem::take(bytes)),
            Self::Pieces(pieces) => pieces.next_piece(),
        };
        if !matches!(this, Self::Pieces(_)) || piece.is_none() {
            *this = Self::Empty;
        }
        Poll::Ready(piece.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_empty(),
            Self::Pieces(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.len().map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}
