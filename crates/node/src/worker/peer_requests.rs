//! Requests between nodes: those that go to a shard's leader elsewhere, and those that come from elsewhere to this one.

use ringfort_proto::{Ask, Forward, Reply, RequestId, Told, peer};
use ringfort_types::request::{
    Answered, Consistency, Context, Done, Got, Identity, Operation, Page,
};
use ringfort_types::{Code, Epoch, Monotonic, NodeNumber, Refusal, ReplicaId, ShardId, Term};

use super::answers::Gathering;
use super::{GetAnswer, Waiter, Worker, open_shard};
use crate::forward::{Forwardable, Forwarded, Returned};
use crate::guard::NodeGuard;
use crate::pending::{Replied, Response};

impl<W> Worker<W> {
    // --- to other nodes ---

    /// Hands a request to the shard's leader, wherever it is.
    pub(super) fn forward(
        &mut self,
        now: Monotonic,
        context: &Context,
        shard: ShardId,
        ask: Ask,
        waiter: Waiter<W>,
    ) {
        let Context { deadline, principal, trace, .. } = context.clone();
        let forwarded = Forwarded { shard, deadline, principal, trace, ask };
        let mut waiter = Some(waiter);
        let begun = self.forwarder.begin(now, forwarded, || waiter.take());
        self.forwards_due = true;
        if let (Err(refusal), Some(waiter)) = (begun, waiter) {
            self.stats.refused += 1;
            self.answer(waiter, Err(refusal));
        }
    }

    /// Sends what waits to be forwarded, and takes back what is answered or is to be served here.
    pub(super) fn poll_forwards(&mut self, now: Monotonic) {
        loop {
            while let Some(request) = self.forwarder.poll_request(now) {
                let (bytes, asked) = (request.forwarded.ask.bytes(), request.forwarded);
                let forward = Forward {
                    id: RequestId(request.id),
                    shard: asked.shard,
                    replica: Some(request.replica),
                    epoch: request.epoch,
                    timeout: asked.deadline.since(now),
                    principal: asked.principal.clone(),
                    trace: asked.trace.clone(),
                    ask: asked.ask.clone(),
                };
                self.outbox.request(request.node, bytes, forward.into());
            }
            if let Some(returned) = self.forwarder.poll_local() {
                self.serve_returned(now, returned);
            } else if let Some((waiter, response)) = self.forwarder.poll_response() {
                if let Some(waiter) = waiter {
                    self.answer(waiter, response);
                }
            } else {
                return;
            }
        }
    }

    /// Serves what was to be forwarded, and turned out to be led here.
    fn serve_returned(&mut self, now: Monotonic, returned: Returned<Option<Waiter<W>>>) {
        let shard = returned.forwarded.shard;
        let several =
            matches!(&returned.forwarded.ask, Ask::List { shards, .. } if shards.len() > 1);
        let here = open_shard(&self.slots, shard).is_ok_and(|open| open.replica.serves());
        if !here && !several {
            let hint = self.hint(shard);
            return self.forwarder.handle_not_local(now, returned, hint);
        }
        let Returned { forwarded, waiter: Some(waiter), attempts } = returned else { return };
        let Forwarded { deadline, principal, trace, ask, .. } = forwarded;
        let context = Context { arrived: now, deadline, principal, trace };
        let mut waiter = Some(Waiter::Returned { waiter: Box::new(waiter), attempts });
        // Each of these takes the waiter once, unless it refuses.
        let mut take = || waiter.take().unwrap_or_else(|| Waiter::Share(Vec::new()));
        let refused = match ask {
            Ask::List { list, shards } => {
                let waiter = waiter.take();
                return waiter.into_iter().for_each(|waiter| {
                    self.list_returned(now, &context, &list, shards.clone(), waiter);
                });
            }
            Ask::Part { identity, operations } => {
                let waiter = take();
                return self.serve_part(now, &context, waiter, &identity, &operations);
            }
            Ask::Get(get) => match self.get_here(now, &context, shard, &get.key, take) {
                GetAnswer::Now(result) => Some(result.map(Replied::Got)),
                GetAnswer::Later => None,
            },
            Ask::Write(write) => self.write_here(now, &context, shard, &write, take).err().map(Err),
            Ask::Atomic(batch) => {
                self.atomic_here(now, &context, shard, &batch, take).err().map(Err)
            }
        };
        if let (Some(response), Some(waiter)) = (refused, waiter) {
            self.answer(waiter, response);
        }
    }

