//! A whole node on a simulated disk, in one thread: the log and one worker, each disk operation completed when the seed
//! says so.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ringfort_engine::{MemoryEngine, MemoryOptions};
use ringfort_env::{DiskCompletion, DiskRequest, OperationId};
use ringfort_log::{FileLog, LogEvent, LogOptions, LogStore, SourceId, recover};
use ringfort_node::control::Founded;
use ringfort_node::{
    Founding, NodeGuards, OpenOptions, Opened, Response, Worker, WorkerConfig, WorkerLimits,
    divide, founding, open,
};
use ringfort_raft::{Guards, Settings};
use ringfort_types::{BootId, GroupId, Levels, Monotonic, NodeNumber, ShardId};

use crate::SimDisk;

/// Settings of a simulated node.
#[derive(Clone, Debug)]
pub struct SimNodeOptions {
    /// The node.
    pub node: NodeNumber,
    /// What it founds, or founded.
    pub founding: Arc<Founding>,
    /// What all replicas share.
    pub raft: Settings,
    /// Feature levels: what its replicas stamp and apply.
    pub levels: Levels,
    /// Its worker's limits.
    pub limits: WorkerLimits,
    /// Shards.
    pub shards: u32,
    /// The log's.
    pub log: LogOptions,
    /// Whether the node's groups were founded in an earlier start.
    pub founded: Founded,
}

/// Why a node stopped, as a process would.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped(pub String);

enum Owner {
    Log,
    Engine,
}

/// A running node. Requests are named by numbers.
pub struct SimNode {
    /// The node's clock; the test moves it on.
    pub now: Monotonic,
    /// What a person would read of the start.
    pub findings: Vec<String>,
    /// Answers so far, in the order they were given.
    pub answers: Vec<(u64, Response)>,
    log: FileLog,
    worker: Worker<u64>,
    disk: SimDisk,
    owners: BTreeMap<OperationId, (Owner, OperationId)>,
    last_operation: u64,
    founded: bool,
}

impl SimNode {
    /// Starts a node on a disk. Founding groups, if there are any, is under way when it returns.
    ///
    /// # Errors
    /// The disk failed under the start.
    pub fn start(
        mut disk: SimDisk,
        options: SimNodeOptions,
        now: Monotonic,
    ) -> Result<Self, Stopped> {
        let stopped = |error: &dyn std::error::Error| Stopped(error.to_string());
        // Fresh at each start, and the same in each run.
        let seed = disk.counts().operations << 12 | u64::from(options.node.0);
        let (log, recovered) =
            recover(&mut disk, options.log, now).map_err(|error| stopped(&error))?;
        let open_options = OpenOptions {
            shards: options.shards,
            workers: 1,
            founded: options.founded,
            worker: WorkerConfig {
                source: SourceId(0),
                node: options.node,
                workers: 1,
                boot: BootId(1),
                shards: options.shards,
                requests_max: 10_000,
                retry_bytes_max: 1 << 30,
                unapplied_bytes_max: 16 << 20,
                answer_bytes_max: 16 << 20,
                payload_bytes_target: 16 << 10,
                company_min: 1,
                snapshot_bytes_per_second: 0,
                limits: options.limits,
                guards: NodeGuards::default(),
            },
            founding: options.founding,
            raft: options.raft,
            levels: options.levels,
            guards: Guards::default(),
            seed,
        };
        let engine = Box::new(MemoryEngine::new(MemoryOptions { hash_seed: 1 }));
        let (mut parts, mut findings) = divide(recovered, &open_options);
        let part = parts.pop().ok_or_else(|| Stopped("a node has a worker".to_owned()))?;
        let opened = open(&mut disk, part, &open_options, now, engine, &mut || {});
        let Opened { worker, founded, findings: more } = opened.map_err(|error| stopped(&error))?;
        findings.extend(more);
        let founding = founding(founded);
        let mut node = Self {
            now,
            findings,
            answers: Vec::new(),
            log,
            worker,
            disk,
            owners: BTreeMap::new(),
            last_operation: 0,
            founded: founding.is_none(),
        };
        if let Some(founding) = founding {
            node.log.submit(now, founding);
        }
        node.turn()?;
        Ok(node)
    }

