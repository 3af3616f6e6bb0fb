//! One connection from its first byte to its last: hyper speaks HTTP/1.1 or HTTP/2, whichever the client begins with.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};

use super::bell::Bell;
use super::body::Body;
use super::door::serve;
use super::link::Link;
use super::options::HttpOptions;
use super::stream::Stream;
use super::watch::{Verdict, Watch};
use super::{HttpDoor, ending};
use crate::Backend;

/// Why a connection ended before its time. For logs: there is nobody left to tell.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// What the client sent was no HTTP, or the connection broke.
    #[error("the connection broke: {0}")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The client took too long over a head, or did not take its answer.
    #[error("the client was too slow")]
    TooSlow,
}

/// How HTTP/1.1 and HTTP/2 are spoken.
pub(crate) struct Protocols {
    builder: auto::Builder<LocalExecutor>,
    tick: Duration,
    idle_ticks_max: u64,
}

impl Protocols {
    /// Sets both up.
    pub(crate) fn new(options: &HttpOptions) -> Self {
        let mut builder = auto::Builder::new(LocalExecutor);
        // No `header_read_timeout`: it costs an allocation, a timer and a clock read per request, and the watch does the
        // same for none. No `pipeline_flush`: it buffers the answers to all pipelined requests without a bound.
        builder.http1().half_close(true).max_buf_size(options.head_bytes_max.max(8192));
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(options.ping_interval)
            .max_concurrent_streams(options.streams_max)
            .initial_stream_window_size(options.stream_window_bytes)
            .initial_connection_window_size(options.connection_window_bytes)
            .max_header_list_size(u32::try_from(options.head_bytes_max).unwrap_or(u32::MAX));
        let tick = options.head_timeout.max(Duration::from_millis(1));
        let idle_ticks = options.idle_timeout.as_nanos() / tick.as_nanos();
        Self { builder, tick, idle_ticks_max: u64::try_from(idle_ticks).unwrap_or(u64::MAX).max(1) }
    }
}

/// Runs the streams of an HTTP/2 connection beside it, on the same thread.
#[derive(Clone, Copy, Debug)]
struct LocalExecutor;

impl<F> Executor<F> for LocalExecutor
where
    F: Future + 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

impl<B: Backend> HttpDoor<B> {
    /// Serves one connection until it ends. Runs within a `LocalSet`, on a runtime with timers.
    ///
    /// Once `shutdown` completes, requests under way are answered and then the connection closes; an idle one closes at
    /// once. How long to wait for that is up to the caller: dropping the future drops the connection.
    ///
    /// # Errors
    /// The connection ended before its time, through the client's fault or the network's.
    pub async fn serve_connection<I>(
        self: Rc<Self>,
        io: I,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ConnectionError>
    where
        I: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let link = Rc::new(Link::default());
        let service = service_fn(|request| serve(self.clone(), link.clone(), request));
        let io = Rc::new(RefCell::new(io));
        let stream = TokioIo::new(Stream::new(io.clone(), link.clone()));
        let connection = self.protocols.builder.serve_connection(stream, service);
        let result = self.drive(connection, &link, shutdown).await;
        let no_http = match &result {
            Err(ConnectionError::TooSlow) => return result,
            Err(ConnectionError::Broken(error)) => error.downcast_ref::<hyper::Error>(),
            Ok(()) => None,
        };
        let no_http = no_http.filter(|error| error.is_parse());
        let held = link.held.take();
        let last_bytes = match no_http {
            Some(error) if !held.is_empty() => {
                let request_id = self.request_ids.next();
                tracing::debug!(?request_id, %error, "refused what is no HTTP");
                let head_bytes_max = self.options.head_bytes_max;
                ending::answer_to_no_http(&held, error, &request_id, head_bytes_max)
            }
            _ => held,
        };
        let linger = link.input_left.get() || no_http.is_some();
        let ended = ending::end(&io, &last_bytes, linger).await;
        result.and(ended.map_err(|error| ConnectionError::Broken(error.into())))
    }

    async fn drive<I, S>(
        &self,
        connection: auto::Connection<'_, I, S, LocalExecutor>,
        link: &Link,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ConnectionError>
    where
        I: hyper::rt::Read + hyper::rt::Write + Unpin + 'static,
        S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>,
        S::Future: 'static,
    {
        let tick = self.protocols.tick;
        let mut connection = pin!(connection);
        let mut watch = Watch::new(self.protocols.idle_ticks_max);
        let mut alarm = pin!(tokio::time::sleep(tick));
        let mut shutdown = pin!(shutdown);
        let mut bell = Bell::new(Waker::noop());
        let mut closing = false;
        poll_fn(|cx| {
            let verdict = bell.poll(cx, |cx| {
                if !closing && shutdown.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Verdict::Close);
                }
                while alarm.as_mut().poll(cx).is_ready() {
                    alarm.as_mut().reset(tokio::time::Instant::now() + tick);
                    match watch.tick(link) {
                        Verdict::Keep => {}
                        Verdict::Close if closing => return Poll::Ready(Verdict::Abort),
                        verdict => return Poll::Ready(verdict),
                    }
                }
                Poll::Pending
            });
            match verdict {
                Poll::Pending | Poll::Ready(Verdict::Keep) => {}
                Poll::Ready(Verdict::Abort) => return Poll::Ready(Err(ConnectionError::TooSlow)),
                Poll::Ready(Verdict::Close) => {
                    closing = true;
                    connection.as_mut().graceful_shutdown();
                    // The alarm goes on.
                    bell.ring();
                }
            }
            // Over HTTP/1 the answer itself ends the connection.
            let is_last = self.options.starting && link.is_http2.get() && link.requests.get() > 0;
            if is_last && !closing {
                closing = true;
                connection.as_mut().graceful_shutdown();
            }
            let mut polled = connection.as_mut().poll(cx);
            while polled.is_pending() && link.release() {
                polled = connection.as_mut().poll(cx);
            }
            match polled {
                // hyper gave up waiting for the first byte, because it was told to.
                Poll::Ready(Err(_)) if closing && link.requests.get() == 0 => Poll::Ready(Ok(())),
                polled => polled.map_err(ConnectionError::Broken),
            }
        })
        .await
    }
}
