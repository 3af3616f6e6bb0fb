//! Starts and stops a node.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, RwLock};
use std::thread::JoinHandle;

use ringfort_env::Disk;
use ringfort_node::control::{ClusterMap, Control, Founded, IdentityContent};
use ringfort_node::host::{
    FileLog, GroupWrite, Guards, Headroom, LogError, LogOptions, MemoryEngine, MemoryOptions,
    StorageEngine, recover,
};
use ringfort_node::{OpenError, OpenOptions, Opened, Part, divide, founding, founding_of, open};
use ringfort_types::request::Limits;
use ringfort_types::{ClusterId, Levels, NodeId, NodeNumber};
use tokio::sync::{mpsc, watch};

use crate::background::{self, Job};
use crate::certificates::Certificates;
use crate::claim::{self, Addresses, Claimed};
use crate::clock;
use crate::data_dir::{DataDir, DataDirError};
use crate::disk::FileDisk;
use crate::entrance::Entrances;
use crate::greeter;
use crate::identity::{self, IdentityError};
use crate::inbox::Inbox;
use crate::limits;
use crate::listen::Handed;
use crate::log_thread::{LogFigures, LogInput, LogThread};
use crate::options::{EngineKind, ServerOptions};
use crate::peer_host;
use crate::peers::{PeerOptions, TlsError};
use crate::settings::{Sizes, log_options, raft_settings, worker_config};
use crate::worker_thread::{OpenedPart, Shared, ToWorkers, Waiter, WorkerStart};

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory is not to be had.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The data directory is another's, or its identity is damaged.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The log cannot be recovered.
    #[error("the log cannot be recovered: {0}")]
    Log(#[from] LogError),
    /// The node cannot be opened.
    #[error("the node cannot be opened: {0}")]
    Open(#[from] OpenError),
    /// A setting is out of range.
    #[error("{setting}: {reason}")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The files of TLS between nodes cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The node was told to stop before it had a cluster.
    #[error("stopped before the cluster was formed")]
    Stopped,
    /// An address cannot be bound.
    #[error("{setting} {address} cannot be bound: {source}")]
    Listen {
        /// The setting.
        setting: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The operating system refused a thread, a runtime or random bytes.
    #[error("the operating system refused {what}: {source}")]
    System {
        /// What.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
}

impl StartError {
    /// The setting that another value of would help, if there is one.
    #[must_use]
    pub fn setting(&self) -> Option<&'static str> {
        match self {
            Self::Listen { setting, .. } | Self::Setting { setting, .. } => Some(setting),
            Self::Tls(_) => Some("security.peer_cert"),
            Self::Log(LogError::Option { setting: "log_bytes_target", .. }) => {
                Some("storage.log_bytes")
            }
            Self::Log(LogError::Option { .. } | LogError::SegmentTooSmall { .. }) => {
                Some("storage.segment_bytes")
            }
            _ => None,
        }
    }
}

/// What a node knows of itself.
pub(crate) struct NodeInfo {
    pub(crate) node_id: NodeId,
    pub(crate) number: NodeNumber,
    pub(crate) cluster_id: ClusterId,
    pub(crate) data_dir: PathBuf,
    pub(crate) segment_bytes: u64,
    pub(crate) warnings: Vec<String>,
}

/// How far a server is. Workers follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// The node finds out which cluster it belongs to.
    Forming,
    /// The log is read, and workers open their stores. From here on clients are told that the node starts.
    Opening,
    /// Groups elect their leaders and replay their logs.
    Electing,
    /// Clients are served.
    Serving,
    /// Other nodes take over what is led here; clients are served.
    HandingOver,
    /// Nothing more is accepted; what is in flight is answered.
    Stopping,
    /// Nobody waits for an answer any more.
    Stopped,
}

/// Waits until the server is this far. One that is gone without saying so is as far as can be.
pub(crate) async fn reached(mut phases: watch::Receiver<Phase>, wanted: Phase) {
    drop(phases.wait_for(|phase| *phase >= wanted).await);
}

/// A running node.
pub struct Server {
    client_address: SocketAddr,
    health_address: Option<SocketAddr>,
    greeter: JoinHandle<()>,
    phase: watch::Sender<Phase>,
    /// Each worker's word that it leads nothing any more, and that its connections have ended.
    words: Receiver<()>,
    log: Sender<LogInput>,
    workers: Vec<JoinHandle<()>>,
    log_thread: JoinHandle<()>,
    background: JoinHandle<()>,
    _data_dir: DataDir,
}

impl Server {
    /// Starts a node: takes hold of its data directory, replays it, and listens. Returns once every open shard can be
    /// read and written. Blocks; to be called from outside any asynchronous runtime.
    ///
    /// # Errors
    /// See [`StartError`]. Damage of a shard is no error: the shard is closed and the log says so.
    pub fn start(options: &ServerOptions, certificates: &Certificates) -> Result<Self, StartError> {
        limits::raise_open_files();
        let data_dir = DataDir::hold(&options.data_dir)?;
        // Addresses first: a start that cannot listen should not have touched the log.
        let entrances = Entrances::bind(options)?;
        // A start that fails drops this, and whatever follows the phase ends.
        let (phase, phases) = watch::channel(Phase::Forming);
        // One operator at a time.
        let (to_formation, inits) = mpsc::channel(1);
        let (greeter, handed) = greeter::start(&entrances, options, phases.clone(), to_formation)
            .map_err(system("a thread"))?;
        let mut disk = FileDisk::new(&options.data_dir).map_err(system("the data directory"))?;
        let addresses =
            Addresses { client: entrances.client_address(), peer: entrances.peer_address() };
        let socket = entrances.peer_socket().map_err(system("a socket"))?;
        let following = phases.clone();
        let claimed =
            claim::claim(&mut disk, options, certificates, &addresses, socket, inits, following)?;
        let mut claimed = claimed.ok_or(StartError::Stopped)?;
        phase.send_replace(Phase::Opening);
        let Prepared { log, parts, opening, info, limits, control } =
            prepare(options, &mut disk, &claimed)?;
        let (to_log, log_inbox) = channel();
        let (to_background, background) =
            background::start(disk.clone()).map_err(system("a thread"))?;
        let shared = Arc::new(Shared {
            workers: parts.iter().map(|_| Inbox::new()).collect(),
            log: to_log.clone(),
            limits,
            shards: claimed.record.settings.shards,
            inflight_bytes: options.inflight_bytes,
            info,
            map: RwLock::new(Arc::clone(control.map())),
        });
        let (opened, openings) = channel();
        let (ready, readies) = channel();
        let hiring = Hiring {
            options,
            entrances: &entrances,
            claimed: &claimed,
            opening: &opening,
            disk: &disk,
            shared: &shared,
            background: &to_background,
            phases: &phases,
        };
        let workers = hiring.hire(parts, control, handed, &opened, &ready)?;
        // So that a thread that ends without a word is noticed.
        drop((opened, ready));
        let founded = await_openings(&openings, workers.len())?;
        let (is_founded, founding_durable) = channel();
        let log_thread = LogThread {
            log,
            disk: disk.clone(),
            inbox: log_inbox,
            to_self: to_log.clone(),
            background: to_background,
            listener: ToWorkers { shared, founded: is_founded },
            log_bytes_min: options.log_bytes,
            segment_bytes: options.segment_bytes,
            headroom: Headroom::default(),
            figures: LogFigures::default(),
        };
        let log_thread = log_thread.start().map_err(system("a thread"))?;
        if let Some(founding) = founding(founded) {
            drop(to_log.send(LogInput::Submit(founding)));
            // The log thread ends the process if it fails, so the word comes.
            receive(&founding_durable)?;
        }
        note_founding(&mut disk, &mut claimed.identity)?;
        phase.send_replace(Phase::Electing);
        for _ in &workers {
            receive(&readies)?;
        }
        phase.send_replace(Phase::Serving);
        tracing::info!(address = %entrances.client_address(), "serving clients");
        // The sockets are the threads' alone from here on: once those accept no more, nobody is left waiting.
        Ok(Self {
            client_address: entrances.client_address(),
            health_address: entrances.health_address(),
            greeter,
            phase,
            words: readies,
            log: to_log,
            workers,
            log_thread,
            background,
            _data_dir: data_dir,
        })
    }

    /// Where clients connect.
    #[must_use]
    pub fn client_address(&self) -> SocketAddr {
        self.client_address
    }

    /// Where health and metrics are served without credentials, if they are.
    #[must_use]
    pub fn health_address(&self) -> Option<SocketAddr> {
        self.health_address
    }

    /// Stops the node: hands leadership over, accepts nothing more, answers what is in flight, and ends its threads.
    /// Everything acknowledged is durable already. Blocks.
    pub fn stop(self) {
        self.phase.send_replace(Phase::HandingOver);
        self.await_workers();
        self.phase.send_replace(Phase::Stopping);
        self.await_workers();
        self.phase.send_replace(Phase::Stopped);
        join(self.greeter);
        for worker in self.workers {
            join(worker);
        }
        drop(self.log.send(LogInput::Stop));
        drop(self.log);
        join(self.log_thread);
        join(self.background);
        tracing::info!("stopped");
    }
}

impl Server {
    /// Waits for a word of each worker. One that ended by a panic has ended the process.
    fn await_workers(&self) {
        for _ in &self.workers {
            let _ = self.words.recv();
        }
    }
}

/// What is there before the first thread runs.
struct Prepared {
    control: Control,
    log: FileLog,
    parts: Vec<Part>,
    opening: Opening,
    info: NodeInfo,
    limits: Limits,
}

/// What the workers' threads start with.
struct Hiring<'a> {
    options: &'a ServerOptions,
    entrances: &'a Entrances,
    claimed: &'a Claimed,
    opening: &'a Opening,
    disk: &'a FileDisk,
    shared: &'a Arc<Shared>,
    background: &'a Sender<Job>,
    phases: &'a watch::Receiver<Phase>,
}

