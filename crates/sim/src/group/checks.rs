//! What must always hold in a group, seen from outside: by comparing replicas, disks and times that no replica can compare.
//!
//! Names are those of the paper (Ongaro and Ousterhout, figure 3), and of what reads and durability promise.

use std::collections::BTreeMap;

use ringfort_raft::{Configuration, Group, Guards, Position, Role, quorum_value};
use ringfort_types::{Index, Monotonic, ReplicaId, Term};

use super::node::Node;

/// Something that must hold and does not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {what}")]
pub struct Violation {
    /// What was broken.
    pub name: &'static str,
    /// How.
    pub what: String,
}

/// What was seen so far.
#[derive(Debug, Default)]
pub struct Checks {
    /// Who led each term.
    leaders: BTreeMap<Term, ReplicaId>,
    /// The digest of each entry ever seen, and the position before it.
    entries: BTreeMap<Position, (Position, u64)>,
    /// The position committed at each index from 1 on, by the first who said so.
    committed: Vec<Position>,
    /// The state after each applied index.
    states: BTreeMap<Index, u64>,
    /// What each replica was last seen with.
    seen: BTreeMap<ReplicaId, Seen>,
    /// Messages that each replica is given on purpose, and that nobody who keeps the rules sends.
    impossible: BTreeMap<ReplicaId, u64>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    commit: Index,
    role: Role,
    term: Term,
    last: Position,
}

type Check = Result<(), Violation>;

fn holds(condition: bool, name: &'static str, what: impl FnOnce() -> String) -> Check {
    if condition { Ok(()) } else { Err(Violation { name, what: what() }) }
}

impl Checks {
    /// The greatest index that anybody said is committed.
    #[must_use]
    pub fn committed(&self) -> Index {
        Index(self.committed.len() as u64)
    }

    /// Who led each term.
    #[must_use]
    pub fn leaders(&self) -> &BTreeMap<Term, ReplicaId> {
        &self.leaders
    }

    /// A replica ended: what it knew is gone.
    pub fn forget(&mut self, id: ReplicaId) {
        self.seen.remove(&id);
        self.impossible.remove(&id);
    }

    /// A replica is given a message that nobody who keeps the rules sends. It may drop it as such.
    pub fn allow_impossible(&mut self, id: ReplicaId) {
        *self.impossible.entry(id).or_default() += 1;
    }

    /// Checks one replica against everything seen so far.
    pub(super) fn check(
        &mut self,
        nodes: &BTreeMap<ReplicaId, Node>,
        id: ReplicaId,
        now: Monotonic,
    ) -> Check {
        let Some(node) = nodes.get(&id) else { return Ok(()) };
        let Some(group) = &node.group else { return Ok(()) };
        self.check_bounds(id, group)?;
        self.check_leader(id, group)?;
        self.check_log(id, group)?;
        self.check_commit(nodes, id, group)?;
        self.check_state(id, node)?;
        self.check_reads(id, node, group, now)?;
        let status = group.status();
        let last =
            Position { term: group.term_at(status.last).unwrap_or_default(), index: status.last };
        let seen = Seen { commit: status.commit, role: status.role, term: status.term, last };
        self.seen.insert(id, seen);
        Ok(())
    }

    fn check_bounds(&self, id: ReplicaId, group: &Group) -> Check {
        let status = group.status();
        let (applied, commit, last) = (status.applied, status.commit, status.last);
        holds(applied <= commit && commit <= last, "index_order", || {
            format!("replica {id}: applied {applied}, commit {commit}, last {last}")
        })?;
        holds(status.durable <= last, "durable_within_log", || {
            format!("replica {id}: durable {}, last {last}", status.durable)
        })?;
        let impossible = status.counters.dropped_impossible;
        let given = self.impossible.get(&id).copied().unwrap_or_default();
        holds(impossible <= given, "no_impossible_message", || {
            format!(
                "replica {id} dropped {impossible} messages that nobody who keeps the rules sends"
            )
        })?;
        let before = self.seen.get(&id).map_or(Index(0), |seen| seen.commit);
        holds(commit >= before, "commit_never_falls", || {
            format!("replica {id}: commit fell from {before} to {commit}")
        })
    }

