//! One thread's connections to all other nodes.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ringfort_proto::MESSAGE_BYTES_MAX;
use ringfort_proto::peer::{Frame, Refused};
use ringfort_types::{BootId, NodeNumber};
use tokio::io::AsyncWriteExt;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, timeout_at};

use super::accept;
use super::boots::{self, Boots};
use super::connection::{read_message, write_message};
use super::dial::{Dial, DialError};
use super::directory::Directory;
use super::hello::{Channel, Hello};
use super::link::Link;
use super::notes::PeerNotes;
use super::queue::Bounds;
use super::standing::Standing;
use super::stats::{AcceptStats, LinkKey, LinkStats};
use super::tls::PeerTls;
use crate::fatal;
use crate::listen::{self, nobody};

/// What stands behind the links of a thread. Called on that thread; may call [`PeerLinks`] in turn.
pub(crate) trait PeerHost {
    /// Whether a node is let in; [`Directory::admit`] judges by the directory. With TLS its certificate names the node id of
    /// the hello. Asked again for each connection when the directory changes.
    ///
    /// # Errors
    /// Why not, for that node's log.
    fn admit(&self, hello: &Hello) -> Result<(), Refused>;

    /// A frame has come. Frames of one connection come in order; a node may have several for a channel.
    fn handle_frame(&self, received: Received);

    /// A link is connected.
    fn handle_up(&self, node: NodeNumber, channel: Channel);

    /// A link broke, or could not be made. Nothing that was given to it before this call will be sent any more, and until
    /// [`Self::handle_up`] nothing is taken.
    fn handle_down(&self, node: NodeNumber, channel: Channel, loss: Loss);

    /// Another start of this very node runs, and for that every node that answers has refused this one for as long as the bound
    /// says.
    fn handle_duplicate(&self, refused: &Refused);

    /// Answers a question of formation. Without an answer the connection is closed.
    fn answer(&self, from: &Hello, question: Bytes)
    -> Pin<Box<dyn Future<Output = Option<Bytes>>>>;
}

/// What became of the frames that a broken link had taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// None of those taken since the link was last down has left this node.
    NotSent,
    /// Any of them may have arrived.
    InDoubt,
}

/// A frame from another node.
#[derive(Debug)]
pub(crate) struct Received {
    /// The node that sent it.
    pub(crate) from: NodeNumber,
    /// The channel on which it came.
    pub(crate) channel: Channel,
    /// What it said. Its keys, values and payloads are slices of what was read, 64 KiB or more: whoever keeps one for long
    /// takes a copy.
    pub(crate) frame: Frame,
    /// To be kept for as long as the frame is held.
    pub(crate) room: Room,
}

/// The part of a connection's window that a frame takes. While it is held, so much less is read from the connection.
#[derive(Debug)]
pub(crate) struct Room(
    #[expect(dead_code, reason = "it is there to be dropped")] OwnedSemaphorePermit,
);

impl Room {
    pub(super) fn new(permit: OwnedSemaphorePermit) -> Self {
        Self(permit)
    }
}

/// A frame that was not taken: nothing of it was or will be sent.
#[derive(Debug)]
pub(crate) struct Unsent {
    /// The frame.
    pub(crate) frame: Box<Frame>,
    /// Why.
    pub(crate) why: WhyUnsent,
}

/// Why a frame was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WhyUnsent {
    /// The directory has no such node, or the channel carries no frames.
    Unknown,
    /// The last attempt to reach the node failed, or its connection has just broken.
    Unreachable,
    /// Some node takes another start for this node.
    Doubted,
    /// The node takes frames more slowly than they come.
    Full,
    /// The frame is longer than 32 MiB.
    TooLarge,
}

/// The answer to a question of formation.
#[derive(Debug)]
pub(crate) struct Answered {
    /// Who answered. With TLS, its certificate names this node.
    pub(crate) from: Hello,
    /// What.
    pub(crate) message: Bytes,
}

