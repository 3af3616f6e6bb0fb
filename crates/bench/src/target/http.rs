//! Ringfort over HTTP/1.1: `PUT` and `GET` of `/v1/kv/{key}` with keep-alive.

use std::io::Write as _;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::wire::{Codec, Decoded};
use super::{Endpoint, Expected, Failure};
use crate::workload::{Kind, Operation, Values};

/// The most header fields an answer may have.
const HEADERS_MAX: usize = 32;
/// The longest head of an answer.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// The longest document that [`fetch`] takes.
const DOCUMENT_BYTES_MAX: usize = 32 << 20;

/// Writes requests and reads answers.
#[derive(Debug)]
pub(crate) struct HttpCodec {
    /// Everything of a head between the key and the length.
    host_line: Vec<u8>,
}

impl HttpCodec {
    pub(crate) fn new(endpoint: &Endpoint) -> Self {
        let host_line = format!(" HTTP/1.1\r\nHost: {}\r\n", endpoint.authority).into_bytes();
        Self { host_line }
    }
}

impl Codec for HttpCodec {
    fn encode(&mut self, operation: &Operation, values: &Values, out: &mut Vec<u8>) {
        let method: &[u8] = match operation.kind {
            Kind::Put => b"PUT /v1/kv/",
            Kind::Get => b"GET /v1/kv/",
        };
        out.extend_from_slice(method);
        out.extend_from_slice(&operation.key);
        out.extend_from_slice(&self.host_line);
        match operation.kind {
            Kind::Get => out.extend_from_slice(b"\r\n"),
            Kind::Put => {
                // Writing to a vector cannot fail.
                let _ = write!(out, "Content-Length: {}\r\n\r\n", values.value_bytes());
                values.write(operation, out);
            }
        }
    }

    fn decode(
        &mut self,
        expected: &Expected<'_>,
        input: &[u8],
    ) -> Result<Option<Decoded>, Failure> {
        let Some(head) = parse_head(input)? else {
            return Ok(None);
        };
        let consumed = head.head_bytes + head.body_bytes;
        let Some(body) = input.get(head.head_bytes..consumed) else {
            return Ok(None);
        };
        let verdict = match (expected.kind, head.status) {
            (Kind::Put, 200) => judge_put(body),
            (Kind::Get, 200) => expected.judge_value(Some(body)),
            (Kind::Get, 404) if head.code == "key_not_found" => expected.judge_value(None),
            (_, status) => Err(refusal(status, &head.code, body)),
        };
        Ok(Some(Decoded { consumed, closes: head.closes, verdict }))
    }
}

/// A put answers `{"version":N}` with N above 0.
fn judge_put(body: &[u8]) -> Result<(), Failure> {
    let digits = body
        .strip_prefix(b"{\"version\":")
        .and_then(|rest| rest.strip_suffix(b"}"))
        .unwrap_or_default();
    let good = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) && digits[0] != b'0';
    if good {
        Ok(())
    } else {
        let detail = format!("a put answered {}", excerpt(body));
        Err(Failure::new("bad_answer", detail))
    }
}

fn refusal(status: u16, code: &str, body: &[u8]) -> Failure {
    let code = if code.is_empty() { format!("http_{status}") } else { code.to_owned() };
    Failure::new(code, format!("status {status}: {}", excerpt(body)))
}

fn excerpt(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(300)].escape_ascii().to_string()
}

#[derive(Debug)]
struct Head {
    status: u16,
    head_bytes: usize,
    body_bytes: usize,
    code: String,
    closes: bool,
}

fn parse_head(input: &[u8]) -> Result<Option<Head>, Failure> {
    let protocol = |detail: String| Failure::new("protocol", detail);
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let head_bytes = match response.parse(input) {
        Ok(httparse::Status::Complete(head_bytes)) => head_bytes,
        Ok(httparse::Status::Partial) if input.len() <= HEAD_BYTES_MAX => return Ok(None),
        Ok(httparse::Status::Partial) => {
            return Err(protocol("the head is too long".to_owned()));
        }
        Err(error) => return Err(protocol(error.to_string())),
    };
    let mut head = Head {
        status: response.code.unwrap_or(0),
        head_bytes,
        body_bytes: usize::MAX,
        code: String::new(),
        closes: response.version == Some(0),
    };
    for header in response.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            head.body_bytes = std::str::from_utf8(header.value)
                .ok()
                .and_then(|text| text.parse().ok())
                .filter(|bytes| *bytes <= DOCUMENT_BYTES_MAX)
                .ok_or_else(|| protocol("a content-length that is none".to_owned()))?;
        } else if header.name.eq_ignore_ascii_case("ringfort-code") {
            head.code = String::from_utf8_lossy(header.value).into_owned();
        } else if header.name.eq_ignore_ascii_case("connection") {
            head.closes |= header.value.eq_ignore_ascii_case(b"close");
        }
    }
    if head.body_bytes == usize::MAX {
        return Err(protocol("an answer without content-length".to_owned()));
    }
    Ok(Some(head))
}

/// Fetches one document: a GET on a connection of its own. For what a run needs besides its load (metrics).
pub(crate) async fn fetch(endpoint: &Endpoint, path: &str) -> Result<Vec<u8>, Failure> {
    let failed = |error: std::io::Error| Failure::new("connection", error.to_string());
    let mut stream = TcpStream::connect(endpoint.address).await.map_err(failed)?;
    let request =
        format!("GET {path} HTTP/1.0\r\nHost: {}\r\nConnection: close\r\n\r\n", endpoint.authority);
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    let mut input = BytesMut::new();
    while stream.read_buf(&mut input).await.map_err(failed)? > 0 {
        if input.len() > DOCUMENT_BYTES_MAX {
            return Err(Failure::new("protocol", "the document is too long"));
        }
    }
    // An HTTP/1.0 answer ends with its connection, with or without a length.
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let Ok(httparse::Status::Complete(head_bytes)) = response.parse(&input) else {
        return Err(Failure::new("protocol", "the head of the answer is broken"));
    };
    match response.code {
        Some(200) => Ok(input[head_bytes..].to_vec()),
        code => Err(Failure::new(
            format!("http_{}", code.unwrap_or(0)),
            format!("GET {path}: {}", excerpt(&input[head_bytes..])),
        )),
    }
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