    fn check_leader(&mut self, id: ReplicaId, group: &Group) -> Check {
        if group.role() != Role::Leader {
            return Ok(());
        }
        let status = group.status();
        let term = status.term;
        let first = *self.leaders.entry(term).or_insert(id);
        holds(first == id, "election_safety", || {
            format!("replicas {first} and {id} both lead term {term}")
        })?;
        let seen = self.seen.get(&id).filter(|seen| seen.role == Role::Leader && seen.term == term);
        if let Some(seen) = seen {
            let kept = status.last >= seen.last.index;
            return holds(kept, "leader_append_only", || {
                format!("leader {id} of term {term} ended at {}, now at {}", seen.last, status.last)
            });
        }
        // It leads since this step: everything committed is in its log.
        let base = self.committed.iter().filter(|position| {
            group.term_at(position.index).is_some_and(|term| term != position.term)
                || position.index > status.last
        });
        holds(base.clone().next().is_none(), "leader_completeness", || {
            let missing: Vec<_> = base.take(3).map(ToString::to_string).collect();
            format!("leader {id} of term {term} lacks committed {}", missing.join(", "))
        })
    }

    fn check_log(&mut self, id: ReplicaId, group: &Group) -> Check {
        // Only what is new since the last look, or since the log was cut.
        let status = group.status();
        let from = self.seen.get(&id).map_or(Index(1), |seen| {
            if group.term_at(seen.last.index) == Some(seen.last.term) {
                seen.last.index.next()
            } else {
                Index(1)
            }
        });
        let mut before = None;
        for entry in group.entries_from(from) {
            let position = Position::of(&entry);
            let previous = before.or_else(|| {
                let index = Index(position.index.0 - 1);
                group.term_at(index).map(|term| Position { term, index })
            });
            before = Some(position);
            let Some(previous) = previous else { continue };
            let digest = digest(&entry.payload);
            let known = *self.entries.entry(position).or_insert((previous, digest));
            holds(known == (previous, digest), "log_matching", || {
                format!("replica {id} holds another entry at {position} than was seen before")
            })?;
        }
        let _ = status;
        Ok(())
    }

    fn check_commit(
        &mut self,
        nodes: &BTreeMap<ReplicaId, Node>,
        id: ReplicaId,
        group: &Group,
    ) -> Check {
        let commit = group.commit();
        let before = self.seen.get(&id).map_or(Index(0), |seen| seen.commit);
        for index in before.0 + 1..=commit.0 {
            let Some(term) = group.term_at(Index(index)) else { continue };
            let position = Position { term, index: Index(index) };
            let known = usize::try_from(index).ok().and_then(|index| self.committed.get(index - 1));
            if let Some(known) = known {
                holds(*known == position, "committed_once", || {
                    format!("replica {id} committed {position}, where {known} is committed")
                })?;
            } else {
                holds(index == self.committed().0 + 1, "committed_in_order", || {
                    format!("replica {id} committed {position} after {}", self.committed())
                })?;
                self.committed.push(position);
            }
        }
        if commit > before && group.role() == Role::Leader {
            return check_durable(nodes, id, group, commit);
        }
        Ok(())
    }

    fn check_state(&mut self, id: ReplicaId, node: &Node) -> Check {
        let applied = node.machine.applied.index;
        let known = *self.states.entry(applied).or_insert(node.machine.hash);
        holds(known == node.machine.hash, "state_machine_safety", || {
            format!("replica {id} has another state after {applied} than was seen before")
        })
    }

    fn check_reads(&self, id: ReplicaId, node: &Node, group: &Group, now: Monotonic) -> Check {
        let committed = self.committed();
        let serves = group.can_read_now(node.clock(now));
        holds(!serves || node.machine.applied.index >= committed, "lease_reads_are_fresh", || {
            let applied = node.machine.applied;
            format!("leader {id} would serve a read at {applied}, where {committed} is committed")
        })?;
        for (read, state) in &node.reads {
            if let Some(index) = state.confirmed {
                holds(index >= state.must_see, "reads_are_fresh", || {
                    let must = state.must_see;
                    format!(
                        "read {} of replica {id} was confirmed at {index}, before {must}",
                        read.0
                    )
                })?;
            }
        }
        Ok(())
    }
}

/// Whether what a leader calls committed is on the disks of a quorum.
fn check_durable(
    nodes: &BTreeMap<ReplicaId, Node>,
    id: ReplicaId,
    group: &Group,
    commit: Index,
) -> Check {
    let Some(term) = group.term_at(commit) else { return Ok(()) };
    let position = Position { term, index: commit };
    let on_disk = |id: ReplicaId| nodes.get(&id).is_some_and(|node| node.disk.holds(position));
    let by = |configuration: &Configuration| {
        quorum_value(configuration, Guards::default(), on_disk).unwrap_or(false)
    };
    // It was counted by the configuration that stood when it was counted, which may have been left in the same step.
    let durable = by(group.configuration()) || by(group.configuration_at(commit));
    holds(durable, "committed_on_a_quorum_of_disks", || {
        format!("leader {id} committed {position}, which is not on a quorum's disks")
    })
}

fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
