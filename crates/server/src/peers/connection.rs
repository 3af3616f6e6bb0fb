//! One connection between two nodes, whatever carries it.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;
use tokio_util::either::Either;

use super::tls::PeerCertificate;

/// Over TCP, or over TLS over TCP.
pub(super) type Connection = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// Longest message of a handshake.
pub(super) const HELLO_BYTES_MAX: usize = 4 << 10;
/// First byte of whoever begins with TLS: a handshake record. No hello is long enough to begin with it.
pub(super) const TLS_FIRST_BYTE: u8 = 0x16;

/// A node that is gone without a word is noticed within this time, whether something is sent to it or not.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// A connection that carries nothing is probed this often.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);

/// The certificate of the other side, with TLS.
pub(super) fn certificate(connection: &Connection) -> Option<PeerCertificate> {
    match connection {
        Either::Left(_) => None,
        Either::Right(tls) => PeerCertificate::of(tls.get_ref().1.peer_certificates()),
    }
}

/// Prepares a socket for frames.
///
/// # Errors
/// The socket is gone already.
pub(super) fn prepare(stream: &TcpStream) -> io::Result<()> {
    // Frames are written whole: waiting for more only delays them.
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, PROBE_INTERVAL)?;
    sockopt::set_tcp_keepintvl(stream, PROBE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(stream, 2)?;
    let silence_ms = u32::try_from(SILENCE_MAX.as_millis()).unwrap_or(u32::MAX);
    Ok(sockopt::set_tcp_user_timeout(stream, silence_ms)?)
}

/// Writes one message behind its length.
pub(super) async fn write_message(
    connection: &mut (impl AsyncWrite + Unpin),
    message: &[u8],
) -> io::Result<()> {
    let too_long = |_| io::Error::new(io::ErrorKind::InvalidInput, "the message is too long");
    let length = u32::try_from(message.len()).map_err(too_long)?;
    let mut bytes = BytesMut::with_capacity(size_of_val(&length) + message.len());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(message);
    connection.write_all(&bytes).await?;
    connection.flush().await
}

/// Reads one message, and not a byte beyond it. A longer one than this is an error before any of it is read.
pub(super) async fn read_message(
    connection: &mut (impl AsyncRead + Unpin),
    bytes_max: usize,
) -> io::Result<Bytes> {
    let length = usize::try_from(connection.read_u32().await?).unwrap_or(usize::MAX);
    if length > bytes_max {
        let what = format!("a message of {length} bytes came where {bytes_max} are allowed");
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    let mut message = BytesMut::zeroed(length);
    connection.read_exact(&mut message).await?;
    Ok(message.freeze())
}

/// Closes a connection behind the last thing said. Linux hands that to the other side even where the other side is still
/// sending, and the connection is reset for it.
pub(super) async fn close(mut connection: impl AsyncWrite + Unpin) {
    // Whoever is gone has nothing left to read.
    drop(connection.shutdown().await);
}
