//! Sleep: a group with nothing to do sends nothing and runs no timer.
//!
//! A leader falls asleep once every member has acknowledged its last entry and knows it committed; it tells them, and they
//! fall asleep as well if they agree. From then on the host watches nodes instead of groups. It wakes a group when a node
//! with one of its replicas is lost or starts anew; any message, proposal or read wakes it, too.

use ringfort_types::{Monotonic, ReplicaId};

use super::{Group, State};
use crate::guard::Guard;
use crate::message::{Body, Message};
use crate::position::Position;
use crate::progress::Sending;

impl Group {
    /// Whether this leader may put its group to sleep.
    pub(super) fn may_sleep(&self) -> bool {
        let after = self.config.settings.sleep_after;
        let State::Leader(leader) = &self.state else { return false };
        if after.is_zero() || self.now.since(leader.busy) < after {
            return false;
        }
        let last = self.log.last().index;
        let done = self.commit == last && self.applied == last && self.persisting.is_idle(last);
        let known = leader.peers.iter().all(|peer| {
            let agrees = peer.sending == Sending::Replicate && peer.matched == last;
            agrees && peer.commit == last && leader.round.0 - peer.round.0 <= 1
        });
        let quiet = leader.reads.is_empty()
            && leader.early_reads.is_empty()
            && leader.transfer.is_none()
            && !self.configuration().is_joint();
        quiet && ((done && known) || !self.has(Guard::SleepNeedsAll))
    }

    pub(super) fn fall_asleep(&mut self) {
        let last = self.log.last();
        let members = self.configuration().members();
        for member in members {
            if member != self.config.replica {
                self.send(member, Body::Sleep { last });
            }
        }
        self.release_for_sleep();
        self.asleep = true;
        self.counters.sleeps += 1;
    }

    pub(super) fn handle_sleep(&mut self, from: ReplicaId, last: Position) {
        if !self.accept_leader(from) {
            return;
        }
        let done =
            self.log.last() == last && self.commit == last.index && self.applied == last.index;
        let idle = self.persisting.is_idle(last.index);
        if (done && idle) || !self.has(Guard::SleepNeedsAll) {
            self.release_for_sleep();
            self.asleep = true;
            self.counters.sleeps += 1;
        }
    }

    /// Wakes for a message, unless it is one that a group which fell asleep still had under way.
    pub(super) fn wake_for(&mut self, message: &Message) {
        let late = matches!(
            message.body,
            Body::Sleep { .. } | Body::AppendAck { .. } | Body::HeartbeatAck { .. }
        );
        if !late {
            self.wake_up();
        }
    }

    /// Wakes for something to do. Nothing is known against the leader.
    pub(super) fn wake_up(&mut self) {
        if !self.asleep {
            return;
        }
        self.asleep = false;
        self.counters.wakes += 1;
        self.leader_heard = self.leader.map(|_| self.now);
        self.reset_election_due();
        if let State::Leader(leader) = &mut self.state {
            leader.round_wanted = true;
            leader.busy = self.now;
            // Nobody was asked anything: the time to hear from a quorum begins now.
            for peer in &mut leader.peers {
                peer.heard = self.now;
            }
        }
    }

    /// Wakes the group because a node with one of its replicas is lost, or has started anew, or might be. `promised` is the
    /// end of the promise that this node gave to the leader's node for the groups between them; in the past if there is
    /// none.
    pub fn handle_wake(&mut self, now: Monotonic, promised: Monotonic) {
        self.advance(now);
        if !self.asleep || !self.has(Guard::WakeRunsTimers) {
            return;
        }
        self.promise(promised);
        self.wake_up();
        if !matches!(self.state, State::Leader(_)) {
            self.leader_heard = None;
        }
    }

    /// The leader and term that this replica sleeps or waits under; for the host's list of exceptions.
    #[must_use]
    pub fn follows(&self) -> Option<ReplicaId> {
        matches!(self.state, State::Follower(_)).then_some(self.leader).flatten()
    }
}
