//! What replicas of a group say to each other.
//!
//! Every message carries the term of its sender, except that a pre-vote and its grant carry the term that is asked for.
//! Messages may be lost, repeated, delayed and reordered in any way.

use std::time::Duration;

use bytes::Bytes;
use ringfort_types::{Entry, Index, ReplicaId, Term};

use crate::configuration::Configuration;
use crate::effects::ReadId;
use crate::position::Position;

/// A message between two replicas of a group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    /// The sender.
    pub from: ReplicaId,
    /// The receiver.
    pub to: ReplicaId,
    /// The sender's term; of a pre-vote and its grant, the term that is asked for.
    pub term: Term,
    /// What it says.
    pub body: Body,
}

/// Numbers the rounds of heartbeats of one leader in one term, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Round(pub u64);

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Body {
    /// Would you vote for me, if I asked for this term?
    PreVote {
        /// The last position of the sender's log.
        last: Position,
    },
    /// Answers a pre-vote.
    PreVoteAnswer {
        /// Yes: `term` is the term that was asked for. No: it is the sender's.
        granted: bool,
    },
    /// Vote for me.
    Vote {
        /// The last position of the sender's log.
        last: Position,
        /// The leader of the term before asked for this: neither stickiness nor a promise stands against it.
        transfer: bool,
    },
    /// Answers a vote.
    VoteAnswer {
        /// Whether the vote is given.
        granted: bool,
    },
    /// Append these entries, if you hold this position.
    Append {
        /// The position before the first entry.
        previous: Position,
        /// Contiguous entries.
        entries: Vec<Entry>,
        /// The leader's commit index.
        commit: Index,
    },
    /// The sender's log agrees with the leader's, and is durable, up to here.
    AppendAck {
        /// Up to where, inclusive.
        index: Index,
    },
    /// The sender does not hold the position before the entries of an append.
    AppendReject {
        /// Index of the position that it does not hold.
        previous: Index,
        /// The last position of its log that may agree: no index behind it does, nor any position of a later term.
        hint: Position,
        /// Why the leader's bookkeeping may be too high, if it is.
        lost: LostCopy,
    },
    /// I lead.
    Heartbeat {
        /// What is committed of what the receiver has acknowledged.
        commit: Index,
        /// Comes back with the acknowledgement.
        round: Round,
        /// What an acknowledgement promises: no vote for this long since the heartbeat arrived.
        lease: Duration,
    },
    /// Acknowledges a heartbeat, and promises what it asked for.
    HeartbeatAck {
        /// Which.
        round: Round,
        /// What the sender knows committed.
        commit: Index,
    },
    /// A chunk of a snapshot.
    Snapshot {
        /// Which snapshot.
        snapshot: SnapshotMeta,
        /// Where in it the chunk stands.
        offset: u64,
        /// Its bytes.
        data: Bytes,
        /// Nothing follows.
        last: bool,
        /// The receiver is a learner, which may be blank. A blank voter has lost its disk.
        to_learner: bool,
    },
    /// The sender holds the bytes of a snapshot up to an offset, and waits for what follows.
    SnapshotAck {
        /// Which snapshot.
        id: SnapshotId,
        /// What it waits for.
        offset: u64,
    },
    /// Ask for votes now: I hand over to you.
    TimeoutNow,
    /// What is committed now, and do you lead still?
    ReadIndex {
        /// The sender's name for it.
        read: ReadId,
        /// Random bits of the sender's start.
        nonce: u64,
    },
    /// What was committed when the question arrived; confirmed.
    ReadIndexAnswer {
        /// The asker's name for it.
        read: ReadId,
        /// The asker's random bits.
        nonce: u64,
        /// Commit index.
        index: Index,
    },
    /// We are all done: sleep, if your log ends here and you know all of it committed.
    Sleep {
        /// Where.
        last: Position,
    },
    /// Answers a leader of an older term: `term` is the newer one.
    OldTerm,
}

/// Whether a replica lost what it once acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LostCopy {
    /// No.
    #[default]
    No,
    /// Entries that it may have acknowledged are gone.
    Entries,
    /// It has never been told who its group is: its disk is blank.
    Blank,
}

/// Names a snapshot of one sender; chosen by the host that made it, random or counted up, never used twice in a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotId(pub u64);

/// What a snapshot holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SnapshotMeta {
    /// Its name.
    pub id: SnapshotId,
    /// The state after this entry, which is committed.
    pub position: Position,
    /// The configuration at this entry.
    pub configuration: Configuration,
}
