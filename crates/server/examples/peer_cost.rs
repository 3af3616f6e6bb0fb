//! What links between nodes cost: frames of 1 KiB, 24 to a write, from one thread to another over loopback.
//!
//! `cargo run --release -p ringfort-server --example peer_cost`; with `-- DIRECTORY`, over TLS with the `ca.pem`, `cert.pem`
//! and `key.pem` there, which name both `n1` and `n2`.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ringfort_proto::peer::{Frame, Refused, Request};
use ringfort_server::peers::{
    Channel, Directory, Hello, Loss, Own, Peer, PeerHost, PeerLinks, PeerOptions, PeerTls,
    PeerTlsFiles, Received,
};
use ringfort_types::{BootId, ClusterId, Incarnation, NodeId, NodeNumber};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::Notify;
use tokio::task::LocalSet;

const FRAME_BYTES: usize = 1024;
const FRAMES_PER_WRITE: u64 = 24;
/// Writes that are not acknowledged yet, as with a pipelined leader.
const WRITES_UNDER_WAY: u64 = 4;
const WRITES: u64 = 100_000;

fn own(number: u16) -> Own {
    Own {
        cluster: Some(ClusterId(1)),
        node_id: NodeId::parse(&format!("n{number}")).expect("a node id"),
        incarnation: Incarnation(number.into()),
        boot_id: BootId(number.into()),
        number: NodeNumber(number),
        version: String::new(),
    }
}

/// Counts what comes. The receiving side acknowledges.
#[derive(Default)]
struct Counter {
    frames: Cell<u64>,
    came: Notify,
}

impl PeerHost for Counter {
    fn admit(&self, _: &Hello) -> Result<(), Refused> {
        Ok(())
    }

    fn handle_frame(&self, received: Received) {
        self.frames.set(self.frames.get() + received.frame.requests.len() as u64);
        self.came.notify_one();
    }

    fn handle_up(&self, _: NodeNumber, _: Channel) {}

    fn handle_down(&self, _: NodeNumber, channel: Channel, loss: Loss) {
        println!("the link {} went down: {loss:?}", channel.as_str());
    }

    fn answer(&self, _: &Hello, _: Bytes) -> Pin<Box<dyn Future<Output = Option<Bytes>>>> {
        Box::pin(std::future::ready(None))
    }
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let whole = Duration::from_secs(time.tv_sec.try_into().unwrap_or(0));
    whole + Duration::from_nanos(time.tv_nsec.try_into().unwrap_or(0))
}

fn frame(bytes: &Bytes) -> Frame {
    let request = Request { trace: bytes.clone(), ..Request::default() };
    Frame { requests: vec![request], ..Frame::default() }
}

/// Runs one side, and gives its CPU time.
fn side(
    number: u16,
    socket: TcpListener,
    other: SocketAddr,
    tls: Option<Arc<PeerTls>>,
) -> Duration {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let to = 3 - number;
        let Own { node_id, incarnation, .. } = own(to);
        let peer = Peer { address: other.to_string(), node_id, incarnation };
        let peers = BTreeMap::from([(NodeNumber(to), peer)]);
        let directory = Arc::new(Directory { own: own(number), peers });
        let host = Rc::new(Counter::default());
        let counter = Rc::clone(&host) as Rc<dyn PeerHost>;
        let links = PeerLinks::new(directory, tls, counter, PeerOptions::default());
        tokio::task::spawn_local(links.serve(socket, std::future::pending()));
        let send = |frame| {
            links.send(NodeNumber(to), Channel::Consensus, frame).expect("the queue has room");
        };
        let bytes = Bytes::from(vec![7; FRAME_BYTES]);
        let begun = cpu();
        let mut acknowledged = 0;
        for write in 0..WRITES {
            if number == 1 {
                (0..FRAMES_PER_WRITE).for_each(|_| send(frame(&bytes)));
                while host.frames.get() + WRITES_UNDER_WAY <= write {
                    host.came.notified().await;
                }
                tokio::task::yield_now().await;
            } else {
                while host.frames.get() < (acknowledged + 1) * FRAMES_PER_WRITE {
                    host.came.notified().await;
                }
                acknowledged += 1;
                send(frame(&Bytes::new()));
            }
        }
        while number == 1 && host.frames.get() < WRITES {
            host.came.notified().await;
        }
        let spent = cpu() - begun;
        for (_, _, stats) in links.link_stats() {
            println!("n{number}: {stats:?}");
        }
        // The last acknowledgement is still in the queue of this side.
        while links.link_stats().iter().any(|(_, _, stats)| stats.queue_frames > 0) {
            tokio::task::yield_now().await;
        }
        spent
    })
}

fn main() {
    let listen = || {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
        socket.set_nonblocking(true).expect("a socket");
        let address = socket.local_addr().expect("an address");
        (socket, address)
    };
    let ((one, one_address), (two, two_address)) = (listen(), listen());
    let dir = std::env::args_os().nth(1).map(PathBuf::from);
    let tls = |number| {
        let dir = dir.as_ref()?;
        let path = |name| dir.join(name);
        let files =
            PeerTlsFiles { ca: path("ca.pem"), cert: path("cert.pem"), key: path("key.pem") };
        Some(Arc::new(PeerTls::load(files, own(number).node_id).expect("usable certificates")))
    };
    let (tls_one, tls_two) = (tls(1), tls(2));
    let begun = Instant::now();
    let receiver = std::thread::spawn(move || side(2, two, one_address, tls_two));
    let sent = side(1, one, two_address, tls_one);
    let took = begun.elapsed();
    let received = receiver.join().expect("the receiver ends well");
    let frames = WRITES * FRAMES_PER_WRITE;
    #[expect(clippy::cast_precision_loss, reason = "for a person to read")]
    let each = |time: Duration| time.as_secs_f64() * 1e6 / frames as f64;
    println!("{frames} frames of {FRAME_BYTES} bytes, {FRAMES_PER_WRITE} to a write");
    println!("{:.0} frames a second", 1e6 / each(took));
    println!("CPU per frame: sender {:.3} us, receiver {:.3} us", each(sent), each(received));
}
