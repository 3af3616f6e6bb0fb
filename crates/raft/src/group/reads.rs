//! Reads that see everything committed before they began.
//!
//! ```text
//!   read ─┬─ no commit in this term yet ──▶ waits for it ─┐
//!         ├─ alone, or the lease holds ──▶ confirmed      │
//!         └─ else: waits for a round of heartbeats ◀──────┘   sent after the read, answered by a quorum
//! ```
//!
//! A confirmed read names the commit index of when it came in; it may be served once that is applied. Rounds are counted by
//! the leader, so an answer to an earlier round never confirms a later read (dissertation, section 6.4).

use ringfort_types::{Index, Monotonic, ReplicaId};

use super::{Group, State};
use crate::config::Reads;
use crate::effects::{ProposeError, ReadId, ReadReady};
use crate::guard::Guard;
use crate::message::{Body, Round};
use crate::quorum::quorum_value;

/// Reads of other replicas that wait at once. More are dropped: whoever asked asks again.
const READS_FROM_OTHERS_MAX: usize = 4096;

/// Who wants to read.
#[derive(Clone, Copy, Debug, Hash)]
pub(super) enum Reader {
    /// This replica.
    Here(ReadId),
    /// Another one.
    There { replica: ReplicaId, read: ReadId, nonce: u64 },
}

/// A read that waits for a round.
#[derive(Clone, Copy, Debug, Hash)]
pub(super) struct PendingRead {
    pub(super) reader: Reader,
    index: Index,
    round: Round,
}

impl Group {
    /// Asks for an index that covers everything committed before now. It comes with
    /// [`Effects::reads`](crate::Effects::reads); a follower asks its leader, and nothing comes if a message is lost.
    ///
    /// # Errors
    /// This replica neither leads nor knows who does; nothing has changed.
    pub fn read(&mut self, now: Monotonic, id: ReadId) -> Result<(), ProposeError> {
        self.advance(now);
        self.wake_up();
        match (&self.state, self.leader) {
            (State::Leader(_), _) => self.begin_read(Reader::Here(id)),
            (State::Follower(_), Some(leader)) => {
                self.send(leader, Body::ReadIndex { read: id, nonce: self.config.seed });
            }
            _ => return Err(ProposeError::NotLeader(self.leader())),
        }
        Ok(())
    }

    /// Whether a read may be served at once from what is applied: this replica leads, its term has committed, nobody else
    /// can lead at `now`, and everything committed is applied. A host that was interrupted after it asked asks again before
    /// it answers.
    #[must_use]
    pub fn can_read_now(&self, now: Monotonic) -> bool {
        let State::Leader(leader) = &self.state else { return false };
        let committed = self.commit >= leader.term_start || !self.has(Guard::ReadNeedsTermCommit);
        committed && self.applied == self.commit && self.holds_lease(now)
    }

    /// Whether this replica leads and has applied everything that was committed before its term. Another one may lead by now:
    /// whoever acts on this makes sure of that in another way, as a proposal does.
    #[must_use]
    pub fn has_taken_over(&self) -> bool {
        matches!(&self.state, State::Leader(leader) if self.applied >= leader.term_start)
    }

    /// Whether this replica leads, and nobody else can at a time.
    #[must_use]
    pub fn holds_lease(&self, now: Monotonic) -> bool {
        let State::Leader(leader) = &self.state else { return false };
        let now = if self.has(Guard::LeaseChecksClock) { now.max(self.now) } else { self.now };
        let by_lease = self.config.settings.reads == Reads::Lease;
        self.is_alone() || (by_lease && now < self.lease_until(leader))
    }

    /// A time before which nobody but this replica led, and an index: whatever was committed before that time is at or below
    /// it. `None` if this replica has not led with a lease since its start. It tells the age of what is applied once the lease
    /// has run out.
    #[must_use]
    pub fn led(&self) -> Option<(Index, Monotonic)> {
        let State::Leader(leader) = &self.state else { return self.led };
        if self.commit < leader.term_start {
            return self.led;
        }
        let until = self.lease_until(leader).min(self.now);
        if until > Monotonic(0) { Some((self.commit, until)) } else { self.led }
    }

    fn begin_read(&mut self, reader: Reader) {
        let State::Leader(leader) = &mut self.state else { return };
        leader.busy = self.now;
        if self.commit < leader.term_start && self.config.guards.has(Guard::ReadNeedsTermCommit) {
            // A leader does not know yet what was committed before it.
            leader.early_reads.push(reader);
        } else {
            self.confirm_or_wait(reader);
        }
    }

    pub(super) fn confirm_early_reads(&mut self) {
        let State::Leader(leader) = &mut self.state else { return };
        if self.commit >= leader.term_start && !leader.early_reads.is_empty() {
            for reader in std::mem::take(&mut leader.early_reads) {
                self.confirm_or_wait(reader);
            }
        }
    }

    fn confirm_or_wait(&mut self, reader: Reader) {
        if self.holds_lease(self.now) || !self.has(Guard::ReadConfirmed) {
            self.counters.reads_by_lease += 1;
            return self.answer_read(reader, self.commit);
        }
        let counts = self.has(Guard::ReadRoundCounts);
        let State::Leader(leader) = &mut self.state else { return };
        let next = if counts { leader.round.0 + 1 } else { leader.round.0.max(1) };
        leader.round_wanted = true;
        leader.reads.push_back(PendingRead { reader, index: self.commit, round: Round(next) });
    }

    /// Confirms the reads whose round a quorum has answered.
    pub(super) fn confirm_reads(&mut self) {
        let State::Leader(leader) = &self.state else { return };
        if leader.reads.is_empty() {
            return;
        }
        let me = self.config.replica;
        let answered = |id| match leader.peer(id) {
            _ if id == me => leader.round,
            Some(peer) => peer.round,
            None => Round(0),
        };
        let confirmed =
            quorum_value(self.configuration(), self.config.guards, answered).unwrap_or_default();
        while let State::Leader(leader) = &mut self.state
            && let Some(read) = leader.reads.pop_front_if(|read| read.round <= confirmed)
        {
            self.counters.reads_by_round += 1;
            self.answer_read(read.reader, read.index);
        }
    }

    fn answer_read(&mut self, reader: Reader, index: Index) {
        match reader {
            Reader::Here(id) => self.reads_ready.push(ReadReady { id, index }),
            Reader::There { replica, read, nonce } => {
                self.send(replica, Body::ReadIndexAnswer { read, nonce, index });
            }
        }
    }

    pub(super) fn handle_read_index(&mut self, from: ReplicaId, read: ReadId, nonce: u64) {
        if self.heard_peer(from).is_none() {
            return;
        }
        let State::Leader(leader) = &self.state else { return };
        if leader.reads.len() + leader.early_reads.len() >= READS_FROM_OTHERS_MAX {
            self.counters.dropped_stale += 1;
            return;
        }
        self.begin_read(Reader::There { replica: from, read, nonce });
    }

    pub(super) fn handle_read_index_answer(&mut self, read: ReadId, nonce: u64, index: Index) {
        // The question of an earlier start has the name of another one of this start.
        if nonce == self.config.seed {
            self.reads_ready.push(ReadReady { id: read, index });
            // The read waits until that is applied here: not for the next heartbeat, which would say the same.
            self.follow_commit(index);
        } else {
            self.counters.dropped_stale += 1;
        }
    }
}
