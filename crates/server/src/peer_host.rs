//! What a worker's thread and other nodes say to each other: frames of its core out and in, words of links, questions of
//! formation. On the first worker's thread, also the node's part in the catalog.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use bytes::Bytes;
use ringfort_node::control::{CATALOG_FILE, ClusterMap, Said};
use ringfort_node::{Member, MemberEffect};
use ringfort_proto::peer::{Channel as WireChannel, Frame, Refused};
use ringfort_types::{BootId, Epoch, GroupId, Monotonic, NodeNumber};

use crate::claim::Claimed;
use crate::clock;
use crate::disk::FileDisk;
use crate::fatal;
use crate::formation::FormationHost;
use crate::identity;
use crate::metrics::PeerStats;
use crate::peers::{
    Channel, Directory, Hello, Loss, Own, Peer, PeerHost, PeerLinks, Received, Unsent,
};
use crate::worker_thread::{Host, WorkerInput};

/// The name under which a new `catalog.bin` is written.
const CATALOG_FILE_NEW: &str = "catalog.bin.tmp";

/// A worker's side of the links to other nodes.
pub(crate) struct Peers {
    host: RefCell<Weak<Host>>,
    pub(crate) links: RefCell<Option<Rc<PeerLinks>>>,
    directory: RefCell<Arc<Directory>>,
    /// On the first worker's thread.
    pub(crate) member: RefCell<Option<Member>>,
    formation: Option<Rc<FormationHost>>,
    disk: RefCell<FileDisk>,
    /// Whether the link for consensus to a node is up.
    up: RefCell<BTreeMap<NodeNumber, bool>>,
    last_tick: Cell<Monotonic>,
}

impl Peers {
    pub(crate) fn new(
        directory: Arc<Directory>,
        member: Option<Member>,
        formation: Option<Rc<FormationHost>>,
        disk: FileDisk,
    ) -> Rc<Self> {
        Rc::new(Self {
            host: RefCell::default(),
            links: RefCell::default(),
            directory: RefCell::new(directory),
            member: RefCell::new(member),
            formation,
            disk: RefCell::new(disk),
            up: RefCell::default(),
            last_tick: Cell::default(),
        })
    }

    pub(crate) fn set_host(&self, host: &Rc<Host>) {
        *self.host.borrow_mut() = Rc::downgrade(host);
    }

    /// What links are made with.
    pub(crate) fn for_links(self: &Rc<Self>) -> (Arc<Directory>, Rc<dyn PeerHost>) {
        let host: Rc<dyn PeerHost> = Rc::clone(self) as Rc<dyn PeerHost>;
        (Arc::clone(&self.directory.borrow()), host)
    }

    /// Who answers nodes that come late to the formation, on the first worker's thread.
    pub(crate) fn formation(&self) -> Option<Rc<FormationHost>> {
        self.formation.clone()
    }

    /// Whether the link for consensus to a node is up; `None` where there was none yet.
    pub(crate) fn is_up(&self, node: NodeNumber) -> Option<bool> {
        self.up.borrow().get(&node).copied()
    }

    /// What another node said last of itself.
    pub(crate) fn said(&self, node: NodeNumber) -> Option<Said> {
        self.member.borrow().as_ref()?.said(node).cloned()
    }

    /// What this thread's links and accepted connections have done.
    pub(crate) fn stats(&self) -> PeerStats {
        let links = self.links.borrow();
        let links = links.as_ref();
        PeerStats {
            links: links.map(|links| links.link_stats()).unwrap_or_default(),
            accepted: links.map(|links| links.accept_stats()).unwrap_or_default(),
        }
    }

    /// Takes a newer map: addresses of other nodes may be others.
    pub(crate) fn handle_map(&self, map: &ClusterMap) {
        let own = self.directory.borrow().own.clone();
        let directory = Arc::new(directory(own, map));
        *self.directory.borrow_mut() = Arc::clone(&directory);
        if let Some(links) = &*self.links.borrow() {
            links.set_directory(&directory);
        }
    }

    /// Sends a frame; gives it back if no connection took it.
    pub(crate) fn send(
        &self,
        node: NodeNumber,
        channel: WireChannel,
        frame: Frame,
    ) -> Result<(), Box<Frame>> {
        let channel = match channel {
            WireChannel::Requests => Channel::Requests,
            WireChannel::Snapshots => Channel::Snapshots,
            _ => Channel::Consensus,
        };
        match &*self.links.borrow() {
            Some(links) => links.send(node, channel, frame).map_err(|Unsent { frame, why }| {
                tracing::trace!(%node, channel = channel.as_str(), ?why, "a frame was not taken");
                frame
            }),
            None => Err(Box::new(frame)),
        }
    }

