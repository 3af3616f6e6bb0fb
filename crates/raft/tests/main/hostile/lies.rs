//! Messages that nobody who keeps the rules would send, and many that somebody might.

use std::time::Duration;

use bytes::Bytes;
use ringfort_raft::{
    Body, CONFIGURATION_MARK, Configuration, Group, Learner, LostCopy, Message, Position, ReadId,
    Round, SnapshotId, SnapshotMeta,
};
use ringfort_sim::Random;
use ringfort_sim::group::Machine;
use ringfort_types::{Entry, Index, ReplicaId, Term};

/// The greatest number that a term or an index in a message may be.
pub(crate) const NUMBER_MAX: u64 = 1 << 62;

/// Makes up messages for one replica, near what it would believe.
pub(crate) struct Liar<'a> {
    pub(crate) random: &'a mut Random,
    pub(crate) me: ReplicaId,
    leader: Option<ReplicaId>,
    term: Term,
    commit: Index,
    last: Position,
    held: Vec<Position>,
}

impl<'a> Liar<'a> {
    pub(crate) fn new(random: &'a mut Random, group: &Group) -> Self {
        Self {
            random,
            me: group.id(),
            leader: group.leader().leader,
            term: group.leader().term,
            commit: group.commit(),
            last: group.last(),
            held: group.entries_from(Index(0)).iter().map(Position::of).collect(),
        }
    }

    /// Anything.
    pub(crate) fn message(&mut self) -> Message {
        let to = if self.random.one_in(40) { self.id() } else { self.me };
        let term = self.term();
        Message { from: self.sender(), to, term, body: self.body(term) }
    }

    fn sender(&mut self) -> ReplicaId {
        match self.leader {
            Some(leader) if self.random.below(100) < 60 => leader,
            _ => self.id(),
        }
    }

    pub(crate) fn id(&mut self) -> ReplicaId {
        match self.random.below(20) {
            0 => ReplicaId(0),
            1 => ReplicaId(u64::MAX),
            2 => self.me,
            3 => ReplicaId(self.random.next_u64()),
            4 => ReplicaId(77),
            _ => ReplicaId(self.random.between(1, 4)),
        }
    }

    pub(crate) fn number(&mut self) -> u64 {
        match self.random.below(16) {
            0 => 0,
            1 => 1,
            2 => self.random.between(NUMBER_MAX - 1, NUMBER_MAX + 1),
            3 => u64::MAX - self.random.below(2),
            4 => self.random.next_u64(),
            5..=7 => (self.commit.0 + self.random.below(3)).saturating_sub(1),
            8..=10 => (self.last.index.0 + self.random.below(3)).saturating_sub(1),
            _ => self.random.below(self.last.index.0.min(NUMBER_MAX) + 5),
        }
    }

    /// Mostly the term of now: a newer one is believed, and there is none after the greatest.
    fn term(&mut self) -> Term {
        match self.random.below(600) {
            0 => Term(self.random.between(NUMBER_MAX - 1, NUMBER_MAX + 1)),
            1 => Term(u64::MAX),
            2..=10 => Term(self.random.below(4)),
            11..=30 => Term(self.term.0 + self.random.between(1, 2)),
            31..=60 => Term(self.term.0.saturating_sub(1)),
            _ => self.term,
        }
    }

    fn position(&mut self) -> Position {
        let held = self.random.index(self.held.len() + 1);
        match self.random.below(10) {
            0..=5 => self.held.get(held).copied().unwrap_or(self.last),
            6 => Position::default(),
            7 => self.last,
            _ => {
                let term = match self.random.below(4) {
                    0 => Term(self.number()),
                    _ => Term(self.random.between(1, self.term.0.max(1))),
                };
                Position { term, index: Index(self.number()) }
            }
        }
    }

