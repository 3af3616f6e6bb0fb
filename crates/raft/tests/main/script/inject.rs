//! `inject`: a message with chosen fields, for what no replica would send now, or ever.
//!
//! `impossible` says that nobody who keeps the rules sends such a message; without it, a replica that drops it as impossible
//! breaks an invariant.

use bytes::Bytes;
use ringfort_raft::{
    Body, Configuration, LostCopy, Message, Position, ReadId, Round, SnapshotId, SnapshotMeta,
};
use ringfort_types::{Entry, ReplicaId};

use super::args::{Args, Failure, parse_ids, parse_position};
use super::world::World;

impl World {
    /// `inject append from=1 to=2 term=3 previous=4@2 entries="5@3:a 6@3:b" commit=4`. `for=` is the receiver that the
    /// message names, where that is not who gets it.
    pub(super) fn inject(&mut self, args: &mut Args) -> Result<(), Failure> {
        let kind = args.word().ok_or("which kind?")?;
        let impossible = args.take_word("impossible");
        let from = args.id_of("from")?.ok_or("from whom?")?;
        let to = args.id_of("to")?.ok_or("to whom?")?;
        let term = args.term_of("term")?.ok_or("of which term?")?;
        let body = body(&kind, args)?;
        if impossible {
            self.cluster.checks.allow_impossible(to);
        }
        self.receive(&Message { from, to, term, body })
    }
}

fn body(kind: &str, args: &mut Args) -> Result<Body, Failure> {
    let granted = args.take_word("granted");
    Ok(match kind {
        "pre-vote" => Body::PreVote { last: position(args, "last")? },
        "pre-vote-answer" => Body::PreVoteAnswer { granted },
        "vote" => {
            Body::Vote { last: position(args, "last")?, transfer: args.take_word("transfer") }
        }
        "vote-answer" => Body::VoteAnswer { granted },
        "append" => Body::Append {
            previous: position(args, "previous")?,
            entries: entries(args)?,
            commit: args.index_of("commit")?.unwrap_or_default(),
        },
        "ack" => Body::AppendAck { index: args.index_of("index")?.ok_or("index?")? },
        "reject" => Body::AppendReject {
            previous: args.index_of("previous")?.ok_or("previous?")?,
            hint: position(args, "hint")?,
            lost: lost(args),
        },
        "heartbeat" => Body::Heartbeat {
            commit: args.index_of("commit")?.unwrap_or_default(),
            round: Round(args.number("round")?.unwrap_or(1)),
            lease: args.time_of("lease")?.unwrap_or_default(),
        },
        "heartbeat-ack" => Body::HeartbeatAck {
            round: Round(args.number("round")?.unwrap_or(1)),
            commit: args.index_of("commit")?.unwrap_or_default(),
        },
        "snapshot" => snapshot(args)?,
        "snapshot-ack" => Body::SnapshotAck {
            id: SnapshotId(args.number("id")?.unwrap_or(1)),
            offset: args.number("offset")?.unwrap_or(0),
        },
        "timeout-now" => Body::TimeoutNow,
        "read-index" => Body::ReadIndex {
            read: ReadId(args.number("read")?.unwrap_or(1)),
            nonce: args.number("nonce")?.unwrap_or(0),
        },
        "read-index-answer" => Body::ReadIndexAnswer {
            read: ReadId(args.number("read")?.unwrap_or(1)),
            nonce: args.number("nonce")?.unwrap_or(0),
            index: args.index_of("index")?.unwrap_or_default(),
        },
        "sleep" => Body::Sleep { last: position(args, "last")? },
        "old-term" => Body::OldTerm,
        _ => return Err(format!("no message is called {kind}").into()),
    })
}

fn position(args: &mut Args, key: &str) -> Result<Position, Failure> {
    Ok(args.position_of(key)?.unwrap_or_default())
}

fn lost(args: &mut Args) -> LostCopy {
    if args.take_word("lost") {
        LostCopy::Entries
    } else if args.take_word("blank") {
        LostCopy::Blank
    } else {
        LostCopy::No
    }
}

/// `5@3:a 6@3 7@3:config:1/2/4`.
fn entries(args: &mut Args) -> Result<Vec<Entry>, Failure> {
    let text = args.key("entries").unwrap_or_default();
    let entry = |word: &str| -> Result<Entry, Failure> {
        let (at, payload) = word.split_once(':').unwrap_or((word, ""));
        let Position { term, index } = parse_position(at)?;
        let payload = match payload.strip_prefix("config:") {
            Some(ids) => Configuration::founding(parse_ids(ids)?).encode(),
            None => Bytes::copy_from_slice(payload.as_bytes()),
        };
        Ok(Entry { term, index, payload })
    };
    text.split_whitespace().map(entry).collect()
}

fn snapshot(args: &mut Args) -> Result<Body, Failure> {
    let voters: Vec<ReplicaId> =
        args.key("voters").map(|ids| parse_ids(&ids)).transpose()?.unwrap_or_default();
    let snapshot = SnapshotMeta {
        id: SnapshotId(args.number("id")?.unwrap_or(1)),
        position: position(args, "position")?,
        configuration: Configuration::founding(voters),
    };
    Ok(Body::Snapshot {
        snapshot,
        offset: args.number("offset")?.unwrap_or(0),
        data: Bytes::from(args.key("data").unwrap_or_default()),
        last: args.take_word("last"),
        to_learner: args.take_word("learner"),
    })
}
