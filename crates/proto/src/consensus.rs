//! Raft messages.

use std::time::Duration;

use ringfort_raft::{
    Body, Configuration, LostCopy, Message, Position, ReadId, Round, SnapshotId, SnapshotMeta,
};
use ringfort_types::{Entry, GroupId, Index, ReplicaId, Term};

use crate::error::DecodeError;
use crate::peer::{self, Consensus, consensus};

impl From<(GroupId, Message)> for Consensus {
    fn from((group, message): (GroupId, Message)) -> Self {
        Self {
            group: group.0,
            from: message.from.0,
            to: message.to.0,
            term: message.term.0,
            body: Some(message.body.into()),
        }
    }
}

impl TryFrom<Consensus> for (GroupId, Message) {
    type Error = DecodeError;

    fn try_from(wire: Consensus) -> Result<Self, DecodeError> {
        let message = Message {
            from: ReplicaId(wire.from),
            to: ReplicaId(wire.to),
            term: Term(wire.term),
            body: wire.body.ok_or(DecodeError::missing("consensus.body"))?.try_into()?,
        };
        Ok((GroupId(wire.group), message))
    }
}

impl From<Body> for consensus::Body {
    fn from(body: Body) -> Self {
        match body {
            Body::PreVote { last } => {
                Self::PreVote(peer::PreVote { last_term: last.term.0, last_index: last.index.0 })
            }
            Body::PreVoteAnswer { granted } => Self::PreVoteAnswer(peer::PreVoteAnswer { granted }),
            Body::Vote { last, transfer } => Self::Vote(peer::Vote {
                last_term: last.term.0,
                last_index: last.index.0,
                transfer,
            }),
            Body::VoteAnswer { granted } => Self::VoteAnswer(peer::VoteAnswer { granted }),
            Body::Append { previous, entries, commit } => Self::Append(peer::Append {
                previous_term: previous.term.0,
                previous_index: previous.index.0,
                entries: entries.into_iter().map(Into::into).collect(),
                commit: commit.0,
            }),
            Body::AppendAck { index } => Self::AppendAck(peer::AppendAck { index: index.0 }),
            Body::AppendReject { previous, hint, lost } => Self::AppendReject(peer::AppendReject {
                previous: previous.0,
                hint_term: hint.term.0,
                hint_index: hint.index.0,
                lost: peer::LostCopy::from(lost).into(),
            }),
            Body::Heartbeat { commit, round, lease } => Self::Heartbeat(peer::Heartbeat {
                commit: commit.0,
                round: round.0,
                lease_ns: u64::try_from(lease.as_nanos()).unwrap_or(u64::MAX),
            }),
            Body::HeartbeatAck { round, commit } => {
                Self::HeartbeatAck(peer::HeartbeatAck { round: round.0, commit: commit.0 })
            }
            Body::Snapshot { snapshot, offset, data, last, to_learner } => {
                Self::Snapshot(Box::new(peer::Snapshot {
                    id: snapshot.id.0,
                    term: snapshot.position.term.0,
                    index: snapshot.position.index.0,
                    configuration: snapshot.configuration.encode(),
                    offset,
                    data,
                    last,
                    to_learner,
                }))
            }
            Body::SnapshotAck { id, offset } => {
                Self::SnapshotAck(peer::SnapshotAck { id: id.0, offset })
            }
            Body::TimeoutNow => Self::TimeoutNow(peer::TimeoutNow {}),
            Body::ReadIndex { read, nonce } => {
                Self::ReadIndex(peer::ReadIndex { read: read.0, nonce })
            }
            Body::ReadIndexAnswer { read, nonce, index } => {
                Self::ReadIndexAnswer(peer::ReadIndexAnswer { read: read.0, nonce, index: index.0 })
            }
            Body::Sleep { last } => {
                Self::Sleep(peer::Sleep { last_term: last.term.0, last_index: last.index.0 })
            }
            Body::OldTerm => Self::OldTerm(peer::OldTerm {}),
        }
    }
}

impl TryFrom<consensus::Body> for Body {
    type Error = DecodeError;

