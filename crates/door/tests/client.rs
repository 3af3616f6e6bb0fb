//! A client that writes and reads HTTP/1.1 byte by byte, and holds every answer to what all answers have in common.

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;

use ringfort_door::{ConnectionError, HttpDoor, HttpOptions};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, LocalSet};

use crate::fake::Fake;

/// Runs a test in virtual time.
pub(crate) fn run<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, test)
}

/// A door and what is behind it.
pub(crate) struct House {
    pub(crate) fake: Rc<Fake>,
    pub(crate) door: Rc<HttpDoor<Fake>>,
}

impl House {
    pub(crate) fn new() -> Self {
        Self::with(HttpOptions::default())
    }

    pub(crate) fn with(options: HttpOptions) -> Self {
        let fake = Rc::new(Fake::new());
        let door = Rc::new(HttpDoor::new(fake.clone(), options));
        Self { fake, door }
    }

    pub(crate) fn connect(&self) -> Client {
        self.connect_through(256 << 10)
    }

    /// Connects through a pipe that holds so many bytes each way.
    pub(crate) fn connect_through(&self, bytes: usize) -> Client {
        let (near, far) = tokio::io::duplex(bytes);
        let (shutdown, signal) = oneshot::channel::<()>();
        let door = self.door.clone();
        let serving = tokio::task::spawn_local(async move {
            // A signal that can no longer come is none.
            let signal = async {
                if signal.await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            door.serve_connection(far, signal).await
        });
        Client { stream: near, shutdown: Some(shutdown), serving, unread: RefCell::default() }
    }

    /// One request over a connection of its own.
    pub(crate) async fn ask(
        &self,
        method: &str,
        target: &str,
        headers: &str,
        body: &[u8],
    ) -> Answer {
        self.connect().ask(method, target, headers, body).await
    }

    pub(crate) async fn get(&self, target: &str) -> Answer {
        self.ask("GET", target, "", b"").await
    }

    pub(crate) async fn put(&self, target: &str, value: &[u8]) -> Answer {
        self.ask("PUT", target, "", value).await
    }

    pub(crate) async fn post(&self, target: &str, document: &str) -> Answer {
        let json = "Content-Type: application/json\r\n";
        self.ask("POST", target, json, document.as_bytes()).await
    }
}

/// One connection.
pub(crate) struct Client {
    pub(crate) stream: DuplexStream,
    pub(crate) shutdown: Option<oneshot::Sender<()>>,
    pub(crate) serving: JoinHandle<Result<(), ConnectionError>>,
    unread: RefCell<Vec<u8>>,
}

/// One answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// A request with a Host, and a Content-Length where there is a body.
pub(crate) fn request(method: &str, target: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = match body.len() {
        0 => String::new(),
        length => format!("Content-Length: {length}\r\n"),
    };
    let head = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n{headers}{length}\r\n");
    [head.as_bytes(), body].concat()
}

impl Client {
    pub(crate) async fn ask(
        &mut self,
        method: &str,
        target: &str,
        headers: &str,
        body: &[u8],
    ) -> Answer {
        self.send(&request(method, target, headers, body)).await;
        self.answer_to(method).await
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    pub(crate) async fn answer(&mut self) -> Answer {
        self.answer_to("GET").await
    }

    /// Reads the next answer; 100 is skipped.
    pub(crate) async fn answer_to(&mut self, method: &str) -> Answer {
        loop {
            let answer = self.read_answer(method).await.expect("the connection ended early");
            if answer.status != 100 {
                answer.check(method);
                return answer;
            }
        }
    }

    /// Reads the next answer whatever it is; `None` at the end of the connection.
    pub(crate) async fn read_answer(&mut self, method: &str) -> Option<Answer> {
        let (mut answer, head_len) = loop {
            if let Some(parsed) = parse_head(&self.unread.borrow()) {
                break parsed;
            }
            if !self.fill().await {
                assert!(self.unread.borrow().is_empty(), "the connection ended in a head");
                return None;
            }
        };
        self.unread.borrow_mut().drain(..head_len);
        let has_body = method != "HEAD" && !matches!(answer.status, 100 | 204 | 304);
        if !has_body {
            return Some(answer);
        }
        if answer.header("transfer-encoding") == Some("chunked") {
            answer.body = self.read_chunks().await;
        } else {
            let length = answer.header("content-length").expect("a length").parse().unwrap();
            answer.body = self.read_exact(length).await;
        }
        Some(answer)
    }

    async fn read_chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let line = loop {
                let end = self.unread.borrow().windows(2).position(|pair| pair == b"\r\n");
                match end {
                    Some(end) => break self.read_exact(end + 2).await,
                    None => assert!(self.fill().await, "the connection ended in a body"),
                }
            };
            let length = std::str::from_utf8(&line).unwrap().trim();
            let length = usize::from_str_radix(length, 16).unwrap();
            body.extend(self.read_exact(length).await);
            self.read_exact(2).await;
            if length == 0 {
                return body;
            }
        }
    }

