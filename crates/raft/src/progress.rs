//! What a leader knows of one other replica, and what it may send to it.
//!
//! ```text
//!            acknowledged                        rejected
//!   Probe ───────────────────▶ Replicate ────────────────────────▶ Probe
//!     ▲                            │
//!     │ installed, or caught up    │ needs what the log has forgotten
//!     └───────── Snapshot ◀────────┘
//! ```
//!
//! - *Probe*: where the logs agree is not known; one append at a time, until it is answered.
//! - *Replicate*: appends follow each other without waiting, within bounds of number and bytes.
//! - *Snapshot*: a snapshot is under way; no appends. Only one that answers gets one: meanwhile the log is kept behind it.
//!
//! # Invariants
//!
//! - `matched < next`. In Replicate nothing from `matched` to `next` is unsent.
//! - `matched` falls only when the replica says that it lost what it had.
//!
//! Source: the progress tracker's states as etcd's raft describes them.

use std::collections::VecDeque;
use std::time::Duration;

use ringfort_types::{Index, Monotonic, ReplicaId};

use crate::config::Settings;
use crate::message::{Round, SnapshotId};
use crate::room;

/// How a peer is being brought up to date.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Sending {
    /// Where its log agrees is being found out.
    Probe {
        /// An append is on its way; nothing more until it is answered or a heartbeat is.
        waiting: bool,
    },
    /// It follows.
    Replicate,
    /// It gets a snapshot.
    Snapshot {
        /// Which, once the host has said.
        id: Option<SnapshotId>,
        /// The chunk it waits for begins here.
        offset: u64,
        /// The host was asked for that chunk, and has not given it.
        owed: bool,
        /// So many times it was sent.
        sent: u32,
        /// When that was last, or when the host could not give it.
        since: Monotonic,
    },
    /// It is a voter with a blank disk, and has to be replaced.
    Refused,
}

/// What a leader knows of one other replica.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    pub(crate) id: ReplicaId,
    /// Durable there, and the same as here, up to this index.
    pub(crate) matched: Index,
    /// The next entry to send.
    pub(crate) next: Index,
    pub(crate) sending: Sending,
    /// Probes went unanswered: the next ones carry one entry, so that a peer that is gone costs little.
    unanswered: bool,
    /// It has a snapshot, and not yet all that was written behind it.
    pub(crate) catching_up: bool,
    /// Appends not acknowledged: last index and bytes of each.
    inflight: VecDeque<(Index, usize)>,
    inflight_bytes: usize,
    /// When something of this term was last heard of it.
    pub(crate) heard: Monotonic,
    /// Whether something of this term was heard of it at all.
    pub(crate) acknowledged: bool,
    /// When `matched` last rose, or the first of what is in flight was sent, or a probe.
    pub(crate) advanced: Monotonic,
    /// The newest round of heartbeats it acknowledged.
    pub(crate) round: Round,
    /// It votes for nobody until here, by the leader's clock.
    pub(crate) promised: Monotonic,
    /// What it knew committed when it answered the newest round.
    pub(crate) commit: Index,
}

impl Progress {
    /// A peer of which nothing is known, at the end of a log.
    pub(crate) fn new(id: ReplicaId, last: Index, now: Monotonic) -> Self {
        Self {
            id,
            matched: Index(0),
            next: last.next(),
            sending: Sending::Probe { waiting: false },
            unanswered: false,
            catching_up: false,
            inflight: VecDeque::new(),
            inflight_bytes: 0,
            heard: now,
            acknowledged: false,
            advanced: now,
            round: Round(0),
            promised: Monotonic(0),
            commit: Index(0),
        }
    }

    /// Looks for the place where the logs agree, from an index on.
    pub(crate) fn become_probe(&mut self, next: Index) {
        self.sending = Sending::Probe { waiting: false };
        self.next = next.max(self.matched.next());
        self.unanswered = false;
        self.clear_inflight();
    }

    /// Asks one that does not answer, from where the log begins. Neither a snapshot nor the log behind it is kept for it: what
    /// it needs is known once it answers.
    pub(crate) fn ask_from(&mut self, next: Index) {
        self.become_probe(next);
        self.unanswered = true;
        self.catching_up = false;
    }

    /// Whether something of this term was heard of it within the last `patience`.
    pub(crate) fn answers(&self, now: Monotonic, patience: Duration) -> bool {
        self.acknowledged && now.since(self.heard) < patience
    }

    /// Waits for a snapshot. `owed`: the host is asked for it.
    pub(crate) fn become_snapshot(&mut self, now: Monotonic, owed: bool) {
        self.sending = Sending::Snapshot { id: None, offset: 0, owed, sent: 0, since: now };
        self.clear_inflight();
    }

