//! A blocking HTTP/1.1 client for tests: one connection, kept alive, one request at a time.
//!
//! It never retries, and an error says whether any byte of the request may have left: only then is the outcome of a write
//! in doubt.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// Longer than any request may take (`Ringfort-Timeout-Ms` is at most a minute).
const READ_TIMEOUT: Duration = Duration::from_secs(70);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const HEAD_BYTES_MAX: usize = 64 << 10;
const HEADERS_MAX: usize = 64;
const BODY_BYTES_MAX: usize = 64 << 20;

/// A request to send.
#[derive(Clone, Debug, Default)]
pub struct Request<'a> {
    /// Its method.
    pub method: &'a str,
    /// Path and query, already encoded.
    pub target: &'a str,
    /// Headers besides `Host` and `Content-Length`.
    pub headers: &'a [(&'a str, &'a str)],
    /// Its body.
    pub body: &'a [u8],
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header of this name (in lower case).
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The body as JSON; `null` where it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A request without an answer.
#[derive(Debug)]
pub enum HttpError {
    /// No byte of it left.
    NotSent(io::Error),
    /// It may have arrived.
    Broken(io::Error),
}

impl std::fmt::Display for HttpError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotSent(error) => write!(f, "request not sent: {error}"),
            Self::Broken(error) => write!(f, "no answer: {error}"),
        }
    }
}

impl std::error::Error for HttpError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotSent(error) | Self::Broken(error) => Some(error),
        }
    }
}

/// A client of one server.
#[derive(Debug)]
pub struct HttpClient {
    address: SocketAddr,
    timeout: Duration,
    header: Option<(&'static str, String)>,
    connection: Option<BufReader<TcpStream>>,
}

impl HttpClient {
    /// A client of the server on this loopback port. Connects with the first request.
    #[must_use]
    pub fn new(port: u16) -> Self {
        Self {
            address: (Ipv4Addr::LOCALHOST, port).into(),
            timeout: READ_TIMEOUT,
            header: None,
            connection: None,
        }
    }

    /// Gives up on an answer after this time.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sends this header with every request.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: &str) -> Self {
        self.header = Some((name, value.to_owned()));
        self
    }

    /// Sends a request and reads its answer. After an error the next request opens a new connection.
    ///
    /// # Errors
    /// There is no answer.
    pub fn send(&mut self, request: &Request<'_>) -> Result<Response, HttpError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect().map_err(HttpError::NotSent)?,
        };
        let own = self.header.as_ref().map(|(name, value)| (*name, value.as_str()));
        let headers: Vec<_> = own.into_iter().chain(request.headers.iter().copied()).collect();
        let request = Request { headers: &headers, ..request.clone() };
        let exchange = exchange(&mut connection, &request, self.address);
        let (response, keep_alive) = exchange.map_err(HttpError::Broken)?;
        if keep_alive {
            self.connection = Some(connection);
        }
        Ok(response)
    }

    /// Sends a request without headers or body.
    ///
    /// # Errors
    /// There is no answer.
    pub fn call(&mut self, method: &str, target: &str) -> Result<Response, HttpError> {
        self.send(&Request { method, target, ..Request::default() })
    }

    /// `GET`.
    ///
    /// # Errors
    /// There is no answer.
    pub fn get(&mut self, target: &str) -> Result<Response, HttpError> {
        self.call("GET", target)
    }

    /// `PUT` of a key.
    ///
    /// # Errors
    /// There is no answer.
    pub fn put(&mut self, key: &str, value: &[u8]) -> Result<Response, HttpError> {
        self.send(&Request {
            method: "PUT",
            target: &format!("/v1/kv/{key}"),
            body: value,
            ..Request::default()
        })
    }

    fn connect(&self) -> io::Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect_timeout(&self.address, CONNECT_TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(self.timeout))?;
        stream.set_write_timeout(Some(self.timeout))?;
        Ok(BufReader::new(stream))
    }
}

