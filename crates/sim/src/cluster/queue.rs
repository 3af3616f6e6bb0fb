//! What happens when: events in the order of time, then of being asked for.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use ringfort_env::{DiskCompletion, Lane};

use super::clients::Wake;
use super::faults::{Act, Undo};
use super::network::{Arrival, LinkId};
use super::node::{Asked, Reply, Thread};

/// What may happen next. What happens in a process names its boot: what was meant for an earlier one does not happen.
#[derive(Debug)]
pub(super) enum Event {
    /// A thread takes its turn.
    Turn { node: usize, boot: u64, thread: Thread },
    /// A worker's timer rings.
    Tick { node: usize, boot: u64 },
    /// The log's timer rings.
    LogTimer { node: usize, boot: u64 },
    /// The operation at the head of a lane ends.
    Disk { node: usize, boot: u64, lane: Lane },
    /// Word of the end of an operation comes, late.
    Late { node: usize, boot: u64, lane: Lane, completion: DiskCompletion },
    /// A frame reaches its node.
    Arrive(Arrival),
    /// A connection between two nodes is tried.
    Connect(LinkId),
    /// A client's request reaches a node.
    Ask { node: usize, asked: Asked },
    /// An answer reaches its client.
    Reply { client: usize, request: u64, reply: Reply },
    /// A client sees that its connection is gone; `sent`: after it had sent its request.
    Broken { client: usize, request: u64, sent: bool },
    /// A client does something by itself.
    Client { client: usize, wake: Wake },
    /// A process starts.
    Start { node: usize },
    /// Somebody or something acts.
    Act(Act),
    /// A fault ends.
    Undo(Undo),
    /// Replicas are compared.
    Look,
}

impl Event {
    /// A number for the trace's hash.
    pub(super) fn mark(&self) -> u64 {
        match self {
            Self::Turn { node, thread, .. } => mark(1, *node, thread.number()),
            Self::Tick { node, .. } => mark(2, *node, 0),
            Self::LogTimer { node, .. } => mark(3, *node, 0),
            Self::Disk { node, lane, .. } => mark(4, *node, usize::from(*lane == Lane::Log)),
            Self::Arrive(arrival) => mark(5, arrival.link.0, arrival.bytes.len()),
            Self::Connect(link) => mark(6, link.0, 0),
            Self::Ask { node, asked } => mark(7, *node, asked.client),
            Self::Reply { client, .. } => mark(8, *client, 0),
            Self::Broken { client, sent, .. } => mark(9, *client, usize::from(*sent)),
            Self::Client { client, .. } => mark(10, *client, 0),
            Self::Start { node } => mark(11, *node, 0),
            Self::Act(act) => mark(12, *act as usize, 0),
            Self::Undo(_) => mark(13, 0, 0),
            Self::Look => mark(14, 0, 0),
            Self::Late { node, lane, .. } => mark(15, *node, usize::from(*lane == Lane::Log)),
        }
    }
}

fn mark(kind: u64, one: usize, other: usize) -> u64 {
    kind << 56 | (one as u64) << 32 | other as u64
}

/// When, counted among all that was ever asked for, and the place of the event. Ordered so.
type Entry = (u64, u64, usize);

/// The queue. Events are large: they stay in their places while the heap moves.
#[derive(Debug, Default)]
pub(super) struct Queue {
    heap: BinaryHeap<Reverse<Entry>>,
    events: Vec<Option<Event>>,
    free: Vec<usize>,
    count: u64,
}

impl Queue {
    pub(super) fn push(&mut self, at: u64, event: Event) {
        self.count += 1;
        let place = self.free.pop().unwrap_or_else(|| {
            self.events.push(None);
            self.events.len() - 1
        });
        self.events[place] = Some(event);
        self.heap.push(Reverse((at, self.count, place)));
    }

    pub(super) fn pop(&mut self) -> Option<(u64, Event)> {
        let Reverse((at, _, place)) = self.heap.pop()?;
        self.free.push(place);
        self.events[place].take().map(|event| (at, event))
    }
}
