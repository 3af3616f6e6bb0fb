//! The connections that other nodes make: the handshake, then frames, or one question of formation.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use prost::Message;
use ringfort_proto::peer::{self as wire, HelloAnswer, Refused, hello_answer::Answer};
use ringfort_proto::{FRAME_BYTES_MAX, MESSAGE_BYTES_MAX, decode_frame};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsStream};
use tokio_util::codec::{Decoder, LengthDelimitedCodec};
use tokio_util::either::Either;

use super::boots::{self, Seated};
use super::connection::{
    Connection, HELLO_BYTES_MAX, TLS_FIRST_BYTE, close, prepare, read_message, write_message,
};
use super::dial::{check_certificate, explain};
use super::hello::{Channel, Hello, RefusalCode};
use super::links::{Received, Room, Shared};

/// A buffer's size, and the room in it below which a read gets a new one.
const READ_BYTES: usize = 64 << 10;
const READ_BYTES_MIN: usize = 16 << 10;
/// Behind a frame longer than this the buffer is given up, so that a connection that is silent holds no more.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// Why a connection ended before its first frame.
#[derive(Debug, thiserror::Error)]
enum Rejected {
    /// Whoever connected said nothing.
    #[error("it closed the connection without a word")]
    Silent,
    #[error("the handshake broke: {0}")]
    Broken(#[from] io::Error),
    #[error("TLS failed: {0}")]
    Tls(String),
    #[error("{who} was refused: {}: {}", refused.code, refused.reason)]
    Refused { who: String, refused: Refused },
}

/// Serves one connection until it ends, or this node stops.
pub(super) async fn serve_one(
    shared: Rc<Shared>,
    stream: TcpStream,
    mut closing: watch::Receiver<bool>,
) {
    let remote = stream.peer_addr().map_or_else(|_| "unknown".to_owned(), |addr| addr.to_string());
    let serve = async {
        match timeout(shared.options.handshake_timeout, greet(&shared, stream)).await {
            Ok(Ok((connection, hello, None))) => answer(&shared, connection, &hello).await,
            Ok(Ok((connection, hello, Some(seated)))) => {
                shared.nudge(hello.number);
                serve_frames(&shared, connection, &hello, &seated).await;
            }
            Ok(Err(Rejected::Silent)) => {}
            Ok(Err(rejected)) => reject(&shared, &remote, &rejected.to_string()),
            Err(_) => reject(&shared, &remote, "the handshake took too long"),
        }
    };
    tokio::select! {
        () = serve => {}
        // A sender that is gone has nothing left to accept for.
        _ = closing.wait_for(|closing| *closing) => {}
    }
}

fn reject(shared: &Shared, remote: &str, why: &str) {
    shared.count_accepted(|stats| stats.handshakes_failed += 1);
    if let Some(suppressed) = shared.options.notes.strangers(Instant::now()) {
        tracing::warn!(remote, suppressed, "a connection to listen.peer was closed: {why}");
    }
}

/// The handshake, from the side of whoever is connected to.
async fn greet(
    shared: &Shared,
    stream: TcpStream,
) -> Result<(Connection, Hello, Option<Seated>), Rejected> {
    prepare(&stream)?;
    let mut connection = secure(shared, stream).await?;
    let message = read_message(&mut connection, HELLO_BYTES_MAX).await?;
    let hello = match understand(shared, &connection, message) {
        Ok(hello) => hello,
        Err((who, refused)) => return Err(refuse(connection, who, refused).await),
    };
    // A question of formation needs no seat: nothing is done for whoever asks.
    let seated = match hello.channel {
        Channel::Formation => None,
        _ => match boots::seat(shared, &hello).await {
            Ok(seated) => Some(seated),
            Err(refused) => {
                return Err(refuse(connection, hello.node_id.to_string(), refused).await);
            }
        },
    };
    let own = shared.hello(hello.channel, hello.number).to_wire();
    let accepted = HelloAnswer { answer: Some(Answer::Accepted(own)) };
    write_message(&mut connection, &accepted.encode_to_vec()).await?;
    Ok((connection, hello, seated))
}

/// Who says hello, if that is acceptable; else who that seems to be, and why not.
fn understand(
    shared: &Shared,
    connection: &Connection,
    message: bytes::Bytes,
) -> Result<Hello, (String, Refused)> {
    let malformed = |_| {
        let refused = RefusalCode::Malformed.because("this is no hello of a Ringfort node");
        ("a stranger".to_owned(), refused)
    };
    let hello = wire::Hello::decode(message).map_err(malformed)?;
    let hello = Hello::from_wire(&hello).map_err(|refused| ("a stranger".to_owned(), refused))?;
    check_certificate(connection, &hello.node_id)
        .and_then(|()| shared.tell(|host| host.admit(&hello)))
        .map_err(|refused| (hello.node_id.to_string(), refused))?;
    Ok(hello)
}

/// Tells whoever connected why it is refused.
async fn refuse(mut connection: Connection, who: String, refused: Refused) -> Rejected {
    let answer = HelloAnswer { answer: Some(Answer::Refused(refused.clone())) };
    // Whoever does not wait for the answer has no use for it.
    if write_message(&mut connection, &answer.encode_to_vec()).await.is_ok() {
        close(connection).await;
    }
    Rejected::Refused { who, refused }
}

/// Agrees on TLS, if this node has it. Whoever begins otherwise is told so, in its own terms.
async fn secure(shared: &Shared, mut stream: TcpStream) -> Result<Connection, Rejected> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 {
        return Err(Rejected::Silent);
    }
    match (&shared.tls, first[0] == TLS_FIRST_BYTE) {
        (None, false) => Ok(Either::Left(stream)),
        (Some(tls), true) => {
            let acceptor = TlsAcceptor::from(tls.configs().server);
            match acceptor.accept(stream).into_fallible().await {
                Ok(stream) => Ok(Either::Right(Box::new(TlsStream::from(stream)))),
                Err((error, stream)) => {
                    close(stream).await;
                    Err(Rejected::Tls(explain(&error)))
                }
            }
        }
        (Some(_), false) => {
            let hello = read_message(&mut stream, HELLO_BYTES_MAX).await?;
            let who =
                wire::Hello::decode(hello).ok().and_then(|hello| Hello::from_wire(&hello).ok());
            let who =
                who.map_or_else(|| "a stranger".to_owned(), |hello| hello.node_id.to_string());
            let refused = RefusalCode::TlsRequired.because(
                "this node speaks TLS only: set security.peer_ca, peer_cert and peer_key there, too",
            );
            Err(refuse(Either::Left(stream), who, refused).await)
        }
        (None, true) => {
            // An answer that is no TLS: the other side's TLS says so to its log.
            let refused = RefusalCode::Malformed.because("this node does not speak TLS");
            Err(refuse(Either::Left(stream), "whoever speaks TLS".to_owned(), refused).await)
        }
    }
}

