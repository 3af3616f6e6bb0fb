//! What the parts of one connection tell each other: the bytes that went through it, the requests it carries.

use std::cell::{Cell, RefCell};
use std::io;
use std::task::Poll;

use super::heads::Heads;

/// Shared by a connection's stream, its driver and its requests.
#[derive(Debug, Default)]
pub(crate) struct Link {
    /// Requests whose head was complete.
    pub(crate) requests: Cell<u64>,
    /// Requests that have no answer yet.
    pub(crate) open_requests: Cell<u32>,
    /// Bytes were read since the last head was complete (over HTTP/1: of the next head).
    pub(crate) head_begun: Cell<bool>,
    /// Bytes written.
    pub(crate) written: Cell<u64>,
    /// The client does not take what there is to write.
    pub(crate) write_blocked: Cell<bool>,
    /// Where requests begin in what was read.
    heads: RefCell<Heads>,
    /// The connection began as one of HTTP/2.
    pub(crate) is_http2: Cell<bool>,
    /// A request was answered behind which there is input that is not going to be read: the rest of its body, or more
    /// requests.
    pub(crate) input_left: Cell<bool>,
    /// What looks like a bare answer and is not sent yet.
    pub(crate) held: RefCell<Vec<u8>>,
    /// It is to be sent.
    pub(crate) release: Cell<bool>,
}

/// Counts a request as open for as long as it lives.
pub(crate) struct OpenRequest<'a>(&'a Link);

impl Link {
    /// Notes bytes that were read, at least one.
    pub(crate) fn note_read(&self, bytes: &[u8]) {
        let mut heads = self.heads.borrow_mut();
        heads.read(bytes);
        if heads.is_http2() {
            self.is_http2.set(true);
        }
        // While a request is open, what comes is its body, or waits its turn.
        self.head_begun.set(self.open_requests.get() == 0);
    }

    /// Notes what an attempt to write gave.
    pub(crate) fn note_write(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = written {
            self.written.set(self.written.get() + bytes as u64);
        }
        self.write_blocked.set(written.is_pending());
        written
    }

    /// Holds bytes back that look like a bare answer.
    pub(crate) fn hold(&self, bytes: &[u8]) {
        self.release.set(false);
        self.held.borrow_mut().extend_from_slice(bytes);
    }

    /// Lets go of what was held back; true if there was something.
    pub(crate) fn release(&self) -> bool {
        let held = !self.held.borrow().is_empty();
        held && !self.release.replace(true)
    }

    /// Whether the target of the request that was opened last holds a `#`. Over HTTP/2 nobody can tell: false.
    pub(crate) fn target_holds_hash(&self) -> bool {
        self.heads.borrow().hash_in() == Some(self.requests.get())
    }

    /// Notes a request whose head is complete.
    pub(crate) fn open_request(&self) -> OpenRequest<'_> {
        self.requests.set(self.requests.get() + 1);
        self.open_requests.set(self.open_requests.get() + 1);
        self.head_begun.set(false);
        OpenRequest(self)
    }
}

impl Drop for OpenRequest<'_> {
    fn drop(&mut self) {
        self.0.open_requests.set(self.0.open_requests.get() - 1);
    }
}
