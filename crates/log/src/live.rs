//! The live entries of one group: which terms they have, and in which segments they stand. Their payloads are on disk.
//!
//! # Invariants
//! - Indexes run without gaps from the one after the base to `last`; term runs and homes cover exactly these.
//! - What a home counts is counted in its segment of the [`Chain`], and nowhere else.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use ringfort_types::{Index, Term};

use crate::Base;
use crate::chain::Chain;
use crate::format::{SegmentId, TermRun};

/// Neighbouring entries that stand in one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Home {
    pub(crate) segment: SegmentId,
    pub(crate) first: Index,
    pub(crate) last: Index,
    /// Bytes of their records; shared out evenly when the run is cut.
    pub(crate) bytes: u64,
}

impl Home {
    fn entries(&self) -> u64 {
        self.last.0 - self.first.0 + 1
    }
}

/// Terms and places of a group's live entries.
#[derive(Clone, Debug, Default)]
pub(crate) struct LiveEntries {
    base: Index,
    last: Index,
    terms: VecDeque<TermRun>,
    homes: VecDeque<Home>,
}

impl LiveEntries {
    /// An empty log after `base`.
    pub(crate) fn empty(base: Index) -> Self {
        Self { base, last: base, ..Self::default() }
    }

    /// Last index; the base's where there is no entry.
    pub(crate) fn last(&self) -> Index {
        self.last
    }

