//! Nodes that talk, and what they were told.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ringfort_proto::peer::{Frame, Refused, Request};
use ringfort_types::{BootId, ClusterId, Incarnation, NodeId, NodeNumber};
use tokio::sync::{Notify, oneshot};
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::timeout;

pub(super) use crate::peers::dial::DialError;
pub(super) use crate::peers::links::WhyUnsent;
use crate::peers::*;

/// No test takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a test in one thread.
pub(super) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        timeout(PATIENCE, test).await.expect("the test ends in time");
    });
}

/// Waits for a condition that brings no event.
pub(super) async fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        // Goes by the sockets each time.
        tokio::task::yield_now().await;
    }
}

pub(super) fn frame(number: u64, bytes: usize) -> Frame {
    let request = Request { id: number, trace: vec![7; bytes].into(), ..Request::default() };
    Frame { requests: vec![request], ..Frame::default() }
}

pub(super) fn number_of(frame: &Frame) -> u64 {
    frame.requests[0].id
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Up(NodeNumber, Channel),
    Down(NodeNumber, Channel, Loss),
    Duplicate,
}

/// Takes note of everything.
#[derive(Default)]
pub(super) struct TestHost {
    pub(super) directory: RefCell<Option<Arc<Directory>>>,
    /// From whom, on which channel, which number.
    pub(super) frames: RefCell<Vec<(NodeNumber, Channel, u64)>>,
    pub(super) events: RefCell<Vec<Event>>,
    /// Whether to keep the rooms of frames, as a host that is behind does.
    pub(super) is_behind: Cell<bool>,
    pub(super) rooms: RefCell<Vec<Room>>,
    /// Taken over by these links as soon as a node has been admitted.
    pub(super) after_admission: RefCell<Option<(Rc<PeerLinks>, Arc<Directory>)>>,
    changed: Notify,
}

impl TestHost {
    /// Waits for a condition that the host's events bring about.
    pub(super) async fn until(&self, mut condition: impl FnMut(&Self) -> bool) {
        loop {
            let changed = self.changed.notified();
            if condition(self) {
                return;
            }
            changed.await;
        }
    }

    pub(super) async fn until_event(&self, event: Event) {
        self.until(|host| host.events.borrow().contains(&event)).await;
    }

    pub(super) fn numbers(&self, channel: Channel) -> Vec<u64> {
        let frames = self.frames.borrow();
        frames.iter().filter(|(_, on, _)| *on == channel).map(|(_, _, number)| *number).collect()
    }
}

impl PeerHost for TestHost {
    fn admit(&self, hello: &Hello) -> Result<(), Refused> {
        self.directory.borrow().as_ref().unwrap().admit(hello)?;
        if let Some((links, directory)) = self.after_admission.take() {
            *self.directory.borrow_mut() = Some(Arc::clone(&directory));
            links.set_directory(&directory);
        }
        Ok(())
    }

    fn handle_frame(&self, received: Received) {
        let number = number_of(&received.frame);
        self.frames.borrow_mut().push((received.from, received.channel, number));
        if self.is_behind.get() {
            self.rooms.borrow_mut().push(received.room);
        }
        self.changed.notify_waiters();
    }

    fn handle_up(&self, node: NodeNumber, channel: Channel) {
        self.events.borrow_mut().push(Event::Up(node, channel));
        self.changed.notify_waiters();
    }

    fn handle_down(&self, node: NodeNumber, channel: Channel, loss: Loss) {
        self.events.borrow_mut().push(Event::Down(node, channel, loss));
        self.changed.notify_waiters();
    }

    fn handle_duplicate(&self, refused: &Refused) {
        assert_eq!(refused.code, "duplicate_node");
        self.events.borrow_mut().push(Event::Duplicate);
        self.changed.notify_waiters();
    }