    /// Takes another node's answer.
    pub(super) fn handle_answer(&mut self, now: Monotonic, from: NodeNumber, wire: peer::Answer) {
        match Reply::try_from(wire) {
            Ok(reply) => {
                self.forwarder.handle_answer(now, from, reply.id.0, reply.told);
                self.forwards_due = true;
            }
            Err(_) => self.stats.frames_malformed += 1,
        }
    }

    /// Who leads a shard, as this node's replica knows; nobody while it hands leadership over.
    fn hint(&self, shard: ShardId) -> Option<(ReplicaId, Term)> {
        let replica = &open_shard(&self.slots, shard).ok()?.replica;
        let hint = replica.leader();
        if replica.leads() && !replica.serves() {
            return None;
        }
        Some((hint.leader?, hint.term))
    }

    // --- from other nodes ---

    /// Takes a request of another node.
    pub(super) fn handle_request(&mut self, now: Monotonic, from: NodeNumber, wire: peer::Request) {
        let id = RequestId(wire.id);
        match Forward::try_from(wire) {
            Ok(forward) => self.serve_peer(now, from, forward),
            // Nothing was done: whoever asked learns why.
            Err(error) => {
                self.stats.frames_malformed += 1;
                let refusal = Refusal::not_applied(Code::Internal, error.to_string());
                self.tell(from, id, Told::Refused(refusal));
            }
        }
    }

    fn serve_peer(&mut self, now: Monotonic, from: NodeNumber, forward: Forward) {
        let Forward { id, shard, epoch, timeout, principal, trace, ask, .. } = forward;
        if !self.belongs(shard, &ask) {
            self.stats.frames_malformed += 1;
            let detail = format!("a key of the request does not belong to shard {shard}");
            let refusal = Refusal::not_applied(Code::Internal, detail);
            return self.tell(from, id, Told::Refused(refusal));
        }
        let context = Context { arrived: now, deadline: now + timeout, principal, trace };
        let elsewhere = self.elsewhere(shard, &ask);
        self.hear_epoch(from, epoch, elsewhere.is_some());
        if let Some(shard) = elsewhere {
            return self.tell_not_leader(from, id, shard);
        }
        let waiter = || Waiter::Peer { node: from, id: id.0, shards: Vec::new() };
        let refused = match ask {
            Ask::List { list, shards } => {
                let of = shards.clone();
                let waiter = || Waiter::Peer { node: from, id: id.0, shards };
                self.list_here(now, &context, list, of, waiter).err()
            }
            Ask::Get(get) if get.consistency == Consistency::Stale => {
                let answer = self.get_stale(now, &context, shard, &get.key, waiter);
                return self.tell_now(from, id, answer);
            }
            Ask::Get(get) => {
                let answer = self.get_here(now, &context, shard, &get.key, waiter);
                return self.tell_now(from, id, answer);
            }
            Ask::Write(write) => self.write_here(now, &context, shard, &write, waiter).err(),
            Ask::Atomic(batch) => self.atomic_here(now, &context, shard, &batch, waiter).err(),
            Ask::Part { identity, operations } => {
                self.serve_part(now, &context, waiter(), &identity, &operations);
                None
            }
        };
        if let Some(refusal) = refused {
            self.tell(from, id, Told::Refused(refusal));
        }
    }

    /// The shard of a request that is not for this node to answer, if there is one.
    fn elsewhere(&self, shard: ShardId, ask: &Ask) -> Option<ShardId> {
        let any_replica = match ask {
            Ask::List { list, .. } => list.consistency == Consistency::Stale,
            Ask::Get(get) if get.consistency == Consistency::Stale => true,
            _ => !self.config.guards.has(NodeGuard::OnlyLeadersServe),
        };
        let is_here = |shard: &ShardId| {
            let open = open_shard(&self.slots, *shard);
            open.is_ok_and(|open| any_replica || open.replica.serves())
        };
        let mut shards = match ask {
            Ask::List { shards, .. } => shards.iter(),
            _ => std::slice::from_ref(&shard).iter(),
        };
        shards.find(|shard| !is_here(shard)).copied()
    }

    /// Notes the epoch that another node routed a request by. A newer one is news, whatever the request; an older one matters
    /// where it may have been the reason for a wrong guess.
    fn hear_epoch(&mut self, from: NodeNumber, epoch: Epoch, wrong_guess: bool) {
        let own = self.forwarder.routes().epoch();
        if epoch > own || (epoch < own && wrong_guess) {
            let oldest = self.epochs_heard.entry(from).or_insert(epoch);
            *oldest = epoch.min(*oldest);
        }
    }

