//! Makes a connection to another node, up to the point where both know each other.

use std::io;
use std::time::Duration;

use prost::Message;
use ringfort_proto::peer::{self as wire, HelloAnswer, Refused, hello_answer::Answer};
use ringfort_types::NodeId;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::{TlsConnector, TlsStream};
use tokio_util::either::Either;

use super::connection::{
    Connection, HELLO_BYTES_MAX, certificate, prepare, read_message, write_message,
};
use super::hello::{Hello, RefusalCode, clean};
use super::tls::PeerTls;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// Nobody was reached.
    #[error("{0}")]
    Connect(io::Error),
    /// No common TLS, or a certificate was not accepted.
    #[error("TLS failed: {0}")]
    Tls(String),
    /// The other side refuses this node.
    #[error("it refuses this node: {}: {}", .0.code, .0.reason)]
    Refused(Refused),
    /// Another node than expected answers.
    #[error("it is not the node that was expected: {}: {}", .0.code, .0.reason)]
    Unexpected(Refused),
    /// It does not speak this protocol, or ends in the middle of it.
    #[error("{0}")]
    Protocol(String),
    /// It took too long.
    #[error("no answer in time while {0}")]
    TimedOut(&'static str),
}

impl DialError {
    /// A connection that broke before it brought an answer.
    pub(super) fn broken(error: &io::Error) -> Self {
        if tls_error(error).is_some() {
            return Self::Tls(explain(error));
        }
        Self::Protocol(match error.kind() {
            io::ErrorKind::UnexpectedEof => "it closed the connection without an answer".into(),
            io::ErrorKind::InvalidData => "its answer is not that of a Ringfort node".into(),
            _ => format!("the connection broke before the answer: {error}"),
        })
    }
}

/// Whom to reach, and how.
pub(super) struct Dial<'a> {
    pub(super) address: &'a str,
    pub(super) tls: Option<&'a PeerTls>,
    pub(super) hello: &'a Hello,
    /// For all of it.
    pub(super) timeout: Duration,
}

impl Dial<'_> {
    /// Gives the connection and who answered: with TLS, the certificate names that node.
    ///
    /// # Errors
    /// See [`DialError`].
    pub(super) async fn run(self) -> Result<(Connection, Hello), DialError> {
        let deadline = Instant::now() + self.timeout;
        let mut doing = "connecting";
        let steps = async {
            let stream = TcpStream::connect(self.address).await.map_err(DialError::Connect)?;
            prepare(&stream).map_err(DialError::Connect)?;
            doing = "agreeing on TLS";
            let mut connection = self.secure(stream).await?;
            doing = "waiting for the answer to the hello";
            let answer = self.greet(&mut connection).await?;
            Ok((connection, answer))
        };
        let finished = timeout_at(deadline, steps).await;
        finished.unwrap_or(Err(DialError::TimedOut(doing)))
    }

    async fn secure(&self, stream: TcpStream) -> Result<Connection, DialError> {
        let Some(tls) = self.tls else {
            return Ok(Either::Left(stream));
        };
        // Not sent, and not checked: certificates name nodes.
        let name =
            ServerName::try_from("ringfort").map_err(|error| DialError::Tls(error.to_string()))?;
        let connected = TlsConnector::from(tls.configs().client).connect(name, stream).await;
        let connection = connected.map_err(|error| DialError::Tls(explain(&error)))?;
        Ok(Either::Right(Box::new(TlsStream::from(connection))))
    }

    async fn greet(&self, connection: &mut Connection) -> Result<Hello, DialError> {
        let hello = self.hello.to_wire().encode_to_vec();
        // With TLS 1.3 a certificate of ours that is not accepted shows only now, and the reason comes to the reader.
        let written = write_message(connection, &hello).await;
        let answer = read_message(connection, HELLO_BYTES_MAX).await;
        let answer = match (answer, written) {
            (Ok(answer), _) => answer,
            (Err(error), Err(write)) if tls_error(&error).is_none() => {
                return Err(DialError::broken(&write));
            }
            (Err(error), _) => return Err(DialError::broken(&error)),
        };
        let hello = match parse_answer(answer)? {
            Ok(hello) => hello,
            Err(refused) => return Err(DialError::Refused(refused)),
        };
        let hello = Hello::from_wire(&hello).map_err(DialError::Unexpected)?;
        check_certificate(connection, &hello.node_id).map_err(DialError::Unexpected)?;
        Ok(hello)
    }
}

/// Whether the other side's certificate, if there is one, names this node.
pub(super) fn check_certificate(connection: &Connection, node_id: &NodeId) -> Result<(), Refused> {
    let Either::Right(_) = connection else {
        return Ok(());
    };
    if certificate(connection).is_some_and(|certificate| certificate.names(node_id)) {
        return Ok(());
    }
    Err(RefusalCode::WrongCertificate.because(format_args!(
        "the certificate does not name {node_id}: it needs the subject alternative name DNS:{node_id} or \
         URI:ringfort://node/{node_id}"
    )))
}

fn parse_answer(answer: bytes::Bytes) -> Result<Result<wire::Hello, Refused>, DialError> {
    let answer = HelloAnswer::decode(answer).ok().and_then(|answer| answer.answer);
    match answer {
        Some(Answer::Accepted(hello)) => Ok(Ok(hello)),
        Some(Answer::Refused(refused)) => {
            Ok(Err(Refused { code: clean(&refused.code), reason: clean(&refused.reason) }))
        }
        None => Err(DialError::Protocol("its answer is not that of a Ringfort node".to_owned())),
    }
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// An error of a TLS handshake, with what it mostly means.
pub(super) fn explain(error: &io::Error) -> String {
    match tls_error(error) {
        Some(rustls::Error::InvalidMessage(_)) => {
            "the other side does not speak TLS: it may lack security.peer_ca, peer_cert and peer_key"
                .to_owned()
        }
        Some(rustls::Error::AlertReceived(alert)) => {
            format!("the other side does not accept this node's certificate ({alert:?})")
        }
        Some(rustls::Error::InvalidCertificate(why)) => {
            format!("the other side's certificate is not accepted: {why}")
        }
        _ => error.to_string(),
    }
}
