//! The oracle: what the log must give back after any crash.
//!
//! The log takes records in the order of submissions. So what a start finds must be the groups as they were after some
//! number of these records, and not before the last one that was told durable.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ringfort_log::{Base, GroupWrite, RecoveredLog, Submission};
use ringfort_types::{Entry, GroupId, HardState, Index, ReplicaId};

/// One group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ModelGroup {
    pub(crate) replica: ReplicaId,
    pub(crate) hard_state: HardState,
    pub(crate) base: Base,
    pub(crate) entries: Vec<Entry>,
}

impl ModelGroup {
    pub(crate) fn last(&self) -> Index {
        Index(self.base.applied.index.0 + self.entries.len() as u64)
    }
}

pub(crate) type Groups = BTreeMap<GroupId, ModelGroup>;

/// One record.
#[derive(Clone, Debug)]
enum Change {
    Create(GroupId, ReplicaId),
    HardState(GroupId, HardState),
    Entry(GroupId, Entry),
    Rebase(GroupId, Base),
    Drop(GroupId),
    /// The end of a submission.
    End(u16, u64),
}

/// What is durable, and what may be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    durable: Groups,
    /// Everything submitted, as it will be once durable.
    pub(crate) newest: Groups,
    changes: VecDeque<Change>,
    /// Submissions that are durable, told or implied by a later one.
    ended: BTreeSet<(u16, u64)>,
}

impl Model {
    pub(crate) fn submit(&mut self, submission: &Submission) {
        let from = self.changes.len();
        for write in &submission.writes {
            match write {
                GroupWrite::Create { group, replica } => {
                    self.changes.push_back(Change::Create(*group, *replica));
                }
                GroupWrite::Append { group, hard_state, entries } => {
                    let entries = entries.iter().cloned();
                    self.changes.extend(entries.map(|entry| Change::Entry(*group, entry)));
                    let hard_state = hard_state.map(|state| Change::HardState(*group, state));
                    self.changes.extend(hard_state);
                }
                GroupWrite::Rebase { group, base } => {
                    self.changes.push_back(Change::Rebase(*group, *base));
                }
                GroupWrite::Drop { group } => self.changes.push_back(Change::Drop(*group)),
            }
        }
        self.changes.push_back(Change::End(submission.source.0, submission.id.0));
        for change in self.changes.iter().skip(from) {
            apply(&mut self.newest, change);
        }
    }

    /// A submission was told durable.
    pub(crate) fn durable(&mut self, source: u16, id: u64) {
        let is_it =
            |change: &Change| matches!(change, Change::End(s, i) if *s == source && *i == id);
        let Some(at) = self.changes.iter().position(is_it) else {
            assert!(self.ended.contains(&(source, id)), "{source}/{id} was never submitted");
            return;
        };
        for change in self.changes.drain(..=at) {
            if let Change::End(source, id) = change {
                self.ended.insert((source, id));
            }
            apply(&mut self.durable, &change);
        }
    }

    /// Whether this is what a start may find.
    pub(crate) fn check(&self, recovered: &RecoveredLog) {
        assert_eq!(recovered.findings, Vec::<String>::new(), "nothing is damaged");
        let found = plain(recovered);
        let mut groups = self.durable.clone();
        if same(&groups, &found) {
            return;
        }
        for change in &self.changes {
            apply(&mut groups, change);
            if same(&groups, &found) {
                return;
            }
        }
        panic!(
            "no prefix of what was submitted.\nfound   {}\ndurable {}\nnewest  {}",
            draw(&found),
            draw(&self.durable),
            draw(&self.newest)
        );
    }

    /// Goes on from what a start found.
    pub(crate) fn adopt(&mut self, recovered: &RecoveredLog) {
        self.durable = plain(recovered);
        self.newest = self.durable.clone();
        self.changes.clear();
    }
}

/// What a start found, without damage.
pub(crate) fn plain(recovered: &RecoveredLog) -> Groups {
    let groups = recovered.groups.iter().map(|(id, group)| {
        assert_eq!(group.damage, None, "group {id}");
        let plain = ModelGroup {
            replica: group.replica,
            hard_state: group.hard_state,
            base: group.base,
            entries: group.entries.clone(),
        };
        (*id, plain)
    });
    groups.collect()
}

/// Equal, but for a term of which the entries made it and the hard state did not.
fn same(groups: &Groups, found: &Groups) -> bool {
    groups.len() == found.len()
        && groups.iter().zip(found).all(|((id, group), (found_id, found))| {
            let newest = group.entries.last().map(|entry| entry.term);
            let hard_state = match newest.filter(|term| *term > group.hard_state.term) {
                Some(term) => HardState { term, vote: None, ..group.hard_state },
                None => group.hard_state,
            };
            id == found_id
                && group.replica == found.replica
                && hard_state == found.hard_state
                && group.base == found.base
                && group.entries == found.entries
        })
}

fn apply(groups: &mut Groups, change: &Change) {
    match change {
        Change::Create(id, replica) => {
            let group = ModelGroup {
                replica: *replica,
                hard_state: HardState::default(),
                base: Base::default(),
                entries: Vec::new(),
            };
            groups.insert(*id, group);
        }
        Change::HardState(id, state) => groups.get_mut(id).unwrap().hard_state = *state,
        Change::Entry(id, entry) => {
            let group = groups.get_mut(id).unwrap();
            let before = usize::try_from(entry.index.0 - group.base.applied.index.0 - 1).unwrap();
            group.entries.truncate(before);
            assert_eq!(group.entries.len(), before);
            group.entries.push(entry.clone());
        }
        Change::Rebase(id, base) => rebase(groups.get_mut(id).unwrap(), *base),
        Change::Drop(id) => {
            groups.remove(id);
        }
        Change::End(..) => {}
    }
}

fn rebase(group: &mut ModelGroup, base: Base) {
    let at = base.applied;
    let holds = at == group.base.applied
        || group.entries.iter().any(|entry| entry.index == at.index && entry.term == at.term);
    if holds {
        group.entries.retain(|entry| entry.index > at.index);
    } else {
        group.entries.clear();
    }
    group.base = base;
}

fn draw(groups: &Groups) -> String {
    let groups = groups.iter().map(|(id, group)| {
        let entries = group
            .entries
            .iter()
            .map(|entry| format!("{}.{}({})", entry.index, entry.term, entry.payload.len()));
        let entries: Vec<String> = entries.collect();
        format!(
            "\n  {id}: r{} {:?} {:?} {}",
            group.replica,
            group.hard_state,
            group.base,
            entries.join(" ")
        )
    });
    groups.collect()
}
