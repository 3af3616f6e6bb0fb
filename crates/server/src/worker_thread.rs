//! A worker's thread: a single-threaded runtime that runs connections and the shards they ask for.
//!
//! A turn begins when something waits: requests that connections enqueued, words of the log, ends of disk operations,
//! calls from other workers. Tasks that are ready run before the turn's task does, so that a turn takes along what all of
//! them enqueued.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::mpsc::Sender;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use ringfort_door::HttpDoor;
use ringfort_env::DiskCompletion;
use ringfort_node::control::{ClusterMap, Control};
use ringfort_node::host::{GroupWrite, SourceId};
use ringfort_node::{Member, OpenError, Part, Response, Space, Worker};
use ringfort_proto::peer::Frame;
use ringfort_types::request::Limits;
use ringfort_types::{Code, Key, NamespaceId, NodeNumber, Refusal, ShardId, shard_of_token};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use crate::backend::NodeBackend;
use crate::background::Job;
use crate::claim::Claimed;
use crate::clock;
use crate::disk::FileDisk;
use crate::entrance::Entrance;
use crate::fatal;
use crate::formation::FormationHost;
use crate::inbox::Inbox;
use crate::listen;
use crate::log_thread::{LogInput, LogListener, LogOutput};
use crate::metrics::RequestMetrics;
use crate::peer_host::{self, Peers};
use crate::peers::{Own, PeerLinks, PeerOptions, PeerTls, Room};
use crate::server::{NodeInfo, Opening, Phase, reached};

/// Whoever waits for an answer waits at a channel.
pub(crate) type Waiter = oneshot::Sender<Response>;
/// A worker's core.
pub(crate) type NodeWorker = Worker<Waiter>;

/// How often deadlines and expiry are looked at.
const TICK: Duration = Duration::from_millis(20);
/// Longest time that a node which stops waits for others to take over what it leads.
const HAND_OVER_MAX: Duration = Duration::from_secs(1);
/// A turn that takes longer gives the core away behind it: under the batch policy nobody takes it before the next tick of the
/// system's clock, and other nodes on the same machine, or the log's thread, would wait for that at each step of a write.
const LONG_TURN: Duration = Duration::from_micros(500);
/// How often free space and the size of the data are looked at.
const HOUSEKEEPING: Duration = Duration::from_millis(500);

/// Something to be done on a worker's thread.
pub(crate) type Call = Box<dyn FnOnce(&Host) + Send>;

/// What a worker is told.
pub(crate) enum WorkerInput {
    Log(LogOutput),
    Disk(DiskCompletion),
    Call(Call),
    /// What another node sent, and what it takes of the connection's window.
    Frame {
        from: NodeNumber,
        frame: Box<Frame>,
        room: Arc<Room>,
    },
}

/// What all threads of a server share.
pub(crate) struct Shared {
    pub(crate) workers: Vec<Inbox<WorkerInput>>,
    pub(crate) log: Sender<LogInput>,
    pub(crate) limits: Limits,
    pub(crate) shards: u32,
    pub(crate) inflight_bytes: usize,
    pub(crate) info: NodeInfo,
    /// The cluster as this node knows it.
    pub(crate) map: RwLock<Arc<ClusterMap>>,
}

impl Shared {
    /// Which worker owns a shard.
    pub(crate) fn owner_of(&self, shard: ShardId) -> usize {
        shard.0 as usize % self.workers.len()
    }

