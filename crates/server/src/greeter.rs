//! Answers clients while the node starts: it is alive, it is not ready, and all else has to wait.
//!
//! A replay takes as long as there is log to read, and keeps the workers' threads busy. So until it is done connections are
//! accepted here, on a thread that does nothing else, over a backend that refuses. Then the thread ends, and with it all
//! that only a start needs: no request of a node that serves passes through any of this.
//!
//! ```text
//!   accepted ─┬─ says something ─────► door over `Starting` ─► its answer, and the end of the connection
//!             └─ silent when the node serves ───────────────► handed to a worker, as if accepted there
//! ```
//!
//! What is refused here has not been looked at by anybody: `not_applied` is always true. Requests are not counted: they
//! would be missing from the counters of the node that serves.

use std::future::pending;
use std::rc::Rc;
use std::thread::JoinHandle;
use std::time::Duration;

use ringfort_door::{Backend, HttpDoor, HttpOptions, MetricsFormat, Observation};
use ringfort_types::request::{
    Answered, Batch, BatchAnswer, ClusterView, Context, Get, Got, Limits, List, Page, ReadyCheck,
    Write,
};
use ringfort_types::{
    ClusterId, Code, Key, Monotonic, NamespaceId, Refusal, ShardId, shard_of_token,
};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::entrance::{Entrance, Entrances};
use crate::formation::Init;
use crate::listen::{self, Handed, nobody};
use crate::options::ServerOptions;
use crate::server::{Phase, reached};
use crate::{clock, fatal, limits, metrics};

/// The largest body of a wish for a cluster: an empty object.
const INIT_BYTES_MAX: usize = 1024;

/// Starts the thread. It ends when the node serves and what came before is answered, or when the start is given up. Gives
/// what is handed over from each entrance.
///
/// # Errors
/// The operating system refused a thread, a runtime or a socket.
pub(crate) fn start(
    entrances: &Entrances,
    options: &ServerOptions,
    phases: watch::Receiver<Phase>,
    formation: mpsc::Sender<Init>,
) -> std::io::Result<(JoinHandle<()>, Vec<Handed>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let entrances = entrances.open(options, &mut std::iter::empty())?;
    let connections_max = limits::connections_while_starting(entrances.len());
    // A channel holds every connection there can be.
    let channels = entrances.iter().map(|_| mpsc::channel(connections_max));
    let (hand_over, handed): (Vec<_>, Vec<_>) = channels.unzip();
    let limits = Limits {
        value_bytes_max: options.max_value_bytes,
        request_bytes_max: options.max_request_bytes,
    };
    let phases_of = phases.clone();
    let backend = Starting { limits, shards: options.shards, phases: phases_of, formation };
    let greeter = Greeter { entrances, hand_over, backend, connections_max, phases };
    let greet = move || {
        fatal::guard(|| tokio::task::LocalSet::new().block_on(&runtime, greeter.run()));
    };
    let thread = std::thread::Builder::new().name("greeter".into()).spawn(greet)?;
    Ok((thread, handed))
}

type HandOver = mpsc::Sender<std::net::TcpStream>;

struct Greeter {
    entrances: Vec<Entrance>,
    /// By entrance.
    hand_over: Vec<HandOver>,
    backend: Starting,
    connections_max: usize,
    phases: watch::Receiver<Phase>,
}

impl Greeter {
    async fn run(self) {
        let backend = Rc::new(self.backend);
        let mut greeting = JoinSet::new();
        for (entrance, hand_over) in self.entrances.into_iter().zip(self.hand_over) {
            let http = HttpOptions { starting: true, ..entrance.http };
            let patience = http.head_timeout;
            let door = Rc::new(HttpDoor::new(Rc::clone(&backend), http));
            let phases = self.phases.clone();
            let until = reached(phases.clone(), Phase::Serving);
            let greet_one = move |stream| {
                greet(stream, Rc::clone(&door), hand_over.clone(), patience, phases.clone())
            };
            let accept =
                listen::accept(entrance.socket, nobody(), self.connections_max, until, greet_one);
            greeting.spawn_local(accept);
        }
        let finished = async { while greeting.join_next().await.is_some() {} };
        // Whoever is not answered by the time the node stops gets no answer: nothing of theirs was done.
        tokio::select! {
            () = finished => {}
            () = reached(self.phases, Phase::Stopping) => {}
        }
    }
}

