//! What goes to other nodes in a turn: one frame for each node and channel, whatever the number of groups.

use std::collections::{BTreeMap, VecDeque};

use ringfort_proto::peer::{self, Channel, Frame};
use ringfort_raft::{Body, Message};
use ringfort_types::{GroupId, NodeNumber};

/// What a message or request takes besides its payloads, in bytes, about.
const ITEM_BYTES: usize = 64;

/// Frames that are being filled, and those that are full.
#[derive(Debug)]
pub(crate) struct Outbox {
    /// See [`WorkerLimits::frame_bytes_target`](crate::WorkerLimits::frame_bytes_target).
    frame_bytes_target: usize,
    /// Frames that were full.
    pub(crate) split: u64,
    full: VecDeque<(NodeNumber, Channel, Frame)>,
    open: BTreeMap<(NodeNumber, Channel), (usize, Frame)>,
}

impl Outbox {
    pub(crate) fn new(frame_bytes_target: usize) -> Self {
        Self { frame_bytes_target, split: 0, full: VecDeque::new(), open: BTreeMap::new() }
    }

    /// Takes a message of a group.
    pub(crate) fn message(&mut self, group: GroupId, message: Message) {
        let channel = match message.body {
            Body::Snapshot { .. } => Channel::Snapshots,
            _ => Channel::Consensus,
        };
        let (to, bytes) = (message.to.node(), payload_bytes(&message.body));
        self.put(to, channel, bytes, |frame| frame.consensus.push((group, message).into()));
    }

    /// Takes a request of so many bytes of keys and values.
    pub(crate) fn request(&mut self, to: NodeNumber, bytes: usize, request: peer::Request) {
        self.put(to, Channel::Requests, bytes, |frame| frame.requests.push(request));
    }

    /// Takes an answer of so many bytes of keys and values.
    pub(crate) fn answer(&mut self, to: NodeNumber, bytes: usize, answer: peer::Answer) {
        self.put(to, Channel::Requests, bytes, |frame| frame.answers.push(answer));
    }

    /// The open frame of a node and channel, for what it carries at most once.
    pub(crate) fn frame(&mut self, to: NodeNumber, channel: Channel) -> &mut Frame {
        &mut self.open.entry((to, channel)).or_default().1
    }

    fn put(
        &mut self,
        to: NodeNumber,
        channel: Channel,
        bytes: usize,
        push: impl FnOnce(&mut Frame),
    ) {
        let (size, frame) = self.open.entry((to, channel)).or_default();
        let bytes = bytes + ITEM_BYTES;
        if *size > 0 && *size + bytes > self.frame_bytes_target {
            self.split += 1;
            *size = 0;
            self.full.push_back((to, channel, std::mem::take(frame)));
        }
        *size += bytes;
        push(frame);
    }

    /// The next frame. Those of one node and channel come in order.
    pub(crate) fn poll(&mut self) -> Option<(NodeNumber, Channel, Frame)> {
        self.full.pop_front().or_else(|| {
            let ((to, channel), (_, frame)) = self.open.pop_first()?;
            Some((to, channel, frame))
        })
    }
}

fn payload_bytes(body: &Body) -> usize {
    match body {
        Body::Append { entries, .. } => {
            entries.iter().map(|entry| entry.payload.len() + ITEM_BYTES).sum()
        }
        Body::Snapshot { data, .. } => data.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use ringfort_raft::Position;
    use ringfort_types::{Entry, Index, ReplicaId, Term};

    use super::*;

    fn append(to: u16, bytes: usize) -> Message {
        let payload = Bytes::from(vec![1; bytes]);
        let entry = Entry { term: Term(1), index: Index(1), payload };
        let previous = Position::default();
        Message {
            from: ReplicaId::new(1, NodeNumber(0)),
            to: ReplicaId::new(1, NodeNumber(to)),
            term: Term(1),
            body: Body::Append { previous, entries: vec![entry], commit: Index(0) },
        }
    }

    #[test]
    fn a_turn_is_one_frame_for_each_node_and_large_ones_are_split_in_order() {
        let mut outbox = Outbox::new(2 << 20);
        for group in 0..10 {
            for to in [1, 2] {
                outbox.message(GroupId(group), append(to, 100));
            }
        }
        for group in 10..13 {
            outbox.message(GroupId(group), append(1, 1 << 20));
        }
        let mut groups: BTreeMap<u16, Vec<Vec<u32>>> = BTreeMap::new();
        assert_eq!(outbox.split, 2);
        while let Some((to, channel, frame)) = outbox.poll() {
            assert_eq!(channel, Channel::Consensus);
            let frame = frame.consensus.iter().map(|message| message.group).collect();
            groups.entry(to.0).or_default().push(frame);
        }
        let small: Vec<u32> = (0..10).collect();
        assert_eq!(groups[&2], std::slice::from_ref(&small));
        assert_eq!(groups[&1], [[&small[..], &[10]].concat(), vec![11], vec![12]]);
    }
}
