//! A client over one TCP connection, for protocols whose requests and answers are plain bytes.
//!
//! It is lean on purpose: one buffer out, one buffer in, one `send` and one `recv` per operation, and a deadline that
//! costs nothing while answers come in time (one timer per connection that is moved only when it fires).

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::{Client, Endpoint, Expected, Failure};
use crate::workload::{Operation, Values};

/// Room for an answer before the buffer grows.
const READ_BUFFER_BYTES: usize = 16 * 1024;
/// An answer that is not complete within this size is none.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// How a protocol writes a request and reads an answer.
pub(crate) trait Codec {
    /// Appends the request.
    fn encode(&mut self, operation: &Operation, values: &Values, out: &mut Vec<u8>);

    /// Looks for one whole answer at the front of the input; `None` while it is incomplete.
    ///
    /// # Errors
    /// The bytes are no answer of this protocol.
    fn decode(&mut self, expected: &Expected<'_>, input: &[u8])
    -> Result<Option<Decoded>, Failure>;
}

/// One whole answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Decoded {
    /// Its length.
    pub(crate) consumed: usize,
    /// The connection takes no further request.
    pub(crate) closes: bool,
    /// Whether it is what was expected.
    pub(crate) verdict: Result<(), Failure>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct WireClient<C> {
    codec: C,
    endpoint: Endpoint,
    timeout: Duration,
    allow_absent: bool,
    connection: Option<Connection>,
    request: Vec<u8>,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    input: BytesMut,
    alarm: Pin<Box<Sleep>>,
}

impl<C: Codec> WireClient<C> {
    pub(crate) fn new(codec: C, endpoint: Endpoint, timeout: Duration, allow_absent: bool) -> Self {
        Self { codec, endpoint, timeout, allow_absent, connection: None, request: Vec::new() }
    }

    async fn answer(&mut self, expected: &Expected<'_>) -> Result<(), Failure> {
        let Some(connection) = &mut self.connection else {
            return Err(Failure::new("connection", "there is no connection"));
        };
        let started = Instant::now();
        let Connection { stream, input, alarm } = connection;
        within(alarm, started, self.timeout, stream.write_all(&self.request)).await?;
        loop {
            if let Some(decoded) = self.codec.decode(expected, input)? {
                if decoded.consumed != input.len() {
                    return Err(Failure::new("protocol", "bytes follow the answer"));
                }
                input.clear();
                if decoded.closes {
                    self.connection = None;
                }
                return decoded.verdict;
            }
            if input.len() > ANSWER_BYTES_MAX {
                return Err(Failure::new("protocol", "the answer is too long"));
            }
            input.reserve(READ_BUFFER_BYTES);
            let read = within(alarm, started, self.timeout, stream.read_buf(input)).await?;
            if read == 0 {
                return Err(Failure::new("connection", "the server closed the connection"));
            }
        }
    }
}

impl<C: Codec> Client for WireClient<C> {
    async fn prepare(&mut self) -> Result<(), Failure> {
        if self.connection.is_some() {
            return Ok(());
        }
        let failed = |error: std::io::Error| Failure::new("connection", error.to_string());
        let address = self.endpoint.address;
        let stream = tokio::time::timeout(self.timeout, TcpStream::connect(address))
            .await
            .map_err(|_| Failure::new("timeout", format!("no connection to {address}")))?
            .map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        self.connection = Some(Connection {
            stream,
            input: BytesMut::with_capacity(READ_BUFFER_BYTES),
            alarm: Box::pin(tokio::time::sleep(self.timeout)),
        });
        Ok(())
    }

    async fn exchange(&mut self, operation: &Operation, values: &Values) -> Result<(), Failure> {
        self.request.clear();
        self.codec.encode(operation, values, &mut self.request);
        let expected = Expected {
            kind: operation.kind,
            key: &operation.key,
            values,
            allow_absent: self.allow_absent,
        };
        let result = self.answer(&expected).await;
        let broken = |failure: &Failure| {
            matches!(failure.code.as_ref(), "connection" | "timeout" | "protocol")
        };
        if result.as_ref().is_err_and(broken) {
            // What is left on the connection belongs to the failed operation.
            self.connection = None;
        }
        result
    }
}

/// Runs I/O until the time since `started` is up. The alarm is moved only when it fires.
async fn within<T>(
    alarm: &mut Pin<Box<Sleep>>,
    started: Instant,
    timeout: Duration,
    io: impl Future<Output = std::io::Result<T>>,
) -> Result<T, Failure> {
    let mut io = pin!(io);
    poll_fn(|context| {
        if let Poll::Ready(result) = io.as_mut().poll(context) {
            return Poll::Ready(
                result.map_err(|error| Failure::new("connection", error.to_string())),
            );
        }
        while alarm.as_mut().poll(context).is_ready() {
            let due = started + timeout;
            if Instant::now() >= due {
                return Poll::Ready(Err(Failure::new("timeout", "no answer in time")));
            }
            alarm.as_mut().reset(due.into());
        }
        Poll::Pending
    })
    .await
}
