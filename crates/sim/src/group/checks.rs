//! What must always hold in a group, seen from outside: by comparing replicas, disks and times that no replica can compare.
//!
//! Names are those of the paper (Ongaro and Ousterhout, figure 3), and of what reads and durability promise.

use std::collections::BTreeMap;

use ringfort_raft::{Configuration, Group, Guards, Lost, Position, Role, quorum_value};
use ringfort_types::{HardState, Index, Monotonic, ReplicaId, Term};

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
#[derive(Clone, Debug, Default)]
pub struct Checks {
    /// Who led each term.
    leaders: BTreeMap<Term, ReplicaId>,
    /// The digest of each entry ever seen, and the position before it.
    entries: BTreeMap<Position, (Position, u64)>,
    /// The position committed at each index from 1 on, by the first who said so, and the term in which it said so.
    committed: Vec<(Position, Term)>,
    /// The newest committed configuration.
    configuration: Configuration,
    /// The state after each applied index; none where nobody was seen at it.
    states: Vec<Option<u64>>,
    /// What each replica was last seen with.
    seen: BTreeMap<ReplicaId, Seen>,
    /// Messages that each replica is given on purpose, and that nobody who keeps the rules sends.
    impossible: BTreeMap<ReplicaId, u64>,
    /// What each disk was last seen with. It outlives a crash.
    disks: BTreeMap<ReplicaId, HardState>,
    /// Up to where disks held a log that are gone.
    wiped: BTreeMap<ReplicaId, Index>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    commit: Index,
    applied: Index,
    leads: Option<Term>,
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