impl Hiring<'_> {
    /// Starts a thread for each part. The first worker speaks for the node, and takes over all connections that came during
    /// the start.
    fn hire(
        &self,
        parts: Vec<Part>,
        control: Control,
        handed: Vec<Handed>,
        opened: &Sender<OpenedPart>,
        ready: &Sender<()>,
    ) -> Result<Vec<JoinHandle<()>>, StartError> {
        let Self { options, entrances, claimed, .. } = *self;
        let mut member = Some((control, claimed.clone()));
        let mut handed = handed.into_iter();
        // Each worker accepts from each entrance.
        let acceptors = parts.len() * entrances.count();
        let connections_max = limits::connections_max(options.connections, acceptors);
        // What was logged of a node is logged by one thread.
        let peer_options = PeerOptions::default();
        let mut workers = Vec::with_capacity(parts.len());
        for (number, part) in parts.into_iter().enumerate() {
            let start = WorkerStart {
                number,
                part,
                opening: self.opening.clone(),
                disk: self.disk.clone(),
                opened: opened.clone(),
                ready: ready.clone(),
                shared: Arc::clone(self.shared),
                background: self.background.clone(),
                entrances: entrances.open(options, &mut handed).map_err(system("a socket"))?,
                connections_max,
                member: member.take(),
                peers: entrances.peer_socket().map_err(system("a socket"))?,
                own: peer_host::own(claimed, claimed.boot),
                tls: claimed.tls.clone(),
                peer_options: peer_options.clone(),
                stop_timeout: options.stop_timeout,
                phases: self.phases.clone(),
            };
            workers.push(start.spawn().map_err(system("a thread"))?);
        }
        Ok(workers)
    }
}

