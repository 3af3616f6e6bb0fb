//! Stale reads: from what this replica has applied, with a bound of its age.
//!
//! Where there is a bound, the answer is given at once; while they go on, the leader is asked again and again, so that the
//! bound stays small. Where there is none yet, the read waits for the leader's first word, not longer than
//! [`BOUND_WAIT_MAX`].

use std::collections::BTreeMap;
use std::time::Duration;

use ringfort_replica::Probed;
use ringfort_types::request::{Context, Got};
use ringfort_types::{Code, GroupId, Key, Monotonic, Refusal, ShardId};

use super::{GetAnswer, Waiter, Worker, open_group_mut};
use crate::pending::{Kind, Replied};

/// Longest wait for a first bound.
const BOUND_WAIT_MAX: Duration = Duration::from_secs(1);
/// A bound beyond this has the leader asked again.
const BOUND_RENEW: Duration = Duration::from_millis(50);

/// Reads that wait for a bound, by group. They are requests under way, and bounded with them.
#[derive(Debug, Default)]
pub(super) struct StaleReads {
    waiting: BTreeMap<GroupId, Vec<Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    ticket: ringfort_replica::Ticket,
    key: Key,
    until: Monotonic,
}

impl<W> Worker<W> {
    /// Reads one key from this node's replica, which is open.
    pub(super) fn get_stale(
        &mut self,
        now: Monotonic,
        context: &Context,
        shard: ShardId,
        key: &Key,
        waiter: impl FnOnce() -> Waiter<W>,
    ) -> GetAnswer {
        let group = GroupId::of_shard(shard);
        let open = match open_group_mut(&mut self.slots, group) {
            Ok(open) => open,
            Err(refusal) => return GetAnswer::Now(Err(refusal)),
        };
        let bound = open.replica.staleness(now);
        let mut probed = Probed::Waiting;
        if bound.is_none_or(|bound| bound > BOUND_RENEW) {
            probed = open.replica.probe(now);
            // Asking wakes a group, even where nobody is there to be asked.
            if probed != Probed::Waiting {
                self.mark_dirty(group);
            }
        }
        if bound.is_some() {
            return GetAnswer::Now(self.read_stale(now, group, key));
        }
        if probed == Probed::NoLeader {
            return GetAnswer::Now(Err(no_bound()));
        }
        if self.pending.len() >= self.config.requests_max {
            return GetAnswer::Now(Err(self.overloaded(false)));
        }
        let ticket = self.pending.insert(context.deadline, Kind::Read, waiter());
        let until = now + BOUND_WAIT_MAX;
        let waiting = Waiting { ticket, key: key.clone(), until };
        self.stale.waiting.entry(group).or_default().push(waiting);
        GetAnswer::Later
    }

    fn read_stale(&mut self, now: Monotonic, group: GroupId, key: &Key) -> Result<Got, Refusal> {
        let open = open_group_mut(&mut self.slots, group)?;
        let Some(bound) = open.replica.staleness(now) else { return Err(no_bound()) };
        match open.replica.get_applied(self.engine.as_ref(), now, key) {
            Ok(found) => Ok(Got { found, staleness_ms: Some(milliseconds(bound)) }),
            Err(error) => Err(self.close(group, &error)),
        }
    }

    /// Answers the stale reads of a group that waited for a bound, if there is one now.
    pub(super) fn finish_stale(&mut self, now: Monotonic, group: GroupId) {
        if !self.stale.waiting.contains_key(&group) {
            return;
        }
        let bound = open_group_mut(&mut self.slots, group)
            .is_ok_and(|open| open.replica.staleness(now).is_some());
        if !bound {
            return;
        }
        for Waiting { ticket, key, .. } in self.stale.waiting.remove(&group).unwrap_or_default() {
            let got = self.read_stale(now, group, &key);
            self.respond(ticket, got.map(Replied::Got));
        }
    }

    /// Refuses the stale reads that have waited long enough, and forgets those that were answered otherwise.
    pub(super) fn expire_stale(&mut self, now: Monotonic) {
        let mut late = Vec::new();
        let pending = &self.pending;
        self.stale.waiting.retain(|_, waiting| {
            waiting.retain(|waiting| {
                let is_late = waiting.until <= now;
                if is_late {
                    late.push(waiting.ticket);
                }
                !is_late && pending.contains(waiting.ticket)
            });
            !waiting.is_empty()
        });
        for ticket in late {
            self.respond(ticket, Err(no_bound()));
        }
    }
}

/// Rounded up: a bound is never less than the truth.
pub(super) fn milliseconds(bound: Duration) -> u64 {
    u64::try_from(bound.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

fn no_bound() -> Refusal {
    Refusal::new(Code::Unavailable, "no bound can be given for how old an answer would be")
}