    /// The cluster as this node knows it.
    pub(crate) fn map(&self) -> Arc<ClusterMap> {
        Arc::clone(&self.map.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Takes the log's words to the workers' inboxes.
pub(crate) struct ToWorkers {
    pub(crate) shared: Arc<Shared>,
    /// The founding has no worker: the server's start waits for it here.
    pub(crate) founded: Sender<()>,
}

impl LogListener for ToWorkers {
    fn tell(&self, source: SourceId, output: LogOutput) {
        match self.shared.workers.get(usize::from(source.0)) {
            Some(inbox) => inbox.push(WorkerInput::Log(output)),
            None => drop(self.founded.send(())),
        }
    }

    fn tell_all(&self, output: &LogOutput) {
        for inbox in &self.shared.workers {
            inbox.push(WorkerInput::Log(output.clone()));
        }
    }
}

/// A worker's thread, from the inside.
pub(crate) struct Host {
    pub(crate) number: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) requests: RefCell<RequestMetrics>,
    pub(crate) connections: Cell<usize>,
    worker: RefCell<NodeWorker>,
    pub(crate) peers: Rc<Peers>,
    background: Sender<Job>,
    inflight: Rc<Cell<usize>>,
    /// Told once when every open shard can be read and written.
    ready: Cell<Option<Sender<()>>>,
    /// Told once when nothing is led here any more that others could lead. While it is there, leadership is handed over.
    handing_over: Cell<Option<oneshot::Sender<()>>>,
}

/// Room taken by a request's body; given back when dropped.
#[derive(Debug)]
pub(crate) struct BytesInFlight {
    bytes: usize,
    inflight: Rc<Cell<usize>>,
}

impl Drop for BytesInFlight {
    fn drop(&mut self) {
        self.inflight.set(self.inflight.get() - self.bytes);
    }
}

impl Host {
    fn new(start: &WorkerStart, worker: NodeWorker, peers: Rc<Peers>) -> Self {
        Self {
            peers,
            number: start.number,
            shared: Arc::clone(&start.shared),
            requests: RefCell::default(),
            connections: Cell::new(0),
            worker: RefCell::new(worker),
            background: start.background.clone(),
            inflight: Rc::default(),
            ready: Cell::new(Some(start.ready.clone())),
            handing_over: Cell::default(),
        }
    }

    /// The shard of a key.
    pub(crate) fn shard_of(&self, key: &Key) -> ShardId {
        shard_of_token(key.token(NamespaceId::default()), self.shared.shards)
    }

    /// Uses the worker's core within a turn.
    pub(crate) fn with_core<T>(&self, used: impl FnOnce(&mut NodeWorker) -> T) -> T {
        used(&mut self.worker.borrow_mut())
    }

    /// Runs something on any worker's thread, some time soon.
    pub(crate) fn tell_worker(&self, number: usize, told: impl FnOnce(&Self) + Send + 'static) {
        self.shared.workers[number].push(WorkerInput::Call(Box::new(told)));
    }

    /// Gives every worker a newer map.
    pub(crate) fn spread_map(&self, map: &Arc<ClusterMap>) {
        *self.shared.map.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(map);
        for number in 0..self.shared.workers.len() {
            let map = Arc::clone(map);
            self.tell_worker(number, move |host| {
                host.with_worker(|worker| worker.handle_map(&map));
                host.peers.handle_map(&map);
            });
        }
    }

    /// Uses the worker's core, and has a turn follow if that made work.
    pub(crate) fn with_worker<T>(&self, used: impl FnOnce(&mut NodeWorker) -> T) -> T {
        // A panic in here leaves the core half changed: it must not be served from again.
        fatal::guard(|| {
            let mut worker = self.worker.borrow_mut();
            let result = used(&mut worker);
            if worker.has_work() {
                self.shared.workers[self.number].wake();
            }
            result
        })
    }

    /// Uses the core of any worker: at once if it is this one, else on its thread.
    ///
    /// # Errors
    /// The server stops; what was asked has not been done.
    pub(crate) async fn on_worker<T: Send + 'static>(
        &self,
        number: usize,
        used: impl FnOnce(&mut NodeWorker) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        self.on_host(number, move |host| host.with_worker(used)).await
    }

    /// Runs something on any worker's thread.
    ///
    /// # Errors
    /// The server stops; what was asked has not been done.
    pub(crate) async fn on_host<T: Send + 'static>(
        &self,
        number: usize,
        used: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        if number == self.number {
            return Ok(used(self));
        }
        let (sender, receiver) = oneshot::channel();
        let call: Call = Box::new(move |host| drop(sender.send(used(host))));
        self.shared.workers[number].push(WorkerInput::Call(call));
        receiver.await.map_err(|_| Refusal::new(Code::Unavailable, "the server is stopping"))
    }

