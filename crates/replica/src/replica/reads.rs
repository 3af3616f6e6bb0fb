//! Reads that wait to be confirmed, and how old what is applied may be.
//!
//! ```text
//!   probe sent ─────── leader: committed up to i ─────── i applied here ────────── stale read
//!       └────────────── everything committed by then is in ──────────────┘  bound: now - probe sent
//! ```
//!
//! A leader that answers a probe has confirmed that it leads, by its lease or by a round; so what was acknowledged before the
//! probe was sent is at or below the index it names. A probe is a read like any other, asked by the replica itself.

use std::collections::VecDeque;
use std::time::Duration;

use ringfort_raft::{ReadId, ReadReady};
use ringfort_types::{Index, Monotonic};

use super::Replica;
use crate::boundary::{Output, Ticket};

/// A probe that was not answered for so long is lost: the next one goes.
const PROBE_TIMEOUT: Duration = Duration::from_millis(200);

/// What became of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probed {
    /// It goes with the next poll.
    Asked,
    /// One is under way.
    Waiting,
    /// Nobody is known to lead.
    NoLeader,
}

/// Reads of one replica.
#[derive(Debug, Default)]
pub(super) struct Reads {
    last: u64,
    waiting: VecDeque<(ReadId, Ticket)>,
    /// Confirmed at these indexes, which are not all applied yet.
    confirmed: VecDeque<(Index, Ticket)>,
    /// The newest probe that is not answered, and when it was sent.
    probe: Option<(ReadId, Monotonic)>,
    /// An answered probe whose index is not applied yet.
    answered: Option<(Index, Monotonic)>,
    /// Everything acknowledged before this is applied here.
    fresh: Option<Monotonic>,
}

impl Reads {
    fn next(&mut self) -> ReadId {
        self.last += 1;
        ReadId(self.last)
    }

    fn take(&mut self, id: ReadId) -> Option<Ticket> {
        let position = self.waiting.iter().position(|(read, _)| *read == id)?;
        self.waiting.remove(position).map(|(_, ticket)| ticket)
    }

    /// Every read that waits, given up.
    pub(super) fn give_up(&mut self) -> Vec<Ticket> {
        let waiting = self.waiting.drain(..).map(|(_, ticket)| ticket);
        waiting.chain(self.confirmed.drain(..).map(|(_, ticket)| ticket)).collect()
    }

    fn confirm(&mut self, ready: ReadReady) {
        if let Some((_, sent)) = self.probe.take_if(|(id, _)| *id == ready.id) {
            // The older of two is applied no later, and what waits is not put off for ever.
            self.answered.get_or_insert((ready.index, sent));
        } else if let Some(ticket) = self.take(ready.id) {
            self.confirmed.push_back((ready.index, ticket));
        }
    }

    fn settle(&mut self, applied: Index) {
        if let Some((_, sent)) = self.answered.take_if(|(index, _)| *index <= applied) {
            self.fresh = self.fresh.max(Some(sent));
        }
    }
}

impl Replica {
    /// Queues a read that waits until it may be served; it comes back in [`Output::reads`], or in [`Output::lost`] or
    /// [`Output::refused`] where this replica does not lead.
    pub fn enqueue_read(&mut self, now: Monotonic, ticket: Ticket) {
        // Not when it was called last: since then the process may have stood still, and the lease may have run out.
        let now = self.advance(now);
        self.handle_wake(now);
        let id = self.reads.next();
        match self.raft.read(now, id) {
            Ok(()) => self.reads.waiting.push_back((id, ticket)),
            Err(error) => self.refused.push((ticket, error)),
        }
    }

    /// An upper bound of the age of what is applied here; `None` if there is none since the start.
    #[must_use]
    pub fn staleness(&self, now: Monotonic) -> Option<Duration> {
        if self.raft.can_read_now(now) {
            return Some(Duration::ZERO);
        }
        // A leader that has lost its lease knows that nothing was committed elsewhere while it had it.
        let led = self.raft.led().filter(|(index, _)| *index <= self.raft.applied());
        self.reads.fresh.max(led.map(|(_, until)| until)).map(|fresh| now.since(fresh))
    }

    /// Whether what is applied here holds everything that was acknowledged before a time: by the lease, or because the
    /// leader, this replica or another, answered a probe that was sent since then.
    #[must_use]
    pub fn is_current(&self, now: Monotonic, since: Monotonic) -> bool {
        self.raft.can_read_now(now) || self.reads.fresh.is_some_and(|fresh| fresh >= since)
    }

    /// Asks the leader how far it is, so that [`Replica::staleness`] becomes smaller, and what is applied
    /// here current, once it has answered.
    pub fn probe(&mut self, now: Monotonic) -> Probed {
        let now = self.advance(now);
        if self.reads.probe.is_some_and(|(_, sent)| now.since(sent) < PROBE_TIMEOUT) {
            return Probed::Waiting;
        }
        self.handle_wake(now);
        let id = self.reads.next();
        let asked = self.raft.read(now, id).is_ok();
        self.reads.probe = asked.then_some((id, now));
        if asked { Probed::Asked } else { Probed::NoLeader }
    }

    /// Gives the reads whose index is applied; they were confirmed in the order of their indexes.
    pub(super) fn confirm_reads(&mut self, ready: &[ReadReady], out: &mut Output) {
        for ready in ready {
            self.reads.confirm(*ready);
        }
        let applied = self.raft.applied();
        self.reads.settle(applied);
        while let Some((_, ticket)) =
            self.reads.confirmed.pop_front_if(|(index, _)| *index <= applied)
        {
            out.reads.push(ticket);
        }
    }

    pub(super) fn lose_reads(&mut self, lost: &[ReadId], out: &mut Output) {
        for id in lost {
            self.reads.probe.take_if(|(probe, _)| probe == id);
            out.lost.extend(self.reads.take(*id));
        }
    }
}
