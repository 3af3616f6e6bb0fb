//! Handing leadership over (dissertation, section 3.10).
//!
//! ```text
//!   transfer ──▶ no proposals; the target is brought up to date ──▶ TimeoutNow ──▶ the target asks for votes
//! ```
//!
//! The target's votes override stickiness and promises. Therefore a leader that has sent TimeoutNow has no lease any more in
//! its term, also if nothing comes of the transfer.

use ringfort_types::{Monotonic, ReplicaId};

use super::{Group, State};
use crate::effects::LeaderHint;
use crate::guard::Guard;
use crate::message::Body;

/// A transfer under way.
#[derive(Clone, Copy, Debug, Hash)]
pub(super) struct Transfer {
    pub(super) to: ReplicaId,
    /// Given up then, and proposals are taken again.
    deadline: Monotonic,
    asked: bool,
}

/// Why leadership is not handed over. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// There is nothing to hand over.
    #[error("not the leader of term {}", .0.term)]
    NotLeader(LeaderHint),
    /// It cannot lead.
    #[error("replica {0} is no other voter of the group")]
    NotVoter(ReplicaId),
    /// Another transfer is under way.
    #[error("leadership is being handed over to replica {0} already")]
    UnderWay(ReplicaId),
}

impl Group {
    /// Hands leadership over to another voter. Until that has come about or an election timeout has passed, proposals are
    /// refused.
    ///
    /// # Errors
    /// This replica does not lead, the other is no voter, or another transfer is under way.
    pub fn transfer(&mut self, now: Monotonic, to: ReplicaId) -> Result<(), TransferError> {
        self.advance(now);
        let hint = self.leader();
        let is_voter = self.configuration().is_voter(to) && to != self.config.replica;
        let deadline = self.now + self.config.settings.election_timeout;
        let State::Leader(leader) = &mut self.state else {
            return Err(TransferError::NotLeader(hint));
        };
        if !is_voter {
            return Err(TransferError::NotVoter(to));
        }
        match leader.transfer {
            Some(transfer) if transfer.to == to => return Ok(()),
            Some(transfer) => return Err(TransferError::UnderWay(transfer.to)),
            None => leader.transfer = Some(Transfer { to, deadline, asked: false }),
        }
        self.wake_up();
        self.proceed_transfer(to);
        Ok(())
    }

    /// Whether this replica leads, and hands leadership over: it takes no proposals now.
    #[must_use]
    pub fn is_transferring(&self) -> bool {
        matches!(&self.state, State::Leader(leader) if leader.transfer.is_some())
    }

    /// Asks the target to take over once it holds everything.
    pub(super) fn proceed_transfer(&mut self, peer: ReplicaId) {
        let last = self.log.last().index;
        let State::Leader(leader) = &mut self.state else { return };
        let ready = leader.peer(peer).is_some_and(|progress| progress.matched == last);
        let Some(transfer) = leader.transfer.as_mut().filter(|transfer| transfer.to == peer) else {
            return;
        };
        if ready && !transfer.asked {
            transfer.asked = true;
            leader.lease_forfeited = true;
            self.counters.transfers += 1;
            self.send(peer, Body::TimeoutNow);
        }
    }

    pub(super) fn expire_transfer(&mut self) {
        let now = self.now;
        if let State::Leader(leader) = &mut self.state {
            leader.transfer = leader.transfer.filter(|transfer| now < transfer.deadline);
        }
    }

    pub(super) fn handle_timeout_now(&mut self, from: ReplicaId) {
        let follows = matches!(self.state, State::Follower(_))
            && self.leader.is_none_or(|leader| leader == from);
        let barred = self.now < self.no_vote_until && !self.has(Guard::TransferOverridesPromise);
        if follows && self.could_lead() && !barred {
            self.campaign(true);
        } else {
            self.counters.dropped_stale += 1;
        }
    }
}
