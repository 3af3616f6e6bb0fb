//! Heartbeats: they keep followers from asking for votes, tell them what is committed, renew the lease and confirm reads.
//!
//! ```text
//!   leader    sent ───────────────────────── sent + lease - margin: reads by lease end
//!   follower        arrived ───────────────────────────── arrived + lease: may vote again
//! ```
//!
//! A follower promises not to vote from the time at which a heartbeat arrived; the leader counts from the time at which it
//! was sent, which is earlier, and less a margin for what their clocks may differ by over one lease.
//!
//! A host that has one heartbeat for all groups between two nodes calls `handle_pair_heartbeat` on the follower's node and
//! `handle_pair_ack` on the leader's. An acknowledgement counts for a group only if the peer has acknowledged this leader in
//! this term by itself, once.

use std::time::Duration;

use ringfort_types::{Index, Monotonic, ReplicaId, Term};

use super::leader::Leader;
use super::{Group, State};
use crate::config::Reads;
use crate::guard::Guard;
use crate::message::{Body, Message, Round};
use crate::position::Position;
use crate::progress::Sending;
use crate::quorum::quorum_value;

/// Rounds whose time of sending is remembered. An acknowledgement of an older one renews no lease.
const ROUNDS_MAX: usize = 64;

impl Group {
    /// Sends a round of heartbeats.
    pub(super) fn send_heartbeats(&mut self) {
        let lease = self.promised_lease();
        let State::Leader(leader) = &mut self.state else { return };
        leader.round = Round(leader.round.0 + 1);
        leader.round_wanted = false;
        leader.heartbeat_due = self.now + self.config.settings.heartbeat;
        // What a round renewed has run out by now: it will renew nothing.
        let now = self.now;
        while leader.rounds.pop_front_if(|sent| *sent + lease <= now).is_some() {}
        if leader.rounds.len() == ROUNDS_MAX {
            leader.rounds.pop_front();
        }
        leader.rounds.push_back(now);
        for peer in &leader.peers {
            self.outbox.push(Message {
                from: self.config.replica,
                to: peer.id,
                term: self.term,
                body: Body::Heartbeat {
                    commit: self.commit.min(peer.matched),
                    round: leader.round,
                    lease,
                },
            });
        }
        // Where this leader decides alone by now, nobody has to answer.
        self.confirm_reads();
    }

    /// Whether this replica was never told who its group is. If it ever was, it may have voted: nobody may take its word that
    /// it knows of no newer term.
    fn is_blank(&self) -> bool {
        self.configuration().is_blank() && self.has(Guard::BlankRefused)
    }

    /// What this leader asks its followers to promise.
    fn promised_lease(&self) -> Duration {
        match self.config.settings.reads {
            Reads::Lease => self.config.settings.lease.min(self.config.settings.lease_max),
            Reads::Index => Duration::ZERO,
        }
    }

    pub(super) fn handle_heartbeat(
        &mut self,
        from: ReplicaId,
        commit: Index,
        round: Round,
        lease: Duration,
    ) {
        if !self.accept_leader(from) || self.is_blank() {
            return;
        }
        self.follow_commit(commit);
        if lease > self.config.settings.lease_max {
            // After a start nobody would wait for the end of such a promise: it is not given.
            self.counters.dropped_impossible += 1;
            return;
        }
        self.promise(self.now + lease);
        self.release_room();
        self.send(from, Body::HeartbeatAck { round, commit: self.commit });
    }