    /// Takes room for a request's body.
    ///
    /// # Errors
    /// There is none now.
    pub(crate) fn admit(&self, bytes: usize) -> Result<BytesInFlight, Refusal> {
        let taken = self.inflight.get() + bytes;
        // One request always fits, however small the bound was set.
        if taken > self.shared.inflight_bytes && self.inflight.get() > 0 {
            return Err(Refusal::not_applied(
                Code::Overloaded,
                "the bodies of requests under way fill limits.inflight_bytes",
            ));
        }
        self.inflight.set(taken);
        Ok(BytesInFlight { bytes, inflight: Rc::clone(&self.inflight) })
    }

    /// Bytes of request bodies held now.
    pub(crate) fn inflight_bytes(&self) -> usize {
        self.inflight.get()
    }

    /// Runs turns for ever.
    async fn run(self: Rc<Self>) {
        let inbox = self.shared.workers[self.number].clone();
        loop {
            let turn_due = self.worker.borrow().turn_due();
            match turn_due {
                None => inbox.notified().await,
                Some(until) => {
                    let wait = until.since(clock::now());
                    // Whichever comes first: the turn looks for itself.
                    let _ = tokio::time::timeout(wait, inbox.notified()).await;
                }
            }
            let began = clock::now();
            // The runtime would keep a panic to itself.
            fatal::guard(|| self.turn(&inbox));
            if clock::now().since(began) >= LONG_TURN {
                std::thread::yield_now();
            }
            // A turn that leaves work is followed by another one; ticks, connections and links come in between.
            if self.worker.borrow().has_work() {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Looks at the clock for ever.
    async fn run_ticks(self: Rc<Self>) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut since_housekeeping = HOUSEKEEPING;
        loop {
            ticks.tick().await;
            since_housekeeping += TICK;
            if since_housekeeping >= HOUSEKEEPING {
                since_housekeeping = Duration::ZERO;
                self.keep_house();
            }
            self.with_worker(|worker| worker.handle_tick(clock::now()));
            fatal::guard(|| self.peers.tick_member(&self, clock::now()));
        }
    }

    fn turn(&self, inbox: &Inbox<WorkerInput>) {
        // Calls first: they find everything applied that the turn before took note of.
        let (calls, words): (Vec<_>, Vec<_>) =
            inbox.take().into_iter().partition(|input| matches!(input, WorkerInput::Call(_)));
        for input in calls {
            if let WorkerInput::Call(call) = input {
                call(self);
            }
        }
        let mut worker = self.worker.borrow_mut();
        for input in words {
            match input {
                WorkerInput::Log(LogOutput::Durable(id)) => worker.handle_durable(id),
                WorkerInput::Log(LogOutput::WantRebase(groups)) => {
                    worker.handle_want_rebase(&groups);
                }
                WorkerInput::Log(LogOutput::Headroom(headroom)) => {
                    worker.handle_headroom(headroom);
                }
                WorkerInput::Disk(completion) => {
                    if let Err(error) = worker.handle_disk(completion) {
                        fatal::disk_failed(&error);
                    }
                }
                WorkerInput::Frame { from, frame, room } => {
                    worker.handle_frame(clock::now(), from, *frame);
                    drop(room);
                }
                WorkerInput::Call(_) => {}
            }
        }
        self.hand_over_now(&mut worker);
        worker.poll(clock::now());
        self.send_frames(&mut worker);
        while let Some(submission) = worker.poll_submission() {
            // The log thread ends last; if it has ended, nothing waits for an answer any more.
            drop(self.shared.log.send(LogInput::Submit(submission)));
        }
        while let Some(request) = worker.poll_disk() {
            let inbox = inbox.clone();
            let done = Box::new(move |completion| inbox.push(WorkerInput::Disk(completion)));
            drop(self.background.send(Job { request, done }));
        }
        while let Some((waiter, response)) = worker.poll_response() {
            // Whoever waited may have gone: the write is done all the same.
            drop(waiter.send(response));
        }
        while let Some(message) = worker.poll_message() {
            tracing::warn!(worker = self.number, "{message}");
        }
        if worker.has_work() {
            inbox.wake();
        }
        if self.number > 0 {
            while let Some((node, epoch)) = worker.poll_epoch_heard() {
                self.tell_worker(0, move |first| first.peers.handle_epoch(node, epoch));
            }
        }
        drop(worker);
        self.peers.poll_member(self, clock::now());
        let worker = self.worker.borrow();
        if let Some(ready) = self.ready.take() {
            if worker.is_replayed(clock::now()) {
                // A start that was given up waits no longer.
                let _ = ready.send(());
            } else {
                self.ready.set(Some(ready));
            }
        }
    }

    /// Hands leadership over to other nodes, turn by turn, until none is left or it has taken too long. Requests go on
    /// being answered: by way of whoever leads then.
    async fn hand_over(&self) {
        let (done, handed_over) = oneshot::channel();
        self.handing_over.set(Some(done));
        self.shared.workers[self.number].wake();
        if tokio::time::timeout(HAND_OVER_MAX, handed_over).await.is_err() {
            tracing::warn!(worker = self.number, "not all leadership was taken over in time");
        }
        self.handing_over.set(None);
    }

    fn hand_over_now(&self, worker: &mut NodeWorker) {
        let Some(done) = self.handing_over.take() else { return };
        let reachable = |node| self.peers.is_up(node) == Some(true);
        if worker.hand_over(clock::now(), reachable) > 0 {
            self.handing_over.set(Some(done));
        } else {
            // Whoever waits may have waited long enough.
            let _ = done.send(());
        }
    }

    /// Hands the turn's frames to the links. What no link takes comes back before the turn ends.
    fn send_frames(&self, worker: &mut NodeWorker) {
        while let Some((node, channel, frame)) = worker.poll_frame() {
            if let Err(frame) = self.peers.send(node, channel, frame) {
                worker.handle_unsent(clock::now(), *frame);
            }
        }
    }

    /// Looks at what the shards hold and at what the disk has left.
    fn keep_house(&self) {
        let info = &self.shared.info;
        let (mut largest_store, mut unflushed, mut total) = (0, 0, 0);
        for shard in self.with_worker(|worker| worker.shards()) {
            let stored = shard.stored.bytes;
            let in_log = shard.status.map_or(0, |status| status.log_bytes);
            largest_store = stored.max(largest_store);
            unflushed += stored.min(in_log);
            total += stored;
        }
        let free = match rustix::fs::statvfs(&info.data_dir) {
            Ok(stat) => stat.f_bavail.saturating_mul(stat.f_frsize),
            Err(error) => {
                tracing::warn!("the free space of the data directory cannot be read: {error}");
                0
            }
        };
        // Each worker counts on its share of what is free, and keeps its share of the log's reserve.
        let workers = self.shared.workers.len() as u64;
        let (free, segment) = (free / workers, info.segment_bytes / workers);
        let room = Space { free, segment, largest_store, unflushed }.room();
        let refused = self.with_worker(|worker| worker.handle_room(room));
        let short = refused || room == 0;
        let source = SourceId(u16::try_from(self.number).unwrap_or(u16::MAX));
        // The log thread ends last; if it has ended, nobody needs its size any more.
        drop(self.shared.log.send(LogInput::Holdings { source, bytes: total, short }));
    }
}

/// What a worker opened: new groups to be founded, and what a person should read.
pub(crate) type OpenedPart = Result<(Vec<GroupWrite>, Vec<String>), OpenError>;

/// Everything that a worker's thread starts with.
pub(crate) struct WorkerStart {
    pub(crate) number: usize,
    pub(crate) part: Part,
    pub(crate) opening: Opening,
    pub(crate) disk: FileDisk,
    pub(crate) opened: Sender<OpenedPart>,
    /// Told when every open shard can be read and written, when leadership is handed over, and when this worker's connections
    /// have ended.
    pub(crate) ready: Sender<()>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) background: Sender<Job>,
    pub(crate) entrances: Vec<Entrance>,
    pub(crate) connections_max: usize,
    /// The first worker speaks for the node.
    pub(crate) member: Option<(Control, Claimed)>,
    /// Where other nodes connect.
    pub(crate) peers: std::net::TcpListener,
    pub(crate) own: Own,
    pub(crate) tls: Option<Arc<PeerTls>>,
    pub(crate) peer_options: PeerOptions,
    pub(crate) stop_timeout: Duration,
    pub(crate) phases: watch::Receiver<Phase>,
}

impl WorkerStart {
    /// Starts the thread.
    pub(crate) fn spawn(self) -> std::io::Result<JoinHandle<()>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let name = format!("worker-{}", self.number);
        let work = move || fatal::guard(|| self.work(&runtime));
        std::thread::Builder::new().name(name).spawn(work)
    }

