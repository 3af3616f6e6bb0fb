//! Rebuilds the groups from records, in order, and keeps count of what damage may have cost each of them.
//!
//! ```text
//!              numbered record is the next one        full state
//!            ┌────────────┐  ┌──────────────────────────────────────────┐
//!            ▼            │  ▼                                          │
//!   [ proven ] ── place damaged whose content is not known ──▶ [ in doubt ]
//!        │                                                         │
//!        └── a number is missing ──▶ [ broken ] ◀── number missing ┘
//! ```
//! A group in doubt or broken when the log ends is quarantined. A full state, which each segment's opening holds, heals
//! both: whatever was lost before it does not matter, but for entries that are still needed.

use std::collections::{BTreeMap, BTreeSet};

use ringfort_types::{GroupId, HardState, Index, ReplicaId};

use super::Spot;
use super::scan::{Region, is_numbered};
use super::slots::{Slot, Slots};
use crate::format::{
    BatchHeader, Body, DirectoryEntry, Record, SegmentId, StateRecord, flags, kinds,
};
use crate::{Base, Damage};

/// One group while the log is read back.
#[derive(Clone, Debug, Default)]
pub(super) struct Replayed {
    pub(super) replica: ReplicaId,
    pub(super) founded: u64,
    pub(super) hard_state: HardState,
    pub(super) base: Base,
    pub(super) sequence: u64,
    pub(super) slots: Slots,
    /// Damage of earlier starts.
    pub(super) damage: Option<Damage>,
    /// Records may be missing: nothing after this place has shown that none is.
    pub(super) doubt: Option<Spot>,
    /// Records are missing, and what they held is not known.
    pub(super) broken: Option<Spot>,
}

/// Where the records come from that are applied now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source {
    pub(super) segment: SegmentId,
    /// Home of the entries: the segment, or a mark for what is not proven.
    pub(super) home: SegmentId,
}

impl Replayed {
    /// Takes a numbered record that is not its founding or its end; none before it is missing, or that is known.
    fn apply(&mut self, source: Source, sequence: u64, body: Body, lost_at: Spot) {
        let fits = match body {
            Body::Append { index, term, payload } => {
                let slot = Slot { term, payload, home: source.home, sequence };
                self.slots.append(index, slot, lost_at)
            }
            Body::HardState(hard_state) => {
                self.hard_state = hard_state;
                true
            }
            Body::Rebase(base) => {
                let known = self.slots.rebase(&self.base, &base);
                self.base = base;
                known
            }
            // A founding with the number that follows: the group was dropped, and that record is damaged.
            Body::Create(replica) => {
                let slots = Slots::empty(Index(0));
                *self = Self { replica, founded: sequence, sequence, slots, ..Self::default() };
                true
            }
            _ => true,
        };
        if !fits {
            self.broken.get_or_insert(lost_at);
        }
    }
}

/// All groups.
#[derive(Debug, Default)]
pub(super) struct Replay {
    pub(super) groups: BTreeMap<GroupId, Replayed>,
    pub(super) findings: Vec<String>,
    /// Groups may have been founded of which nothing is known.
    pub(super) hidden: bool,
    /// Rewritten entries whose place was not known when they came.
    stray: BTreeMap<(GroupId, Index), Slot>,
    /// The log itself says so of an earlier time.
    hidden_before: bool,
    /// Where damage was found last.
    pub(super) damaged: Option<Spot>,
    /// Groups that the opening being read names; `None` once something of it is damaged.
    opening: Option<BTreeSet<GroupId>>,
    /// Which kinds of records the damaged region being read held, by group; everything if that is not known.
    region_kinds: Option<BTreeMap<GroupId, u8>>,
}

impl Replay {
    /// Takes a valid batch.
    pub(super) fn take_batch(
        &mut self,
        source: Source,
        header: &BatchHeader,
        records: &mut Vec<Record>,
    ) {
        self.region_kinds = None;
        self.hidden_before |= header.flags & flags::HIDDEN != 0;
        self.hidden |= self.hidden_before;
        if header.is_opening() && header.offset == 0 {
            self.opening = Some(BTreeSet::new());
        }
        for record in records.drain(..) {
            self.apply(source, record);
        }
        if header.is_opening() && !header.more_opening() {
            self.end_opening();
        }
    }

