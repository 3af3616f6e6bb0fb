//! The steps of a request between its beginning and its answer: queued, sent, parked, tried again.

use ringfort_proto::Ask;
use ringfort_route::{Failure, Next, Target, Want};
use ringfort_types::{Monotonic, ReplicaId, ShardId};

use super::{Forwardable, Forwarded, Forwarder, Request, Returned, State, is_due};

enum Place {
    Send(ReplicaId),
    Wait(Monotonic),
    Return,
}

impl<W> Forwarder<W> {
    /// Decides where a queued request goes now; the replica, where it is to be sent to one.
    pub(super) fn place(&mut self, now: Monotonic, id: u64) -> Option<ReplicaId> {
        let request = self.table.get(id).filter(|request| request.state == State::Queued)?;
        let last_try = request.attempts.last_try();
        let place = self.place_of(now, id)?;
        let is_leaderless = self.is_leaderless(now, self.table.get(id)?);
        match place {
            Place::Send(replica) => {
                self.stats.sent += 1;
                let epoch = self.routes.epoch();
                let request = self.table.get_mut(id)?;
                request.routed_by = epoch;
                request.state = State::Sent(replica);
                if let Ask::List { shards, .. } = &request.forwarded.ask {
                    request.listed = Some((None, shards.clone()));
                }
                return Some(replica);
            }
            Place::Return => {
                let Request { forwarded, waiter, attempts, .. } = self.remove(id)?;
                self.returned.push_back(Returned { forwarded, waiter, attempts });
            }
            // Nobody to ask, and no time to wait for one, or no use.
            Place::Wait(_) if now >= last_try || is_leaderless => {
                let request = self.remove(id)?;
                let refusal = request.attempts.give_up(&Failure::NotSent);
                self.respond(request, Err(refusal));
            }
            Place::Wait(until) => self.park(id, until.min(last_try)),
        }
        None
    }

    /// Whether a request is for a shard that has had no leader for too long.
    fn is_leaderless(&self, now: Monotonic, request: &Request<W>) -> bool {
        let Forwarded { shard, ask, .. } = &request.forwarded;
        ask.want() == Want::Leader
            && self.routes.leaderless(now, *shard) >= self.config.leaderless_max
    }

    fn place_of(&mut self, now: Monotonic, id: u64) -> Option<Place> {
        let forwarded = &self.table.get(id)?.forwarded;
        let own = self.config.node;
        if let Ask::List { shards, .. } = &forwarded.ask
            && shards.len() > 1
        {
            let leader = |shard: &ShardId| self.routes.sound_leader(*shard);
            let node = |shard: &ShardId| leader(shard).map(ReplicaId::node);
            let first = leader(&shards[0]).filter(|leader| leader.node() != own);
            return Some(match first {
                Some(first) if shards.iter().all(|each| node(each) == Some(first.node())) => {
                    Place::Send(first)
                }
                _ => Place::Return,
            });
        }
        let (shard, want) = (forwarded.shard, forwarded.ask.want());
        Some(match self.routes.target(now, shard, want) {
            Target::Replica(replica) if replica.node() == own => Place::Return,
            Target::Replica(replica) => Place::Send(replica),
            Target::Wait(until) => Place::Wait(until),
        })
    }

    /// An attempt failed.
    pub(super) fn fail(&mut self, now: Monotonic, id: u64, failure: &Failure<'_>) {
        if let Some(request) = self.remove(id) {
            self.decide(now, request, failure);
        }
    }

    pub(super) fn decide(
        &mut self,
        now: Monotonic,
        mut request: Request<W>,
        failure: &Failure<'_>,
    ) {
        let next = self.retrier.handle_failure(now, &mut request.attempts, failure);
        match next {
            Next::Retry { after } if !self.is_leaderless(now, &request) => {
                let id = self.insert(request);
                if after.is_zero() {
                    self.queue(id);
                } else {
                    self.park(id, now + after);
                }
            }
            Next::Retry { .. } | Next::GiveUp => {
                let refusal = request.attempts.give_up(failure);
                self.respond(request, Err(refusal));
            }
        }
    }

    /// Takes a request under a new id, which is to be queued or parked.
    pub(super) fn insert(&mut self, request: Request<W>) -> u64 {
        self.bytes += request.bytes;
        self.table.insert(request)
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<Request<W>> {
        let request = self.table.remove(id)?;
        self.bytes -= request.bytes;
        Some(request)
    }

    fn park(&mut self, id: u64, until: Monotonic) {
        if let Some(request) = self.table.get_mut(id) {
            request.state = State::Parked;
        }
        self.set_due(id, Some(until));
    }

    pub(super) fn queue(&mut self, id: u64) {
        if let Some(request) = self.table.get_mut(id) {
            request.state = State::Queued;
        }
        self.queued.push_back(id);
        self.set_due(id, None);
    }

    pub(super) fn unpark_all(&mut self, wanted: impl Fn(&Request<W>) -> bool) {
        let parked = |request: &Request<W>| request.state == State::Parked && wanted(request);
        for id in self.table.ids(parked) {
            self.queue(id);
        }
    }

    /// Has a request's attempt given up at this time, if it is not answered before.
    pub(super) fn hurry(&mut self, id: u64, until: Monotonic) {
        let due = self.table.get(id).map(|request| request.due);
        if due.is_some_and(|due| until < due) {
            self.set_due(id, Some(until));
        }
    }

    /// Sets when something is to be done about a request: at this time, or at its deadline.
    fn set_due(&mut self, id: u64, due: Option<Monotonic>) {
        let live = self.table.len();
        let Some(request) = self.table.get_mut(id) else { return };
        let due = due.unwrap_or(request.forwarded.deadline);
        request.due = due;
        let table = &self.table;
        self.timers.set(due, id, live, |due, id| is_due(table, due, id));
    }
}
