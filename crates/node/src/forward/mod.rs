//! Requests of one worker that other nodes serve: sent to whoever is believed to lead, sent again where that is safe, and each
//! answered once, by its deadline.
//!
//! ```text
//!   begin ──▶ queued ── poll_request ──▶ sent ── answer ──────────────────────────▶ poll_response
//!               ▲  │                      │                                              ▲
//!               │  └─ own node leads ─────┼──▶ poll_local                                │
//!               │                         ▼                                              │
//!               └── time, news of a ── parked ◀── does not lead, refused, lost ── else ──┘
//!                   leader, node up
//! ```
//!
//! # Invariants
//!
//! - Each attempt has an id of its own, never used again; an answer to an earlier attempt is dropped.
//! - From the moment it was polled, an attempt counts as handed to a connection.
//! - `route` decides what is tried again and what is said of the outcome.
//! - A shard without a leader keeps its requests for as long as an election may take, and refuses them from then on: there is no
//!   quorum. Leaders are heard of without requests.
//! - Requests under way are bounded in number and in bytes.

use std::collections::VecDeque;
use std::time::Duration;

use ringfort_route::{Attempts, BudgetConfig, Failure, Retrier, Routes, Want};
use ringfort_types::request::Page;
use ringfort_types::{Code, Epoch, Monotonic, NodeNumber, Refusal, ReplicaId, ShardId, Term};

use crate::pending::Response;
use table::{Table, Timers};

mod answer;
mod ask;
mod steps;
mod table;

pub(crate) use ask::Forwardable;
pub use ask::Forwarded;

/// How long the answer of a leader that leads no longer is waited for.
const DEPOSED_GRACE: Duration = Duration::from_millis(200);

/// Settings of a forwarder.
#[derive(Clone, Copy, Debug)]
pub struct ForwardConfig {
    /// This node's number.
    pub node: NodeNumber,
    /// The worker whose requests these are: the high 16 bits of their ids.
    pub worker: u16,
    /// Requests under way at most; more are refused as `overloaded`.
    pub requests_max: usize,
    /// Bytes of requests under way at most; more are refused as `overloaded`.
    pub bytes_max: usize,
    /// Bounds of retries.
    pub budget: BudgetConfig,
    /// Requests for a shard that has had no leader for longer are refused; until then they wait for one. A few election
    /// timeouts, so that an ordinary election refuses nothing.
    pub leaderless_max: Duration,
    /// Spreads pauses, and draws the first id. Another one for each start of the node and each worker.
    pub seed: u64,
}

/// An attempt to be sent.
#[derive(Debug)]
pub struct ForwardRequest<'a> {
    /// Where to.
    pub node: NodeNumber,
    /// The attempt's id: worker << 48 | counter.
    pub id: u64,
    /// The replica that is meant.
    pub replica: ReplicaId,
    /// Epoch of the map it was routed by.
    pub epoch: Epoch,
    /// What is asked, and until when.
    pub forwarded: &'a Forwarded,
}

/// A request that is not forwarded after all: this node leads its shard, or the shards of a listing have several leaders
/// (see [`Forwarder::divide`]).
#[derive(Debug)]
pub struct Returned<W> {
    /// The request.
    pub forwarded: Forwarded,
    /// Who waits.
    pub waiter: W,
    /// What was tried: a refusal of what is executed here goes through [`Attempts::settle`].
    pub attempts: Attempts,
}

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ForwardStats {
    /// Requests begun.
    pub begun: u64,
    /// Requests refused by admission.
    pub refused: u64,
    /// Attempts sent.
    pub sent: u64,
    /// Answers that a replica does not lead.
    pub not_leader: u64,
    /// Those that came from a node with a newer map.
    pub stale_maps: u64,
    /// Requests that such an answer had sent elsewhere, and that were then served.
    pub stale_maps_corrected: u64,
    /// Attempts whose connection failed under way.
    pub lost: u64,
    /// Requests whose deadline passed.
    pub timeouts: u64,
    /// Answers that nobody waited for any more.
    pub late_answers: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Queued,
    Parked,
    Sent(ReplicaId),
}

struct Request<W> {
    forwarded: Forwarded,
    waiter: W,
    attempts: Attempts,
    bytes: usize,
    state: State,
    /// Epoch of the map by which it was sent last.
    routed_by: Epoch,
    /// A node with a newer map said that the replica does not lead.
    by_stale_map: bool,
    /// When something is to be done about it.
    due: Monotonic,
    /// Of a listing: what came so far, and the shards that did not.
    listed: Option<(Option<Page>, Vec<ShardId>)>,
}

