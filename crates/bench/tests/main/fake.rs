//! A server on loopback with a map behind it, speaking HTTP or RESP, that can be told to misbehave.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How a fake answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    Good,
    /// Every tenth answer is the last of its connection, without saying so.
    HangsUp,
    /// Takes requests and never answers.
    Mute,
    /// One request is answered only after this time, and everybody waits for it.
    StallsOnce {
        at: u64,
        lasting: Duration,
    },
    /// Values lose their last byte.
    CutsValues,
    /// Every write is refused with 429.
    Overloaded,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    manner: Manner,
    store: Mutex<HashMap<Vec<u8>, Vec<u8>>>,
    requests: AtomicU64,
    writes: AtomicU64,
    ended: Mutex<bool>,
    ending: Condvar,
    stopped: AtomicBool,
}

impl Fake {
    pub(crate) fn http(manner: Manner) -> Self {
        Self::start(manner, serve_http)
    }

    pub(crate) fn resp(manner: Manner) -> Self {
        Self::start(manner, serve_resp)
    }

    fn start(manner: Manner, serve: fn(&Shared, TcpStream) -> std::io::Result<()>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            manner,
            store: Mutex::default(),
            requests: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            ended: Mutex::new(false),
            ending: Condvar::new(),
            stopped: AtomicBool::new(false),
        });
        let theirs = Arc::clone(&shared);
        let acceptor = thread::spawn(move || {
            for stream in listener.incoming() {
                if theirs.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&theirs);
                // A client that hangs up is no failure of the fake.
                thread::spawn(move || stream.and_then(|stream| serve(&shared, stream)));
            }
        });
        Self { address, shared, acceptor: Some(acceptor) }
    }

    pub(crate) fn keys(&self) -> usize {
        self.shared.store.lock().unwrap().len()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        *self.shared.ended.lock().unwrap() = true;
        self.shared.ending.notify_all();
        // Wakes the acceptor.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.join().unwrap();
        }
    }
}

enum Answer {
    Written,
    Value(Option<Vec<u8>>),
    Refused,
}

impl Shared {
    /// `None`: hang up.
    fn answer(&self, key: &[u8], value: Option<Vec<u8>>) -> Option<Answer> {
        let number = self.requests.fetch_add(1, Ordering::SeqCst);
        match self.manner {
            Manner::HangsUp if number % 10 == 9 => return None,
            Manner::Mute => {
                self.wait(Duration::from_secs(60));
                return None;
            }
            Manner::StallsOnce { at, lasting } if number == at => self.wait(lasting),
            Manner::Overloaded if value.is_some() => return Some(Answer::Refused),
            _ => {}
        }
        let mut store = self.store.lock().unwrap();
        Some(match value {
            Some(value) => {
                self.writes.fetch_add(1, Ordering::SeqCst);
                store.insert(key.to_vec(), value);
                Answer::Written
            }
            None => {
                let mut found = store.get(key).cloned();
                if self.manner == Manner::CutsValues
                    && let Some(value) = &mut found
                {
                    value.pop();
                }
                Answer::Value(found)
            }
        })
    }

    /// Until the time is up or the fake ends.
    fn wait(&self, time: Duration) {
        let ended = self.ended.lock().unwrap();
        let waited = self.ending.wait_timeout_while(ended, time, |ended| !*ended);
        drop(waited.unwrap());
    }
}

fn serve_http(shared: &Shared, stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut out = stream.try_clone()?;
    let mut input = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut length = 0;
        loop {
            let mut header = String::new();
            input.read_line(&mut header)?;
            if let Some(text) = header.strip_prefix("Content-Length: ") {
                length = text.trim().parse().unwrap();
            }
            if header == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        input.read_exact(&mut body)?;
        let mut words = line.split(' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        if path == "/metrics" {
            // A sync per write, and no length: the answer ends with the connection.
            let writes = shared.writes.load(Ordering::SeqCst);
            let document = format!("ringfort_log_syncs_total {writes}\n");
            return write!(out, "HTTP/1.1 200 OK\r\n\r\n{document}");
        }
        let key = path.strip_prefix("/v1/kv/").unwrap();
        let value = (method == "PUT").then_some(body);
        let Some(answer) = shared.answer(key.as_bytes(), value) else {
            return Ok(());
        };
        let (status, headers, body) = match answer {
            Answer::Written => ("200 OK", "ETag: \"7\"\r\n", b"{\"version\":7}".to_vec()),
            Answer::Value(Some(value)) => ("200 OK", "", value),
            Answer::Value(None) => {
                ("404 Not Found", "Ringfort-Code: key_not_found\r\n", Vec::new())
            }
            Answer::Refused => {
                ("429 Too Many Requests", "Ringfort-Code: overloaded\r\n", b"{}".to_vec())
            }
        };
        let mut bytes =
            format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n", body.len())
                .into_bytes();
        bytes.extend(body);
        out.write_all(&bytes)?;
    }
}

fn serve_resp(shared: &Shared, stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut out = stream.try_clone()?;
    let mut input = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let count: usize = line.trim().strip_prefix('*').unwrap().parse().unwrap();
        let mut words = Vec::new();
        for _ in 0..count {
            let mut length = String::new();
            input.read_line(&mut length)?;
            let length: usize = length.trim().strip_prefix('$').unwrap().parse().unwrap();
            let mut word = vec![0; length + 2];
            input.read_exact(&mut word)?;
            word.truncate(length);
            words.push(word);
        }
        let value = (words[0] == b"SET").then(|| words[2].clone());
        let Some(answer) = shared.answer(&words[1], value) else {
            return Ok(());
        };
        let bytes = match answer {
            Answer::Written => b"+OK\r\n".to_vec(),
            Answer::Value(None) => b"$-1\r\n".to_vec(),
            Answer::Value(Some(value)) => {
                let mut bytes = format!("${}\r\n", value.len()).into_bytes();
                bytes.extend(value);
                bytes.extend(b"\r\n");
                bytes
            }
            Answer::Refused => b"-OOM no room\r\n".to_vec(),
        };
        out.write_all(&bytes)?;
    }
}