    fn payload(&mut self) -> Bytes {
        match self.random.below(8) {
            0 => Bytes::new(),
            1 => self.configuration().encode(),
            2 if self.random.one_in(4) => self.noise(),
            _ => Bytes::copy_from_slice(&self.random.next_u64().to_le_bytes()[..7]),
        }
    }

    /// Bytes that begin like a configuration.
    pub(crate) fn noise(&mut self) -> Bytes {
        let mut bytes = self.configuration().encode().to_vec();
        if self.random.one_in(2) {
            let place = self.random.index(bytes.len());
            bytes[place] = self.random.next_u64().to_le_bytes()[0];
        } else {
            bytes.truncate(self.random.index(bytes.len()) + 1);
        }
        bytes[0] = CONFIGURATION_MARK;
        bytes.into()
    }

    pub(crate) fn configuration(&mut self) -> Configuration {
        let mut ids = |most| {
            let mut ids: Vec<_> = (0..self.random.below(most))
                .map(|_| ReplicaId(self.random.between(1, 9)))
                .collect();
            ids.sort_unstable();
            ids.dedup();
            ids
        };
        let (voters, outgoing, learners) = (ids(5), ids(4), ids(3));
        let learner = |id| Learner {
            id,
            replaces: Some(ReplicaId(self.random.between(0, 9))).filter(|id| *id != ReplicaId(0)),
        };
        let learners = learners.into_iter().map(learner).collect();
        let highest = ReplicaId(self.random.between(5, 12));
        Configuration::new(voters, outgoing, learners, highest)
            .unwrap_or_else(|_| Configuration::founding((1..=3).map(ReplicaId)))
    }

    fn entries(&mut self, previous: Position, term: Term) -> Vec<Entry> {
        let mut before = previous;
        let count = self.random.below(6);
        let mut entries = Vec::new();
        for _ in 0..count {
            let index = before.index.0.saturating_add(1);
            let newest = term.0.max(before.term.0);
            let kept = if self.random.one_in(2) { before.term.0 } else { newest };
            before = match self.random.below(40) {
                0 => Position { term: Term(kept), index: Index(self.number()) },
                1 => Position { term: Term(self.number()), index: Index(index) },
                _ => Position { term: Term(kept.max(1)), index: Index(index) },
            };
            let payload = self.payload();
            entries.push(Entry { term: before.term, index: before.index, payload });
        }
        entries
    }

    fn snapshot(&mut self) -> SnapshotMeta {
        SnapshotMeta {
            id: SnapshotId(self.random.below(3)),
            position: self.position(),
            configuration: self.configuration(),
        }
    }

    fn snapshot_body(&mut self) -> Body {
        let mut snapshot = self.snapshot();
        if self.random.one_in(2) {
            let ahead = self.random.between(1, 9);
            snapshot.position.index = Index(self.last.index.0.saturating_add(ahead));
        }
        let whole = Machine { applied: snapshot.position, hash: 1 }.encode();
        let (offset, data) = match self.random.below(4) {
            0 => (self.number(), whole),
            1 => (40, whole.slice(40..)),
            _ => (0, whole),
        };
        let (last, to_learner) = (self.random.one_in(2), self.random.one_in(2));
        Body::Snapshot { snapshot, offset, data, last, to_learner }
    }

    fn lease(&mut self) -> Duration {
        match self.random.below(4) {
            0 => Duration::MAX,
            1 => Duration::ZERO,
            _ => Duration::from_millis(self.random.below(2000)),
        }
    }