impl<W> Request<W> {
    /// One that was not sent yet.
    fn new(forwarded: Forwarded, waiter: W, attempts: Attempts) -> Self {
        Self {
            bytes: forwarded.ask.bytes(),
            due: forwarded.deadline,
            forwarded,
            waiter,
            attempts,
            state: State::Queued,
            routed_by: Epoch(0),
            by_stale_map: false,
            listed: None,
        }
    }
}

/// The requests of one worker that are under way at other nodes. `W` is whoever waits for an answer.
pub struct Forwarder<W> {
    config: ForwardConfig,
    routes: Routes,
    retrier: Retrier,
    table: Table<Request<W>>,
    bytes: usize,
    timers: Timers,
    queued: VecDeque<u64>,
    responses: VecDeque<(W, Response)>,
    returned: VecDeque<Returned<W>>,
    stats: ForwardStats,
}

impl<W> Forwarder<W> {
    /// A forwarder without a request, and without a map.
    #[must_use]
    pub fn new(now: Monotonic, config: ForwardConfig) -> Self {
        Self {
            config,
            routes: Routes::new(Some(config.node), config.seed),
            retrier: Retrier::new(now, config.seed.rotate_left(32), config.budget),
            table: Table::new(config.worker, config.seed),
            bytes: 0,
            timers: Timers::default(),
            queued: VecDeque::new(),
            responses: VecDeque::new(),
            returned: VecDeque::new(),
            stats: ForwardStats::default(),
        }
    }

    /// Where requests go, as this worker believes.
    #[must_use]
    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// Counters since the start.
    #[must_use]
    pub fn stats(&self) -> ForwardStats {
        self.stats
    }

    /// Requests under way.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether none is under way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes a request; its answer comes under the waiter.
    ///
    /// # Errors
    /// It was refused, and never happens.
    pub fn begin(
        &mut self,
        now: Monotonic,
        forwarded: Forwarded,
        waiter: impl FnOnce() -> W,
    ) -> Result<(), Refusal> {
        let attempts = Attempts::new(forwarded.ask.safety(), forwarded.deadline);
        if forwarded.deadline <= now {
            return Err(attempts.time_out(false));
        }
        let bytes = self.bytes + forwarded.ask.bytes();
        if self.len() >= self.config.requests_max || bytes > self.config.bytes_max {
            self.stats.refused += 1;
            let detail = "too many requests are under way to other nodes";
            return Err(attempts.settle(Refusal::not_applied(Code::Overloaded, detail)));
        }
        self.stats.begun += 1;
        self.retrier.handle_request();
        let id = self.insert(Request::new(forwarded, waiter(), attempts));
        self.queue(id);
        Ok(())
    }

