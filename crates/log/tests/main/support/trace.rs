//! Random submissions that a well-behaved user could make.

use bytes::Bytes;
use ringfort_log::{Base, GroupWrite, SourceId, Submission, SubmissionId};
use ringfort_sim::Random;
use ringfort_types::{Applied, Entry, GroupId, HardState, Index, ReplicaId, Term};

use super::model::{Groups, ModelGroup};

/// Makes submissions.
pub(crate) struct Trace {
    pub(crate) random: Random,
    /// Groups are numbered below this.
    pub(crate) groups: u32,
    /// Most payloads are shorter than this.
    pub(crate) payload_bytes: u64,
    submissions: [u64; 3],
    replica: u64,
    generation: u64,
    stamp: u64,
}

impl Trace {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        Self {
            groups: 1 + u32::try_from(random.below(6)).unwrap(),
            payload_bytes: 1 << random.between(4, 12),
            random,
            submissions: [0; 3],
            replica: 0,
            generation: 0,
            stamp: 0,
        }
    }

    /// A payload unlike any other.
    fn payload(&mut self) -> Bytes {
        let large = self.random.one_in(200);
        let bound = if large { 80 << 10 } else { self.payload_bytes };
        let mut payload = vec![0; self.random.index(usize::try_from(bound).unwrap())];
        self.stamp += 1;
        let mut fill = Random::new(self.stamp);
        fill.fill(&mut payload);
        payload.into()
    }

    /// A random submission that fits `groups`, which are as they will be once everything is durable.
    pub(crate) fn submission(&mut self, groups: &Groups) -> Submission {
        let mut writes: Vec<GroupWrite> = Vec::new();
        let mut used: Vec<GroupId> = Vec::new();
        for _ in 0..self.random.between(1, 3) {
            let id = GroupId(u32::try_from(self.random.below(u64::from(self.groups))).unwrap());
            if !used.contains(&id) {
                used.push(id);
                writes.extend(self.writes(id, groups.get(&id)));
            }
        }
        self.wrap(writes)
    }

    /// These writes as the next submission of a random source.
    pub(crate) fn wrap(&mut self, writes: Vec<GroupWrite>) -> Submission {
        let source = self.random.index(3);
        self.submissions[source] += 1;
        Submission {
            source: SourceId(u16::try_from(source).unwrap()),
            id: SubmissionId(self.submissions[source]),
            writes,
            operations: u32::try_from(self.random.below(12)).unwrap(),
        }
    }

    fn writes(&mut self, id: GroupId, group: Option<&ModelGroup>) -> Vec<GroupWrite> {
        let Some(group) = group else {
            self.replica += 1;
            return vec![GroupWrite::Create { group: id, replica: ReplicaId(self.replica) }];
        };
        match self.random.below(40) {
            0 => {
                let mut writes = vec![GroupWrite::Drop { group: id }];
                if self.random.one_in(2) {
                    writes.extend(self.writes(id, None));
                }
                writes
            }
            1..=4 => vec![self.rebase(id, group)],
            _ => vec![self.append(id, group)],
        }
    }

    /// A rebase: mostly into the live entries, now and then beyond them.
    pub(crate) fn rebase(&mut self, id: GroupId, group: &ModelGroup) -> GroupWrite {
        self.generation += 1;
        let at = self.random.index(group.entries.len() + 1);
        let applied = if self.random.one_in(6) {
            Applied { index: Index(group.last().0 + 5), term: Term(group.hard_state.term.0 + 1) }
        } else if at == 0 {
            group.base.applied
        } else {
            let entry = &group.entries[at - 1];
            Applied { index: entry.index, term: entry.term }
        };
        GroupWrite::Rebase { group: id, base: Base { applied, generation: self.generation } }
    }

    fn append(&mut self, id: GroupId, group: &ModelGroup) -> GroupWrite {
        let newest = group.entries.last().map_or(group.base.applied.term, |entry| entry.term);
        // What is committed is never overwritten.
        let committed = group.hard_state.commit.max(group.base.applied.index);
        let open = group.entries.iter().filter(|entry| entry.index > committed).count();
        let overwrite = self.random.one_in(8) && open > 0;
        let new_term = overwrite || self.random.one_in(10);
        let term = Term(newest.0.max(group.hard_state.term.0) + u64::from(new_term));
        let term = term.max(Term(1));
        let first = if overwrite {
            Index(group.last().0 - self.random.below(open as u64))
        } else {
            group.last().next()
        };
        let count = self.random.below(5);
        let entries: Vec<Entry> = (0..count)
            .map(|at| Entry { term, index: Index(first.0 + at), payload: self.payload() })
            .collect();
        let last = entries.last().map_or(group.last(), |entry| entry.index);
        let with_state = term > group.hard_state.term || self.random.one_in(3);
        let hard_state = with_state.then(|| HardState {
            term,
            vote: self.random.one_in(2).then_some(ReplicaId(1 + self.random.below(5))),
            commit: Index(self.random.between(committed.0.min(last.0), last.0)),
        });
        GroupWrite::Append { group: id, hard_state, entries }
    }
}