    /// Gives the peer up: it has to be replaced.
    pub(crate) fn become_refused(&mut self) {
        self.sending = Sending::Refused;
        self.matched = Index(0);
        self.clear_inflight();
    }

    /// The peer lost entries that it may have acknowledged: it is known to hold nothing.
    pub(crate) fn forget_match(&mut self) {
        self.matched = Index(0);
    }

    fn clear_inflight(&mut self) {
        self.inflight = VecDeque::new();
        self.inflight_bytes = 0;
    }

    /// Gives back room that is hardly used.
    pub(crate) fn release_room(&mut self) {
        room::release(&mut self.inflight);
    }

    /// Whether an append may be sent now.
    pub(crate) fn may_append(&self, settings: &Settings) -> bool {
        match self.sending {
            Sending::Probe { waiting } => !waiting,
            Sending::Replicate => {
                self.inflight.len() < settings.inflight_messages_max
                    && self.inflight_bytes < settings.inflight_bytes_max
            }
            Sending::Snapshot { .. } | Sending::Refused => false,
        }
    }

    /// An append with entries up to `last` was sent.
    pub(crate) fn sent(&mut self, last: Index, bytes: usize, now: Monotonic) {
        match &mut self.sending {
            Sending::Probe { waiting } => {
                *waiting = true;
                self.advanced = now;
                // One at a time: what an earlier one carried is in this one.
                self.clear_inflight();
                if last >= self.next {
                    self.inflight.push_back((last, bytes));
                    self.inflight_bytes = bytes;
                }
            }
            Sending::Replicate if last >= self.next => {
                if self.inflight.is_empty() {
                    self.advanced = now;
                }
                self.inflight.push_back((last, bytes));
                self.inflight_bytes += bytes;
                self.next = last.next();
            }
            _ => {}
        }
    }

    /// The peer's log agrees, and is durable, up to an index. Gives whether that is news.
    pub(crate) fn acknowledge(&mut self, index: Index, now: Monotonic) -> bool {
        while let Some((_, bytes)) = self.inflight.pop_front_if(|(last, _)| *last <= index) {
            self.inflight_bytes -= bytes;
        }
        let news = index > self.matched;
        if news {
            self.matched = index;
            self.advanced = now;
        }
        self.next = self.next.max(self.matched.next());
        if matches!(self.sending, Sending::Probe { .. }) {
            // What the probe carried is taken to have arrived, and follows when it is durable there. If it has not, what comes
            // next is rejected.
            self.sending = Sending::Replicate;
            let probed = self.inflight.back().map_or(Index(0), |(last, _)| *last);
            self.next = self.next.max(probed.next());
            self.unanswered = false;
        }
        news
    }

    /// A probe that nothing answers for so long may be lost.
    pub(crate) fn retry_probe(&mut self, now: Monotonic, patience: Duration) {
        if self.sending == (Sending::Probe { waiting: true })
            && now.since(self.advanced) >= patience
        {
            self.sending = Sending::Probe { waiting: false };
            self.unanswered = true;
        }
    }

    /// Most entries that the next append may carry.
    pub(crate) fn entries_max(&self, settings: &Settings) -> usize {
        if self.unanswered { 1 } else { settings.append_entries_max }
    }

    /// Whether something in flight has been so for longer than `patience`: it may be lost.
    pub(crate) fn is_overdue(&self, now: Monotonic, settings: &Settings) -> bool {
        self.sending == Sending::Replicate
            && self.next > self.matched.next()
            && now.since(self.advanced) >= settings.heartbeat
    }

    /// Whether it has caught up just now: it was sent everything, and little of that is still on its way.
    pub(crate) fn ends_catching_up(&mut self, last: Index, bytes_max: usize) -> bool {
        let all_sent = self.sending == Sending::Replicate && self.next > last;
        let ends = self.catching_up && all_sent && self.inflight_bytes <= bytes_max;
        self.catching_up &= !ends;
        ends
    }

    /// Appends in flight.
    pub(crate) fn inflight(&self) -> usize {
        self.inflight.len()
    }

    /// See `group::digest`.
    #[cfg(feature = "mutants")]
    pub(crate) fn digest(&self, hasher: &mut impl std::hash::Hasher) {
        use std::hash::Hash as _;
        let Self {
            id,
            matched,
            next,
            sending,
            unanswered,
            catching_up,
            inflight,
            inflight_bytes: _,
            heard: _,
            acknowledged,
            advanced: _,
            round,
            promised: _,
            commit,
        } = self;
        (id, matched, next, sending, unanswered, catching_up).hash(hasher);
        (inflight, acknowledged, round, commit).hash(hasher);
    }
}