    /// Opens the worker, says so, and serves until the server stops.
    fn work(mut self, runtime: &tokio::runtime::Runtime) {
        let part = std::mem::take(&mut self.part);
        let (worker, word) = match self.opening.open(&mut self.disk, part) {
            Ok(opened) => (Some(opened.worker), Ok((opened.founded, opened.findings))),
            Err(error) => (None, Err(error)),
        };
        // A start that was given up waits for no word.
        let told = self.opened.send(word);
        if let (Some(worker), Ok(())) = (worker, told) {
            let peers = self.peers();
            let host = Rc::new(Host::new(&self, worker, Rc::clone(&peers)));
            peers.set_host(&host);
            tokio::task::LocalSet::new().block_on(runtime, self.run(host));
        }
    }

    /// The worker's side of the links to other nodes.
    fn peers(&mut self) -> Rc<Peers> {
        let map = self.shared.map();
        let directory = Arc::new(peer_host::directory(self.own.clone(), &map));
        let member = self.member.take();
        let (member, formation) = match member {
            Some((control, claimed)) => {
                let Claimed { identity, formation, number, boot, .. } = claimed;
                let host = FormationHost::new(formation, identity, self.disk.clone());
                (
                    Some(Member::new(number, control, boot, env!("CARGO_PKG_VERSION"))),
                    Some(Rc::new(host)),
                )
            }
            None => (None, None),
        };
        Peers::new(directory, member, formation, self.disk.clone())
    }