/// Bounds of a thread's links.
#[derive(Clone, Debug)]
pub(crate) struct PeerOptions {
    /// Time from the connection to the end of the handshake, for whoever connects.
    pub(crate) handshake_timeout: Duration,
    /// Time for a dial, handshake included.
    pub(crate) dial_timeout: Duration,
    /// Time from the end of the handshake to the answer of a question of formation.
    pub(crate) answer_timeout: Duration,
    /// Connections accepted at once.
    pub(crate) connections_max: usize,
    /// Bytes of frames of one connection that are handled at once; a longer frame is handled alone.
    pub(crate) window_bytes: u32,
    /// Frames in a link's queue.
    pub(crate) queue_frames_max: usize,
    /// Bytes in a link's queue; a longer frame is taken into an empty one.
    pub(crate) queue_bytes_max: usize,
    /// A frame with requests goes on the connection for consensus while no more bytes than this wait there, its own included: so
    /// much Raft waits for at most, and fewer writes are to be paid for.
    pub(crate) along_bytes_max: usize,
    /// A start of a node that was not heard for longer gives way to another, unless it answers when it is asked: three times
    /// what a node lets pass between two words.
    pub(crate) silence_max: Duration,
    /// Time to find out which start of a node answers at an address, handshake included. Of the handshake of whoever waits for
    /// that it is a part.
    pub(crate) start_timeout: Duration,
    /// How long this process tries to be let in where every node that answers refuses it as another start of a node that runs:
    /// longer than it takes others to notice that an earlier start is gone.
    pub(crate) duplicate_max: Duration,
    /// Whether it is refused so. Threads with clones of the same options share it.
    pub(crate) standing: Standing,
    /// What has been logged. Threads with clones of the same options share it.
    pub(crate) notes: PeerNotes,
}

impl Default for PeerOptions {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(5),
            dial_timeout: Duration::from_secs(5),
            answer_timeout: Duration::from_secs(5),
            connections_max: 4096,
            window_bytes: 8 << 20,
            queue_frames_max: 4096,
            queue_bytes_max: 16 << 20,
            along_bytes_max: 32 << 10,
            silence_max: Duration::from_secs(3),
            start_timeout: Duration::from_secs(2),
            duplicate_max: Duration::from_secs(10),
            standing: Standing::default(),
            notes: PeerNotes::default(),
        }
    }
}

impl PeerOptions {
    fn bounds(&self) -> Bounds {
        Bounds { frames_max: self.queue_frames_max, bytes_max: self.queue_bytes_max }
    }
}

/// What all connections of a thread share.
pub(super) struct Shared {
    pub(super) directory: watch::Sender<Arc<Directory>>,
    pub(super) tls: Option<Arc<PeerTls>>,
    host: Rc<dyn PeerHost>,
    pub(super) options: PeerOptions,
    pub(super) accepted: Cell<AcceptStats>,
    pub(super) boots: Boots,
    links: RefCell<BTreeMap<LinkKey, Rc<Link>>>,
}

impl Shared {
    pub(super) fn directory(&self) -> Arc<Directory> {
        Arc::clone(&self.directory.borrow())
    }

    /// What this node says of itself on a connection.
    pub(super) fn hello(&self, channel: Channel, to: NodeNumber) -> Hello {
        let own = &self.directory.borrow().own;
        Hello {
            cluster: own.cluster,
            node_id: own.node_id.clone(),
            incarnation: own.incarnation,
            boot_id: own.boot_id,
            number: own.number,
            channel,
            to,
            version: own.version.clone(),
        }
    }

    /// Tells the host something. The runtime would keep a panic to itself.
    pub(super) fn tell<T>(&self, told: impl FnOnce(&dyn PeerHost) -> T) -> T {
        fatal::guard(|| told(&*self.host))
    }

    /// The node is there: whoever waits to dial it again need not wait.
    pub(super) fn nudge(&self, node: NodeNumber) {
        let links = self.links.borrow();
        let of_node = Channel::OF_FRAMES.iter().filter_map(|channel| links.get(&(node, *channel)));
        of_node.for_each(|link| link.nudge());
    }

    pub(super) fn count_accepted(&self, change: impl FnOnce(&mut AcceptStats)) {
        let mut stats = self.accepted.get();
        change(&mut stats);
        self.accepted.set(stats);
    }
}

/// One thread's connections to all other nodes. To be used within a `LocalSet` of a single-threaded runtime. Dropped, it
/// closes its links; connections that were accepted end as [`Self::serve`] says.
pub(crate) struct PeerLinks {
    shared: Rc<Shared>,
}

impl PeerLinks {
    /// No connection is made yet. Without `tls` everything is plain TCP.
    #[must_use]
    pub(crate) fn new(
        directory: Arc<Directory>,
        tls: Option<Arc<PeerTls>>,
        host: Rc<dyn PeerHost>,
        options: PeerOptions,
    ) -> Self {
        let shared = Shared {
            directory: watch::Sender::new(directory),
            tls,
            host,
            options,
            accepted: Cell::default(),
            boots: Boots::default(),
            links: RefCell::default(),
        };
        Self { shared: Rc::new(shared) }
    }

    /// Takes over a newer directory. Links to nodes that are gone or changed are closed, and their host is told;
    /// connections of nodes that are not admitted any more end.
    pub(crate) fn set_directory(&self, directory: &Arc<Directory>) {
        let shared = &self.shared;
        let before = shared.directory.send_replace(Arc::clone(directory));
        let (old, new) = (&before.own, &directory.own);
        let is_other = (old.cluster, old.number) != (new.cluster, new.number);
        let stays = |link: &Link| {
            let peer = directory.peers.get(&link.key.0);
            !is_other && peer.is_some_and(|peer| peer.is_dialled_as(&link.peer))
        };
        let goes = |link: &Link| !stays(link);
        let gone: Vec<_> = shared.links.borrow_mut().extract_if(.., |_, link| goes(link)).collect();
        for (_, link) in gone {
            link.close(shared);
        }
    }

