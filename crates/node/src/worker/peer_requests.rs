//! Requests between nodes: those that go to a shard's leader elsewhere, and those that come from elsewhere to this one.

use ringfort_proto::{Ask, Forward, Reply, RequestId, Told, peer};
use ringfort_types::request::{Answered, Batch, Consistency, Context, Done, Got, Operation, Page};
use ringfort_types::{GroupId, Monotonic, NodeNumber, Refusal, ShardId, Term};

use super::answers::Gathering;
use super::requests::Place;
use super::{GetAnswer, Waiter, Worker, open_shard};
use crate::pending::{Replied, Response};

impl<W> Worker<W> {
    /// Hands a request to the shard's leader, wherever it is.
    pub(super) fn forward(
        &mut self,
        now: Monotonic,
        context: &Context,
        shard: ShardId,
        ask: Ask,
        waiter: Waiter<W>,
    ) {
        if self.pending.len() + self.forwarder.len() >= self.config.requests_max {
            let write = !matches!(ask, Ask::Get(_) | Ask::List { .. });
            let refusal = self.overloaded(write);
            return self.answer(waiter, Err(refusal));
        }
        let principal = context.principal.clone();
        self.forwarder.begin(now, shard, context.deadline, principal, ask, waiter);
    }

    /// Takes a request of another node.
    pub(super) fn handle_request(&mut self, now: Monotonic, from: NodeNumber, wire: peer::Request) {
        let id = wire.id;
        match Forward::try_from(wire) {
            Ok(forward) => self.serve_peer(now, from, forward),
            // Nothing was done: whoever asked learns why, if it can be named.
            Err(error) => {
                self.stats.frames_malformed += 1;
                let refusal = Refusal::not_applied(ringfort_types::Code::Internal, error.to_string());
                self.tell(from, id, Told::Refused(refusal));
            }
        }
    }

    fn serve_peer(&mut self, now: Monotonic, from: NodeNumber, forward: Forward) {
        let Forward { id, shard, timeout, principal, ask, .. } = forward;
        let context = Context { arrived: now, deadline: now + timeout, principal };
        let waiter = || Waiter::Peer { node: from, id: id.0 };
        if let Ask::List { list, shards } = ask {
            return self.serve_list(now, from, id, &context, list, shards);
        }
        if let Ask::Get(get) = &ask
            && get.consistency == Consistency::Stale
            && open_shard(&self.slots, shard).is_ok()
        {
            let answer = self.get_stale(now, &context, shard, &get.key, waiter);
            return self.tell_now(from, id, answer);
        }
        if !open_shard(&self.slots, shard).is_ok_and(|open| open.replica.leads()) {
            return self.tell_not_leader(from, id, shard);
        }
        let begun = match ask {
            Ask::Get(get) => {
                let answer = self.get_here(now, &context, shard, &get.key, waiter);
                return self.tell_now(from, id, answer);
            }
            Ask::Write(write) => self.write_here(now, &context, shard, &write, waiter),
            Ask::Atomic(batch) => self.atomic_here(now, &context, shard, &batch, waiter),
            Ask::Part { identity, operations } => {
                self.serve_part(now, &context, waiter(), &identity, &operations);
                Ok(())
            }
            Ask::List { .. } => Ok(()),
        };
        if let Err(refusal) = begun {
            self.tell(from, id.0, Told::Refused(refusal));
        }
    }

    fn serve_part(
        &mut self,
        now: Monotonic,
        context: &Context,
        waiter: Waiter<W>,
        identity: &ringfort_types::request::Identity,
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
            GetAnswer::Now(Ok(got)) => self.tell(to, id.0, Told::Got(got)),
            GetAnswer::Now(Err(refusal)) => self.tell(to, id.0, Told::Refused(refusal)),
            GetAnswer::Later => {}
        }
    }

    pub(super) fn tell_not_leader(&mut self, to: NodeNumber, id: RequestId, shard: ShardId) {
        let hint = open_shard(&self.slots, shard).map(|open| open.replica.leader());
        let (leader, term) = match hint {
            Ok(hint) => (hint.leader, hint.term),
            Err(_) => (None, Term(0)),
        };
        let epoch = self.forwarder.epoch();
        self.tell(to, id.0, Told::NotLeader { leader, term, epoch });
    }

    /// Brings an answer to the node that asked.
    pub(super) fn answer_peer(&mut self, node: NodeNumber, id: u64, response: Response) {
        let told = match response {
            Ok(Replied::Got(got)) => Told::Got(got),
            Ok(Replied::One(answered)) => Told::Answered(answered),
            Ok(Replied::All(all)) => Told::All(all.into_iter().map(Ok).collect()),
            Ok(Replied::Each(each)) => Told::All(each),
            Ok(Replied::Page(page)) => Told::Page { page, shards: Vec::new() },
            Err(refusal) => Told::Refused(refusal),
        };
        self.tell(node, id, told);
    }

    pub(super) fn tell(&mut self, to: NodeNumber, id: u64, told: Told) {
        let bytes = told_bytes(&told);
        self.outbox.answer(to, bytes, Reply { id: RequestId(id), told }.into());
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