    async fn read_exact(&mut self, length: usize) -> Vec<u8> {
        while self.unread.borrow().len() < length {
            assert!(self.fill().await, "the connection ended in a body");
        }
        self.unread.borrow_mut().drain(..length).collect()
    }

    async fn fill(&mut self) -> bool {
        let mut buffer = vec![0; 64 << 10];
        let read = self.stream.read(&mut buffer).await.unwrap_or(0);
        self.unread.borrow_mut().extend_from_slice(&buffer[..read]);
        read > 0
    }

    /// Whether the server closed the connection, with nothing more to read.
    pub(crate) async fn is_closed(&mut self) -> bool {
        self.unread.borrow().is_empty() && !self.fill().await
    }
}

fn parse_head(bytes: &[u8]) -> Option<(Answer, usize)> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(len) = response.parse(bytes).expect("an answer") else {
        return None;
    };
    let text = |header: &httparse::Header<'_>| {
        let value = String::from_utf8(header.value.to_vec()).unwrap();
        (header.name.to_ascii_lowercase(), value)
    };
    let answer = Answer {
        status: response.code.unwrap(),
        headers: response.headers.iter().map(text).collect(),
        body: Vec::new(),
    };
    Some((answer, len))
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(known, _)| known == name);
        let first = found.next();
        assert!(found.next().is_none(), "{name} is repeated in {self:?}");
        first.map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn code(&self) -> &str {
        self.header("ringfort-code").unwrap_or("")
    }

    pub(crate) fn detail(&self) -> String {
        self.json()["detail"].as_str().unwrap().to_owned()
    }

    /// The outcome, `-` where none is said.
    pub(crate) fn outcome(&self) -> String {
        self.json()["outcome"].as_str().unwrap_or("-").to_owned()
    }

    /// What every answer has.
    pub(crate) fn check(&self, method: &str) {
        let id = self.header("ringfort-request-id").unwrap_or_else(|| panic!("{self:?}"));
        assert!(id.len() == 16 && id.bytes().all(|digit| digit.is_ascii_hexdigit()), "{id}");
        if self.status < 400 {
            assert_eq!(self.header("ringfort-code"), None);
            return;
        }
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let code = ringfort_types::Code::parse(self.code()).expect("a known code");
        assert_eq!(code.status(), self.status);
        // 503 has it where a second attempt is of use.
        let retry = self.header("retry-after").is_some();
        assert!(self.status == 503 || retry == (self.status == 429), "{self:?}");
        if method == "HEAD" {
            return;
        }
        let problem = self.json();
        assert_eq!(problem["type"], format!("urn:ringfort:problem:{code}"));
        assert_eq!(problem["code"], code.as_str());
        assert_eq!(problem["status"], self.status);
        assert!(problem["title"].is_string() && problem["detail"].is_string(), "{problem}");
    }
}