/// One question, one answer.
async fn answer(shared: &Shared, mut connection: Connection, hello: &Hello) {
    let exchange = async {
        let question = read_message(&mut connection, MESSAGE_BYTES_MAX).await?;
        if let Some(answer) = shared.tell(|host| host.answer(hello, question)).await {
            write_message(&mut connection, &answer).await?;
        }
        close(connection).await;
        io::Result::Ok(())
    };
    match timeout(shared.options.answer_timeout, exchange).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(node = %hello.node_id, "a question broke off: {error}"),
        Err(_) => tracing::debug!(node = %hello.node_id, "a question took too long"),
    }
}

/// Reads frames until the connection ends, and says so where that is no ordinary end.
async fn serve_frames(shared: &Shared, connection: Connection, hello: &Hello, seated: &Seated) {
    shared.count_accepted(|stats| stats.connections += 1);
    let _count = Counted(shared);
    let mut directories = shared.directory.subscribe();
    // It may have changed since the handshake asked.
    directories.mark_changed();
    let admitted = async {
        while directories.changed().await.is_ok() {
            if let Err(refused) = shared.tell(|host| host.admit(hello)) {
                return refused;
            }
        }
        std::future::pending().await
    };
    let channel = hello.channel.as_str();
    tokio::select! {
        ended = read_frames(shared, connection, hello, seated) => match ended {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                shared.count_accepted(|stats| stats.malformed += 1);
                if let Some(suppressed) = shared.options.notes.strangers(Instant::now()) {
                    tracing::warn!(node = %hello.node_id, channel, suppressed, "a connection was closed: {error}");
                }
            }
            Err(error) => {
                tracing::debug!(node = %hello.node_id, channel, "a connection broke: {error}");
            }
        },
        () = seated.lost() => {
            tracing::warn!(node = %hello.node_id, channel, boot = %hello.boot_id, "a connection was closed: another start of this node is connected");
        }
        refused = admitted => {
            tracing::warn!(node = %hello.node_id, channel, "a connection was closed: {}: {}", refused.code, refused.reason);
        }
    }
}

struct Counted<'a>(&'a Shared);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.count_accepted(|stats| stats.connections -= 1);
    }
}

async fn read_frames(
    shared: &Shared,
    mut connection: Connection,
    hello: &Hello,
    seated: &Seated,
) -> io::Result<()> {
    let mut codec = LengthDelimitedCodec::builder().max_frame_length(FRAME_BYTES_MAX).new_codec();
    let window_bytes = shared.options.window_bytes.max(1);
    let window = Arc::new(Semaphore::new(window_bytes as usize));
    let mut buffer = BytesMut::new();
    loop {
        let mut longest = 0;
        while let Some(body) = codec.decode(&mut buffer)? {
            let bytes = body.len();
            longest = longest.max(bytes);
            let share = u32::try_from(bytes).unwrap_or(u32::MAX).clamp(1, window_bytes);
            let permit = Arc::clone(&window).acquire_many_owned(share).await;
            let room = Room::new(permit.map_err(io::Error::other)?);
            // Values stay where they are, in the bytes that were read.
            let frame = decode_frame(body.freeze())
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            shared.count_accepted(|stats| {
                stats.frames += 1;
                stats.bytes += bytes as u64 + 4;
            });
            let (from, channel) = (hello.number, hello.channel);
            shared.tell(|host| host.handle_frame(Received { from, channel, frame, room }));
        }
        if longest > KEPT_BYTES_MAX && buffer.is_empty() {
            buffer = BytesMut::new();
        }
        if buffer.capacity() - buffer.len() < READ_BYTES_MIN {
            buffer.reserve(READ_BYTES);
        }
        if connection.read_buf(&mut buffer).await? == 0 {
            let ends_between_frames = buffer.is_empty();
            return if ends_between_frames {
                Ok(())
            } else {
                Err(io::ErrorKind::UnexpectedEof.into())
            };
        }
        seated.hear();
    }
}
