//! The live entries of one group while the log is read back, payloads included.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use ringfort_types::{Index, Term};

use super::Spot;
use crate::Base;
use crate::format::{SegmentId, StateRecord};

/// The term of an entry of which nothing is known: no entry has it.
pub(super) const TERM_UNKNOWN: Term = Term(0);
/// So many missing entries are kept count of one by one; beyond a wider gap, what was before it is given up.
const GAP_MAX: u64 = 1 << 16;

/// One live entry.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) term: Term,
    /// `None`: the entry is lost, or stands further on in the log.
    pub(super) payload: Option<Bytes>,
    /// The segment it stands in.
    pub(super) home: SegmentId,
    /// Number of the record that wrote it first.
    pub(super) sequence: u64,
}

impl Slot {
    /// An entry of which at most the term is known.
    fn lost(term: Term) -> Self {
        Self { term, payload: None, home: SegmentId::default(), sequence: 0 }
    }
}

/// Entries from the one after the base on, without gaps.
#[derive(Clone, Debug, Default)]
pub(super) struct Slots {
    base: Index,
    slots: VecDeque<Slot>,
    /// Where the damage was found that made an entry lost, if it was found.
    spots: BTreeMap<Index, Spot>,
    /// The full state that made known of the entries which are expected further on.
    expected_at: Option<Spot>,
}

impl Slots {
    pub(super) fn empty(base: Index) -> Self {
        Self { base, ..Self::default() }
    }

    pub(super) fn base(&self) -> Index {
        self.base
    }

    pub(super) fn last(&self) -> Index {
        Index(self.base.0 + self.slots.len() as u64)
    }

    pub(super) fn into_entries(self) -> impl Iterator<Item = (Index, Slot)> {
        let first = self.base.0 + 1;
        self.slots.into_iter().enumerate().map(move |(at, slot)| (Index(first + at as u64), slot))
    }

    fn at(&self, index: Index) -> Option<usize> {
        let at = usize::try_from(index.0.checked_sub(self.base.0 + 1)?).ok()?;
        (at < self.slots.len()).then_some(at)
    }

    pub(super) fn get(&self, index: Index) -> Option<&Slot> {
        self.at(index).map(|at| &self.slots[at])
    }

    /// Puts an entry at its index and removes all behind it. Entries missing before it are lost. Says whether it followed
    /// or replaced entries of this log.
    pub(super) fn append(&mut self, index: Index, slot: Slot, spot: Spot) -> bool {
        if index <= self.base {
            return false;
        }
        if index.0 > self.last().0.saturating_add(GAP_MAX) {
            *self = Self::empty(Index(index.0 - 1));
            self.slots.push_back(slot);
            return false;
        }
        while self.last() >= index {
            self.slots.pop_back();
        }
        if !self.spots.is_empty() {
            self.spots.split_off(&index);
        }
        while self.last().next() < index {
            let missing = self.last().next();
            self.spots.insert(missing, spot);
            self.slots.push_back(Slot::lost(TERM_UNKNOWN));
        }
        if slot.payload.is_none() {
            self.spots.insert(index, spot);
        }
        self.slots.push_back(slot);
        true
    }

    /// Fills in an entry that was rewritten, if it has this term here.
    /// Gives it back otherwise.
    pub(super) fn fill(&mut self, index: Index, slot: Slot) -> Option<Slot> {
        match self.at(index).filter(|at| self.slots[*at].term == slot.term) {
            Some(at) => {
                self.slots[at] = slot;
                self.spots.remove(&index);
                None
            }
            None => Some(slot),
        }
    }

    /// Entries from `first` on may have been replaced unseen: they are lost.
    pub(super) fn distrust(&mut self, first: Index, spot: Spot) {
        let from = first.max(self.base.next());
        let mut index = from;
        while let Some(at) = self.at(index) {
            self.slots[at].term = TERM_UNKNOWN;
            self.slots[at].payload = None;
            self.spots.insert(index, spot);
            index = index.next();
        }
    }

    /// So many entries that followed the last one are lost.
    pub(super) fn lose_behind(&mut self, entries: u64, spot: Spot) {
        for _ in 0..entries {
            self.spots.insert(self.last().next(), spot);
            self.slots.push_back(Slot::lost(TERM_UNKNOWN));
        }
    }

    /// Moves the base. Says whether it is known if the log holds the base's own entry; where it is not, what lies behind is
    /// kept.
    pub(super) fn rebase(&mut self, old: &Base, new: &Base) -> bool {
        let index = new.applied.index;
        let at_base = (index == self.base).then_some(old.applied.term);
        let term = at_base.or_else(|| self.get(index).map(|slot| slot.term));
        let known = term != Some(TERM_UNKNOWN) || at_base.is_some();
        let held = !known || term == Some(new.applied.term);
        if held {
            let gone = usize::try_from(index.0 - self.base.0).unwrap_or(usize::MAX);
            self.slots.drain(..gone.min(self.slots.len()));
            self.spots = self.spots.split_off(&index.next());
            self.base = index;
        } else {
            *self = Self::empty(index);
        }
        known
    }

    /// Takes over what a full state says about the live entries: those known with the right term, of the same incarnation of
    /// the group, are kept; all others are missing until they are found further on.
    pub(super) fn adopt(&mut self, state: &StateRecord, spot: Spot) {
        let base = state.base.applied.index;
        let mut adopted = Self::empty(base);
        let mut runs = state.terms.iter().peekable();
        let mut term = TERM_UNKNOWN;
        let mut index = base;
        while index < state.last {
            index = index.next();
            while let Some(run) = runs.next_if(|run| run.first <= index) {
                term = run.term;
            }
            let known = self.at(index).map(|at| &mut self.slots[at]);
            let same = |slot: &&mut Slot| slot.term == term && slot.sequence >= state.founded;
            adopted.slots.push_back(match known.filter(same) {
                Some(slot) => Slot { payload: slot.payload.take(), ..slot.clone() },
                None => Slot::lost(term),
            });
        }
        let mut spots = std::mem::take(&mut self.spots);
        spots.retain(|index, _| adopted.get(*index).is_some_and(|slot| slot.payload.is_none()));
        adopted.spots = spots;
        adopted.expected_at = Some(spot);
        *self = adopted;
    }

    /// First and last entry that are lost, and where the damage was found that cost the first: `damaged`, if it is not
    /// known better. With the first all behind it are lost, whole ones as well: a log has no gaps.
    pub(super) fn lost(&self, damaged: Option<Spot>) -> Option<(Index, Index, Spot)> {
        let at = self.slots.iter().position(|slot| slot.payload.is_none())?;
        let first = Index(self.base.0 + 1 + at as u64);
        let known = self.spots.get(&first).copied();
        Some((first, self.last(), known.or(damaged).or(self.expected_at)?))
    }

    /// Removes everything from the first lost entry on.
    pub(super) fn cut_lost(&mut self) {
        if let Some(first) = self.slots.iter().position(|slot| slot.payload.is_none()) {
            self.slots.truncate(first);
            self.spots.clear();
        }
    }
}
