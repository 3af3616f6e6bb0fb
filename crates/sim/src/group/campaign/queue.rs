//! What happens when: events in the order of time, messages on their way apart from them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use ringfort_raft::{Message, ReadId};
use ringfort_types::{Monotonic, ReplicaId, Term};

/// What may happen next. Those of a replica name its start: what was meant for an earlier one does not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    /// A message arrives.
    Deliver(usize),
    /// What one node says to another, apart from groups, arrives.
    Beat(usize),
    /// At a replica, of a start.
    At(ReplicaId, u64, Local),
    /// A replica that ended starts.
    Restart(ReplicaId),
    /// The network heals.
    Heal(u64),
    /// Somebody or something acts.
    Act(Act),
}

/// What happens at one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Local {
    /// The host tells the time.
    Tick,
    /// The host takes effects that it left for later.
    Poll,
    /// A write becomes durable.
    Sync,
    /// The replica is told so.
    Report,
    /// An entry is applied.
    Apply,
    /// A snapshot effect is executed.
    Snapshot,
    /// The host speaks to other nodes.
    Beat,
    /// The host looks which nodes are lost.
    Watch,
    /// The host wakes the group.
    Wake,
    /// A client reads.
    Read,
    /// The process, or its power, ends.
    Fall,
    /// What was sent to a peer is lost, and the host noticed.
    Unreachable(ReplicaId),
}

/// Who acts: a client, an administrator, or bad luck.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(usize)]
pub(super) enum Act {
    Propose,
    Read,
    Change,
    Transfer,
    Compact,
    Priority,
    Clean,
    Crash,
    Pause,
    Stall,
    Partition,
    LoseEntries,
    Wipe,
    Clock,
    Replay,
}

impl Act {
    pub(super) const ALL: [Self; 15] = [
        Self::Propose,
        Self::Read,
        Self::Change,
        Self::Transfer,
        Self::Compact,
        Self::Priority,
        Self::Clean,
        Self::Crash,
        Self::Pause,
        Self::Stall,
        Self::Partition,
        Self::LoseEntries,
        Self::Wipe,
        Self::Clock,
        Self::Replay,
    ];
}

/// What a node says to another one, for all groups between them: it is up, and leads; or that it heard so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Beat {
    pub(super) from: ReplicaId,
    pub(super) to: ReplicaId,
    /// The start of the sender, as its boot id.
    pub(super) boot: u64,
    pub(super) says: Says,
}

/// See [`Beat`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// Up; and leads this term, if it does.
    Up { leads: Option<Term>, sent: Monotonic },
    /// Acknowledges such, of a boot of the receiver.
    Covered { term: Term, sent: Monotonic, boot: u64 },
}

/// Slots for what is on its way.
#[derive(Debug)]
pub(super) struct Slots<T> {
    slots: Vec<Option<T>>,
    free: Vec<usize>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slots<T> {
    pub(super) fn put(&mut self, value: T) -> usize {
        if let Some(place) = self.free.pop() {
            self.slots[place] = Some(value);
            return place;
        }
        self.slots.push(Some(value));
        self.slots.len() - 1
    }

    pub(super) fn get(&self, place: usize) -> Option<&T> {
        self.slots.get(place).and_then(Option::as_ref)
    }

    /// Takes what is in a slot; none if it was taken back. Each slot is taken once.
    pub(super) fn take(&mut self, place: usize) -> Option<T> {
        self.free.push(place);
        self.slots.get_mut(place).and_then(Option::take)
    }

    /// Takes back what is on its way.
    pub(super) fn drop_where(&mut self, gone: impl Fn(&T) -> bool) {
        for slot in &mut self.slots {
            if slot.as_ref().is_some_and(&gone) {
                *slot = None;
            }
        }
    }
}

/// Events in the order of time, then of being asked for.
#[derive(Debug, Default)]
pub(super) struct Queue {
    heap: BinaryHeap<Reverse<(u64, u64, Event)>>,
    count: u64,
    pub(super) messages: Slots<Message>,
    pub(super) beats: Slots<Beat>,
}

impl Queue {
    pub(super) fn push(&mut self, at: u64, event: Event) {
        self.count += 1;
        self.heap.push(Reverse((at, self.count, event)));
    }

    pub(super) fn pop(&mut self) -> Option<(u64, Event)> {
        self.heap.pop().map(|Reverse((at, _, event))| (at, event))
    }
}

/// Reads given up by those who asked.
pub(super) const READS_MAX: usize = 16;

/// The oldest of reads that are too many.
pub(super) fn oldest(
    reads: &std::collections::BTreeMap<ReadId, super::ReadState>,
) -> Option<ReadId> {
    if reads.len() > READS_MAX { reads.keys().next().copied() } else { None }
}
