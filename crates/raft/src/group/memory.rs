//! What a group lets go of: entries that nobody needs any more, and room that a burst of traffic took.
//!
//! Room is given back at heartbeats and when the group falls asleep, not at once: what is freed after each write is
//! allocated again with the next one.

use super::snapshot::SENT_MAX;
use super::{Group, State};
use crate::progress::Progress;
use crate::room;

impl Group {
    /// Forgets applied entries, but for those kept for members that lag, and those that wait until another write may be
    /// begun: they are applied where others commit faster than this disk writes.
    pub(super) fn forget(&mut self) {
        let (me, settings) = (self.config.replica, &self.config.settings);
        let keep = match &self.state {
            // Nobody lags where nobody else is.
            _ if self.configuration().ids().all(|id| id == me) => 0,
            State::Leader(leader)
                if leader.feeds(self.now, SENT_MAX * settings.election_timeout) =>
            {
                settings.catch_up_bytes
            }
            _ => settings.trailing_bytes,
        };
        self.log.forget(self.applied.min(self.persisting.handed_out()), keep);
    }

    /// Gives back room that is hardly used.
    pub(super) fn release_room(&mut self) {
        self.log.release_room();
        self.persisting.release_room();
        if let State::Leader(leader) = &mut self.state {
            room::release(&mut leader.reads);
            leader.peers.iter_mut().for_each(Progress::release_room);
        }
    }

    /// Gives back all that a group which sleeps does not need. All members hold all entries: nobody lags.
    pub(super) fn release_for_sleep(&mut self) {
        self.log.forget(self.applied, 0);
        self.release_room();
        if let State::Leader(leader) = &mut self.state {
            leader.rounds = std::collections::VecDeque::new();
        }
    }
}