    /// The node's part in the catalog, on the first worker's thread: what other nodes and this worker said is dealt with.
    pub(crate) fn poll_member(&self, host: &Host, now: Monotonic) {
        let mut member = self.member.borrow_mut();
        let Some(member) = &mut *member else { return };
        host.with_core(|worker| member.poll(now, worker));
        while let Some((to, frame)) = member.poll_frame() {
            // What gossip does not reach now, it reaches later.
            drop(self.send(to, WireChannel::Consensus, frame));
        }
        while let Some(effect) = member.poll_effect() {
            self.execute(host, effect);
        }
    }

    fn execute(&self, host: &Host, effect: MemberEffect) {
        match effect {
            MemberEffect::Map(map) => host.spread_map(&map),
            MemberEffect::SaveCatalog(bytes) => {
                let mut disk = self.disk.borrow_mut();
                let saved = identity::replace(&mut *disk, CATALOG_FILE, CATALOG_FILE_NEW, bytes);
                if let Err(error) = saved {
                    // It is a copy: without it the next start knows an older one.
                    tracing::warn!("{CATALOG_FILE} cannot be written: {error}");
                }
            }
            MemberEffect::Instruct(instruction) => {
                let group = instruction.group;
                let owner = host.shared.owner_of(group.shard().unwrap_or_default());
                host.tell_worker(owner, move |host| {
                    let done = host.with_worker(|worker| worker.instruct(&instruction));
                    if let Err(error) = done {
                        tracing::debug!(%group, "not yet: {error}");
                    }
                });
            }
            MemberEffect::AskRecorded { node, address } => self.ask_recorded(node, address),
            MemberEffect::Finding(finding) => tracing::warn!("{finding}"),
        }
    }

    /// Finds out which start of a node answers at an address, and tells the member.
    fn ask_recorded(&self, node: NodeNumber, address: String) {
        let Some(links) = self.links.borrow().clone() else { return };
        let this = self.host.borrow().clone();
        tokio::task::spawn_local(async move {
            let answers = links.start_at(node, &address).await;
            let Some(host) = this.upgrade() else { return };
            fatal::guard(|| {
                if let Some(member) = &mut *host.peers.member.borrow_mut() {
                    member.handle_recorded(clock::now(), node, &address, answers);
                }
            });
        });
    }

    /// Lets the member look at the time, and at what this node's workers say of their shards.
    pub(crate) fn tick_member(&self, host: &Host, now: Monotonic) {
        if self.member.borrow().is_none() || now.since(self.last_tick.get()).as_millis() < 100 {
            return;
        }
        self.last_tick.set(now);
        if let Some(member) = &mut *self.member.borrow_mut() {
            member.handle_reports(now, host.with_core(|worker| worker.reports()));
            member.handle_tick(now);
        }
        // The other workers' reports come as they are.
        for number in 1..host.shared.workers.len() {
            host.tell_worker(number, |host| {
                let reports = host.with_worker(|worker| worker.reports());
                host.tell_worker(0, move |first| first.peers.handle_reports(reports));
            });
        }
        self.poll_member(host, now);
    }

    fn handle_reports(&self, reports: Vec<(GroupId, Option<ringfort_node::control::GroupReport>)>) {
        if let Some(member) = &mut *self.member.borrow_mut() {
            member.handle_reports(clock::now(), reports);
        }
    }

    /// Takes, on the first worker's thread, which epoch another node routed a request to another worker by.
    pub(crate) fn handle_epoch(&self, from: NodeNumber, epoch: Epoch) {
        if let Some(member) = &mut *self.member.borrow_mut() {
            member.handle_epoch(clock::now(), from, epoch);
        }
    }

    fn with_host(&self, used: impl FnOnce(&Host)) {
        if let Some(host) = self.host.borrow().upgrade() {
            used(&host);
        }
    }

    /// What the worker is to know of its requests as a link goes down that was up before, or was not.
    fn fate_of_requests(
        &self,
        node: NodeNumber,
        channel: Channel,
        loss: Loss,
        was_up: bool,
    ) -> Option<Loss> {
        match channel {
            // It takes none before it is up.
            Channel::Consensus => was_up.then_some(Loss::InDoubt),
            // Some may be under way on the other one.
            Channel::Requests if self.is_up(node) == Some(true) => Some(Loss::InDoubt),
            Channel::Requests => Some(loss),
            Channel::Snapshots | Channel::Formation => None,
        }
    }
}

impl PeerHost for Peers {
    fn admit(&self, hello: &Hello) -> Result<(), Refused> {
        self.directory.borrow().admit(hello)
    }

    fn handle_frame(&self, received: Received) {
        let Received { from, channel, mut frame, room } = received;
        tracing::trace!(node = %from, channel = channel.as_str(), "a frame");
        let now = clock::now();
        let mut malformed = 0;
        if let Some(member) = &mut *self.member.borrow_mut() {
            malformed = member.handle_frame(now, from, &mut frame);
        }
        self.with_host(|host| {
            if malformed > 0 {
                host.with_worker(|worker| worker.note_malformed(malformed));
            }
            let workers = u16::try_from(host.shared.workers.len()).unwrap_or(u16::MAX);
            let room = Arc::new(room);
            frame.divide(workers, |worker, frame| {
                let worker = usize::from(worker);
                if worker == host.number {
                    host.with_worker(|core| core.handle_frame(now, from, frame));
                } else {
                    let (frame, room) = (Box::new(frame), Arc::clone(&room));
                    host.shared.workers[worker].push(WorkerInput::Frame { from, frame, room });
                }
            });
            host.shared.workers[host.number].wake();
        });
    }