/// Notes that all groups are founded: one that the log does not know from now on is lost, not new.
fn note_founding(disk: &mut FileDisk, identity: &mut IdentityContent) -> Result<(), StartError> {
    if identity.founded != Founded::Everything {
        identity.founded = Founded::Everything;
        identity::write(disk, identity)?;
    }
    Ok(())
}

/// How every worker opens its part.
#[derive(Clone)]
pub(crate) struct Opening {
    options: OpenOptions,
    engine: EngineKind,
}

impl Opening {
    /// Opens one worker over its part. On the worker's own thread, so that what it reads is that thread's memory.
    pub(crate) fn open(
        &self,
        disk: &mut FileDisk,
        part: Part,
    ) -> Result<Opened<Waiter>, OpenError> {
        let engine: Box<dyn StorageEngine> = match self.engine {
            EngineKind::Memory => {
                let hash_seed = u128::from(self.options.seed);
                Box::new(MemoryEngine::new(MemoryOptions { hash_seed }))
            }
        };
        // Other nodes on this machine wait for the core, as `FileDisk` says of reads.
        let give_way = &mut std::thread::yield_now;
        open(disk, part, &self.options, clock::now(), engine, give_way)
    }
}

/// Recovers the log.
fn prepare(
    options: &ServerOptions,
    disk: &mut FileDisk,
    claimed: &Claimed,
) -> Result<Prepared, StartError> {
    let Claimed { identity, record, number, .. } = claimed;
    let shards = record.settings.shards;
    let log_options = LogOptions {
        log_bytes_target: options.log_bytes.max(snapshot_bytes(disk)?),
        salt: identity.log_salt,
        ..log_options(options, shards)
    };
    let (log, recovered) = recover(disk, log_options, clock::now())?;
    let cached = claim::cached_catalog(disk)?;
    let mut control = Control::new(*number, record.clone(), cached).map_err(|error| {
        StartError::Setting { setting: "identity.json", reason: error.to_string() }
    })?;
    let sizes = Sizes::of(options, &log_options);
    let open_options = OpenOptions {
        shards,
        workers: options.worker_count(),
        founded: identity.founded,
        founding: Arc::new(founding_of(record, *number)),
        worker: worker_config(options, claimed, shards, &sizes),
        raft: raft_settings(&record.settings, record.founders.len()),
        levels: Levels::active(control.map().settings().feature_level),
        guards: Guards::default(),
        seed: random().map_err(system("random bytes"))?,
    };
    let (parts, findings) = divide(recovered, &open_options);
    report(&findings);
    let addresses = claimed.formation.me.addresses();
    control.handle_own_addresses(clock::now(), claimed.boot, addresses);
    let info = NodeInfo {
        node_id: identity.name.id.clone(),
        number: *number,
        cluster_id: record.cluster_id,
        data_dir: options.data_dir.clone(),
        segment_bytes: options.segment_bytes,
        warnings: warnings(control.map(), *number, options, &sizes)?,
    };
    let opening = Opening { options: open_options, engine: options.engine };
    Ok(Prepared { control, log, parts, opening, info, limits: sizes.limits })
}

