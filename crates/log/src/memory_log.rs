//! A log without a disk: everything is durable at once. For tests and simulations of what stands above the log.

use std::collections::{BTreeMap, VecDeque};

use ringfort_env::{DiskCompletion, DiskRequest};
use ringfort_types::{Entry, GroupId, Index, Monotonic};

use crate::{
    Base, GroupWrite, LogEvent, LogStats, LogStore, RecoveredGroup, RecoveredLog, Submission,
};

/// A log in memory.
#[derive(Debug, Default)]
pub struct MemoryLog {
    groups: BTreeMap<GroupId, RecoveredGroup>,
    events: VecDeque<LogEvent>,
    stats: LogStats,
}

impl MemoryLog {
    /// An empty log.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A log that goes on from what another gave back.
    #[must_use]
    pub fn from_recovered(recovered: RecoveredLog) -> Self {
        Self { groups: recovered.groups, ..Self::default() }
    }

    /// What a start would find now.
    #[must_use]
    pub fn recovered(&self) -> RecoveredLog {
        RecoveredLog { groups: self.groups.clone(), ..RecoveredLog::default() }
    }

    fn apply(&mut self, write: GroupWrite) {
        match write {
            GroupWrite::Create { group, replica } => {
                let founded = RecoveredGroup {
                    replica,
                    hard_state: ringfort_types::HardState::default(),
                    base: Base::default(),
                    entries: Vec::new(),
                    damage: None,
                };
                let before = self.groups.insert(group, founded);
                assert!(before.is_none(), "group {group} exists already");
            }
            GroupWrite::Append { group, hard_state, entries } => {
                let state = self.group(group);
                state.hard_state = hard_state.unwrap_or(state.hard_state);
                self.stats.records += u64::from(hard_state.is_some()) + entries.len() as u64;
                let state = self.group(group);
                for entry in entries {
                    append(group, state, entry);
                }
            }
            GroupWrite::Rebase { group, base } => rebase(self.group(group), base),
            GroupWrite::Drop { group } => {
                let before = self.groups.remove(&group);
                assert!(before.is_some(), "group {group} does not exist in the log");
            }
        }
    }

    fn group(&mut self, id: GroupId) -> &mut RecoveredGroup {
        let group = self.groups.get_mut(&id);
        group.unwrap_or_else(|| panic!("group {id} does not exist in the log"))
    }
}

/// How many entries stand up to `index`, that one included.
fn count_to(base: Index, index: Index) -> usize {
    usize::try_from(index.0.saturating_sub(base.0)).unwrap_or(usize::MAX)
}

fn append(id: GroupId, group: &mut RecoveredGroup, entry: Entry) {
    let base = group.base.applied.index;
    let before = count_to(base, entry.index);
    let fits = before > 0 && before <= group.entries.len() + 1;
    assert!(fits, "entry {} does not follow the log of group {id}", entry.index);
    group.entries.truncate(before - 1);
    group.entries.push(entry);
}

fn rebase(group: &mut RecoveredGroup, base: Base) {
    let old = group.base.applied;
    let index = base.applied.index;
    let kept = if index == old.index {
        (base.applied.term == old.term).then_some(0)
    } else {
        let upto = count_to(old.index, index);
        let at_base = upto.checked_sub(1).and_then(|at| group.entries.get(at));
        at_base.filter(|entry| entry.term == base.applied.term).map(|_| upto)
    };
    group.entries.drain(..kept.unwrap_or(group.entries.len()));
    group.base = base;
}

impl LogStore for MemoryLog {
    fn submit(&mut self, _now: Monotonic, submission: Submission) {
        self.stats.batches += 1;
        for write in submission.writes {
            self.apply(write);
        }
        let Submission { source, id, .. } = submission;
        match self.events.back_mut() {
            Some(LogEvent::Durable { source: known, id: newest }) if *known == source => {
                *newest = id;
            }
            _ => self.events.push_back(LogEvent::Durable { source, id }),
        }
    }

    fn handle_disk(&mut self, _now: Monotonic, _completion: DiskCompletion) {}

    fn handle_timer(&mut self, _now: Monotonic) {}

    fn set_log_bytes_target(&mut self, _bytes: u64) {}

    fn poll_timer(&self) -> Option<Monotonic> {
        None
    }

    fn poll_disk(&mut self) -> Option<DiskRequest> {
        None
    }

    fn poll_event(&mut self) -> Option<LogEvent> {
        self.events.pop_front()
    }

    fn stats(&self) -> LogStats {
        self.stats
    }
}