    /// A group that a complete opening does not name was dropped.
    fn end_opening(&mut self) {
        if let Some(named) = self.opening.take() {
            self.groups.retain(|id, _| named.contains(id));
            self.hidden = self.hidden_before;
        }
    }

    /// Takes what is left of a damaged region.
    pub(super) fn take_region(
        &mut self,
        source: Source,
        region: Region,
        records: &mut Vec<Record>,
    ) {
        let spot = Spot { segment: source.segment, offset: region.from };
        let file = source.segment.file();
        let Region { from, to, accounted } = region;
        let known =
            if accounted { "what they held is known" } else { "what they held is not known" };
        self.findings.push(format!(
            "{file}: {} bytes at offset {from} are damaged; {} records in them are intact, {known}",
            to - from,
            records.len()
        ));
        self.damaged = Some(spot);
        self.opening = None;
        self.region_kinds = accounted.then(|| kinds_by_group(records));
        for record in records.drain(..) {
            if let Body::Directory(entries) = &record.body {
                for entry in entries {
                    self.check_directory(spot, entry);
                }
            } else {
                self.apply(source, record);
            }
        }
        if !accounted {
            self.doubt_all(spot);
        }
    }

    /// A segment is missing, or nothing says where it ends.
    pub(super) fn take_missing(&mut self, segment: SegmentId, what: &str) {
        let spot = Spot { segment, offset: 0 };
        self.findings.push(format!("{}: {what}", segment.file()));
        self.damaged = Some(spot);
        self.region_kinds = None;
        self.doubt_all(spot);
    }

    fn doubt_all(&mut self, spot: Spot) {
        self.hidden = true;
        for group in self.groups.values_mut() {
            group.doubt.get_or_insert(spot);
        }
    }

    fn apply(&mut self, source: Source, record: Record) {
        let spot = Spot { segment: source.segment, offset: record.offset };
        if is_numbered(&record.body) {
            self.apply_numbered(source, spot, record);
            return;
        }
        match record.body {
            Body::State(state) => {
                if let Some(named) = &mut self.opening {
                    named.insert(record.group);
                }
                self.apply_state(record.group, record.sequence, *state, spot);
            }
            Body::Rewritten { index, term, payload: Some(payload) } => {
                let (sequence, home) = (record.sequence, source.home);
                let slot = Slot { term, payload: Some(payload), home, sequence };
                self.apply_rewritten(record.group, index, slot);
            }
            _ => {}
        }
    }

    fn apply_rewritten(&mut self, id: GroupId, index: Index, slot: Slot) {
        let group = self.groups.get_mut(&id).filter(|group| slot.sequence >= group.founded);
        let left = match group {
            Some(group) => group.slots.fill(index, slot),
            None => Some(slot),
        };
        // Damage hides the place it belongs to; a full state further on may show it.
        if let Some(slot) = left {
            self.stray.insert((id, index), slot);
        }
    }

    fn apply_state(&mut self, id: GroupId, sequence: u64, state: StateRecord, spot: Spot) {
        let group = self.groups.entry(id).or_default();
        group.slots.adopt(&state, spot);
        if !self.stray.is_empty() {
            let of_group = (id, Index(0))..=(id, Index(u64::MAX));
            let strays = self.stray.extract_if(of_group, |_, slot| slot.sequence >= state.founded);
            for ((_, index), slot) in strays {
                let _other_term = group.slots.fill(index, slot);
            }
        }
        group.replica = state.replica;
        group.founded = state.founded;
        group.hard_state = state.hard_state;
        group.base = state.base;
        group.sequence = sequence;
        group.damage = state.damage;
        group.doubt = None;
        group.broken = None;
    }

