//! Which start of each other node is that node: a data directory that was copied makes two of one.
//!
//! Both have the cluster, the node id and the incarnation of the one; what tells them apart is their boot id. So each other
//! node has one **seat** here, and the start that sits there is the node. The seat of a node that was not met yet is free.
//! Before it goes from one start to another, the address of the node's record in the catalog is dialled:
//!
//! ```text
//!   another start comes     answers at the recorded address:
//!     it does                                                 ──▶ it takes the seat, whoever sat there
//!     one that is not it does                                 ──▶ it is refused
//!     nobody does: who sits there has no connection left,
//!                  or has been silent for longer than the bound ──▶ it takes the seat
//!                  else                                         ──▶ it is refused
//! ```
//!
//! A node that was killed has no connection left: its kernel has closed them. One that lost its machine is silent; nodes
//! otherwise send a word each second. Silence alone decides nothing: it may have been this process that stood still. Nor does an
//! address that was only heard: a copy says of itself where it is, as a node does that has moved.
//!
//! Seats are each thread's own, and each node's: two starts may be let in at different ones for a moment. What then keeps one
//! from speaking is in [`standing`](super::standing).
//!
//! What this cannot see: a copy alone, with what the directory held when it was copied, while its node is down; and the live clone
//! of a virtual machine, which has the same boot id.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use ringfort_proto::peer::Refused;
use ringfort_types::{BootId, NodeNumber};
use tokio::sync::watch;
use tokio::time::Instant;

use super::dial::Dial;
use super::hello::{Channel, Hello, RefusalCode};
use super::links::Shared;

/// The starts of other nodes that this thread's connections are with.
#[derive(Debug, Default)]
pub(super) struct Boots {
    seats: RefCell<BTreeMap<NodeNumber, Rc<Seat>>>,
}

#[derive(Debug)]
struct Seat {
    boot: BootId,
    connections: Cell<usize>,
    heard: Cell<Instant>,
    /// Whether another start sits there by now.
    is_lost: watch::Sender<bool>,
}

/// One connection with a start that has the seat, for as long as it is there.
#[derive(Debug)]
pub(super) struct Seated(Rc<Seat>);

/// Gives a start of a node its seat, once it is clear which start is the node.
///
/// # Errors
/// Another start is.
pub(super) async fn seat(shared: &Shared, hello: &Hello) -> Result<Seated, Refused> {
    let (node, boot) = (hello.number, hello.boot_id);
    if let Some(seated) = shared.boots.connects(node, boot) {
        return Ok(seated);
    }
    let directory = shared.directory();
    let at_record = match directory.peers.get(&node) {
        Some(peer) => start_at(shared, node, &peer.recorded).await,
        None => None,
    };
    shared.boots.decide(node, boot, at_record, shared.options.silence_max).map_err(|other| {
        RefusalCode::DuplicateNode.because(format_args!(
            "{id} is connected already, by its start {other}, and this is start {boot}: two processes run on copies of one \
             data directory; stop one of them, and never start it on that directory again",
            id = hello.node_id
        ))
    })
}

/// Which start of a node answers at an address; `None` where none does in time.
pub(super) async fn start_at(shared: &Shared, node: NodeNumber, address: &str) -> Option<BootId> {
    // On this channel everybody is answered, and nothing follows from it.
    let hello = shared.hello(Channel::Formation, node);
    let timeout = shared.options.start_timeout;
    let dial = Dial { address, tls: shared.tls.as_deref(), hello: &hello, timeout };
    match dial.run().await {
        Ok((_, answer)) => shared.directory().is_start_of(node, &answer).then_some(answer.boot_id),
        Err(error) => {
            tracing::debug!(%node, address, "no start of this node answers: {error}");
            None
        }
    }
}

impl Boots {
    /// A start of a node connects: its seat, if no other start was met.
    fn connects(&self, node: NodeNumber, boot: BootId) -> Option<Seated> {
        let is_other = self.seats.borrow().get(&node).is_some_and(|seat| seat.boot != boot);
        (!is_other).then(|| self.take(node, boot))
    }

    /// A start of a node connects, and this one answers at the address of its record.
    ///
    /// # Errors
    /// Another start is the node: that one's id.
    fn decide(
        &self,
        node: NodeNumber,
        boot: BootId,
        at_record: Option<BootId>,
        silence_max: Duration,
    ) -> Result<Seated, BootId> {
        let sits = match (at_record, self.seats.borrow().get(&node)) {
            (Some(at_record), _) => Some(at_record),
            (None, Some(seat)) if seat.connections.get() > 0 => {
                (seat.heard.get().elapsed() < silence_max).then_some(seat.boot)
            }
            _ => None,
        };
        match sits.filter(|sits| *sits != boot) {
            Some(other) => Err(other),
            None => Ok(self.take(node, boot)),
        }
    }

    /// A start of a node answered at the address of its record.
    pub(super) fn answers(&self, node: NodeNumber, boot: BootId) -> Seated {
        self.take(node, boot)
    }

    fn take(&self, node: NodeNumber, boot: BootId) -> Seated {
        let now = Instant::now();
        let mut seats = self.seats.borrow_mut();
        let new = || {
            let (connections, heard) = (Cell::new(0), Cell::new(now));
            Rc::new(Seat { boot, connections, heard, is_lost: watch::Sender::new(false) })
        };
        let seat = seats.entry(node).or_insert_with(new);
        if seat.boot != boot {
            seat.is_lost.send_replace(true);
            *seat = new();
        }
        seat.heard.set(now);
        seat.connections.set(seat.connections.get() + 1);
        Seated(Rc::clone(seat))
    }
}

impl Seated {
    /// Something came from it.
    pub(super) fn hear(&self) {
        self.0.heard.set(Instant::now());
    }

    /// Waits until another start has the seat.
    pub(super) async fn lost(&self) {
        // The sender is in the seat, which is held here.
        drop(self.0.is_lost.subscribe().wait_for(|is_lost| *is_lost).await);
    }
}

impl Drop for Seated {
    fn drop(&mut self) {
        self.0.connections.set(self.0.connections.get() - 1);
    }
}
