//! Which messages a verb means: `from=1 to=2/3 kind=append term=4`, of those the `number`-th, or the first `count`.

use ringfort_raft::{Body, Message};
use ringfort_types::{ReplicaId, Term};

use super::args::{Args, Failure, parse_ids};

/// Kinds of messages, by the names that scripts use.
const KINDS: [&str; 16] = [
    "pre-vote",
    "pre-vote-answer",
    "vote",
    "vote-answer",
    "append",
    "ack",
    "reject",
    "heartbeat",
    "heartbeat-ack",
    "snapshot",
    "snapshot-ack",
    "timeout-now",
    "read-index",
    "read-index-answer",
    "sleep",
    "old-term",
];

pub(super) fn kind(message: &Message) -> &'static str {
    let place = match message.body {
        Body::PreVote { .. } => 0,
        Body::PreVoteAnswer { .. } => 1,
        Body::Vote { .. } => 2,
        Body::VoteAnswer { .. } => 3,
        Body::Append { .. } => 4,
        Body::AppendAck { .. } => 5,
        Body::AppendReject { .. } => 6,
        Body::Heartbeat { .. } => 7,
        Body::HeartbeatAck { .. } => 8,
        Body::Snapshot { .. } => 9,
        Body::SnapshotAck { .. } => 10,
        Body::TimeoutNow => 11,
        Body::ReadIndex { .. } => 12,
        Body::ReadIndexAnswer { .. } => 13,
        Body::Sleep { .. } => 14,
        Body::OldTerm => 15,
    };
    KINDS[place]
}

/// Some of the messages.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    from: Option<Vec<ReplicaId>>,
    to: Option<Vec<ReplicaId>>,
    kinds: Option<Vec<String>>,
    term: Option<Term>,
    number: Option<usize>,
    count: Option<usize>,
}

impl Filter {
    pub(super) fn take(args: &mut Args) -> Result<Self, Failure> {
        let ids = |value: Option<String>| value.map(|value| parse_ids(&value)).transpose();
        let kinds =
            args.key("kind").map(|kinds| kinds.split('/').map(str::to_owned).collect::<Vec<_>>());
        let unknown = kinds.iter().flatten().find(|kind| !KINDS.contains(&kind.as_str()));
        if let Some(unknown) = unknown {
            return Err(format!("no message is called {unknown}").into());
        }
        Ok(Self {
            from: ids(args.key("from"))?,
            to: ids(args.key("to"))?,
            kinds,
            term: args.term_of("term")?,
            number: args.number("number")?,
            count: args.number("count")?,
        })
    }

    /// Whether a message is meant, whatever its number.
    pub(super) fn fits(&self, message: &Message) -> bool {
        let id =
            |ids: &Option<Vec<ReplicaId>>, id| ids.as_ref().is_none_or(|ids| ids.contains(&id));
        let kind = |kinds: &Vec<String>| kinds.iter().any(|known| known == kind(message));
        id(&self.from, message.from)
            && id(&self.to, message.to)
            && self.kinds.as_ref().is_none_or(kind)
            && self.term.is_none_or(|term| term == message.term)
    }

    /// The places of the messages that are meant, in order.
    pub(super) fn places<'a>(&self, messages: impl Iterator<Item = &'a Message>) -> Vec<usize> {
        let fitting = messages.enumerate().filter(|(_, message)| self.fits(message));
        let places = fitting.map(|(place, _)| place);
        match self.number {
            Some(number) => places.skip(number.saturating_sub(1)).take(1).collect(),
            None => places.take(self.count.unwrap_or(usize::MAX)).collect(),
        }
    }
}
