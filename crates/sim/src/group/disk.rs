//! The disk of one replica: what is durable, and what was written and not synced.

use std::collections::VecDeque;

use ringfort_raft::{Configuration, Lost, Persist, PersistId, Position, Restored};
use ringfort_types::{Entry, HardState, Index};

use super::node::Machine;

/// A replica's durable state, and writes that are not durable yet.
#[derive(Clone, Debug, Default)]
pub struct GroupDisk {
    /// Term and vote.
    pub hard_state: HardState,
    /// The state machine as it was last made durable.
    pub machine: Machine,
    /// The configuration at that state's position.
    pub configuration: Configuration,
    /// Durable entries behind that position.
    pub entries: Vec<Entry>,
    /// What a start is told to be missing.
    pub lost: Lost,
    /// Written, in order; what a power loss takes.
    pub written: VecDeque<Persist>,
    /// Durable, but not reported yet.
    pub unreported: VecDeque<PersistId>,
}

impl GroupDisk {
    /// The disk of a founding member.
    #[must_use]
    pub fn founded(configuration: Configuration) -> Self {
        Self { configuration, ..Self::default() }
    }

    /// The position of the last durable entry.
    #[must_use]
    pub fn last(&self) -> Position {
        self.entries.last().map_or(self.machine.applied, Position::of)
    }

    /// Whether an entry is durable here.
    #[must_use]
    pub fn holds(&self, position: Position) -> bool {
        let behind = position.index > self.machine.applied.index;
        // Entries are contiguous.
        let first = self.entries.first().map_or(Index(0), |entry| entry.index);
        let at = position.index.0.checked_sub(first.0).and_then(|at| usize::try_from(at).ok());
        let entry = at.and_then(|at| self.entries.get(at));
        !behind || entry.is_some_and(|entry| Position::of(entry) == position)
    }

    /// Makes the oldest write durable; it is to be reported.
    pub fn sync_one(&mut self) -> bool {
        let Some(persist) = self.written.pop_front() else { return false };
        self.unreported.push_back(persist.id);
        self.take(persist.hard_state, persist.entries);
        true
    }

    fn take(&mut self, hard_state: Option<HardState>, entries: Vec<Entry>) {
        if let Some(first) = entries.first().map(|entry| entry.index) {
            self.entries.truncate(self.entries.partition_point(|entry| entry.index < first));
            let base = self.machine.applied.index;
            self.entries.extend(entries.into_iter().filter(|entry| entry.index > base));
        }
        if let Some(hard_state) = hard_state {
            self.hard_state = hard_state;
        }
    }

    /// A process crash: what was written is in the page cache, and a start makes it durable.
    pub fn process_crash(&mut self) {
        while self.sync_one() {}
        self.unreported.clear();
    }

    /// A power loss: of what was not synced, the first `whole` writes are on the disk, and so many entries of the next one.
    /// A log that is cut off between entries and hard state gives back the newest entry's term, and no vote in it.
    pub fn power_loss(&mut self, whole: usize, torn_entries: usize) {
        for _ in 0..whole {
            self.sync_one();
        }
        if let Some(mut torn) = self.written.pop_front() {
            torn.entries.truncate(torn_entries);
            self.take(None, torn.entries);
        }
        self.written.clear();
        self.unreported.clear();
        let newest = self.last().term;
        if newest > self.hard_state.term {
            self.hard_state =
                HardState { term: newest, vote: None, commit: self.hard_state.commit };
        }
    }

    /// Makes a state machine's state durable; entries up to it go. `keeps` says whether those behind it stay.
    pub fn rebase(&mut self, machine: Machine, configuration: Configuration, keeps: bool) {
        let index = machine.applied.index;
        self.entries.retain(|entry| keeps && entry.index > index);
        self.machine = machine;
        self.configuration = configuration;
    }

    /// What a start is given.
    #[must_use]
    pub fn restore(&self) -> Restored {
        let mut hard_state = self.hard_state;
        hard_state.commit = hard_state.commit.min(Index(u64::MAX));
        Restored {
            hard_state,
            applied: self.machine.applied.into(),
            configuration: self.configuration.clone(),
            entries: self.entries.clone(),
            lost: self.lost,
        }
    }
}
