//! Changes of the configuration, as a leader makes them (dissertation, sections 4.2 and 4.3; joint consensus only).

use ringfort_types::Monotonic;

use super::{Group, State};
use crate::configuration::{Change, ChangeError, Configuration};
use crate::effects::ProposeError;
use crate::guard::Guard;
use crate::position::Position;
use crate::progress::Sending;

impl Group {
    /// Begins a change: appends the joint configuration, which counts from now on. It is left by itself once it is committed.
    ///
    /// # Errors
    /// This replica does not lead or hands over, the term has no commit yet, another change is under way, a learner to be
    /// promoted has not caught up, or the change does not fit; nothing has changed.
    pub fn propose_change(
        &mut self,
        now: Monotonic,
        changes: &[Change],
    ) -> Result<Position, ChangeError> {
        self.advance(now);
        self.may_propose(0).or_else(|error| match error {
            // A change is never what fills the memory.
            ProposeError::TooMuchUncommitted => Ok(()),
            error => Err(error),
        })?;
        let State::Leader(leader) = &self.state else {
            return Err(ProposeError::NotLeader(self.leader()).into());
        };
        if self.has(Guard::ChangeNeedsTermCommit) && self.commit < leader.term_start {
            return Err(ChangeError::TermNotCommitted);
        }
        let (index, configuration) = self.log.configuration();
        if index > self.commit && self.has(Guard::ChangeNeedsTermCommit) {
            return Err(ChangeError::UnderWay);
        }
        let next = configuration.begin(changes, self.config.guards)?;
        for change in changes {
            if let Change::Promote(id) = change {
                // A voter has been told who its group is: only then can it help to elect a leader.
                let ready = leader.peer(*id).is_some_and(|peer| {
                    peer.matched >= index && peer.sending == Sending::Replicate
                });
                if !ready {
                    return Err(ChangeError::NotCaughtUp(*id));
                }
            }
        }
        self.wake_up();
        self.counters.changes_begun += 1;
        let position = self.append_configuration(next);
        if let State::Leader(leader) = &mut self.state {
            leader.change_begun = Some(position.index);
        }
        Ok(position)
    }

    fn append_configuration(&mut self, configuration: Configuration) -> Position {
        self.append(configuration.encode(), Some(configuration))
    }

    /// Leaves a joint configuration that is committed, whoever began it and whenever.
    pub(super) fn leave_joint(&mut self) {
        let State::Leader(leader) = &self.state else { return };
        let (index, configuration) = self.log.configuration();
        let mine = leader.change_begun == Some(index) && leader.transfer.is_none();
        if configuration.is_joint() && index <= self.commit && (mine || self.has(Guard::AutoLeave))
        {
            let left = configuration.leave();
            self.counters.changes_ended += 1;
            self.append_configuration(left);
            // Where fewer decide, more may be committed.
            self.advance_commit();
        }
    }

    /// A leader that a committed configuration does not name hands over.
    pub(super) fn leave_if_removed(&mut self) {
        if !matches!(self.state, State::Leader(_)) || !self.has(Guard::RemovedLeaderStepsDown) {
            return;
        }
        let (index, configuration) = self.log.configuration();
        let outside = !configuration.is_voter(self.config.replica);
        if outside && !configuration.is_joint() && index <= self.commit {
            self.counters.removals += 1;
            // The others learn that they are rid of this leader's vote.
            self.send_appends();
            self.send_heartbeats();
            self.hand_over_and_step_down();
        }
    }
}
