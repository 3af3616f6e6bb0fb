//! What happens, in words for people and as numbers for the trace hash.

use ringfort_raft::{Body, Message};
use ringfort_types::ReplicaId;

use super::Run;

impl Run {
    /// Prints what a replica does.
    pub(super) fn tell(&self, id: ReplicaId, what: &str) {
        let now = self.now();
        println!(
            "{:>7} {:>5}.{:06} {id}: {what}",
            self.steps,
            now / 1_000_000_000,
            now / 1000 % 1_000_000
        );
    }
}

/// A message in a line.
pub(super) fn describe(message: &Message) -> String {
    let body = match &message.body {
        Body::Append { previous, entries, commit } => {
            let positions = entries.iter().map(|entry| format!(" {}@{}", entry.index, entry.term));
            format!("Append after {previous}:{} commit {commit}", positions.collect::<String>())
        }
        Body::Snapshot { snapshot, offset, data, last, .. } => format!(
            "Snapshot of {} {} from {offset}, {} bytes{}",
            snapshot.position,
            snapshot.configuration,
            data.len(),
            if *last { ", the last" } else { "" }
        ),
        body => format!("{body:?}"),
    };
    format!("{}→{} term {} {body}", message.from, message.to, message.term)
}

/// A message as a number.
pub(super) fn digest(message: &Message) -> u64 {
    let (kind, what) = match &message.body {
        Body::PreVote { last } => (1, last.index.0),
        Body::PreVoteAnswer { granted } => (2, u64::from(*granted)),
        Body::Vote { last, transfer } => (3, last.index.0 << 1 | u64::from(*transfer)),
        Body::VoteAnswer { granted } => (4, u64::from(*granted)),
        Body::Append { previous, entries, commit, .. } => {
            (5, previous.index.0 << 20 ^ commit.0 << 8 ^ entries.len() as u64)
        }
        Body::AppendAck { index } => (6, index.0),
        Body::AppendReject { previous, hint, .. } => (7, previous.0 << 16 ^ hint.index.0),
        Body::Heartbeat { commit, round, .. } => (8, commit.0 << 16 ^ round.0),
        Body::HeartbeatAck { round, commit } => (9, commit.0 << 16 ^ round.0),
        Body::Snapshot { offset, snapshot, .. } => (10, snapshot.id.0 ^ offset << 50),
        Body::SnapshotAck { offset, .. } => (11, *offset),
        Body::TimeoutNow => (12, 0),
        Body::ReadIndex { read, .. } => (13, read.0),
        Body::ReadIndexAnswer { read, index, .. } => (14, read.0 << 20 ^ index.0),
        Body::Sleep { last } => (15, last.index.0),
        Body::OldTerm => (16, 0),
    };
    what ^ message.term.0 << 32 ^ message.to.0 << 50 ^ message.from.0 << 55 ^ kind << 59
}
