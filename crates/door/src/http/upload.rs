//! Reading the bodies of requests: refused by their announced length, admitted before they are buffered, counted while
//! they arrive, and waited for no longer than the request has time.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::EXPECT;
use http_body::{Body as _, Frame};
use hyper::body::Incoming;
use ringfort_types::{Code, Monotonic, Refusal};

use super::ending::{ENDING_TIME_MAX, LINGER_BYTES_MAX};
use crate::Backend;

/// A body of unknown length is admitted in steps that double, beginning with this many bytes.
const FIRST_STEP_BYTES: usize = 64 << 10;

/// A refused body up to this length is read and dropped if it is here already, so that the connection can go on.
const SKIP_BYTES_MAX: u64 = 64 << 10;

/// The largest body of a route, and how a message speaks of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    /// `value` or `body`.
    pub(crate) part: &'static str,
    /// In bytes.
    pub(crate) bytes_max: usize,
    /// The setting that changes it.
    pub(crate) setting: &'static str,
}

impl Limit {
    fn refuse(self, bytes: Option<u64>) -> Refusal {
        let Self { part, bytes_max, setting } = self;
        let detail = match bytes {
            Some(bytes) => {
                format!("the {part} has {bytes} bytes; the limit is {bytes_max} ({setting})")
            }
            None => format!("the {part} is longer than the limit of {bytes_max} bytes ({setting})"),
        };
        Refusal::not_applied(Code::TooLarge, detail)
    }
}

/// A body that is here as a whole, and the room that was reserved for it.
pub(crate) struct Upload<A> {
    /// The body.
    pub(crate) bytes: Bytes,
    /// Held until the request is answered.
    pub(crate) _room: Room<A>,
}

/// Reserved room; one reservation for a body of known length.
pub(crate) struct Room<A> {
    first: Option<A>,
    more: Vec<A>,
    bytes: usize,
}

impl<A> Room<A> {
    fn none() -> Self {
        Self { first: None, more: Vec::new(), bytes: 0 }
    }

    fn grow<B: Backend<Admission = A>>(&mut self, by: usize, backend: &B) -> Result<(), Refusal> {
        let admission = backend.admit(by)?;
        self.bytes += by;
        if self.first.is_none() {
            self.first = Some(admission);
        } else {
            self.more.push(admission);
        }
        Ok(())
    }
}

/// The body of one request, as it arrives.
pub(crate) struct Arriving {
    incoming: Incoming,
    /// Its end was not seen yet.
    open: Cell<bool>,
}

impl Arriving {
    /// Takes over the body of a request.
    pub(crate) fn new(incoming: Incoming) -> Self {
        let open = Cell::new(!incoming.is_end_stream());
        Self { incoming, open }
    }

    /// Whether something of it may still be on its way.
    pub(crate) fn is_open(&self) -> bool {
        self.open.get()
    }

    /// Reads it all.
    pub(crate) async fn read<B: Backend>(
        &mut self,
        backend: &B,
        limit: Limit,
        deadline: Monotonic,
    ) -> Result<Upload<B::Admission>, Refusal> {
        let mut room = Room::none();
        if !self.is_open() {
            let bytes = Bytes::new();
            return Ok(Upload { bytes, _room: room });
        }
        let announced = self.incoming.size_hint().exact();
        if let Some(length) = announced {
            match usize::try_from(length) {
                Ok(length) if length <= limit.bytes_max => room.grow(length, backend)?,
                _ => return Err(limit.refuse(announced)),
            }
        }
        // Most bodies came along with their heads: no timer for them.
        let first = match poll_fn(|cx| Poll::Ready(self.poll_data(cx))).await {
            Poll::Ready(first) => first,
            Poll::Pending => {
                let time_left = deadline.since(backend.now());
                let waited = tokio::time::timeout(time_left, poll_fn(|cx| self.poll_data(cx)));
                waited.await.map_err(|_| too_late())?
            }
        };
        let bytes = match first {
            None => Bytes::new(),
            Some(first)
                if !self.is_open() && room.bytes >= first.as_ref().map_or(0, Bytes::len) =>
            {
                first?
            }
            Some(first) => {
                let time_left = deadline.since(backend.now());
                let rest = self.read_rest(first?, &mut room, backend, limit);
                tokio::time::timeout(time_left, rest).await.map_err(|_| too_late())??
            }
        };
        Ok(Upload { bytes, _room: room })
    }

