//! Proposals: what is queued becomes an entry; what is applied answers whoever waits; what leadership does not outlive is
//! given up.

use ringfort_raft::ProposeError;
use ringfort_types::{Applied, Monotonic};

use super::expiry::Expiring;
use super::{Proposed, Replica};
use crate::boundary::{Output, Ticket};
use crate::machine::Answer;

impl Replica {
    pub(super) fn answer(
        &mut self,
        position: Applied,
        answers: impl ExactSizeIterator<Item = Answer>,
        out: &mut Output,
    ) {
        while let Some(proposed) =
            self.proposed.pop_front_if(|proposed| proposed.position.index <= position.index)
        {
            self.proposed_bytes -= proposed.bytes;
            let tickets = self.tickets.drain(..proposed.commands);
            if proposed.position == position {
                assert_eq!(tickets.len(), answers.len(), "one answer for each command");
                let pairs = tickets.zip(answers);
                out.answers.extend(pairs.filter_map(|(ticket, answer)| Some((ticket?, answer))));
                return;
            }
            // Another leader's entry stands where ours was proposed: ours will never be applied there.
            out.lost.extend(tickets.flatten());
        }
    }

    /// This replica does not lead any more. What it proposed may have been committed, and may be yet.
    pub(super) fn step_down(&mut self, out: &mut Output) {
        self.expiring = Expiring::No;
        out.lost.extend(self.reads.give_up());
        let queued = if self.queue.is_empty() { 0 } else { self.queue.commands() };
        let proposed = self.tickets.len() - queued;
        out.lost.extend(self.tickets.drain(..proposed).flatten());
        self.proposed.clear();
        self.proposed_bytes = 0;
    }

    /// Everything that waits here for an answer, given up: the replica stops.
    pub fn abandon(&mut self) -> Vec<Ticket> {
        self.proposed_bytes = 0;
        self.proposed.clear();
        let mut lost: Vec<_> = self.tickets.drain(..).flatten().collect();
        lost.extend(self.reads.give_up());
        lost.extend(self.refused.drain(..).map(|(ticket, _)| ticket));
        lost
    }

    pub(super) fn propose_if_large(&mut self, now: Monotonic) {
        if self.queue.len() >= self.payload_bytes_target {
            self.propose(now);
        }
    }

    pub(super) fn propose(&mut self, now: Monotonic) {
        if self.queue.is_empty() {
            return;
        }
        let commands = self.queue.commands();
        self.queue_opens_session = false;
        // Never less than any stamp in the log: the clock has followed those.
        let stamp = self.clock.now(now);
        let clients = self.tickets.iter().rev().take(commands).flatten().count();
        self.fresh_commands += u32::try_from(clients).unwrap_or(u32::MAX);
        let payload = self.queue.finish(stamp, self.levels.active);
        let bytes = payload.len();
        // What comes behind a refused command may be later ones of its batch, on the same key: they must not overtake it.
        let refused = self.refusing.map_or(Ok(()), Err);
        match refused.and_then(|()| self.raft.propose(now, payload)) {
            Ok(position) => {
                self.stamped = now;
                if self.expiring == Expiring::Queued {
                    self.expiring = Expiring::Proposed(position.index);
                }
                self.proposed_bytes += bytes;
                let position = position.into();
                self.proposed.push_back(Proposed { position, bytes, commands });
            }
            // Leadership went between the request and this turn, or too much waits to be committed.
            Err(error) => {
                self.refusing = Some(error);
                self.refuse_queued(commands, error);
            }
        }
    }

    fn refuse_queued(&mut self, commands: usize, error: ProposeError) {
        if self.expiring == Expiring::Queued {
            self.expiring = Expiring::Refused;
        }
        let queued = self.tickets.split_off(self.tickets.len() - commands);
        self.refused.extend(queued.into_iter().flatten().map(|ticket| (ticket, error)));
    }
}
