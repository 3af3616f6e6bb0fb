//! What comes from other nodes: messages of groups, requests, answers.

use ringfort_proto::peer::{self, Channel, Frame};
use ringfort_raft::Message;
use ringfort_types::{GroupId, Monotonic, NodeNumber};

use super::{Worker, open_group_mut};

impl<W> Worker<W> {
    /// Takes what another node sent for this worker's groups. Whoever hands it in has made sure who sent it.
    pub fn handle_frame(&mut self, now: Monotonic, from: NodeNumber, frame: Frame) {
        for consensus in frame.consensus {
            self.handle_consensus(now, from, consensus);
        }
        if let Some(heartbeat) = frame.heartbeat {
            self.handle_pair_heartbeat(now, from, heartbeat);
        }
        for ack in &frame.heartbeat_acks {
            self.handle_pair_ack(now, from, ack);
        }
        for request in frame.requests {
            self.handle_request(now, from, request);
        }
        for answer in frame.answers {
            self.handle_answer(now, from, answer);
        }
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

    /// The next frame to be sent. Those of one node and channel are to be sent in order; each may be lost.
    pub fn poll_frame(&mut self) -> Option<(NodeNumber, Channel, Frame)> {
        self.outbox.poll()
    }
}