    fn apply_numbered(&mut self, source: Source, spot: Spot, record: Record) {
        let Record { group: id, sequence, body, .. } = record;
        let lost_at = self.damaged.unwrap_or(spot);
        let known = match self.groups.get_mut(&id) {
            // Nearly always: the next record of a group that goes on.
            Some(group) if sequence == group.sequence + 1 && !matches!(body, Body::Drop) => {
                group.sequence = sequence;
                group.doubt = None;
                group.apply(source, sequence, body, lost_at);
                return;
            }
            Some(group) => group.sequence,
            None => 0,
        };
        if sequence <= known {
            let (file, at) = (spot.segment.file(), spot.offset);
            self.findings.push(format!(
                "{file}: the record at offset {at} repeats number {sequence} of group {id}; it does not count"
            ));
            return;
        }
        if let Body::Create(replica) = body {
            let slots = Slots::empty(Index(0));
            let founded = sequence;
            let group = Replayed { replica, founded, sequence, slots, ..Replayed::default() };
            self.groups.insert(id, group);
            return;
        }
        let append = match body {
            Body::Append { index, .. } => Some(index),
            _ => None,
        };
        self.follow(id, sequence, append, spot);
        if matches!(body, Body::Drop) {
            self.groups.remove(&id);
        } else if let Some(group) = self.groups.get_mut(&id) {
            group.apply(source, sequence, body, lost_at);
        }
    }

    /// The group's next record has this number: none is missing before it, or some are. `append` is its index, if it is
    /// an entry.
    fn follow(&mut self, id: GroupId, sequence: u64, append: Option<Index>, spot: Spot) {
        let spot = self.damaged.unwrap_or(spot);
        let Some(group) = self.groups.get_mut(&id) else {
            let broken = Some(spot);
            self.groups.insert(id, Replayed { sequence, broken, ..Replayed::default() });
            return;
        };
        let missing = sequence - group.sequence - 1;
        group.sequence = sequence;
        // Only of a group that was proven up to this region is it known that what is missing was in the region.
        let proven_before = group.doubt.is_none() && group.broken.is_none();
        if missing == 0 {
            group.doubt = None;
            return;
        }
        let kinds = self.region_kinds.as_ref().and_then(|kinds| kinds.get(&id)).copied();
        let appends_only = kinds.is_some_and(|kinds| kinds == kinds::APPEND);
        if proven_before && appends_only {
            lose_entries(group, missing, append, spot);
        } else {
            group.broken.get_or_insert(spot);
        }
    }

    /// The directory of a damaged batch says how far a group got in it.
    fn check_directory(&mut self, spot: Spot, entry: &DirectoryEntry) {
        let DirectoryEntry { group: id, kinds, sequence } = *entry;
        let known = self.groups.get(&id).map(|group| group.sequence);
        if kinds & kinds::GONE != 0 {
            if known.is_some_and(|known| known <= sequence) {
                self.groups.remove(&id);
            }
        } else if known == Some(sequence) {
            if let Some(group) = self.groups.get_mut(&id) {
                group.doubt = None;
            }
        } else if known.is_none_or(|known| known < sequence) {
            self.follow(id, sequence + 1, None, spot);
            if let Some(group) = self.groups.get_mut(&id) {
                group.sequence = sequence;
            }
        }
    }
}

/// So many entries of a group are missing, and nothing else. They may have replaced older ones, though none that was
/// committed (a commit index stands behind the entries it speaks of), and each but the first followed the one before it.
fn lose_entries(group: &mut Replayed, missing: u64, append: Option<Index>, spot: Spot) {
    let committed = group.hard_state.commit.max(group.base.applied.index);
    let first = match append {
        Some(next) => Index(next.0.saturating_sub(missing)).max(committed.next()),
        None => committed.next(),
    };
    group.slots.distrust(first, spot);
    if append.is_none() {
        group.slots.lose_behind(missing, spot);
    }
}

fn kinds_by_group(records: &[Record]) -> BTreeMap<GroupId, u8> {
    let mut kinds = BTreeMap::new();
    for record in records {
        if let Body::Directory(entries) = &record.body {
            for entry in entries {
                *kinds.entry(entry.group).or_insert(0) |= entry.kinds;
            }
        }
    }
    kinds
}