    async fn run(self, host: Rc<Host>) {
        let mut phases = self.phases;
        // A sender that is gone means that the start was given up: there is nothing to serve.
        if phases.wait_for(|phase| *phase >= Phase::Electing).await.is_err() {
            return;
        }
        let (directory, peer_host) = host.peers.for_links();
        let links = PeerLinks::new(directory, self.tls, peer_host, self.peer_options);
        let links = Rc::new(links);
        *host.peers.links.borrow_mut() = Some(Rc::clone(&links));
        if host.number == 0 {
            let until = reached(phases.clone(), Phase::Stopped);
            tokio::task::spawn_local(links.serve(self.peers, until));
        }
        if let Some(formation) = host.peers.formation() {
            tokio::task::spawn_local(formation.serve(links));
        }
        tokio::task::spawn_local(Rc::clone(&host).run());
        tokio::task::spawn_local(Rc::clone(&host).run_ticks());
        // The first turn has every group elect its leader.
        host.shared.workers[host.number].wake();
        if phases.wait_for(|phase| *phase >= Phase::Serving).await.is_err() {
            return;
        }
        let backend = Rc::new(NodeBackend { host: Rc::clone(&host) });
        let mut serving = JoinSet::new();
        for Entrance { socket, http, handed } in self.entrances {
            let door = Rc::new(HttpDoor::new(Rc::clone(&backend), http));
            let (host, phases) = (Rc::clone(&host), phases.clone());
            let until = reached(phases.clone(), Phase::Stopping);
            let serve_one = move |stream| {
                listen::serve_one(Rc::clone(&host), Rc::clone(&door), stream, phases.clone())
            };
            let accept = listen::accept(socket, handed, self.connections_max, until, serve_one);
            serving.spawn_local(accept);
        }
        drop(phases.wait_for(|phase| *phase >= Phase::HandingOver).await);
        host.hand_over().await;
        // The others' connections may still bring requests for what this worker led.
        let _ = self.ready.send(());
        drop(phases.wait_for(|phase| *phase >= Phase::Stopping).await);
        let finished = async { while serving.join_next().await.is_some() {} };
        if tokio::time::timeout(self.stop_timeout, finished).await.is_err() {
            tracing::warn!("requests were still in flight when the time to stop had passed");
        }
        // The others' connections may still wait for this worker's shards.
        let _ = self.ready.send(());
        drop(phases.wait_for(|phase| *phase >= Phase::Stopped).await);
    }
}
