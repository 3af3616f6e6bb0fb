//! What a leader keeps, how its term begins and ends, and what it does as time passes.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use ringfort_types::{Entry, Index, Monotonic, ReplicaId};

use super::reads::{PendingRead, Reader};
use super::transfer::Transfer;
use super::{Follower, Group, State};
use crate::configuration::Configuration;
use crate::effects::{ProposeError, SnapshotEffect};
use crate::guard::Guard;
use crate::log::entry_bytes;
use crate::message::{Body, Round};
use crate::position::Position;
use crate::progress::{Progress, Sending};
use crate::quorum::quorum_value;

/// What only a leader keeps.
#[derive(Clone, Debug)]
pub(super) struct Leader {
    /// Index of the entry that began this term.
    pub(super) term_start: Index,
    /// The other members of the configuration that counts, by id.
    pub(super) peers: Vec<Progress>,
    pub(super) heartbeat_due: Monotonic,
    /// The last round of heartbeats.
    pub(super) round: Round,
    /// When the latest rounds were sent, that one last.
    pub(super) rounds: VecDeque<Monotonic>,
    /// A read waits for a round that is still to be sent.
    pub(super) round_wanted: bool,
    /// Reads that wait for their round, in its order.
    pub(super) reads: VecDeque<PendingRead>,
    /// Reads that wait for the first commit of the term.
    pub(super) early_reads: Vec<Reader>,
    pub(super) transfer: Option<Transfer>,
    /// Somebody was asked to take over: no lease any more in this term.
    pub(super) lease_forfeited: bool,
    pub(super) uncommitted_bytes: usize,
    /// When something was last asked of the group.
    pub(super) busy: Monotonic,
    /// The change that this leader began.
    pub(super) change_begun: Option<Index>,
}

impl Leader {
    /// When a round was sent, if that is remembered.
    pub(super) fn sent(&self, round: Round) -> Option<Monotonic> {
        let before_last = usize::try_from(self.round.0.checked_sub(round.0)?).ok()?;
        self.rounds.iter().rev().nth(before_last).copied()
    }

    pub(super) fn peer(&self, id: ReplicaId) -> Option<&Progress> {
        self.peers.iter().find(|peer| peer.id == id)
    }

    /// Whether some peer gets a snapshot, or what was written behind one that it got: the log is kept for it.
    pub(super) fn feeds(&self, now: Monotonic, patience: Duration) -> bool {
        let fed = |peer: &Progress| match peer.sending {
            Sending::Snapshot { id, .. } => id.is_some(),
            _ => peer.catching_up && peer.answers(now, patience),
        };
        self.peers.iter().any(fed)
    }
}

impl Group {
    /// This replica's state as a leader, and its own view of the peer that something was heard of; counts it where there is
    /// no such thing.
    pub(super) fn heard_peer(&mut self, from: ReplicaId) -> Option<&mut Progress> {
        let State::Leader(leader) = &mut self.state else {
            self.counters.dropped_stale += 1;
            return None;
        };
        let Some(peer) = leader.peers.iter_mut().find(|peer| peer.id == from) else {
            self.counters.dropped_unknown += 1;
            return None;
        };
        peer.heard = self.now;
        peer.acknowledged = true;
        Some(peer)
    }

    pub(super) fn become_leader(&mut self) {
        self.counters.terms_led += 1;
        let last = self.log.last().index;
        let leader = Leader {
            term_start: last,
            peers: Vec::new(),
            heartbeat_due: self.now,
            round: Round(0),
            rounds: VecDeque::new(),
            round_wanted: true,
            reads: VecDeque::new(),
            early_reads: Vec::new(),
            transfer: None,
            lease_forfeited: false,
            uncommitted_bytes: self.log.bytes_between(self.commit, last),
            busy: self.now,
            change_begun: None,
        };
        self.leave_state(State::Leader(Box::new(leader)));
        self.leader = Some(self.config.replica);
        self.settle_peers();
        if self.has(Guard::TermStartEntry) {
            // Entries of earlier terms are committed by committing this one, and reads wait for it.
            let start = self.append(Bytes::new(), None).index;
            if let State::Leader(leader) = &mut self.state {
                leader.term_start = start;
            }
        }
    }