    fn handle_up(&self, node: NodeNumber, channel: Channel) {
        tracing::debug!(%node, channel = channel.as_str(), "connected");
        if channel == Channel::Consensus {
            self.up.borrow_mut().insert(node, true);
        }
        if matches!(channel, Channel::Consensus | Channel::Requests) {
            self.with_host(|host| host.with_worker(|worker| worker.handle_node_up(node)));
        }
    }

    fn handle_down(&self, node: NodeNumber, channel: Channel, loss: Loss) {
        tracing::debug!(%node, channel = channel.as_str(), "connection lost");
        let was_up =
            channel == Channel::Consensus && self.up.borrow_mut().insert(node, false) == Some(true);
        let fate = self.fate_of_requests(node, channel, loss, was_up);
        self.with_host(|host| {
            host.with_worker(|worker| {
                match fate {
                    Some(Loss::NotSent) => worker.handle_node_unreached(clock::now(), node),
                    Some(Loss::InDoubt) => worker.handle_node_down(clock::now(), node),
                    None => {}
                }
                if channel == Channel::Consensus {
                    worker.handle_consensus_down(node);
                }
            });
        });
    }

    fn handle_duplicate(&self, refused: &Refused) {
        fatal::duplicate(&refused.reason);
    }

    fn answer(&self, _: &Hello, question: Bytes) -> Pin<Box<dyn Future<Output = Option<Bytes>>>> {
        let formation = self.formation.clone();
        Box::pin(async move { formation?.answer(question).await })
    }
}

/// The transport's directory of a cluster.
pub(crate) fn directory(own: Own, map: &ClusterMap) -> Directory {
    let others = map.members().filter(|member| member.number != own.number);
    let peer = |member: &ringfort_node::control::MapMember| {
        let info = &member.info;
        let peer = Peer {
            address: info.peer.clone(),
            recorded: member.recorded.clone(),
            node_id: info.name.id.clone(),
            incarnation: info.name.incarnation,
        };
        (member.number, peer)
    };
    Directory { peers: others.map(peer).collect(), own }
}

/// What a member says of itself to other nodes.
pub(crate) fn own(claimed: &Claimed, boot: BootId) -> Own {
    Own {
        cluster: Some(claimed.record.cluster_id),
        node_id: claimed.identity.name.id.clone(),
        incarnation: claimed.identity.name.incarnation,
        boot_id: boot,
        number: claimed.number,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use ringfort_types::{ClusterId, Incarnation, NodeId};

    use super::*;

    #[test]
    fn requests_were_not_sent_where_neither_link_can_have_sent_them() {
        const TWO: NodeNumber = NodeNumber(2);
        let own = Own {
            cluster: Some(ClusterId(1)),
            node_id: NodeId::parse("one").unwrap(),
            incarnation: Incarnation(2),
            boot_id: BootId(3),
            number: NodeNumber(1),
            version: String::new(),
        };
        let directory = Arc::new(Directory { peers: BTreeMap::new(), own });
        let place = tempfile::tempdir().unwrap();
        let disk = FileDisk::new(place.path()).unwrap();
        let peers = Peers::new(directory, None, None, disk);
        let (raft, requests) = (Channel::Consensus, Channel::Requests);
        let fate = |channel, loss, was_up| peers.fate_of_requests(TWO, channel, loss, was_up);
        // The link for consensus is dialled: it has taken none, and what waits for the other one may go yet.
        assert_eq!(fate(raft, Loss::NotSent, false), None);
        assert_eq!(fate(requests, Loss::NotSent, false), Some(Loss::NotSent));
        assert_eq!(fate(requests, Loss::InDoubt, false), Some(Loss::InDoubt));
        peers.handle_up(TWO, raft);
        assert_eq!(
            fate(requests, Loss::NotSent, false),
            Some(Loss::InDoubt),
            "the other one is up"
        );
        assert_eq!(
            peers.fate_of_requests(NodeNumber(3), requests, Loss::NotSent, false),
            Some(Loss::NotSent)
        );
        // Whether it had written anything is not known of each that it took.
        assert_eq!(fate(raft, Loss::NotSent, true), Some(Loss::InDoubt));
        peers.handle_down(TWO, raft, Loss::InDoubt);
        assert_eq!(fate(requests, Loss::NotSent, false), Some(Loss::NotSent), "both are down");
        assert_eq!(fate(Channel::Snapshots, Loss::InDoubt, false), None);
    }
}