fn exchange(
    connection: &mut BufReader<TcpStream>,
    request: &Request<'_>,
    host: SocketAddr,
) -> io::Result<(Response, bool)> {
    let Request { method, target, headers, body } = request;
    let mut bytes = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n").into_bytes();
    for (name, value) in *headers {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    if !body.is_empty() || *method != "GET" {
        bytes.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    connection.get_mut().write_all(&bytes)?;
    read_response(connection, *method == "HEAD")
}

fn invalid(what: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_string())
}

/// The answer, and whether the connection may be used again.
fn read_response(from: &mut impl BufRead, head_only: bool) -> io::Result<(Response, bool)> {
    let mut response = read_head(from)?;
    let keep_alive = response.header("connection") != Some("close");
    if head_only || matches!(response.status, 204 | 304) {
        return Ok((response, keep_alive));
    }
    if response.header("transfer-encoding") == Some("chunked") {
        response.body = read_chunks(from)?;
    } else if let Some(len) = response.header("content-length") {
        let len: usize = len.parse().map_err(invalid)?;
        response.body = read_exactly(from, len)?;
    } else {
        let limit = u64::try_from(BODY_BYTES_MAX).map_err(invalid)?;
        from.take(limit).read_to_end(&mut response.body)?;
        return Ok((response, false));
    }
    Ok((response, keep_alive))
}

fn read_head(from: &mut impl BufRead) -> io::Result<Response> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let limit =
            u64::try_from(HEAD_BYTES_MAX - head.len().min(HEAD_BYTES_MAX)).map_err(invalid)?;
        if from.take(limit).read_until(b'\n', &mut head)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Response::new(&mut headers);
    parsed.parse(&head).map_err(invalid)?;
    let pair = |header: &httparse::Header<'_>| {
        let value = String::from_utf8_lossy(header.value).into_owned();
        (header.name.to_ascii_lowercase(), value)
    };
    Ok(Response {
        status: parsed.code.ok_or_else(|| invalid("no status"))?,
        headers: parsed.headers.iter().map(pair).collect(),
        body: Vec::new(),
    })
}

fn read_exactly(from: &mut impl BufRead, len: usize) -> io::Result<Vec<u8>> {
    if len > BODY_BYTES_MAX {
        return Err(invalid("a body beyond all limits"));
    }
    let mut body = vec![0; len];
    from.read_exact(&mut body)?;
    Ok(body)
}

fn read_chunks(from: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        from.take(64).read_line(&mut line)?;
        let digits = line.trim_end().split(';').next().unwrap_or_default();
        let len = usize::from_str_radix(digits, 16).map_err(invalid)?;
        if body.len() + len > BODY_BYTES_MAX {
            return Err(invalid("a body beyond all limits"));
        }
        body.extend(read_exactly(from, len)?);
        let mut end = [0; 2];
        from.read_exact(&mut end)?;
        if len == 0 {
            return Ok(body);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> io::Result<(Response, bool)> {
        read_response(&mut text.as_bytes(), false)
    }

    #[test]
    fn bodies_by_length_by_chunks_and_to_the_end() {
        let (response, keep) =
            read("HTTP/1.1 200 OK\r\nETag: \"1\"\r\nContent-Length: 2\r\n\r\nabX").unwrap();
        assert_eq!((response.status, &response.body[..], keep), (200, &b"ab"[..], true));
        assert_eq!(response.header("etag"), Some("\"1\""));
        let chunked =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n";
        assert_eq!(read(chunked).unwrap().0.body, b"abcd");
        let (response, keep) = read("HTTP/1.1 200 OK\r\n\r\nabc").unwrap();
        assert_eq!((&response.body[..], keep), (&b"abc"[..], false));
        let closing = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        assert!(!read(closing).unwrap().1);
    }

    #[test]
    fn half_an_answer_is_an_error() {
        for text in [
            "",
            "HTTP/1.1 200 OK\r\nConte",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
            "junk\r\n\r\n",
        ] {
            assert!(read(text).is_err(), "{text:?}");
        }
    }
}
