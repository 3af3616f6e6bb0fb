//! What is durable, what is on its way there, and what has to go there.
//!
//! ```text
//!        durable      in flight: 1..., 2...      unsaved
//! ─────────┴──────────────────────────────┴───────────────▶ index
//! ```
//!
//! Writes complete in the order in which they were asked for, later than anybody asks. So an entry may be replaced, and
//! replaced again by what stood there first, while the first write is still on its way: an index is durable only if no
//! later write touches it, whatever term it has (ABA).
//!
//! # Invariants
//!
//! - `durable` never covers an index that a write in flight, or one still to be asked for, will replace.
//! - Ids of writes have no gaps.

use std::collections::VecDeque;
use std::time::Duration;

use ringfort_types::{Index, Monotonic};

use crate::effects::PersistId;
use crate::guard::{Guard, Guards};
use crate::room;

/// A write in flight.
#[derive(Clone, Copy, Debug)]
struct InFlight {
    id: PersistId,
    asked: Monotonic,
    /// It replaces everything from here on.
    first: Index,
    /// The last index of the log as it leaves it.
    last: Index,
}

/// The state of all writes of a group.
#[derive(Clone, Debug)]
pub(crate) struct Persisting {
    last_id: PersistId,
    done: PersistId,
    in_flight: VecDeque<InFlight>,
    durable: Index,
    unsaved_from: Index,
    hard_state_unsaved: bool,
    /// The write with the newest hard state that was asked for.
    hard_state_id: PersistId,
}

impl Persisting {
    /// Everything up to the last index is durable.
    pub(crate) fn new(last: Index) -> Self {
        Self {
            last_id: PersistId(0),
            done: PersistId(0),
            in_flight: VecDeque::new(),
            durable: last,
            unsaved_from: last.next(),
            hard_state_unsaved: false,
            hard_state_id: PersistId(0),
        }
    }

    /// The last index that is durable as it stands in memory.
    pub(crate) fn durable(&self) -> Index {
        self.durable
    }

    /// The last index whose write was begun.
    pub(crate) fn handed_out(&self) -> Index {
        Index(self.unsaved_from.0.saturating_sub(1))
    }

    /// Term or vote changed.
    pub(crate) fn note_hard_state(&mut self) {
        self.hard_state_unsaved = true;
    }

    /// Entries from this index on were removed or replaced.
    pub(crate) fn note_truncated(&mut self, from: Index, guards: Guards) {
        self.unsaved_from = self.unsaved_from.min(from);
        if guards.has(Guard::AckNotOverwritten) {
            self.durable = self.durable.min(Index(from.0.saturating_sub(1)));
        }
    }

    /// A snapshot took the place of the log up to here, durably; nothing stands behind it.
    pub(crate) fn note_installed(&mut self, base: Index) {
        for write in &mut self.in_flight {
            write.first = write.first.min(base.next());
            write.last = write.last.min(base);
        }
        self.durable = base;
        self.unsaved_from = base.next();
    }

    /// Whether a write may be begun now, given the last index of the log and how many may be in flight.
    pub(crate) fn may_begin(&self, last: Index, in_flight_max: usize) -> bool {
        self.is_due(last) && self.in_flight.len() < in_flight_max
    }

    /// Whether something has to be written, given the last index of the log.
    pub(crate) fn is_due(&self, last: Index) -> bool {
        self.hard_state_unsaved || self.unsaved_from <= last
    }

    /// Begins a write of all that is unsaved: its id, whether it has a hard state, and its first entry.
    pub(crate) fn begin(&mut self, now: Monotonic, last: Index) -> (PersistId, bool, Index) {
        let first = self.unsaved_from;
        self.last_id = PersistId(self.last_id.0 + 1);
        let with_hard_state = std::mem::take(&mut self.hard_state_unsaved);
        if with_hard_state {
            self.hard_state_id = self.last_id;
        }
        self.in_flight.push_back(InFlight { id: self.last_id, asked: now, first, last });
        self.unsaved_from = last.next();
        (self.last_id, with_hard_state, first)
    }

    /// A write and all before it are durable.
    ///
    /// # Panics
    /// The write was never asked for.
    pub(crate) fn complete(&mut self, id: PersistId, guards: Guards) {
        assert!(id <= self.last_id, "raft: write {id:?} was never asked for");
        let mut completed = None;
        while let Some(write) = self.in_flight.pop_front_if(|write| write.id <= id) {
            completed = Some(write.last);
        }
        self.done = self.done.max(id);
        let Some(last) = completed else { return };
        let replaced = self.in_flight.iter().map(|write| write.first);
        let replaced = replaced.chain([self.unsaved_from]).min().unwrap_or(self.unsaved_from);
        let kept = Index(replaced.0.saturating_sub(1));
        let durable = if guards.has(Guard::AckNotOverwritten) { last.min(kept) } else { last };
        self.durable = self.durable.max(durable);
    }

    /// Gives back room that is hardly used.
    pub(crate) fn release_room(&mut self) {
        room::release(&mut self.in_flight);
    }

    /// The write after which the hard state as it stands in memory is durable.
    pub(crate) fn hard_state_write(&self) -> PersistId {
        if self.hard_state_unsaved { PersistId(self.last_id.0 + 1) } else { self.hard_state_id }
    }

    /// Whether a write is durable.
    pub(crate) fn is_done(&self, id: PersistId) -> bool {
        id <= self.done
    }

    /// Whether term and vote are durable as they stand in memory.
    pub(crate) fn hard_state_durable(&self) -> bool {
        self.is_done(self.hard_state_write())
    }

    /// Whether nothing is in flight or unsaved.
    pub(crate) fn is_idle(&self, last: Index) -> bool {
        self.in_flight.is_empty() && !self.is_due(last)
    }

    /// For how long the oldest write has been in flight.
    pub(crate) fn oldest_age(&self, now: Monotonic) -> Duration {
        self.in_flight.front().map_or(Duration::ZERO, |write| now.since(write.asked))
    }

    /// By how much a write lies behind the newest durable one; 0 if it is durable.
    #[cfg(feature = "mutants")]
    pub(crate) fn behind_done(&self, id: PersistId) -> u64 {
        id.0.saturating_sub(self.done.0)
    }

    /// See `group::digest`.
    #[cfg(feature = "mutants")]
    pub(crate) fn digest(&self, hasher: &mut impl std::hash::Hasher) {
        use std::hash::Hash as _;
        let Self {
            last_id,
            done: _,
            in_flight,
            durable,
            unsaved_from,
            hard_state_unsaved,
            hard_state_id,
        } = self;
        for InFlight { id, asked: _, first, last } in in_flight {
            (self.behind_done(*id), first, last).hash(hasher);
        }
        (self.behind_done(*last_id), self.behind_done(*hard_state_id)).hash(hasher);
        (durable, unsaved_from, hard_state_unsaved).hash(hasher);
    }
}
