//! When an entry is committed: a quorum holds it durably, and it is of the leader's own term (dissertation, section 3.6.2).

use ringfort_types::Index;

use super::{Group, State};
use crate::guard::Guard;
use crate::quorum::quorum_value;

impl Group {
    /// A leader commits what a quorum holds.
    pub(super) fn advance_commit(&mut self) {
        let Some(index) = self.quorum_index() else { return };
        if index <= self.commit {
            return;
        }
        if self.has(Guard::CommitOwnTerm) && self.log.term_at(index) != Some(self.term) {
            return;
        }
        let bytes = self.log.bytes_between(self.commit, index);
        self.set_commit(index);
        if let State::Leader(leader) = &mut self.state {
            leader.uncommitted_bytes -= bytes.min(leader.uncommitted_bytes);
        }
        self.confirm_early_reads();
    }

    /// The greatest index that a quorum holds durably.
    fn quorum_index(&self) -> Option<Index> {
        let State::Leader(leader) = &self.state else { return None };
        let me = self.config.replica;
        let here = if self.has(Guard::AckDurable) {
            self.persisting.durable()
        } else {
            self.log.last().index
        };
        let held = |id| match leader.peer(id) {
            _ if id == me => here,
            Some(peer) => peer.matched,
            None => Index(0),
        };
        let configuration = self.configuration();
        let outside = !configuration.is_voter(me) && !self.has(Guard::RemovedLeaderNotCounted);
        if outside || !self.has(Guard::CommitByQuorum) {
            return Some(here);
        }
        quorum_value(configuration, self.config.guards, held)
    }

    /// Commits up to an index.
    pub(super) fn set_commit(&mut self, index: Index) {
        let last = self.log.last().index;
        assert!(index <= last, "raft: commit {index} is within the log, which ends at {last}");
        assert!(index >= self.commit, "raft: commit never falls");
        self.commit = index;
    }
}
