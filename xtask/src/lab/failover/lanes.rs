//! Lanes of writers: each writes its key again and again, through all nodes, whatever becomes of the writes before.
//!
//! A lane begins a write every interval, on one of its connections. A connection whose write is not answered in time, or is
//! refused, goes on at the next node. So a lane never waits for a node that will not answer: it shows when its key can be
//! written again, some milliseconds later.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// Connections of a lane; each writes at every so many-th interval.
const CONNECTIONS: u32 = 8;
/// A write that is not answered by then is given up.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(200);
/// The answer to one write, at most.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// A write of one key, as a node gets it: complete but for its host.
#[derive(Clone, Debug)]
pub(super) struct Write1 {
    /// Method and path.
    pub(super) line: String,
    /// Besides `Host` and `Content-Length`.
    pub(super) headers: &'static str,
    pub(super) body: String,
}

/// When writes of one key succeeded, in microseconds since the lanes began; ascending but for what connections overtake.
type Successes = Arc<Mutex<Vec<u64>>>;

/// All lanes, at work until they are dropped.
#[derive(Debug)]
pub(super) struct Lanes {
    begun: Instant,
    stop: Arc<AtomicBool>,
    successes: Vec<Successes>,
    threads: Vec<JoinHandle<()>>,
}

impl Lanes {
    /// Starts a lane for each write, over all nodes.
    pub(super) fn start(
        writes: &[Write1],
        nodes: &[SocketAddr],
        interval: Duration,
    ) -> anyhow::Result<Self> {
        let (begun, stop) = (Instant::now(), Arc::new(AtomicBool::new(false)));
        let mut lanes = Self { begun, stop, successes: Vec::new(), threads: Vec::new() };
        for (lane, write) in (0_u32..).zip(writes) {
            let successes = Successes::default();
            lanes.successes.push(Arc::clone(&successes));
            for number in 0..CONNECTIONS {
                let connection = Connection {
                    write: write.clone(),
                    nodes: nodes.to_vec(),
                    at: (lane + number) as usize % nodes.len(),
                    stream: None,
                };
                // Lanes and connections are spread over the interval.
                let spread = interval * lane / u32::try_from(writes.len()).unwrap_or(1).max(1);
                let first = begun + interval * number + spread;
                let (stop, successes) = (Arc::clone(&lanes.stop), Arc::clone(&successes));
                let work = move || {
                    connection.work(begun, first, interval * CONNECTIONS, &stop, &successes);
                };
                let thread = std::thread::Builder::new().stack_size(128 << 10).spawn(work)?;
                lanes.threads.push(thread);
            }
        }
        Ok(lanes)
    }

    /// Microseconds since the lanes began.
    pub(super) fn now_us(&self) -> u64 {
        micros(self.begun)
    }

    /// Whether every lane has succeeded since a time.
    pub(super) fn all_succeeded_since(&self, since_us: u64) -> bool {
        self.successes.iter().all(|lane| {
            let lane = lane.lock().unwrap_or_else(PoisonError::into_inner);
            lane.iter().rev().take(CONNECTIONS as usize * 2).any(|at| *at >= since_us)
        })
    }

    /// The successes of each lane so far, in order; they are forgotten here.
    pub(super) fn take(&self) -> Vec<Vec<u64>> {
        let take = |lane: &Successes| {
            let mut lane = lane.lock().unwrap_or_else(PoisonError::into_inner);
            let mut taken = std::mem::take(&mut *lane);
            taken.sort_unstable();
            taken
        };
        self.successes.iter().map(take).collect()
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                eprintln!("a lane panicked");
            }
        }
    }
}

fn micros(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX)
}

struct Connection {
    write: Write1,
    nodes: Vec<SocketAddr>,
    at: usize,
    stream: Option<BufReader<TcpStream>>,
}

impl Connection {
    fn work(
        mut self,
        begun: Instant,
        mut due: Instant,
        period: Duration,
        stop: &AtomicBool,
        successes: &Mutex<Vec<u64>>,
    ) {
        while !stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            if due > now {
                std::thread::sleep(due - now);
            }
            // Writes that should have begun while this connection waited for an answer are left to the other ones.
            due = (due + period).max(Instant::now());
            if self.write_once().is_ok() {
                successes.lock().unwrap_or_else(PoisonError::into_inner).push(micros(begun));
            } else {
                self.stream = None;
                self.at = (self.at + 1) % self.nodes.len();
            }
        }
    }

    fn write_once(&mut self) -> anyhow::Result<()> {
        let node = self.nodes[self.at];
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect_timeout(&node, ANSWER_TIMEOUT)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
                stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
                self.stream.insert(BufReader::new(stream))
            }
        };
        let Write1 { line, headers, body } = &self.write;
        let length = body.len();
        let request = format!(
            "{line} HTTP/1.1\r\nHost: {node}\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
        );
        stream.get_mut().write_all(request.as_bytes())?;
        match read_status(stream)? {
            200 => Ok(()),
            status => bail!("status {status}"),
        }
    }
}

/// Reads one answer whole, and gives its status.
fn read_status(stream: &mut impl BufRead) -> anyhow::Result<u16> {
    let mut stream = stream.take(ANSWER_BYTES_MAX);
    let (mut status, mut length) = (None, 0);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            bail!("the connection ended");
        }
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        match (status, line.strip_prefix("content-length:")) {
            (None, _) => status = line.split(' ').nth(1).and_then(|code| code.parse().ok()),
            (_, Some(text)) => length = text.trim().parse()?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    status.context("an answer without status")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_whole() {
        let two = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabHTTP/1.1 503 No\r\n\r\n";
        let mut stream = two.as_bytes();
        assert_eq!(read_status(&mut stream).unwrap(), 200);
        assert_eq!(read_status(&mut stream).unwrap(), 503);
        assert!(read_status(&mut stream).is_err());
    }
}