    /// Ends what a leader had begun: reads that wait are lost, snapshots are not sent on.
    pub(super) fn end_leadership(&mut self, leader: Leader) {
        let pending = leader.reads.into_iter().map(|read| read.reader).chain(leader.early_reads);
        self.reads_lost.extend(pending.filter_map(|reader| match reader {
            Reader::Here(id) => Some(id),
            // Whoever asked from elsewhere waits no longer than it has time.
            Reader::There { .. } => None,
        }));
        let receiving =
            leader.peers.iter().filter(|peer| matches!(peer.sending, Sending::Snapshot { .. }));
        self.snapshots.extend(receiving.map(|peer| SnapshotEffect::Release { to: peer.id }));
    }

    /// Steps down in this term.
    pub(super) fn step_down(&mut self) {
        self.leave_state(State::Follower(Follower::default()));
        self.leader = None;
        self.leader_heard = None;
        self.reset_election_due();
    }

    pub(super) fn may_propose(&self, bytes: usize) -> Result<(), ProposeError> {
        let State::Leader(leader) = &self.state else {
            return Err(ProposeError::NotLeader(self.leader()));
        };
        if let Some(transfer) = &leader.transfer {
            return Err(ProposeError::Transferring(transfer.to));
        }
        let full = leader.uncommitted_bytes.saturating_add(bytes)
            > self.config.settings.uncommitted_bytes_max;
        if full && leader.uncommitted_bytes > 0 {
            return Err(ProposeError::TooMuchUncommitted);
        }
        Ok(())
    }

    /// Appends to the log of this leader.
    pub(super) fn append(
        &mut self,
        payload: Bytes,
        configuration: Option<Configuration>,
    ) -> Position {
        let index = self.log.last().index.next();
        let entry = Entry { term: self.term, index, payload };
        let position = Position::of(&entry);
        let is_change = configuration.is_some();
        let bytes = entry_bytes(&entry);
        self.log.push(entry, configuration);
        if let State::Leader(leader) = &mut self.state {
            leader.uncommitted_bytes += bytes;
            leader.busy = self.now;
        }
        if is_change {
            self.settle_peers();
        }
        position
    }

    /// Makes the peers those of the configuration that counts. Those that stay keep what is known of them.
    pub(super) fn settle_peers(&mut self) {
        let members = self.configuration().members();
        let last = self.log.last().index;
        let State::Leader(leader) = &mut self.state else { return };
        for peer in leader.peers.extract_if(.., |peer| !members.contains(&peer.id)) {
            if matches!(peer.sending, Sending::Snapshot { .. }) {
                self.snapshots.push(SnapshotEffect::Release { to: peer.id });
            }
        }
        for id in members {
            if id != self.config.replica && leader.peer(id).is_none() {
                leader.peers.push(Progress::new(id, last, self.now));
            }
        }
        leader.peers.sort_unstable_by_key(|peer| peer.id);
    }

    pub(super) fn tick_leader(&mut self) {
        if self.is_stalled() {
            self.counters.stalls += 1;
            return self.hand_over_and_step_down();
        }
        if self.has(Guard::CheckQuorum) && !self.hears_quorum() {
            self.counters.lost_quorum += 1;
            return self.step_down();
        }
        self.expire_transfer();
        self.retry_lost();
        let State::Leader(leader) = &self.state else { return };
        if self.now >= leader.heartbeat_due {
            if self.may_sleep() {
                return self.fall_asleep();
            }
            self.release_room();
            self.send_heartbeats();
        }
    }

    fn hears_quorum(&self) -> bool {
        let State::Leader(leader) = &self.state else { return false };
        let me = self.config.replica;
        let heard = |id| match leader.peer(id) {
            _ if id == me => self.now,
            Some(peer) => peer.heard,
            None => Monotonic(0),
        };
        quorum_value(self.configuration(), self.config.guards, heard)
            .is_some_and(|heard| self.now.since(heard) < self.config.settings.election_timeout)
    }

    /// Asks the voter that has most of the log to take over, and steps down.
    pub(super) fn hand_over_and_step_down(&mut self) {
        if let State::Leader(leader) = &self.state {
            let configuration = self.log.configuration().1;
            let voters = leader.peers.iter().filter(|peer| configuration.is_voter(peer.id));
            let fresh = voters.filter(|peer| {
                self.now.since(peer.heard)
                    < self.config.settings.election_timeout.max(Duration::ZERO)
            });
            if let Some(best) =
                fresh.max_by_key(|peer| (peer.matched, peer.heard)).map(|peer| peer.id)
            {
                self.send(best, Body::TimeoutNow);
            }
        }
        self.step_down();
    }
}
