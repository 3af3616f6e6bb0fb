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
    /// Where the damage was found that made an entry lost.
    spots: BTreeMap<Index, Spot>,
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
    pub(super) fn fill(&mut self, index: Index, slot: Slot) {
        if let Some(at) = self.at(index)
            && self.slots[at].term == slot.term
        {
            self.slots[at] = slot;
            self.spots.remove(&index);
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

    /// Moves the base. Fails where it is not known whether the log holds the base's own entry.
    pub(super) fn rebase(&mut self, old: &Base, new: &Base) -> Result<(), ()> {
        let index = new.applied.index;
        let held = if index == self.base {
            new.applied.term == old.applied.term
        } else {
            match self.get(index).map(|slot| slot.term) {
                Some(TERM_UNKNOWN) => return Err(()),
                Some(term) => term == new.applied.term,
                None => false,
            }
        };
        if held {
            let gone = usize::try_from(index.0 - self.base.0).unwrap_or(usize::MAX);
            self.slots.drain(..gone.min(self.slots.len()));
            self.spots = self.spots.split_off(&index.next());
            self.base = index;
        } else {
            *self = Self::empty(index);
        }
        Ok(())
    }

    /// Takes over what a full state says about the live entries: those known with the right term are kept, all others are
    /// missing until they are found further on.
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
            let slot = match known.filter(|slot| slot.term == term) {
                Some(slot) => Slot { payload: slot.payload.take(), ..slot.clone() },
                None => Slot::lost(term),
            };
            if slot.payload.is_none() {
                let found = self.spots.get(&index).copied().unwrap_or(spot);
                adopted.spots.insert(index, found);
            }
            adopted.slots.push_back(slot);
        }
        *self = adopted;
    }

    /// First and last entry that are lost, and where the damage of the first was found.
    pub(super) fn lost(&self) -> Option<(Index, Index, Spot)> {
        let (first, spot) = self.spots.first_key_value()?;
        let (last, _) = self.spots.last_key_value()?;
        Some((*first, *last, *spot))
    }

    /// Removes everything from the first lost entry on.
    pub(super) fn cut_lost(&mut self) {
        if let Some((first, _, _)) = self.lost() {
            while self.last() >= first {
                self.slots.pop_back();
            }
            self.spots.clear();
        }
    }
}
