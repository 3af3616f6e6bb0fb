//! What is let in: messages for this replica, that a replica which keeps the rules could have sent, of a term that counts.
//!
//! Everything here may come from anywhere and in any order. Nothing of it may panic.

use ringfort_types::{Entry, Index, ReplicaId, Term};

use super::{Group, State};
use crate::configuration::Configuration;
use crate::guard::Guard;
use crate::message::{Body, Message};
use crate::position::Position;

/// Terms and indexes beyond this are refused: nobody counts so far, and adding to them cannot overflow.
const NUMBER_MAX: u64 = 1 << 62;

impl Group {
    /// Whether a message is for this replica and possible at all; counts it if not.
    pub(super) fn admit(&mut self, message: &Message) -> bool {
        if message.to != self.config.replica || message.from == self.config.replica {
            self.counters.dropped_misaddressed += 1;
            return false;
        }
        let possible = message.from != ReplicaId(0) && is_possible(message);
        if !possible {
            self.counters.dropped_impossible += 1;
        }
        possible
    }

    /// Compares terms, and adopts a newer one. Whether the message still counts.
    pub(super) fn settle_term(&mut self, message: &Message) -> bool {
        match message.body {
            // These ask about a term that nobody has entered yet, or answer such.
            Body::PreVote { .. } => return true,
            Body::PreVoteAnswer { granted: true } if message.term > self.term => return true,
            _ => {}
        }
        if message.term > self.term {
            return self.settle_newer_term(message);
        }
        if message.term < self.term {
            self.answer_older_term(message);
            return false;
        }
        true
    }

    fn settle_newer_term(&mut self, message: &Message) -> bool {
        if let Body::Vote { transfer, .. } = message.body {
            let overrides = transfer && self.has(Guard::TransferOverridesPromise);
            if !overrides && (self.is_sticky() || self.now < self.no_vote_until) {
                // Whoever asks past a live leader gets no answer, and the term no higher. Once it hears that leader, it says
                // that the leader's term is old.
                self.counters.dropped_stale += 1;
                return false;
            }
        }
        let leads = matches!(
            message.body,
            Body::Append { .. }
                | Body::Heartbeat { .. }
                | Body::Snapshot { .. }
                | Body::Sleep { .. }
        );
        self.become_follower(message.term, leads.then_some(message.from));
        true
    }

    /// A message of an older term changes nothing. But whoever leads or asks in an old term has to learn of the newer one, or
    /// this replica could be left behind in it: too new to follow, too old or too lonely to lead.
    fn answer_older_term(&mut self, message: &Message) {
        self.counters.dropped_stale += 1;
        match message.body {
            Body::Append { .. } | Body::Heartbeat { .. } | Body::Snapshot { .. }
                if self.has(Guard::OldLeaderIsTold) =>
            {
                self.send(message.from, Body::OldTerm);
            }
            Body::Vote { .. } => self.send(message.from, Body::VoteAnswer { granted: false }),
            _ => {}
        }
    }

    /// Whether a message comes from this term's leader, which is known from then on. A second leader of one term is
    /// impossible, and refused.
    pub(super) fn accept_leader(&mut self, from: ReplicaId) -> bool {
        if matches!(self.state, State::Leader(_))
            || self.leader.is_some_and(|leader| leader != from)
        {
            self.counters.dropped_impossible += 1;
            return false;
        }
        if !matches!(self.state, State::Follower(_)) {
            self.become_follower(self.term, Some(from));
        }
        self.leader = Some(from);
        self.leader_heard = Some(self.now);
        self.reset_election_due();
        true
    }
}

fn is_possible(message: &Message) -> bool {
    if message.term.0 > NUMBER_MAX {
        return false;
    }
    let answers_from_nowhere = Body::PreVoteAnswer { granted: false };
    if message.term == Term(0) && message.body != answers_from_nowhere {
        return false;
    }
    match &message.body {
        Body::PreVote { last } | Body::Vote { last, .. } => {
            is_position(*last, Term(message.term.0 - 1))
        }
        Body::Append { previous, entries, commit } => {
            is_position(*previous, message.term)
                && is_index(*commit)
                && are_entries(*previous, entries, message.term)
        }
        Body::AppendAck { index } | Body::ReadIndexAnswer { index, .. } => is_index(*index),
        Body::AppendReject { previous, hint, .. } => {
            is_index(*previous) && is_position(*hint, Term(NUMBER_MAX))
        }
        Body::Heartbeat { commit, .. } | Body::HeartbeatAck { commit, .. } => is_index(*commit),
        Body::Snapshot { snapshot, offset, data, .. } => {
            is_position(snapshot.position, message.term)
                && snapshot.position.index > Index(0)
                && !snapshot.configuration.is_blank()
                && offset.checked_add(data.len() as u64).is_some()
        }
        Body::Sleep { last } => is_position(*last, message.term),
        Body::PreVoteAnswer { .. }
        | Body::VoteAnswer { .. }
        | Body::SnapshotAck { .. }
        | Body::TimeoutNow
        | Body::ReadIndex { .. }
        | Body::OldTerm => true,
    }
}

fn is_index(index: Index) -> bool {
    index.0 <= NUMBER_MAX
}

fn is_position(position: Position, term_max: Term) -> bool {
    let stands_before_all = position.index == Index(0);
    is_index(position.index)
        && position.term <= term_max
        && stands_before_all == (position.term == Term(0))
}

/// Entries that follow a position, of terms that never fall and that the sender's term covers, and that can be read.
fn are_entries(previous: Position, entries: &[Entry], term_max: Term) -> bool {
    let mut before = previous;
    entries.iter().all(|entry| {
        let position = Position::of(entry);
        let follows = position.index == before.index.next() && position.term >= before.term;
        before = position;
        follows
            && position.term > Term(0)
            && position.term <= term_max
            && is_index(position.index)
            && Configuration::of_entry(entry).is_ok()
    })
}