    /// The next attempt to be sent. Until its connection fails or it is answered, it counts as handed to the connection.
    pub fn poll_request(&mut self, now: Monotonic) -> Option<ForwardRequest<'_>> {
        let (id, replica) = loop {
            let id = self.queued.pop_front()?;
            if let Some(replica) = self.place(now, id) {
                break (id, replica);
            }
        };
        let request = self.table.get(id)?;
        let (node, epoch) = (replica.node(), self.routes.epoch());
        Some(ForwardRequest { node, id, replica, epoch, forwarded: &request.forwarded })
    }

    /// The next request that is not forwarded after all.
    pub fn poll_local(&mut self) -> Option<Returned<W>> {
        self.returned.pop_front()
    }

    /// The next answer, and who waits for it.
    pub fn poll_response(&mut self) -> Option<(W, Response)> {
        self.responses.pop_front()
    }

    /// When [`Forwarder::handle_tick`] has something to do.
    pub fn next_deadline(&mut self) -> Option<Monotonic> {
        let table = &self.table;
        self.timers.first(|due, id| is_due(table, due, id)).map(|(due, _)| due)
    }

    /// Ends requests whose time has passed, and tries again those whose pause has.
    pub fn handle_tick(&mut self, now: Monotonic) {
        loop {
            let table = &self.table;
            let first = self.timers.first(|due, id| is_due(table, due, id));
            let Some((_, id)) = first.filter(|(due, _)| *due <= now) else { return };
            let Some(request) = self.table.get(id) else { return };
            if request.state == State::Parked && now < request.forwarded.deadline {
                self.queue(id);
                continue;
            }
            if matches!(request.state, State::Sent(_)) && now < request.forwarded.deadline {
                self.stats.lost += 1;
                self.fail(now, id, &Failure::Lost);
                continue;
            }
            let Some(request) = self.remove(id) else { return };
            self.stats.timeouts += 1;
            let sent = match request.state {
                State::Sent(replica) => {
                    self.routes.handle_timeout(now, replica.node());
                    true
                }
                State::Queued | State::Parked => false,
            };
            let refusal = request.attempts.time_out(sent);
            self.respond(request, Err(refusal));
        }
    }

    /// Takes a newer map's placements, in the order of shards.
    pub fn handle_map(&mut self, epoch: Epoch, shards: &[ringfort_placement::ShardPlacement]) {
        if self.routes.handle_map(epoch, shards) {
            self.unpark_all(|_| true);
        }
    }

    /// Somebody says who leads a shard in which term: a replica of this node's own, or another node. What an earlier leader
    /// was asked may have been done just before; if its answer does not come soon, it counts as lost.
    pub fn handle_leader(&mut self, now: Monotonic, shard: ShardId, leader: ReplicaId, term: Term) {
        if self.routes.handle_leader(shard, leader, term) {
            self.unpark_all(|request| request.forwarded.shard == shard);
            let deposed = |request: &Request<W>| {
                request.forwarded.shard == shard
                    && request.forwarded.ask.want() == Want::Leader
                    && matches!(request.state, State::Sent(to) if to != leader)
            };
            for id in self.table.ids(deposed) {
                self.hurry(id, now + DEPOSED_GRACE);
            }
        }
    }

    /// A connection to the node was made.
    pub fn handle_node_up(&mut self, node: NodeNumber) {
        self.routes.handle_reachable(node);
        self.unpark_all(|_| true);
    }

    /// The connection to the node broke, or the node does not answer any more: what was sent to it is in doubt.
    pub fn handle_node_down(&mut self, now: Monotonic, node: NodeNumber) {
        self.routes.handle_unreachable(now, node);
        for id in self.sent_to(node) {
            self.stats.lost += 1;
            self.fail(now, id, &Failure::Lost);
        }
    }

    /// The node could not be reached: nothing that was to be sent to it has left this node.
    pub fn handle_node_unreached(&mut self, now: Monotonic, node: NodeNumber) {
        self.routes.handle_unreachable(now, node);
        for id in self.sent_to(node) {
            self.fail(now, id, &Failure::NotSent);
        }
    }

    fn sent_to(&self, node: NodeNumber) -> Vec<u64> {
        self.table.ids(|request| matches!(request.state, State::Sent(to) if to.node() == node))
    }

    /// An attempt that was polled could not be handed to any connection: the node has seen nothing of it.
    pub fn handle_unsent(&mut self, now: Monotonic, id: u64) {
        if let Some(&Request { state: State::Sent(replica), .. }) = self.table.get(id) {
            self.routes.handle_unreachable(now, replica.node());
            self.fail(now, id, &Failure::NotSent);
        }
    }

    /// A request that was polled as one for this node, and does not go here: the replica of its shard (of a listing,
    /// `forwarded.shard` names it) does not lead. The hint says who does, as that replica knows.
    pub fn handle_not_local(
        &mut self,
        now: Monotonic,
        returned: Returned<W>,
        hint: Option<(ReplicaId, Term)>,
    ) {
        let Returned { forwarded, waiter, attempts } = returned;
        let shard = forwarded.shard;
        let own = self.routes.leader(shard).filter(|leader| leader.node() == self.config.node);
        let news = own.is_some_and(|own| self.routes.handle_not_leader(shard, own, hint));
        let request = Request::new(forwarded, waiter, attempts);
        self.decide(now, request, &Failure::NotLeader { news });
    }

    /// Divides shards by the nodes that are believed to lead them, as [`ringfort_proto::Ask::List`] wants them. Those of which
    /// no leader is known, or only one that is avoided, stand alone: each is to be asked for by itself.
    #[must_use]
    pub fn divide(&self, shards: &[ShardId]) -> Vec<(Option<NodeNumber>, Vec<ShardId>)> {
        let mut parts: Vec<(Option<NodeNumber>, Vec<ShardId>)> = Vec::new();
        for shard in shards {
            let node = self.routes.sound_leader(*shard).map(ReplicaId::node);
            match parts.iter_mut().find(|(of, _)| node.is_some() && *of == node) {
                Some((_, part)) => part.push(*shard),
                None => parts.push((node, vec![*shard])),
            }
        }
        parts
    }
}

/// Whether the request still waits for this time.
fn is_due<W>(table: &Table<Request<W>>, due: Monotonic, id: u64) -> bool {
    table.get(id).is_some_and(|request| request.due == due)
}