    fn body(&mut self, term: Term) -> Body {
        match self.random.below(24) {
            0 => Body::PreVote { last: self.position() },
            1 => Body::PreVoteAnswer { granted: self.random.one_in(2) },
            2 => Body::Vote { last: self.position(), transfer: self.random.one_in(2) },
            3 => Body::VoteAnswer { granted: self.random.one_in(2) },
            4..=9 => {
                let previous = self.position();
                let entries = self.entries(previous, term);
                Body::Append { previous, entries, commit: Index(self.number()) }
            }
            10 | 11 => Body::AppendAck { index: Index(self.number()) },
            12 => Body::AppendReject {
                previous: Index(self.number()),
                hint: self.position(),
                lost: [LostCopy::No, LostCopy::Entries, LostCopy::Blank][self.random.index(3)],
            },
            13 | 14 => Body::Heartbeat {
                commit: Index(self.number()),
                round: Round(self.number()),
                lease: self.lease(),
            },
            15 => Body::HeartbeatAck { round: Round(self.number()), commit: Index(self.number()) },
            16 | 17 => self.snapshot_body(),
            18 => Body::SnapshotAck { id: SnapshotId(self.random.below(3)), offset: self.number() },
            19 => Body::TimeoutNow,
            20 => Body::ReadIndex { read: ReadId(self.number()), nonce: self.number() },
            21 => Body::ReadIndexAnswer {
                read: ReadId(self.number()),
                nonce: self.number(),
                index: Index(self.number()),
            },
            22 => Body::Sleep { last: self.position() },
            _ => Body::OldTerm,
        }
    }

    /// A message of which something is impossible for certain.
    pub(crate) fn impossible(&mut self) -> Message {
        let (from, to, term) = (ReplicaId(2 + u64::from(self.me.0 == 2)), self.me, self.term);
        let huge = NUMBER_MAX + 1 + self.random.below(u64::MAX - NUMBER_MAX);
        let nowhere = Position { term: Term(0), index: Index(1) };
        let beyond = Position { term, index: Index(huge) };
        let append =
            |previous, entries, commit| Body::Append { previous, entries, commit: Index(commit) };
        let entry = |term, index, payload| Entry { term: Term(term), index: Index(index), payload };
        let body = match self.random.below(16) {
            0 => Body::Vote { last: Position { term, index: Index(1) }, transfer: false },
            1 => Body::PreVote { last: beyond },
            2 => append(nowhere, vec![], 0),
            3 => append(beyond, vec![], 0),
            4 => append(Position::default(), vec![], huge),
            5 => append(Position::default(), vec![entry(1, 2, Bytes::new())], 0),
            6 => append(Position::default(), vec![entry(term.0 + 1, 1, Bytes::new())], 0),
            7 => append(Position::default(), vec![entry(0, 1, Bytes::new())], 0),
            8 => {
                let damaged = Bytes::from_static(&[CONFIGURATION_MARK, 1, 2]);
                append(Position::default(), vec![entry(1, 1, damaged)], 0)
            }
            9 => Body::AppendAck { index: Index(huge) },
            10 => Body::AppendReject { previous: Index(0), hint: beyond, lost: LostCopy::No },
            11 => Body::Heartbeat { commit: Index(huge), round: Round(1), lease: Duration::ZERO },
            12 => Body::HeartbeatAck { round: Round(1), commit: Index(huge) },
            13 => {
                let snapshot = SnapshotMeta {
                    id: SnapshotId(1),
                    position: Position { term, index: Index(1) },
                    configuration: Configuration::default(),
                };
                let data = Bytes::from_static(b"x");
                Body::Snapshot { snapshot, offset: 0, data, last: true, to_learner: true }
            }
            14 => Body::ReadIndexAnswer { read: ReadId(1), nonce: 1, index: Index(huge) },
            _ => {
                let term = [Term(0), Term(huge)][self.random.index(2)];
                return Message { from, to, term, body: Body::OldTerm };
            }
        };
        let from = if self.random.one_in(8) { ReplicaId(0) } else { from };
        Message { from, to, term, body }
    }

    /// A message for somebody else, or from the receiver itself.
    pub(crate) fn misaddressed(&mut self) -> Message {
        let mut message = self.message();
        if self.random.one_in(2) {
            message.to = ReplicaId(self.me.0 + self.random.between(1, 9));
        } else {
            (message.to, message.from) = (self.me, self.me);
        }
        message
    }
}
