//! What comes from other nodes: messages of groups, requests, answers.

use ringfort_proto::peer::{self, Channel, Frame};
use ringfort_raft::Message;
use ringfort_types::{GroupId, Monotonic, NodeNumber, ReplicaId};

use super::{Worker, open_group_mut};
use crate::forward::ForwardStats;

impl<W> Worker<W> {
    /// Takes what another node sent for this worker's groups. Whoever hands it in has made sure who sent it.
    pub fn handle_frame(&mut self, now: Monotonic, from: NodeNumber, frame: Frame) {
        for consensus in frame.consensus {
            self.handle_consensus(now, from, consensus);
        }
        if let Some(heartbeat) = &frame.heartbeat {
            self.handle_pair_heartbeat(now, from, heartbeat);
        }
        for ack in &frame.heartbeat_acks {
            self.handle_pair_ack(now, from, ack);
        }
        for led in &frame.leads {
            self.handle_led(now, from, led);
        }
        if let Some(room) = &frame.room {
            self.handle_peer_room(now, from, room);
        }
        for request in frame.requests {
            self.handle_request(now, from, request);
        }
        for answer in frame.answers {
            self.handle_answer(now, from, answer);
        }
    }

    /// Takes word that parts of a frame could not be read by whoever looked at it before.
    pub fn note_malformed(&mut self, parts: u64) {
        self.stats.frames_malformed += parts;
    }

    fn handle_consensus(&mut self, now: Monotonic, from: NodeNumber, consensus: peer::Consensus) {
        let message: Result<(GroupId, Message), _> = consensus.try_into();
        let Ok((group, message)) = message else {
            self.stats.frames_malformed += 1;
            return;
        };
        if message.from.node() != from {
            self.stats.frames_foreign += 1;
            return;
        }
        // A group that is not here, or closed, says nothing.
        if let Ok(open) = open_group_mut(&mut self.slots, group) {
            open.replica.handle_message(now, message);
            self.mark_dirty(group);
        }
    }

    /// Takes a frame back that could not be handed to any connection: the node has seen nothing of it.
    pub fn handle_unsent(&mut self, now: Monotonic, frame: Frame) {
        for request in frame.requests {
            self.forwarder.handle_unsent(now, request.id);
        }
        self.forwards_due = true;
        for consensus in frame.consensus {
            self.handle_unreachable(GroupId(consensus.group), ReplicaId(consensus.to));
        }
        // Whoever waits for an answer takes it for lost.
    }

    fn handle_unreachable(&mut self, group: GroupId, replica: ReplicaId) {
        if let Ok(open) = open_group_mut(&mut self.slots, group) {
            open.replica.handle_unreachable(replica);
            self.mark_dirty(group);
        }
    }

    /// Takes word that a connection to a node was made.
    pub fn handle_node_up(&mut self, node: NodeNumber) {
        self.forwarder.handle_node_up(node);
        self.forwards_due = true;
    }

    /// Takes word that a connection to a node that may carry requests, or one for its answers, broke: what was sent there may be
    /// lost.
    pub fn handle_node_down(&mut self, now: Monotonic, node: NodeNumber) {
        self.forwarder.handle_node_down(now, node);
        self.forwards_due = true;
    }

    /// Takes word that no connection to a node could be made: no request that was to go there has left this node.
    pub fn handle_node_unreached(&mut self, now: Monotonic, node: NodeNumber) {
        self.forwarder.handle_node_unreached(now, node);
        self.forwards_due = true;
    }

    /// Takes word that the connection for consensus to a node broke.
    pub fn handle_consensus_down(&mut self, node: NodeNumber) {
        for position in 0..self.mine.len() {
            let group = self.mine[position];
            let Ok(open) = open_group_mut(&mut self.slots, group) else { continue };
            let members = open.replica.configuration().members();
            for member in members.into_iter().filter(|member| member.node() == node) {
                self.handle_unreachable(group, member);
            }
        }
    }

    /// What became of forwarded requests, counted since the start.
    #[must_use]
    pub fn forward_stats(&self) -> ForwardStats {
        self.forwarder.stats()
    }

    /// The next frame to be sent. Those of one node and channel are to be sent in order; each may be lost.
    pub fn poll_frame(&mut self) -> Option<(NodeNumber, Channel, Frame)> {
        self.outbox.poll()
    }
}