    fn try_from(wire: consensus::Body) -> Result<Self, DecodeError> {
        use consensus::Body as Wire;
        Ok(match wire {
            Wire::PreVote(wire) => {
                Self::PreVote { last: position(wire.last_term, wire.last_index) }
            }
            Wire::PreVoteAnswer(wire) => Self::PreVoteAnswer { granted: wire.granted },
            Wire::Vote(wire) => Self::Vote {
                last: position(wire.last_term, wire.last_index),
                transfer: wire.transfer,
            },
            Wire::VoteAnswer(wire) => Self::VoteAnswer { granted: wire.granted },
            Wire::Append(wire) => Self::Append {
                previous: position(wire.previous_term, wire.previous_index),
                entries: wire.entries.into_iter().map(Into::into).collect(),
                commit: Index(wire.commit),
            },
            Wire::AppendAck(wire) => Self::AppendAck { index: Index(wire.index) },
            Wire::AppendReject(wire) => Self::AppendReject {
                previous: Index(wire.previous),
                hint: position(wire.hint_term, wire.hint_index),
                lost: lost_copy(wire.lost)?,
            },
            Wire::Heartbeat(wire) => Self::Heartbeat {
                commit: Index(wire.commit),
                round: Round(wire.round),
                lease: Duration::from_nanos(wire.lease_ns),
            },
            Wire::HeartbeatAck(wire) => {
                Self::HeartbeatAck { round: Round(wire.round), commit: Index(wire.commit) }
            }
            Wire::Snapshot(wire) => snapshot(*wire)?,
            Wire::SnapshotAck(wire) => {
                Self::SnapshotAck { id: SnapshotId(wire.id), offset: wire.offset }
            }
            Wire::TimeoutNow(peer::TimeoutNow {}) => Self::TimeoutNow,
            Wire::ReadIndex(wire) => Self::ReadIndex { read: ReadId(wire.read), nonce: wire.nonce },
            Wire::ReadIndexAnswer(wire) => Self::ReadIndexAnswer {
                read: ReadId(wire.read),
                nonce: wire.nonce,
                index: Index(wire.index),
            },
            Wire::Sleep(wire) => Self::Sleep { last: position(wire.last_term, wire.last_index) },
            Wire::OldTerm(peer::OldTerm {}) => Self::OldTerm,
        })
    }
}

fn position(term: u64, index: u64) -> Position {
    Position { term: Term(term), index: Index(index) }
}

fn snapshot(wire: peer::Snapshot) -> Result<Body, DecodeError> {
    let configuration = Configuration::decode(&wire.configuration).map_err(|_| {
        DecodeError::invalid("consensus.snapshot.configuration", "is no configuration")
    })?;
    Ok(Body::Snapshot {
        snapshot: SnapshotMeta {
            id: SnapshotId(wire.id),
            position: position(wire.term, wire.index),
            configuration,
        },
        offset: wire.offset,
        data: wire.data,
        last: wire.last,
        to_learner: wire.to_learner,
    })
}

impl From<LostCopy> for peer::LostCopy {
    fn from(lost: LostCopy) -> Self {
        match lost {
            LostCopy::No => Self::No,
            LostCopy::Entries => Self::Entries,
            LostCopy::Blank => Self::Blank,
        }
    }
}

fn lost_copy(wire: i32) -> Result<LostCopy, DecodeError> {
    match peer::LostCopy::try_from(wire) {
        Ok(peer::LostCopy::No) => Ok(LostCopy::No),
        Ok(peer::LostCopy::Entries) => Ok(LostCopy::Entries),
        Ok(peer::LostCopy::Blank) => Ok(LostCopy::Blank),
        Err(_) => Err(DecodeError::missing("consensus.append_reject.lost")),
    }
}

impl From<Entry> for peer::Entry {
    fn from(entry: Entry) -> Self {
        Self { term: entry.term.0, index: entry.index.0, payload: entry.payload }
    }
}

impl From<peer::Entry> for Entry {
    fn from(wire: peer::Entry) -> Self {
        Self { term: Term(wire.term), index: Index(wire.index), payload: wire.payload }
    }
}