    /// Sends a frame. Never waits; the first frame has the node dialled. One with requests goes along with those of consensus where
    /// that connection is up and has little to write.
    ///
    /// # Errors
    /// The frame was not taken, and nothing of it is sent. Whoever can do without it may drop it.
    pub(crate) fn send(
        &self,
        node: NodeNumber,
        channel: Channel,
        frame: Frame,
    ) -> Result<(), Unsent> {
        if channel == Channel::Requests && self.takes_along(node, &frame) {
            return Ok(());
        }
        match self.link((node, channel)) {
            Some(link) => link.send(frame),
            None => Err(Unsent { frame: Box::new(frame), why: WhyUnsent::Unknown }),
        }
    }

    fn takes_along(&self, node: NodeNumber, frame: &Frame) -> bool {
        let shared = &self.shared;
        let links = shared.links.borrow();
        let consensus = links.get(&(node, Channel::Consensus));
        consensus.is_some_and(|link| link.take_along(frame, shared.options.along_bytes_max))
    }

    fn link(&self, key: LinkKey) -> Option<Rc<Link>> {
        let shared = &self.shared;
        if let Some(link) = shared.links.borrow().get(&key) {
            return Some(Rc::clone(link));
        }
        let (node, channel) = key;
        if !Channel::OF_FRAMES.contains(&channel) {
            return None;
        }
        let peer = shared.directory.borrow().peers.get(&node)?.clone();
        let link = Link::start(key, peer, shared.options.bounds(), shared);
        shared.links.borrow_mut().insert(key, Rc::clone(&link));
        Some(link)
    }

    /// Asks whoever listens at an address, `host:port`, a question of formation. Neither side needs a cluster.
    ///
    /// # Errors
    /// There is no answer; the question may have arrived all the same.
    pub(crate) async fn ask(&self, address: &str, question: &[u8]) -> Result<Answered, DialError> {
        let options = &self.shared.options;
        let hello = self.shared.hello(Channel::Formation, NodeNumber(0));
        let dial = Dial {
            address,
            tls: self.shared.tls.as_deref(),
            hello: &hello,
            timeout: options.dial_timeout,
        };
        let (mut connection, from) = dial.run().await?;
        let deadline = Instant::now() + options.answer_timeout;
        let exchange = async {
            write_message(&mut connection, question).await?;
            let message = read_message(&mut connection, MESSAGE_BYTES_MAX).await?;
            // The answer is here: how the connection ends does not matter.
            drop(connection.shutdown().await);
            Ok(message)
        };
        match timeout_at(deadline, exchange).await {
            Ok(Ok(message)) => Ok(Answered { from, message }),
            Ok(Err(error)) => Err(DialError::broken(&error)),
            Err(_) => Err(DialError::TimedOut("waiting for the answer to a question")),
        }
    }

    /// Which start of a node, another or this one, answers at an address; `None` where none does in time.
    pub(crate) async fn start_at(&self, node: NodeNumber, address: &str) -> Option<BootId> {
        boots::start_at(&self.shared, node, address).await
    }

    /// Accepts connections until told otherwise, then ends those that are there.
    pub(crate) fn serve(
        &self,
        socket: std::net::TcpListener,
        until: impl Future<Output = ()> + 'static,
    ) -> impl Future<Output = ()> + 'static {
        let shared = Rc::clone(&self.shared);
        let (close, closing) = watch::channel(false);
        let until = async move {
            until.await;
            close.send_replace(true);
        };
        let connections_max = shared.options.connections_max;
        let serve_one =
            move |stream| accept::serve_one(Rc::clone(&shared), stream, closing.clone());
        listen::accept(socket, nobody(), connections_max, until, serve_one)
    }

    /// What each link has done.
    #[must_use]
    pub(crate) fn link_stats(&self) -> Vec<(NodeNumber, Channel, LinkStats)> {
        let links = self.shared.links.borrow();
        links.iter().map(|((node, channel), link)| (*node, *channel, link.stats())).collect()
    }

    /// What the connections that this thread accepted have done.
    #[must_use]
    pub(crate) fn accept_stats(&self) -> AcceptStats {
        self.shared.accepted.get()
    }
}

impl Drop for PeerLinks {
    fn drop(&mut self) {
        // Their tasks hold on to what they share: it does not end by itself.
        for link in std::mem::take(&mut *self.shared.links.borrow_mut()).values() {
            link.abort();
        }
    }
}