    /// The newest configuration that anybody said is committed.
    #[must_use]
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// The position committed at each index from 1 on, by the first who said so, and the term in which it said so.
    #[must_use]
    pub fn committed_positions(&self) -> &[(Position, Term)] {
        &self.committed
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

    /// A disk is gone, with what it held up to an index.
    pub fn forget_disk(&mut self, id: ReplicaId, through: Index) {
        self.disks.remove(&id);
        self.wiped.insert(id, through);
    }

    /// Checks one replica against everything seen so far.
    pub(super) fn check(
        &mut self,
        nodes: &BTreeMap<ReplicaId, Node>,
        id: ReplicaId,
        now: Monotonic,
    ) -> Check {
        let Some(node) = nodes.get(&id) else { return Ok(()) };
        self.check_disk(id, node)?;
        let Some(group) = &node.group else { return Ok(()) };
        let seen = self.seen.get(&id).copied().unwrap_or_default();
        let leads = (group.role() == Role::Leader).then(|| group.leader().term);
        let given = self.impossible.get(&id).copied().unwrap_or_default();
        check_bounds(id, group, seen, given)?;
        if let Some(term) = leads {
            self.check_leader(id, group, term, seen)?;
            if seen.leads != leads {
                check_leases(nodes, id, term, now)?;
            }
            let newest = self.leaders.keys().next_back().copied().unwrap_or_default();
            let superseded = newest > term && group.holds_lease(node.clock(now));
            holds(!superseded, "lease_excludes_leaders", || {
                format!("replica {id} holds the lease of term {term}, after term {newest} was led")
            })?;
        }
        if seen.last != group.last() {
            self.check_log(id, group, seen)?;
        }
        if group.commit() > seen.commit {
            self.check_commit(nodes, id, group, seen)?;
        }
        if node.machine.applied.index != seen.applied {
            self.check_state(id, node)?;
        }
        self.check_reads(id, node, group, now)?;
        let (commit, applied) = (group.commit(), node.machine.applied.index);
        self.seen.insert(id, Seen { commit, applied, leads, last: group.last() });
        Ok(())
    }

    /// Term and vote on a disk never go back: a vote that was given stands for its term.
    fn check_disk(&mut self, id: ReplicaId, node: &Node) -> Check {
        let now = node.disk.hard_state;
        let before = self.disks.insert(id, now).unwrap_or(now);
        let vote_kept = now.term > before.term || before.vote.is_none() || now.vote == before.vote;
        holds(now.term >= before.term && vote_kept, "hard_state_never_regresses", || {
            format!("the disk of replica {id} had {before:?}, and now {now:?}")
        })
    }

    fn check_leader(&mut self, id: ReplicaId, group: &Group, term: Term, seen: Seen) -> Check {
        let first = *self.leaders.entry(term).or_insert(id);
        holds(first == id, "election_safety", || {
            format!("replicas {first} and {id} both lead term {term}")
        })?;
        let last = group.last();
        if seen.leads == Some(term) {
            return holds(last.index >= seen.last.index, "leader_append_only", || {
                format!("leader {id} of term {term} ended at {}, now at {last}", seen.last)
            });
        }
        // It leads since this step: everything committed in earlier terms is in its log.
        let missing = self.committed.iter().rev().find(|(position, by)| {
            let held = group.term_at(position.index);
            *by < term
                && (position.index > last.index || held.is_some_and(|held| held != position.term))
        });
        holds(missing.is_none(), "leader_completeness", || {
            let missing = missing.map(|(position, _)| *position).unwrap_or_default();
            format!("leader {id} of term {term} lacks committed {missing}")
        })
    }

    fn check_log(&mut self, id: ReplicaId, group: &Group, seen: Seen) -> Check {
        // Only what is new since the last look, or since the log was cut.
        let kept = group.term_at(seen.last.index) == Some(seen.last.term);
        let from = if kept { seen.last.index.next() } else { Index(1) };
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
        Ok(())
    }

    fn check_commit(
        &mut self,
        nodes: &BTreeMap<ReplicaId, Node>,
        id: ReplicaId,
        group: &Group,
        seen: Seen,
    ) -> Check {
        let commit = group.commit();
        for index in seen.commit.0 + 1..=commit.0 {
            let Some(term) = group.term_at(Index(index)) else { continue };
            let position = Position { term, index: Index(index) };
            let known = usize::try_from(index).ok().and_then(|index| self.committed.get(index - 1));
            if let Some((known, _)) = known {
                holds(*known == position, "committed_once", || {
                    format!("replica {id} committed {position}, where {known} is committed")
                })?;
            } else {
                holds(index == self.committed().0 + 1, "committed_in_order", || {
                    format!("replica {id} committed {position} after {}", self.committed())
                })?;
                self.committed.push((position, group.leader().term));
                self.check_configuration(group.configuration_at(position.index))?;
            }
        }
        // A leader may step down in the step in which it commits, as one does that removed itself.
        if group.role() == Role::Leader || seen.leads == Some(group.leader().term) {
            return self.check_durable(nodes, id, group, commit);
        }
        Ok(())
    }

    /// Whether what a leader calls committed is on the disks of a quorum.
    fn check_durable(
        &self,
        nodes: &BTreeMap<ReplicaId, Node>,
        id: ReplicaId,
        group: &Group,
        commit: Index,
    ) -> Check {
        let Some(term) = group.term_at(commit) else { return Ok(()) };
        let position = Position { term, index: commit };
        // A disk that lost its entries, or all it had, held them when they were acknowledged; its replica votes for nobody until
        // they are back, or never.
        let held = |node: &Node| match node.disk.lost {
            Lost::Entries(through) => commit <= through,
            Lost::HardState => true,
            Lost::Nothing => false,
        };
        let on_disk = |id: ReplicaId| {
            let wiped = self.wiped.get(&id).is_some_and(|through| commit <= *through);
            wiped || nodes.get(&id).is_some_and(|node| node.disk.holds(position) || held(node))
        };
        let by = |configuration: &Configuration| {
            quorum_value(configuration, Guards::default(), on_disk).unwrap_or(false)
        };
        // It was counted by the configuration that stood when it was counted, which may have been left in the same step.
        let durable = by(group.configuration()) || by(group.configuration_at(commit));
        holds(durable, "committed_on_a_quorum_of_disks", || {
            format!("leader {id} committed {position}, which is not on a quorum's disks")
        })
    }

    /// Ids only rise, and nobody comes back; a voter has been a learner.
    fn check_configuration(&mut self, next: &Configuration) -> Check {
        if *next == self.configuration {
            return Ok(());
        }
        let before = std::mem::replace(&mut self.configuration, next.clone());
        if before.is_blank() {
            return Ok(());
        }
        for id in next.members() {
            let fresh = !before.contains(id);
            holds(!fresh || id > before.highest(), "ids_are_never_used_again", || {
                format!("replica {id} is in {next}, and was not in {before}")
            })?;
            holds(!fresh || !next.is_voter(id), "voters_have_been_learners", || {
                format!("replica {id} votes in {next}, and was not in {before}")
            })?;
        }
        Ok(())
    }

    fn check_state(&mut self, id: ReplicaId, node: &Node) -> Check {
        let applied = node.machine.applied.index;
        let at = usize::try_from(applied.0).unwrap_or(usize::MAX);
        if at >= self.states.len() {
            self.states.resize(at + 1, None);
        }
        let known = *self.states[at].get_or_insert(node.machine.hash);
        holds(known == node.machine.hash, "state_machine_safety", || {
            format!("replica {id} has another state after {applied} than was seen before")
        })
    }

    fn check_reads(&self, id: ReplicaId, node: &Node, group: &Group, now: Monotonic) -> Check {
        let committed = self.committed();
        let now = node.clock(now);
        let serves = group.role() == Role::Leader && group.can_read_now(now);
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

/// `given`: how many messages that nobody sends it was given on purpose.
fn check_bounds(id: ReplicaId, group: &Group, seen: Seen, given: u64) -> Check {
    let (applied, commit, last) = (group.applied(), group.commit(), group.last().index);
    holds(applied <= commit && commit <= last, "index_order", || {
        format!("replica {id}: applied {applied}, commit {commit}, last {last}")
    })?;
    holds(group.durable() <= last, "durable_within_log", || {
        format!("replica {id}: durable {}, last {last}", group.durable())
    })?;
    let impossible = group.counters().dropped_impossible;
    holds(impossible <= given, "no_impossible_message", || {
        format!("replica {id} dropped {impossible} messages that nobody who keeps the rules sends")
    })?;
    holds(commit >= seen.commit, "commit_never_falls", || {
        format!("replica {id}: commit fell from {} to {commit}", seen.commit)
    })
}

/// While a lease holds, nobody else comes to lead a later term: what a lease is.
fn check_leases(
    nodes: &BTreeMap<ReplicaId, Node>,
    id: ReplicaId,
    term: Term,
    now: Monotonic,
) -> Check {
    for (other, node) in nodes {
        let Some(group) = &node.group else { continue };
        let holder = group.role() == Role::Leader && group.leader().term < term;
        holds(!holder || !group.holds_lease(node.clock(now)), "lease_excludes_leaders", || {
            let held = group.leader().term;
            format!("replica {id} leads term {term}, while {other} holds the lease of term {held}")
        })?;
    }
    Ok(())
}

fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
