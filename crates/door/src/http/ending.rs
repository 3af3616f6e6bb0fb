//! The end of a connection, after hyper is done with it.
//!
//! What is no HTTP gets an answer that says so. And a request may have been refused while its body was still on its way:
//! to close right then would make the client's system drop the answer unread, when it learns that its bytes met a closed
//! connection. So the sending half is closed first, and what the client still sends is read and dropped, within bounds.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::ready;
use std::time::Duration;

use http::HeaderValue;
use ringfort_types::{Code, Refusal};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::problem;

/// Bytes that are dropped after an answer that did not wait for its request's body.
pub(crate) const LINGER_BYTES_MAX: usize = 16 << 20;
/// How long the last bytes may take out, and the dropped ones in.
pub(crate) const ENDING_TIME_MAX: Duration = Duration::from_secs(2);

/// The answer to what hyper could not parse, in place of the bare one that it gave.
pub(crate) fn answer_to_no_http(
    bare: &[u8],
    error: &hyper::Error,
    request_id: &HeaderValue,
    head_bytes_max: usize,
) -> Vec<u8> {
    let bare = String::from_utf8_lossy(bare);
    let refusal = match bare.get("HTTP/1.1 ".len()..).map(|rest| rest.get(..3)) {
        Some(Some("414")) => {
            let detail = "the path and query are longer than 65534 bytes; a key is 1 to 4096";
            Refusal::not_applied(Code::TooLarge, detail)
        }
        Some(Some("431")) => {
            let detail = format!(
                "the head of the request is longer than {head_bytes_max} bytes or has more than 100 headers"
            );
            Refusal::not_applied(Code::InvalidArgument, detail)
        }
        _ => {
            let detail = format!("the request is no HTTP/1.1: {error}");
            Refusal::not_applied(Code::InvalidArgument, detail)
        }
    };
    let date = bare.lines().find(|line| line.starts_with("date: ")).unwrap_or("date: ");
    let status = http::StatusCode::from_u16(refusal.code.status()).unwrap_or_default();
    let document = problem::render(&refusal, b"");
    let mut answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/problem+json\r\nringfort-code: {}\r\n\
         ringfort-request-id: {}\r\ncontent-length: {}\r\nconnection: close\r\n{date}\r\n\r\n",
        refusal.code,
        String::from_utf8_lossy(request_id.as_bytes()),
        document.len(),
    )
    .into_bytes();
    answer.extend_from_slice(&document);
    answer
}

/// Sends what is left to send, closes, and, if there is input that nobody is going to read, drops it for a while.
pub(crate) async fn end<I: AsyncRead + AsyncWrite + Unpin>(
    stream: &RefCell<I>,
    last_bytes: &[u8],
    linger: bool,
) -> io::Result<()> {
    let ending = async {
        write_all(stream, last_bytes).await?;
        poll_fn(|cx| Pin::new(&mut *stream.borrow_mut()).poll_shutdown(cx)).await?;
        if linger {
            drop_input(stream).await?;
        }
        Ok(())
    };
    // Too late is an end like any other.
    tokio::time::timeout(ENDING_TIME_MAX, ending).await.unwrap_or(Ok(()))
}

async fn write_all<I: AsyncWrite + Unpin>(stream: &RefCell<I>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let write = poll_fn(|cx| Pin::new(&mut *stream.borrow_mut()).poll_write(cx, bytes));
        match write.await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => bytes = &bytes[written..],
        }
    }
    Ok(())
}

async fn drop_input<I: AsyncRead + Unpin>(stream: &RefCell<I>) -> io::Result<()> {
    let mut dropped = 0;
    let mut waste = vec![0; 64 << 10];
    while dropped < LINGER_BYTES_MAX {
        let read = poll_fn(|cx| {
            let mut buffer = ReadBuf::new(&mut waste);
            ready!(Pin::new(&mut *stream.borrow_mut()).poll_read(cx, &mut buffer))?;
            std::task::Poll::Ready(io::Result::Ok(buffer.filled().len()))
        });
        match read.await? {
            0 => break,
            read => dropped += read,
        }
    }
    Ok(())
}