    pub(super) fn handle_heartbeat_ack(&mut self, from: ReplicaId, round: Round, commit: Index) {
        let (now, settings, term) = (self.now, self.config.settings, self.term);
        let (commit_here, base) = (self.commit, self.log.base().index);
        let State::Leader(leader) = &self.state else {
            self.counters.dropped_stale += 1;
            return;
        };
        if round > leader.round {
            self.counters.dropped_impossible += 1;
            return;
        }
        let sent = leader.sent(round);
        let lease = self.lease_here();
        let Some(peer) = self.heard_peer(from) else { return };
        if let Some(sent) = sent {
            peer.promised = peer.promised.max(sent + lease);
        }
        if round >= peer.round {
            peer.round = round;
            // It may be less than it was: the peer started anew.
            peer.commit = commit.min(commit_here);
        }
        match &mut peer.sending {
            Sending::Probe { .. } => peer.retry_probe(now, settings.heartbeat),
            // Whoever acknowledges is not blank: the refusal was of before it knew its group.
            Sending::Refused => peer.become_probe(peer.matched.next()),
            _ => {}
        }
        // It started anew or asked for votes meanwhile, and does not know any more that its log is this leader's.
        let forgot = peer.sending == Sending::Replicate
            && peer.next == peer.matched.next()
            && commit < commit_here.min(peer.matched);
        if peer.is_overdue(now, &settings) || forgot {
            // What is in flight may be lost. If it is, the peer does not hold the position before what comes next.
            peer.advanced = now;
            let before = Index(peer.next.0 - 1);
            if before < base {
                // The log has forgotten that position: nothing can be asked about it, and what is in flight may fill the
                // window for good. Looking for agreement from the start finds that the peer needs a snapshot.
                peer.become_probe(peer.matched.next());
            } else if let Some(term_before) = self.log.term_at(before) {
                let previous = Position { term: term_before, index: before };
                let entries = Vec::new();
                let body = Body::Append { previous, entries, commit: commit_here };
                self.send_in_term(from, term, body);
            }
        }
        self.confirm_reads();
    }

    /// How long a promise lasts for this leader.
    fn lease_here(&self) -> Duration {
        let margin = if self.has(Guard::LeaseMargin) {
            self.config.settings.lease_margin
        } else {
            Duration::ZERO
        };
        self.promised_lease().saturating_sub(margin)
    }

    /// Until when nobody else can lead, by the promises of a quorum. A leader that asked somebody to take over has no lease,
    /// nor has one outside of its configuration: the only voter of what it leaves behind may elect itself at once.
    pub(super) fn lease_until(&self, leader: &Leader) -> Monotonic {
        let me = self.config.replica;
        let configuration = self.configuration();
        let forfeited = leader.lease_forfeited && self.has(Guard::TransferForfeitsLease);
        if forfeited || !configuration.is_voter(me) {
            return Monotonic(0);
        }
        let promised = |id| match leader.peer(id) {
            _ if id == me => Monotonic(u64::MAX),
            Some(peer) => peer.promised,
            None => Monotonic(0),
        };
        quorum_value(configuration, self.config.guards, promised).unwrap_or_default()
    }

    // --- between nodes ---

    /// Takes a heartbeat that a node sent once for all groups it leads, this one among them: `from` says that it leads
    /// `term`. Gives whether the acknowledgement covers this group; if not, the group is an exception that the
    /// acknowledgement names.
    ///
    /// A group that sleeps stays asleep: the host remembers the promise, and names it when it wakes the group.
    pub fn handle_pair_heartbeat(
        &mut self,
        now: Monotonic,
        from: ReplicaId,
        term: Term,
        lease: Duration,
    ) -> bool {
        self.advance(now);
        let follows = matches!(self.state, State::Follower(_))
            && self.term == term
            && self.leader == Some(from)
            && !self.is_silent()
            && !self.is_blank()
            && lease <= self.config.settings.lease_max;
        if follows && !self.asleep {
            self.release_room();
            self.accept_leader(from);
            self.promise(self.now + lease);
        }
        follows
    }

    /// Takes the acknowledgement of a heartbeat for all groups, sent at `sent`, that does not name this group as an
    /// exception: the replica of that node answers for `term`.
    pub fn handle_pair_ack(
        &mut self,
        now: Monotonic,
        from: ReplicaId,
        term: Term,
        sent: Monotonic,
    ) {
        self.advance(now);
        let lease = self.lease_here();
        let own_ack = !self.has(Guard::PairAckNeedsOwnAck);
        let State::Leader(leader) = &mut self.state else { return };
        let peer = leader.peers.iter_mut().find(|peer| peer.id == from);
        // A peer that never answered this leader may not even know of the group.
        if let Some(peer) = peer.filter(|peer| term == self.term && (peer.acknowledged || own_ack))
        {
            peer.heard = self.now;
            peer.promised = peer.promised.max(sent + lease);
        }
    }
}
