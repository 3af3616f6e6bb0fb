//! The byte stream under a connection: counts what goes through for the watch over slow clients, and holds back the bare
//! answers that hyper gives on its own, so that better ones can take their place.
//!
//! hyper answers what is no HTTP/1.1 (a malformed head, one too large) with a status and nothing else, then ends the
//! connection with an error. When such an answer is written, the error is not known yet; and a value may well hold the
//! very same bytes. So a write that ends like one is held back until the connection's future has been polled:
//!
//! ```text
//!   write that ends like a bare answer ─► held ─┬─ the connection goes on ───────► released, sent as it is
//!                                               └─ it ended with a parse error ──► replaced (see `ending`)
//! ```

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::link::Link;

/// Pieces that are no longer than this together go out as one: to copy them costs less than what the kernel does for
/// several.
const JOINED_BYTES_MAX: usize = 1024;

/// A connection's stream, shared by hyper and by what ends the connection after hyper is done.
pub(crate) struct Stream<I> {
    inner: Rc<RefCell<I>>,
    link: Rc<Link>,
}

impl<I> Stream<I> {
    /// Wraps a stream.
    pub(crate) fn new(inner: Rc<RefCell<I>>, link: Rc<Link>) -> Self {
        Self { inner, link }
    }
}

impl<I: AsyncWrite + Unpin> Stream<I> {
    /// Sends what was held back, once it is known to be no bare answer.
    fn poll_release(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut held = self.link.held.borrow_mut();
        while self.link.release.get() && !held.is_empty() {
            let written = self.poll_inner(|inner| inner.poll_write(cx, &held));
            let written = ready!(self.link.note_write(written))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            held.drain(..written);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_inner<T>(&self, poll: impl FnOnce(Pin<&mut I>) -> T) -> T {
        poll(Pin::new(&mut *self.inner.borrow_mut()))
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Stream<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut *self.inner.borrow_mut()).poll_read(cx, buffer))?;
        let read = &buffer.filled()[before..];
        if !read.is_empty() {
            self.link.note_read(read);
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Stream<I> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_release(cx))?;
        let bytes = match bare_answer_in(bytes) {
            None => bytes,
            Some(0) => {
                self.link.hold(bytes);
                return Poll::Ready(Ok(bytes.len()));
            }
            Some(at) => &bytes[..at],
        };
        let written = self.poll_inner(|inner| inner.poll_write(cx, bytes));
        self.link.note_write(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [only] = pieces {
            return self.poll_write(cx, only);
        }
        let mut short = [0; JOINED_BYTES_MAX];
        if let Some(joined) = join(pieces, &mut short) {
            return self.poll_write(cx, joined);
        }
        ready!(self.poll_release(cx))?;
        let written = self.poll_inner(|inner| inner.poll_write_vectored(cx, pieces));
        self.link.note_write(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.borrow().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_release(cx))?;
        self.poll_inner(|inner| inner.poll_flush(cx))
    }

    /// Nothing: `ending` closes the connection.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

/// The pieces one after the other, if there is room for them.
fn join<'a>(pieces: &[io::IoSlice<'_>], room: &'a mut [u8]) -> Option<&'a [u8]> {
    let mut end = 0;
    for piece in pieces {
        room.get_mut(end..end + piece.len())?.copy_from_slice(piece);
        end += piece.len();
    }
    Some(&room[..end])
}

/// Where something begins that ends these bytes and looks like an answer of hyper's own: a status line of a client's
/// error, `connection`, `content-length: 0`, `date`, and no header of ours.
fn bare_answer_in(bytes: &[u8]) -> Option<usize> {
    const BYTES_MAX: usize = 192;
    const BEGINNING: &[u8] = b"HTTP/1.";
    if !bytes.ends_with(b"\r\n\r\n") {
        return None;
    }
    let from = bytes.len().saturating_sub(BYTES_MAX);
    let begins = |window: &[u8]| window == BEGINNING;
    let at = from + bytes[from..].windows(BEGINNING.len()).rposition(begins)?;
    let answer = &bytes[at..];
    let has = |text: &[u8]| answer.windows(text.len()).any(|window| window == text);
    let is_bare = answer[BEGINNING.len()..].get(1..3) == Some(b" 4")
        && has(b"\r\ncontent-length: 0\r\n")
        && !has(b"\r\nringfort-request-id: ");
    is_bare.then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_joined_if_there_is_room() {
        let (mut room, pieces) = ([0; 6], [&b"ab"[..], b"", b"cde"].map(io::IoSlice::new));
        assert_eq!(join(&pieces, &mut room), Some(&b"abcde"[..]));
        assert_eq!(join(&pieces, &mut room[..4]), None);
        assert_eq!(join(&[], &mut room), Some(&b""[..]));
    }

    #[test]
    fn only_an_answer_without_our_headers_is_bare() {
        const BARE: &str = "HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n\
                            content-length: 0\r\ndate: Mon, 23 Nov 2026 15:20:39 GMT\r\n\r\n";
        const OURS: &str = "HTTP/1.1 404 Not Found\r\nringfort-request-id: 0000000000000000\r\n\
                            content-length: 0\r\ndate: Mon, 23 Nov 2026 15:20:39 GMT\r\n\r\n";
        const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";
        for (bytes, at) in [
            (BARE.to_owned(), Some(0)),
            (format!("{OURS}{BARE}"), Some(OURS.len())),
            (format!("{OURS}body{BARE}"), Some(OURS.len() + 4)),
            (OURS.to_owned(), None),
            (format!("{BARE}{OURS}"), None),
            (format!("{BARE}x"), None),
            (CONTINUE.to_owned(), None),
            ("\r\n\r\n".to_owned(), None),
            ("HTTP/1.\r\n\r\n".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(bare_answer_in(bytes.as_bytes()), at, "{bytes}");
        }
    }
}