    async fn read_rest<B: Backend>(
        &mut self,
        first: Bytes,
        room: &mut Room<B::Admission>,
        backend: &B,
        limit: Limit,
    ) -> Result<Bytes, Refusal> {
        let mut all = BytesMut::with_capacity(room.bytes);
        let mut next = Some(Ok(first));
        while let Some(piece) = next {
            let piece = piece?;
            let length = all.len() + piece.len();
            if length > limit.bytes_max {
                return Err(limit.refuse(None));
            }
            while length > room.bytes {
                let step = room.bytes.max(FIRST_STEP_BYTES);
                room.grow(step.min(limit.bytes_max.saturating_sub(room.bytes)).max(1), backend)?;
            }
            all.extend_from_slice(&piece);
            next = poll_fn(|cx| self.poll_data(cx)).await;
        }
        Ok(all.freeze())
    }

    /// The next bytes of the body; `None` at its end. Trailers are dropped: none has a meaning here.
    fn poll_data(
        &mut self,
        cx: &mut std::task::Context<'_>,
    ) -> Poll<Option<Result<Bytes, Refusal>>> {
        loop {
            if !self.is_open() {
                return Poll::Ready(None);
            }
            let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) else {
                return Poll::Pending;
            };
            self.open.set(frame.is_some() && !self.incoming.is_end_stream());
            match frame.map(|frame| frame.map(Frame::into_data)) {
                None => return Poll::Ready(None),
                Some(Ok(Ok(data))) => return Poll::Ready(Some(Ok(data))),
                Some(Ok(Err(_trailers))) => {}
                Some(Err(error)) => {
                    self.open.set(true);
                    return Poll::Ready(Some(Err(broken(&error))));
                }
            }
        }
    }

    /// Refuses a body where the route takes none.
    pub(crate) async fn expect_none<B: Backend>(
        &mut self,
        backend: &B,
        deadline: Monotonic,
    ) -> Result<(), Refusal> {
        if !self.is_open() {
            return Ok(());
        }
        let refusal = || Refusal::new(Code::InvalidArgument, "this route and method take no body");
        if self.incoming.size_hint().exact().is_some() {
            return Err(refusal());
        }
        // A body of unknown length may turn out to be empty.
        let time_left = deadline.since(backend.now());
        let first = tokio::time::timeout(time_left, poll_fn(|cx| self.poll_data(cx)));
        match first.await.map_err(|_| too_late())? {
            None => Ok(()),
            Some(piece) => Err(piece.err().unwrap_or_else(refusal)),
        }
    }

    /// Reads and drops the body of a refused request as far as it is here, if it is short and the client did not ask
    /// first whether to send it.
    pub(crate) async fn skip_short_rest(&mut self, headers: &HeaderMap) {
        let short =
            self.incoming.size_hint().exact().is_some_and(|length| length <= SKIP_BYTES_MAX);
        if !self.is_open() || !short || headers.contains_key(EXPECT) {
            return;
        }
        poll_fn(|cx| {
            while let Poll::Ready(Some(Ok(_))) = self.poll_data(cx) {}
            Poll::Ready(())
        })
        .await;
    }

    /// Reads and drops what still comes, within the bounds of a connection's ending. Over HTTP/2, where the connection
    /// goes on: a body that is dropped resets its stream, and some clients then forget the answer they have.
    pub(crate) async fn drop_rest(mut self) {
        let dropping = async {
            let mut dropped = 0;
            while let Some(Ok(piece)) = poll_fn(|cx| self.poll_data(cx)).await {
                dropped += piece.len();
                if dropped > LINGER_BYTES_MAX {
                    return;
                }
            }
        };
        // Too late is an end like any other.
        tokio::time::timeout(ENDING_TIME_MAX, dropping).await.unwrap_or(());
    }
}

fn too_late() -> Refusal {
    let detail = "the body did not arrive within the request's time (Ringfort-Timeout-Ms)";
    Refusal::not_applied(Code::Timeout, detail)
}

fn broken(error: &hyper::Error) -> Refusal {
    Refusal::not_applied(
        Code::InvalidArgument,
        format!("the body is malformed or ended early: {error}"),
    )
}