    pub(crate) fn terms(&self) -> impl ExactSizeIterator<Item = TermRun> + '_ {
        self.terms.iter().copied()
    }

    pub(crate) fn homes(&self) -> impl Iterator<Item = &Home> {
        self.homes.iter()
    }

    /// The term of a live entry.
    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        if index <= self.base || index > self.last {
            return None;
        }
        let after = self.terms.partition_point(|run| run.first <= index);
        self.terms.get(after.checked_sub(1)?).map(|run| run.term)
    }

    /// Whether a live entry with this term stands in this segment.
    pub(crate) fn stands_in(&self, index: Index, term: Term, segment: SegmentId) -> bool {
        self.term_at(index) == Some(term)
            && self.home_at(index).is_some_and(|at| self.homes[at].segment == segment)
    }

    fn home_at(&self, index: Index) -> Option<usize> {
        let at = self.homes.partition_point(|home| home.last < index);
        let inside = self.homes.get(at).is_some_and(|home| home.first <= index);
        inside.then_some(at)
    }

    /// Adds an entry that follows the last one, or replaces everything from its index on.
    pub(crate) fn append(
        &mut self,
        chain: &mut Chain,
        (index, term): (Index, Term),
        segment: SegmentId,
        bytes: u64,
    ) {
        let fits = index > self.base && index <= self.last.next();
        assert!(fits, "entry {index} does not follow a log of {}..={}", self.base, self.last);
        if index <= self.last {
            self.truncate_from(chain, index);
        }
        self.last = index;
        if self.terms.back().is_none_or(|run| run.term != term) {
            self.terms.push_back(TermRun { first: index, term });
        }
        chain.add(segment, 1, bytes);
        match self.homes.back_mut() {
            Some(home) if home.segment == segment => {
                home.last = index;
                home.bytes += bytes;
            }
            _ => self.homes.push_back(Home { segment, first: index, last: index, bytes }),
        }
    }

    /// Removes all entries from `index` on.
    fn truncate_from(&mut self, chain: &mut Chain, index: Index) {
        while self.terms.pop_back_if(|run| run.first >= index).is_some() {}
        while let Some(home) = self.homes.pop_back_if(|home| home.first >= index) {
            chain.remove(home.segment, home.entries(), home.bytes);
        }
        if let Some(home) = self.homes.back_mut().filter(|home| home.last >= index) {
            let gone = home.last.0 - index.0 + 1;
            let bytes = share(home, gone);
            home.last = Index(index.0 - 1);
            home.bytes -= bytes;
            chain.remove(home.segment, gone, bytes);
        }
        self.last = Index(index.0 - 1);
    }

    /// Moves the base: entries up to it go; all go if the log does not hold the base's own entry.
    pub(crate) fn rebase(&mut self, chain: &mut Chain, old: &Base, new: &Base) {
        let index = new.applied.index;
        let at_base = index == self.base && new.applied.term == old.applied.term;
        if !at_base && self.term_at(index) != Some(new.applied.term) {
            self.clear(chain);
            *self = Self::empty(index);
            return;
        }
        self.base = index;
        while self.terms.len() > 1 && self.terms[1].first <= index.next() {
            self.terms.pop_front();
        }
        while let Some(home) = self.homes.pop_front_if(|home| home.last <= index) {
            chain.remove(home.segment, home.entries(), home.bytes);
        }
        if let Some(home) = self.homes.front_mut().filter(|home| home.first <= index) {
            let gone = index.0 - home.first.0 + 1;
            let bytes = share(home, gone);
            home.first = index.next();
            home.bytes -= bytes;
            chain.remove(home.segment, gone, bytes);
        }
        if self.last == index {
            self.terms.clear();
        } else if let Some(run) = self.terms.front_mut() {
            run.first = index.next();
        }
    }

    /// Gives up all entries.
    pub(crate) fn clear(&mut self, chain: &mut Chain) {
        for home in self.homes.drain(..) {
            chain.remove(home.segment, home.entries(), home.bytes);
        }
        self.terms.clear();
        self.last = self.base;
    }

    /// A live entry was rewritten to another segment, where its record has so many bytes.
    pub(crate) fn move_home(
        &mut self,
        chain: &mut Chain,
        index: Index,
        segment: SegmentId,
        bytes: u64,
    ) {
        let at = self.home_at(index).expect("a rewritten entry is live");
        let old = self.homes[at];
        let gone = share(&old, 1);
        chain.remove(old.segment, 1, gone);
        chain.add(segment, 1, bytes);
        let before = old.first < index;
        let after = index < old.last;
        let rest = old.bytes - gone;
        let before_entries = index.0 - old.first.0;
        let before_bytes = if after { rest * before_entries / (old.entries() - 1) } else { rest };
        let parts = [
            before.then(|| Home { last: Index(index.0 - 1), bytes: before_bytes, ..old }),
            Some(Home { segment, first: index, last: index, bytes }),
            after.then(|| Home {
                first: index.next(),
                bytes: if before { rest - before_bytes } else { rest },
                ..old
            }),
        ];
        self.homes.remove(at);
        for part in parts.into_iter().flatten().rev() {
            self.homes.insert(at, part);
        }
        self.join_homes(at + usize::from(before));
    }

    /// Entries that stand in `from` will never be found there: nothing is held back for them any longer. They stay live, and
    /// a start that misses them says so. They count in `to`, where they take no room.
    pub(crate) fn give_up(&mut self, chain: &mut Chain, from: SegmentId, to: SegmentId) {
        while let Some(home) = self.homes.iter().find(|home| home.segment == from).copied() {
            for index in home.first.0..=home.last.0 {
                self.move_home(chain, Index(index), to, 0);
            }
        }
    }

    /// Joins the home at `at` with the one before it, if both are in one segment.
    fn join_homes(&mut self, at: usize) {
        let Some(before) = at.checked_sub(1) else {
            return;
        };
        let home = self.homes[at];
        if self.homes[before].segment == home.segment {
            self.homes[before].last = home.last;
            self.homes[before].bytes += home.bytes;
            self.homes.remove(at);
        }
    }
}

/// The part of a home's bytes that so many of its entries account for; all of them if all go.
fn share(home: &Home, entries: u64) -> u64 {
    home.bytes / home.entries() * entries
        + if entries == home.entries() { home.bytes % home.entries() } else { 0 }
}
