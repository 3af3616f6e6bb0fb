//! Single HTTP requests: to see whether a server is ready, and what a key holds.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, bail};

/// Longest time for one request.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The status and body of a GET.
pub(super) fn get(address: SocketAddr, path: &str) -> anyhow::Result<(u16, Vec<u8>)> {
    ask(address, &format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n"))
}

/// The status and body of a POST of JSON.
pub(super) fn post(address: SocketAddr, path: &str, body: &str) -> anyhow::Result<(u16, Vec<u8>)> {
    let head =
        format!("POST {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\n");
    ask(address, &format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()))
}

fn ask(address: SocketAddr, request: &str) -> anyhow::Result<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    // HTTP/1.0: the answer ends with the connection, so there is nothing to parse but its head.
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(64 << 20).read_to_end(&mut answer)?;
    let head_end = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .context("an answer without head")?;
    let head = String::from_utf8_lossy(&answer[..head_end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    match status {
        Some(status) => Ok((status, answer.split_off(head_end + 4))),
        None => bail!("an answer without status: {head:?}"),
    }
}

/// Whether a GET answers 200.
pub(super) fn is_ok(address: SocketAddr, path: &str) -> bool {
    get(address, path).is_ok_and(|(status, _)| status == 200)
}
