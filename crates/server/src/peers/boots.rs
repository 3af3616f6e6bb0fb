//! Which start of each other node is that node: a data directory that was copied makes two of one.
//!
//! Both have the cluster, the node id and the incarnation of the one; what tells them apart is their boot id. So each other
//! node has one **seat** here, and the start that sits there is the node:
//!
//! ```text
//!   another start connects      the seat is free, or its start has no connection left,
//!                               or has been silent for longer than the bound      ──▶ it takes the seat
//!                               else                                              ──▶ it is refused
//!   another start answers       ──▶ it takes the seat, whoever sat there
//!     at the node's address
//! ```
//!
//! A node that was killed has no connection left: its kernel has closed them, and the next start is let in at once, or with
//! its next attempt. One that lost its machine is silent; nodes otherwise send a word each second. The cluster's address of a
//! node decides where a copy came first, say to a node that has just started itself: the start that answers there is the
//! node, and the other's connections end.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use ringfort_types::{BootId, NodeNumber};
use tokio::sync::watch;
use tokio::time::Instant;

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

impl Boots {
    /// A start of a node connects.
    ///
    /// # Errors
    /// Another start of that node is connected, and was heard within the bound: that one's id.
    pub(super) fn connects(
        &self,
        node: NodeNumber,
        boot: BootId,
        silence_max: Duration,
    ) -> Result<Seated, BootId> {
        let now = Instant::now();
        if let Some(seat) = self.seats.borrow().get(&node)
            && seat.boot != boot
            && seat.connections.get() > 0
            && now.saturating_duration_since(seat.heard.get()) < silence_max
        {
            return Err(seat.boot);
        }
        Ok(self.take(node, boot, now))
    }

    /// A start of a node answered at the address that the cluster knows of it.
    pub(super) fn answers(&self, node: NodeNumber, boot: BootId) -> Seated {
        self.take(node, boot, Instant::now())
    }

    fn take(&self, node: NodeNumber, boot: BootId, now: Instant) -> Seated {
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