    /// The worker, to hand requests to. A turn follows with the next step.
    pub fn worker(&mut self) -> &mut Worker<u64> {
        &mut self.worker
    }

    /// The worker, to be looked at.
    #[must_use]
    pub fn look(&self) -> &Worker<u64> {
        &self.worker
    }

    /// The disk under the node.
    pub fn disk(&mut self) -> &mut SimDisk {
        &mut self.disk
    }

    /// Whether the founding of its groups is durable.
    #[must_use]
    pub fn founded(&self) -> bool {
        self.founded
    }

    /// Has stores flushed, as the log would ask for when it is long.
    pub fn want_flush(&mut self, shards: &[ShardId]) {
        let groups: Vec<_> = shards.iter().copied().map(GroupId::of_shard).collect();
        self.worker.handle_want_rebase(&groups);
    }

    /// One turn, and one disk operation if any waits. Returns whether there was one.
    ///
    /// # Errors
    /// The disk failed where a process would end.
    pub fn step(&mut self) -> Result<bool, Stopped> {
        self.turn()?;
        let Some(completion) = self.disk.complete_any() else { return Ok(false) };
        self.complete(completion)?;
        self.turn()?;
        Ok(true)
    }

    /// Steps until the disk has nothing to do.
    ///
    /// # Errors
    /// The disk failed where a process would end.
    pub fn settle(&mut self) -> Result<(), Stopped> {
        while self.step()? {}
        Ok(())
    }

    /// Lets time pass and timers run.
    ///
    /// # Errors
    /// The disk failed where a process would end.
    pub fn pass(&mut self, time: Duration) -> Result<(), Stopped> {
        self.now = self.now + time;
        self.worker.handle_tick(self.now);
        if self.log.poll_timer().is_some_and(|due| due <= self.now) {
            self.log.handle_timer(self.now);
        }
        self.turn()
    }

    /// Takes the process away and leaves the disk, with operations still queued.
    #[must_use]
    pub fn into_disk(self) -> SimDisk {
        self.disk
    }

    fn complete(&mut self, completion: DiskCompletion) -> Result<(), Stopped> {
        let Some((owner, id)) = self.owners.remove(&completion.id) else {
            return Err(Stopped(format!("operation {:?} was never asked for", completion.id)));
        };
        let completion = DiskCompletion { id, ..completion };
        match owner {
            Owner::Log => self.log.handle_disk(self.now, completion),
            Owner::Engine => {
                self.worker.handle_disk(completion).map_err(|error| Stopped(error.to_string()))?;
            }
        }
        Ok(())
    }

    /// Passes words between log, worker and disk until nobody has any.
    fn turn(&mut self) -> Result<(), Stopped> {
        loop {
            self.worker.poll(self.now);
            let mut busy = false;
            while let Some(submission) = self.worker.poll_submission() {
                self.log.submit(self.now, submission);
                busy = true;
            }
            while let Some(response) = self.worker.poll_response() {
                self.answers.push(response);
            }
            while let Some(request) = self.worker.poll_disk() {
                self.queue(Owner::Engine, request);
            }
            while let Some(request) = self.log.poll_disk() {
                self.queue(Owner::Log, request);
            }
            while let Some(event) = self.log.poll_event() {
                busy = true;
                match event {
                    LogEvent::Durable { source: SourceId(0), id } => self.worker.handle_durable(id),
                    LogEvent::Durable { .. } => self.founded = true,
                    LogEvent::WantRebase { groups } => self.worker.handle_want_rebase(&groups),
                    LogEvent::Headroom { headroom, .. } => self.worker.handle_headroom(headroom),
                    LogEvent::Failed(error) => return Err(Stopped(error.to_string())),
                }
            }
            if !busy && !self.worker.has_work() {
                return Ok(());
            }
        }
    }

    fn queue(&mut self, owner: Owner, request: DiskRequest) {
        self.last_operation += 1;
        let id = OperationId(self.last_operation);
        self.owners.insert(id, (owner, request.id));
        self.disk.submit(DiskRequest { id, ..request });
    }
}
