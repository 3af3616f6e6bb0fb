//! A server that answers request after request as a script says, over any number of connections.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use ringfort_client::{Client, Endpoint, Options};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What the server does with one request, after it has read all of it.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Answers with status, further header lines, and body.
    Answer(u16, &'static str, &'static str),
    /// Closes the connection without an answer.
    Close,
    /// Never answers.
    Hang,
    /// Answers as soon as the head is there, and then reads and drops what still comes.
    AnswerEarly(u16, &'static str),
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// The connection, counted from 0.
    pub(crate) connection: usize,
    /// Request line and headers.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut pairs = self.head.lines().filter_map(|line| line.split_once(": "));
        pairs.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// The running server.
#[derive(Clone)]
pub(crate) struct Fake {
    pub(crate) endpoint: Endpoint,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Fake {
    /// Starts a server that goes through the acts, over all connections; after the last it closes whatever comes.
    pub(crate) async fn start(acts: Vec<Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = Self { endpoint: listener.local_addr().unwrap().into(), seen: Arc::default() };
        let acts = Arc::new(Mutex::new(VecDeque::from(acts)));
        let seen = Arc::clone(&fake.seen);
        tokio::spawn(async move {
            for connection in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(connection, stream, Arc::clone(&acts), Arc::clone(&seen)));
            }
        });
        fake
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn client(&self) -> Client {
        client(std::slice::from_ref(&self.endpoint))
    }
}

/// A client that gives up soon.
pub(crate) fn client(endpoints: &[Endpoint]) -> Client {
    let options = Options { timeout: std::time::Duration::from_millis(1500), ..Options::default() };
    Client::new(endpoints, options).unwrap()
}

/// An endpoint where nobody listens.
pub(crate) async fn nobody() -> Endpoint {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().into()
}

async fn serve(
    connection: usize,
    mut stream: TcpStream,
    acts: Arc<Mutex<VecDeque<Act>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
) {
    while let Some(head) = read_head(&mut stream).await {
        let mut request = Seen { connection, head, body: Vec::new() };
        let length = request.header("content-length").map_or(0, |text| text.parse().unwrap());
        let act = acts.lock().unwrap().pop_front();
        if let Some(Act::AnswerEarly(status, body)) = act {
            seen.lock().unwrap().push(request);
            stream
                .write_all(render(status, "connection: close\r\n", body).as_bytes())
                .await
                .unwrap();
            stream.shutdown().await.unwrap();
            let mut sink = vec![0; 1 << 16];
            while stream.read(&mut sink).await.is_ok_and(|read| read > 0) {}
            return;
        }
        request.body = vec![0; length];
        stream.read_exact(&mut request.body).await.unwrap();
        seen.lock().unwrap().push(request);
        match act {
            Some(Act::Answer(status, headers, body)) => {
                stream.write_all(render(status, headers, body).as_bytes()).await.unwrap();
            }
            Some(Act::Hang) => std::future::pending().await,
            Some(Act::AnswerEarly(..) | Act::Close) | None => return,
        }
    }
}

fn render(status: u16, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}