    /// An epoch by which another node routed a request since this was asked last, and of which the member of this node is to
    /// know ([`crate::Member::handle_epoch`]): once for each node.
    pub fn poll_epoch_heard(&mut self) -> Option<(NodeNumber, Epoch)> {
        self.epochs_heard.pop_first()
    }

    /// Whether all keys of a request fall into its shard: in another one's store they would not be found again.
    fn belongs(&self, shard: ShardId, ask: &Ask) -> bool {
        let there = |operation: &Operation| self.shard_of(operation.key()) == shard;
        match ask {
            Ask::Get(get) => self.shard_of(&get.key) == shard,
            Ask::Write(write) => there(&write.operation),
            Ask::Atomic(batch) => batch.operations.iter().all(there),
            Ask::Part { operations, .. } => operations.iter().all(|(_, each)| there(each)),
            // Its shards are looked for in this node's own stores.
            Ask::List { .. } => true,
        }
    }

    fn serve_part(
        &mut self,
        now: Monotonic,
        context: &Context,
        waiter: Waiter<W>,
        identity: &Identity,
        operations: &[(u16, Operation)],
    ) {
        let missing = operations.len();
        let results = (0..missing).map(|_| None).collect();
        let gathering = self.gatherings.begin(Gathering::Each { waiter, missing, results });
        let mut position = 0..missing;
        let part = || Waiter::Part { gathering, position: position.next().unwrap_or_default() };
        let answers = self.batch_here(now, context, identity, operations, part);
        for (position, answer) in answers.into_iter().enumerate() {
            if let Some(response) = answer {
                self.answer(Waiter::Part { gathering, position }, response);
            }
        }
    }

    fn tell_now(&mut self, to: NodeNumber, id: RequestId, answer: GetAnswer) {
        match answer {
            GetAnswer::Now(Ok(got)) => self.tell(to, id, Told::Got(got)),
            GetAnswer::Now(Err(refusal)) => self.tell(to, id, Told::Refused(refusal)),
            GetAnswer::Later => {}
        }
    }

    pub(super) fn tell_not_leader(&mut self, to: NodeNumber, id: RequestId, shard: ShardId) {
        let hint = self.hint(shard);
        let term = hint.map_or(Term(0), |(_, term)| term);
        let (leader, epoch) = (hint.map(|(leader, _)| leader), self.forwarder.routes().epoch());
        self.tell(to, id, Told::NotLeader { shard, leader, term, epoch });
    }

    /// Brings an answer to the node that asked.
    pub(super) fn answer_peer(
        &mut self,
        node: NodeNumber,
        id: u64,
        shards: Vec<ShardId>,
        response: Response,
    ) {
        let told = match response {
            Ok(Replied::Got(got)) => Told::Got(got),
            Ok(Replied::One(Answered { done: Done::Got(found), .. })) => {
                Told::Got(Got { found, staleness_ms: None })
            }
            Ok(Replied::One(answered)) => Told::Answered(answered),
            Ok(Replied::All(all)) => Told::All(all.into_iter().map(Ok).collect()),
            Ok(Replied::Each(each)) => Told::All(each),
            Ok(Replied::Page(page)) => Told::Page { page, shards },
            Err(refusal) => Told::Refused(refusal),
        };
        self.tell(node, RequestId(id), told);
    }

    pub(super) fn tell(&mut self, to: NodeNumber, id: RequestId, told: Told) {
        let bytes = told_bytes(&told);
        self.outbox.answer(to, bytes, Reply { id, told }.into());
    }
}

/// Bytes of keys and values in an answer, about.
fn told_bytes(told: &Told) -> usize {
    let of = |answered: &Answered| match &answered.done {
        Done::Got(Some(found)) => found.value.len(),
        _ => 0,
    };
    match told {
        Told::Got(Got { found, .. }) => found.as_ref().map_or(0, |found| found.value.len()),
        Told::Answered(answered) => of(answered),
        Told::All(all) => all.iter().map(|each| each.as_ref().map_or(0, of)).sum(),
        Told::Page { page: Page { items, .. }, .. } => {
            items.iter().map(|item| item.key.as_bytes().len() + item.value.len()).sum()
        }
        Told::Refused(_) | Told::NotLeader { .. } => 0,
    }
}