    fn answer(
        &self,
        from: &Hello,
        question: Bytes,
    ) -> Pin<Box<dyn Future<Output = Option<Bytes>>>> {
        let mut answer = format!("{} asked ", from.node_id).into_bytes();
        answer.extend_from_slice(&question);
        let is_silent = question.as_ref() == b"silence";
        Box::pin(async move { (!is_silent).then(|| Bytes::from(answer)) })
    }
}

pub(super) struct Node {
    pub(super) own: Own,
    pub(super) host: Rc<TestHost>,
    pub(super) links: Rc<PeerLinks>,
    pub(super) address: SocketAddr,
    serving: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

pub(super) fn own(number: u16) -> Own {
    Own {
        cluster: Some(ClusterId(77)),
        node_id: NodeId::parse(&format!("n{number}")).unwrap(),
        incarnation: Incarnation(u128::from(number) + 100),
        boot_id: BootId(u128::from(number) + 1000),
        number: NodeNumber(number),
        version: "0.0.0".into(),
    }
}

impl Node {
    pub(super) fn start(own: Own) -> Self {
        Self::start_with(own, None, PeerOptions::default())
    }

    pub(super) fn start_with(own: Own, tls: Option<PeerTls>, options: PeerOptions) -> Self {
        Self::with(own, tls.map(Arc::new), options)
    }

    pub(super) fn start_shared(own: Own, tls: Arc<PeerTls>) -> Self {
        Self::with(own, Some(tls), PeerOptions::default())
    }

    fn with(own: Own, tls: Option<Arc<PeerTls>>, options: PeerOptions) -> Self {
        let directory = Arc::new(Directory { own: own.clone(), peers: BTreeMap::new() });
        let host = Rc::new(TestHost::default());
        *host.directory.borrow_mut() = Some(Arc::clone(&directory));
        let links = PeerLinks::new(directory, tls, Rc::clone(&host) as Rc<dyn PeerHost>, options);
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let links = Rc::new(links);
        let mut node = Self { own, host, links, address: any, serving: None };
        node.listen();
        node
    }

    /// Listens at the address that it has had, or at a free one.
    pub(super) fn listen(&mut self) {
        let socket = std::net::TcpListener::bind(self.address).unwrap();
        socket.set_nonblocking(true).unwrap();
        self.address = socket.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let serving = self.links.serve(socket, async {
            // Dropped is stopped.
            let _ = stopped.await;
        });
        self.serving = Some((stop, tokio::task::spawn_local(serving)));
    }

    /// Listens no more, and ends every connection that others made.
    pub(super) async fn stop_listening(&mut self) {
        let (stop, serving) = self.serving.take().unwrap();
        drop(stop);
        serving.await.unwrap();
    }

    pub(super) fn as_peer(&self) -> Peer {
        Peer {
            address: self.address.to_string(),
            recorded: self.address.to_string(),
            node_id: self.own.node_id.clone(),
            incarnation: self.own.incarnation,
        }
    }

    /// Tells the node who the others are.
    pub(super) fn meet(&self, others: &[(u16, Peer)]) {
        let peers = others.iter().map(|(number, peer)| (NodeNumber(*number), peer.clone()));
        let directory = Arc::new(Directory { own: self.own.clone(), peers: peers.collect() });
        *self.host.directory.borrow_mut() = Some(Arc::clone(&directory));
        self.links.set_directory(&directory);
    }

    pub(super) fn stats(&self, channel: Channel) -> LinkStats {
        let all = self.links.link_stats();
        all.into_iter().find(|(_, of, _)| *of == channel).map(|(_, _, stats)| stats).unwrap()
    }
}

/// Nodes 1 and 2 of one cluster, which know each other.
pub(super) fn pair() -> (Node, Node) {
    introduced(Node::start(own(1)), Node::start(own(2)))
}

pub(super) fn introduced(one: Node, two: Node) -> (Node, Node) {
    one.meet(&[(two.own.number.0, two.as_peer())]);
    two.meet(&[(one.own.number.0, one.as_peer())]);
    (one, two)
}

pub(super) const TWO: NodeNumber = NodeNumber(2);
