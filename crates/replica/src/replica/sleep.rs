//! Sleep: while a group sleeps, nodes are watched in its place.
//!
//! A heartbeat between two nodes promises for every group that sleeps under a leader of the other: that promise is kept here,
//! and the group is told of it before anything can make it vote.

use std::time::Duration;

use ringfort_raft::{Body, Message};
use ringfort_types::{Monotonic, ReplicaId, Term};

use super::Replica;

impl Replica {
    /// Whether its group sleeps.
    #[must_use]
    pub fn is_asleep(&self) -> bool {
        self.raft.is_asleep()
    }

    /// Whether the passing of time asks nothing of it: its group sleeps, and nothing here expires or is forgotten by this
    /// replica's word.
    #[must_use]
    pub fn sleeps_through(&self) -> bool {
        let due = self.machine.next_due().is_some() || self.machine.next_forget().is_some();
        let rests = self.queue.is_empty() && self.refused.is_empty();
        self.raft.is_asleep() && rests && !(self.leads() && due)
    }

    /// Takes a heartbeat of the leader's node, for all groups that it leads. Gives whether it holds for this one: if not, the
    /// acknowledgement has to name it.
    pub fn handle_pair_heartbeat(
        &mut self,
        now: Monotonic,
        leader: ReplicaId,
        term: Term,
        lease: Duration,
    ) -> bool {
        let now = self.advance(now);
        let follows = self.raft.handle_pair_heartbeat(now, leader, term, lease);
        if follows {
            self.promised = self.promised.max(now + lease);
        }
        follows
    }

    /// Takes the acknowledgement of a heartbeat to a member's node, sent at `sent`, that does not name this group.
    pub fn handle_pair_ack(
        &mut self,
        now: Monotonic,
        member: ReplicaId,
        term: Term,
        sent: Monotonic,
    ) {
        let now = self.advance(now);
        self.raft.handle_pair_ack(now, member, term, sent);
    }

    /// Wakes the group, if it sleeps: there is something to do, or a node of it may be lost.
    pub fn handle_wake(&mut self, now: Monotonic) {
        let now = self.advance(now);
        if self.raft.is_asleep() {
            self.raft.handle_wake(now, self.promised);
        }
    }
}

/// Whether a message may have been under way when the group fell asleep: it is no reason to wake.
pub(super) fn comes_late(message: &Message) -> bool {
    matches!(message.body, Body::Sleep { .. } | Body::AppendAck { .. } | Body::HeartbeatAck { .. })
}
