//! Concurrent clients that put, delete, read, condition and batch on a set of keys over HTTP, and write down what they
//! asked and were told.
//!
//! - No value is put twice. A history keeps the *name* of a value; the bytes that are sent are derived from the name, and
//!   bytes that come back are only given their name again if every one of them is right.
//! - Keys of atomic batches are keys of their own, in pairs under one hash tag, written by nothing else.
//! - Some writes carry an idempotency key. Where such a write's outcome is unknown, its client sends it again with the next
//!   load, as a user would after a crash; both attempts are one event.
//! - A client whose only server is gone ends. Where there are several, it goes on with the next one, as it does after an
//!   answer that came to nothing; writes with an idempotency key whose outcome is unknown are sent again there at once, and
//!   each attempt is an event of its own. Some reads are stale ones there.

mod anywhere;
mod client;
mod nodes;
mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail, ensure};
use ringfort_check::{Event, Operation, Outcome};

use nodes::Nodes;

use crate::http::HttpClient;
use crate::{Random, wait_until};

/// How a load is driven.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Connections, each with one request at a time. Default 8.
    pub clients: u32,
    /// Keys that are written one by one. Default 40.
    pub keys: u64,
    /// Pairs of keys that are written by atomic batches. Default 4.
    pub pairs: u64,
    /// Most values are shorter than this many bytes. Default 600.
    pub value_bytes: u64,
    /// One value in a hundred is up to this long, in bytes. Default 20,000.
    pub large_value_bytes: u64,
    /// Every choice follows from it, and what the server answers.
    pub seed: u64,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            clients: 8,
            keys: 40,
            pairs: 4,
            value_bytes: 600,
            large_value_bytes: 20_000,
            seed: 0,
        }
    }
}

/// A keyed write whose outcome is unknown and that is to be sent again.
#[derive(Clone, Debug)]
struct Pending {
    client: u32,
    key: String,
    operation: Operation,
    idempotency_key: String,
    invoked_us: u64,
}

/// What all loads of one test were told, on one clock.
#[derive(Debug)]
pub struct Recorder {
    start: Instant,
    events: Vec<Event>,
    pending: Vec<Pending>,
    loads: u64,
}

impl Default for Recorder {
    fn default() -> Self {
        Self { start: Instant::now(), events: Vec::new(), pending: Vec::new(), loads: 0 }
    }
}

impl Recorder {
    /// The history so far. Writes that are still to be sent again are of unknown outcome.
    #[must_use]
    pub fn history(&self) -> Vec<Event> {
        let now = micros(self.start);
        let pending = self.pending.iter().map(|pending| Event {
            client: pending.client,
            key: pending.key.clone(),
            operation: pending.operation.clone(),
            invoked_us: pending.invoked_us,
            returned_us: now,
            outcome: Outcome::Unknown,
            batch: None,
            staleness_us: None,
            write: None,
        });
        self.events.iter().cloned().chain(pending).collect()
    }

    /// Starts a load on the server that listens on this port.
    #[must_use]
    pub fn start_load(&mut self, port: u16, options: &LoadOptions) -> Load {
        self.start_load_on(&[port], options)
    }

    /// Starts a load on the nodes of a cluster that listen on these ports; clients begin at different ones.
    #[must_use]
    pub fn start_load_on(&mut self, ports: &[u16], options: &LoadOptions) -> Load {
        self.loads += 1;
        let shared = Arc::new(Shared::default());
        let mut pending = std::mem::take(&mut self.pending);
        let threads = (0..options.clients).map(|number| {
            let (own, others) = pending.drain(..).partition(|pending| pending.client == number);
            pending = others;
            let client = client::Client::new(client::Setup {
                number,
                load: self.loads,
                start: self.start,
                options: options.clone(),
                random: Random::new(options.seed).fork(self.loads << 32 | u64::from(number)),
                nodes: Nodes::new(ports, number),
                shared: Arc::clone(&shared),
                pending: own,
            });
            std::thread::spawn(move || client.run())
        });
        let threads = threads.collect();
        self.pending = pending;
        Load { shared, threads }
    }

    /// Ends a load: no client begins anything new, and what is under way is awaited.
    ///
    /// # Errors
    /// A client panicked, or was told something that is no answer.
    pub fn stop_load(&mut self, load: Load) -> Result<()> {
        load.shared.stop.store(true, Ordering::Relaxed);
        for thread in load.threads {
            let recorded = thread.join().map_err(|_| anyhow!("a client panicked"))??;
            self.events.extend(recorded.events);
            self.pending.extend(recorded.pending);
        }
        Ok(())
    }

    /// Reads every key of the load once and records what is there; then lists them all and compares. Nothing else may
    /// write meanwhile.
    ///
    /// # Errors
    /// A read was not served, or the listing shows something else than the reads.
    pub fn read_all(&mut self, port: u16, options: &LoadOptions) -> Result<()> {
        let mut http = HttpClient::new(port);
        let mut found = BTreeMap::new();
        for key in client::all_keys(options) {
            let invoked_us = micros(self.start);
            let response = http.get(&format!("/v1/kv/{}", wire::encode(&key)))?;
            let outcome = wire::outcome_of_get(&response);
            match &outcome {
                Outcome::NotApplied => bail!("GET {key}: {} {}", response.status, response.text()),
                Outcome::Found { value, version } => {
                    found.insert(key.clone(), (value.clone(), *version));
                }
                _ => {}
            }
            self.events.push(Event {
                client: options.clients,
                key,
                operation: Operation::Get,
                invoked_us,
                returned_us: micros(self.start),
                outcome,
                batch: None,
                staleness_us: None,
                write: None,
            });
        }
        let listed = wire::list(&mut http, client::KEY_PREFIX)?;
        ensure!(listed.is_sorted(), "a listing out of order: {listed:?}");
        let found: Vec<_> = found.into_iter().collect();
        ensure!(listed == found, "listed: {listed:?}\nread: {found:?}");
        Ok(())
    }
}

fn micros(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX)
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    acknowledged: AtomicU64,
}

/// A load under way.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Result<client::Recorded>>>,
}

impl Load {
    /// Writes acknowledged since it began.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::Relaxed)
    }

    /// Awaits that so many writes have been acknowledged.
    ///
    /// # Errors
    /// They are not by the deadline, or all clients have ended.
    pub fn await_acknowledged(&self, count: u64, deadline: Duration) -> Result<()> {
        let what = format!("{count} acknowledged writes");
        wait_until(&what, deadline, || {
            let over = self.threads.iter().all(JoinHandle::is_finished);
            if self.acknowledged() >= count {
                Ok(Some(()))
            } else if over {
                Err(anyhow!("all clients ended after {} writes", self.acknowledged()))
            } else {
                Ok(None)
            }
        })
    }
}