/// Bytes of the snapshots in the data directory: about what the data takes. The log may be as large.
fn snapshot_bytes(disk: &mut FileDisk) -> Result<u64, StartError> {
    let files = disk.list().map_err(IdentityError::from)?;
    let snapshots = files.iter().filter(|(name, _)| name.as_str().starts_with("snap-"));
    Ok(snapshots.map(|(_, bytes)| bytes).sum())
}

/// What counts at formation and was set otherwise since.
fn warnings(
    map: &ClusterMap,
    number: NodeNumber,
    options: &ServerOptions,
    sizes: &Sizes,
) -> Result<Vec<String>, StartError> {
    let mut warnings = map.settings().warnings(&claim::settings(options)?);
    if let Some(info) = map.member(number).map(|member| &member.info) {
        let (zone, capacity) = (&*info.zone.0, f64::from(info.capacity.hundredths()) / 100.0);
        if zone != options.zone {
            warnings.push(format!("node.zone is configured as {:?}; the cluster was formed with {zone:?}, and that counts", options.zone));
        }
        if (capacity - options.capacity).abs() > 0.005 {
            warnings.push(format!("node.capacity is configured as {}; the cluster was formed with {capacity}, and that counts", options.capacity));
        }
    }
    let mut lowered = |setting, configured: usize, now: usize| {
        if now < configured {
            warnings.push(format!("{setting} is lowered from {configured} to {now} bytes: more does not fit into storage.segment_bytes"));
        }
    };
    lowered("limits.max_request_bytes", options.max_request_bytes, sizes.limits.request_bytes_max);
    lowered("limits.max_value_bytes", options.max_value_bytes, sizes.limits.value_bytes_max);
    let (wanted, nodes) = (map.settings().replication_factor.get(), map.members().count());
    if wanted > nodes {
        let have = if nodes == 1 { "one node".to_owned() } else { format!("{nodes} nodes") };
        warnings
            .push(format!("every shard has {nodes} of {wanted} replicas: the cluster has {have}"));
    }
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    Ok(warnings)
}

/// Waits until every worker has opened its part; gives the groups to be founded.
fn await_openings(
    openings: &Receiver<OpenedPart>,
    workers: usize,
) -> Result<Vec<GroupWrite>, StartError> {
    let mut founded = Vec::new();
    for _ in 0..workers {
        let (writes, findings) = receive(openings)??;
        founded.extend(writes);
        report(&findings);
    }
    Ok(founded)
}

/// The next word of a thread. One that ends without a word has said why, or panicked.
fn receive<T>(words: &Receiver<T>) -> Result<T, StartError> {
    words.recv().map_err(|_| system("a thread")(std::io::ErrorKind::BrokenPipe.into()))
}

fn report(findings: &[String]) {
    for finding in findings {
        tracing::warn!("{finding}");
    }
}

pub(crate) fn system(what: &'static str) -> impl Fn(std::io::Error) -> StartError {
    move |source| StartError::System { what, source }
}

pub(crate) fn random() -> std::io::Result<u64> {
    getrandom::u64().map_err(std::io::Error::from)
}

fn join(thread: JoinHandle<()>) {
    if thread.join().is_err() {
        // The panic itself was reported by its thread.
        tracing::error!("a thread ended by a panic");
    }
}