/// Serves a connection that says something while the node starts, and hands it over if it does not. One that stays silent
/// for longer than `patience` gives its place to others.
async fn greet(
    stream: TcpStream,
    door: Rc<HttpDoor<Starting>>,
    hand_over: HandOver,
    patience: Duration,
    phases: watch::Receiver<Phase>,
) {
    // Nothing is taken out of the stream: whoever serves it reads it from the start.
    let mut first_byte = [0];
    let spoke = tokio::select! {
        biased;
        () = reached(phases, Phase::Serving) => false,
        begun = tokio::time::timeout(patience, stream.peek(&mut first_byte)) => match begun {
            Ok(Ok(_)) => true,
            // Silent, or broken.
            Ok(Err(_)) | Err(_) => return,
        },
    };
    if spoke {
        // It ends by itself with its first answer.
        if let Err(error) = door.serve_connection(stream, pending()).await {
            tracing::debug!("a connection ended early: {error}");
        }
        return;
    }
    let handed = stream.into_std().map(|stream| hand_over.try_send(stream).is_ok());
    if !handed.is_ok_and(|taken| taken) {
        tracing::debug!("a connection was not taken over: the server stops");
    }
}

/// What stands behind the doors of a node that starts.
struct Starting {
    limits: Limits,
    shards: u32,
    phases: watch::Receiver<Phase>,
    /// Where a wish for a cluster goes, before there is one.
    formation: mpsc::Sender<Init>,
}

impl Starting {
    fn is_forming(&self) -> bool {
        *self.phases.borrow() == Phase::Forming
    }

    /// The refusal of a read.
    fn not_yet(&self) -> Refusal {
        let detail = match self.is_forming() {
            true => "the node starts: it has joined no cluster yet",
            false => "the node starts: its log is being replayed",
        };
        Refusal::new(Code::Unavailable, detail)
    }

    /// The refusal of anything that would change something.
    fn not_applied(&self) -> Refusal {
        Refusal::not_applied(Code::Unavailable, self.not_yet().detail)
    }
}

impl Backend for Starting {
    type Admission = ();

    fn now(&self) -> Monotonic {
        clock::now()
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    async fn get(&self, _: &Context, _: Get) -> Result<Got, Refusal> {
        Err(self.not_yet())
    }

    async fn write(&self, _: &Context, _: Write) -> Result<Answered, Refusal> {
        Err(self.not_applied())
    }

    async fn batch(&self, _: &Context, _: Batch) -> Result<BatchAnswer, Refusal> {
        Err(self.not_applied())
    }

    async fn list(&self, _: &Context, _: List) -> Result<Page, Refusal> {
        Err(self.not_yet())
    }

    async fn cluster(&self, _: &Context) -> Result<ClusterView, Refusal> {
        Err(self.not_yet())
    }

    async fn drain_node(&self, _: &Context, _: &str) -> Result<(), Refusal> {
        Err(self.not_applied())
    }

    async fn remove_node(&self, _: &Context, _: &str) -> Result<(), Refusal> {
        Err(self.not_applied())
    }

    async fn init_cluster(&self, context: &Context) -> Result<ClusterId, Refusal> {
        let (init, formed) = oneshot::channel();
        if self.formation.try_send(init).is_err() {
            return Err(self.not_applied());
        }
        let left = context.deadline.since(clock::now());
        match tokio::time::timeout(left, formed).await {
            Ok(Ok(Ok(cluster))) => Ok(cluster),
            Ok(Ok(Err(refused))) => {
                Err(Refusal::not_applied(Code::Unavailable, refused.to_string()))
            }
            Ok(Err(_)) => Err(self.not_applied()),
            // It is wanted still, and forms when every seed has answered.
            Err(_) => Err(Refusal::unknown(
                Code::Timeout,
                "the cluster is not formed yet: not every node of cluster.seeds has answered",
            )),
        }
    }

    async fn readiness(&self) -> Vec<ReadyCheck> {
        let waits = "waits for the replay";
        let (replayed, joined) = match *self.phases.borrow() {
            Phase::Forming => ("waits for the cluster", "the cluster is not formed yet"),
            Phase::Opening => ("the log and the stores are being read", waits),
            _ => ("the log is being replayed", waits),
        };
        let checks = [("replayed", replayed), ("joined", joined), ("routes", waits)];
        let check =
            |(name, detail): (_, &str)| ReadyCheck { name, ok: false, detail: detail.into() };
        checks.map(check).into()
    }

    /// What is not known yet is left out: a count of keys that is zero would be taken for a loss.
    async fn metrics(&self, format: MetricsFormat) -> String {
        metrics::encode_process(format)
    }

    /// Nothing is admitted but what a wish for a cluster takes, while there is none.
    fn admit(&self, bytes: usize) -> Result<(), Refusal> {
        match self.is_forming() && bytes <= INIT_BYTES_MAX {
            true => Ok(()),
            false => Err(self.not_applied()),
        }
    }

    fn observe(&self, _: Observation) {}

    fn shard_of(&self, key: &Key) -> ShardId {
        shard_of_token(key.token(NamespaceId::default()), self.shards)
    }
}
