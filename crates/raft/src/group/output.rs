//! What the host is to do now.

use std::collections::VecDeque;

use ringfort_types::HardState;

use super::{Group, State};
use crate::effects::{Effects, Persist};
use crate::message::Message;

impl Group {
    /// Whether [`Group::poll_effects`] would give something.
    #[must_use]
    pub fn has_effects(&self) -> bool {
        // What a leader has to send or to leave is known only by looking; it is cheap.
        let waits = matches!(self.state, State::Leader(_)) && !self.asleep;
        let follower_owes = match &self.state {
            State::Follower(follower) => {
                follower.ack_due || follower.matched > follower.acknowledged
            }
            _ => false,
        };
        waits
            || follower_owes
            || self.may_write()
            || self.commit > self.apply_handed
            || !self.outbox.is_empty()
            || !self.held.is_empty()
            || !self.snapshots.is_empty()
            || !self.reads_ready.is_empty()
            || !self.reads_lost.is_empty()
            || self.role_told != (self.role(), self.term)
    }

    /// Whether more is committed than was handed out for applying: the next effects have more of it.
    #[must_use]
    pub fn has_more_to_apply(&self) -> bool {
        let there = self.commit.min(self.log.last().index);
        there > self.apply_handed && !self.is_installing() && !self.is_silent()
    }

    /// What the host is to do now.
    pub fn poll_effects(&mut self) -> Effects {
        if self.is_silent() {
            return Effects::default();
        }
        match &self.state {
            State::Leader(leader) => {
                if leader.round_wanted {
                    self.send_heartbeats();
                }
                self.leave_joint();
                self.leave_if_removed();
                self.send_appends();
            }
            _ => self.send_append_ack(),
        }
        let persist = self.poll_persist();
        Effects {
            persist,
            messages: self.poll_messages(),
            snapshots: std::mem::take(&mut self.snapshots),
            apply: self.poll_apply(),
            reads: std::mem::take(&mut self.reads_ready),
            reads_lost: std::mem::take(&mut self.reads_lost),
            role: self.poll_role(),
        }
    }

    fn may_write(&self) -> bool {
        let in_flight_max = self.config.settings.writes_in_flight_max;
        self.persisting.may_begin(self.log.last().index, in_flight_max)
    }

    fn poll_persist(&mut self) -> Option<Persist> {
        let last = self.log.last().index;
        if !self.may_write() {
            self.counters.writes_gathered += u64::from(self.persisting.is_due(last));
            return None;
        }
        let (id, with_hard_state, first) = self.persisting.begin(self.now, last);
        let hard_state = with_hard_state.then_some(HardState {
            term: self.term,
            vote: self.vote,
            commit: self.commit,
        });
        Some(Persist {
            id,
            hard_state,
            entries: self.log.range(first, last, usize::MAX, usize::MAX),
        })
    }

    fn poll_messages(&mut self) -> Vec<Message> {
        while let Some((_, message)) =
            self.held.pop_front_if(|(write, _)| self.persisting.is_done(*write))
        {
            self.outbox.push(message);
        }
        if self.held.is_empty() {
            // Votes are rare.
            self.held = VecDeque::new();
        }
        std::mem::take(&mut self.outbox)
    }

    fn poll_apply(&mut self) -> Vec<ringfort_types::Entry> {
        if self.commit <= self.apply_handed || self.is_installing() {
            return Vec::new();
        }
        let bytes_max = self.config.settings.apply_bytes_max;
        let from = self.apply_handed.next();
        let entries = self.log.range(from, self.commit, bytes_max, usize::MAX);
        if let Some(last) = entries.last() {
            self.counters.applies_cut += u64::from(last.index < self.commit);
            self.apply_handed = last.index;
        }
        entries
    }

    fn poll_role(&mut self) -> Option<(crate::effects::Role, ringfort_types::Term)> {
        let now = (self.role(), self.term);
        let before = std::mem::replace(&mut self.role_told, now);
        (before != now).then_some(now)
    }
}
