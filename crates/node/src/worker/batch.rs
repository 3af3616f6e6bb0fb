//! Batches: the operations of one worker's shards, in their order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ringfort_proto::Ask;
use ringfort_replica::command::CommandIdentity;
use ringfort_types::request::{Batch, Context, Done, Identity, Operation};
use ringfort_types::{Code, GroupId, Key, Monotonic, Refusal, ShardId};

use super::requests::Place;
use super::{GetAnswer, Waiter, Worker, open_shard, replied};
use crate::pending::{Kind, Response};

/// What the values of one batch's answers may still take, in bytes. Sizes are looked at when the batch comes in: a value
/// that grows before it is read costs what the write that made it grow was admitted for.
struct AnswerRoom {
    left: usize,
    /// The largest value that the batch itself has put so far: what a get behind it may find.
    put_max: usize,
}

impl AnswerRoom {
    /// Takes the room of one operation.
    fn take<W>(&mut self, worker: &Worker<W>, operation: &Operation) -> Result<(), Refusal> {
        match operation {
            Operation::Put { value, .. } => self.put_max = self.put_max.max(value.len()),
            Operation::Delete { .. } => {}
            Operation::Get { key } => {
                let bytes = worker.value_bytes(key).max(self.put_max);
                match self.left.checked_sub(bytes) {
                    Some(left) => self.left = left,
                    None => {
                        let detail =
                            "the values that the batch reads exceed limits.max_request_bytes";
                        return Err(Refusal::new(Code::TooLarge, detail));
                    }
                }
            }
        }
        Ok(())
    }
}

/// A batch's operations on one shard, and for each whether it writes and who waits.
type Share<W> = (Vec<(u16, Operation)>, Vec<(bool, W)>);

impl<W> Worker<W> {
    /// Executes an atomic batch, whose keys share one shard; the answer comes under the waiter.
    ///
    /// # Errors
    /// The batch was refused, and never happens.
    pub fn atomic(
        &mut self,
        now: Monotonic,
        context: &Context,
        batch: &Batch,
        waiter: impl FnOnce() -> W,
    ) -> Result<(), Refusal> {
        let Some(first) = batch.operations.first() else {
            return Err(Refusal::not_applied(Code::InvalidArgument, "the batch has no operation"));
        };
        let shard = self.shard_of(first.key());
        match self.place_of(shard) {
            Place::Here => self.atomic_here(now, context, shard, batch, || Waiter::Host(waiter())),
            Place::Elsewhere => {
                let ask = Ask::Atomic(batch.clone());
                self.forward(now, context, shard, ask, Waiter::Host(waiter()));
                Ok(())
            }
        }
    }

    /// Executes an atomic batch where this node leads its shard.
    pub(super) fn atomic_here(
        &mut self,
        now: Monotonic,
        context: &Context,
        shard: ShardId,
        batch: &Batch,
        waiter: impl FnOnce() -> Waiter<W>,
    ) -> Result<(), Refusal> {
        let mut room = self.answer_room();
        for (position, operation) in batch.operations.iter().enumerate() {
            room.take(self, operation).map_err(|refusal| Refusal {
                failed_op: Some(position),
                ..Refusal::not_applied(refusal.code, refusal.detail)
            })?;
        }
        let identity = CommandIdentity::of(&batch.identity, context.principal.as_str(), 0);
        self.enqueue(
            now,
            context,
            GroupId::of_shard(shard),
            &identity,
            true,
            &batch.operations,
            Kind::Write,
            waiter,
        )
    }

    /// Executes those operations of a batch, each with its position, that fall to this worker's shards, wherever those are
    /// led. Gives what is answered at once; `None` where the answer comes under the operation's waiter, one of which is made
    /// for each.
    pub fn batch(
        &mut self,
        now: Monotonic,
        context: &Context,
        identity: &Identity,
        operations: &[(u16, Operation)],
        mut waiter: impl FnMut() -> W,
    ) -> Vec<Option<Response>> {
        let place = |(_, operation): &(u16, Operation)| {
            let shard = self.shard_of(operation.key());
            (self.place_of(shard) == Place::Elsewhere).then_some(shard)
        };
        let places: Vec<_> = operations.iter().map(place).collect();
        if places.iter().all(Option::is_none) {
            let waiter = || Waiter::Host(waiter());
            return self.batch_here(now, context, identity, operations, waiter);
        }
        // Operations on one key stay in their order: those of one shard go together.
        let mut parts: BTreeMap<ShardId, Share<W>> = BTreeMap::new();
        let (mut here, mut waiters) = (Vec::new(), VecDeque::new());
        for (place, operation) in places.iter().zip(operations) {
            match place {
                Some(shard) => {
                    let (operations, waiters) = parts.entry(*shard).or_default();
                    waiters.push((operation.1.is_write(), waiter()));
                    operations.push(operation.clone());
                }
                None => {
                    here.push(operation.clone());
                    waiters.push_back(waiter());
                }
            }
        }
        for (shard, (operations, waiters)) in parts {
            let ask = Ask::Part { identity: identity.clone(), operations };
            self.forward(now, context, shard, ask, Waiter::Share(waiters));
        }
        let mut answers = VecDeque::new();
        if !here.is_empty() {
            let next = || waiters.pop_front().map_or(Waiter::Share(Vec::new()), Waiter::Host);
            answers.extend(self.batch_here(now, context, identity, &here, next));
        }
        let answer = |place: &Option<ShardId>| match place {
            Some(_) => None,
            None => answers.pop_front().flatten(),
        };
        places.iter().map(answer).collect()
    }

    /// Executes operations of a batch whose shards are led here.
    pub(super) fn batch_here(
        &mut self,
        now: Monotonic,
        context: &Context,
        identity: &Identity,
        operations: &[(u16, Operation)],
        mut waiter: impl FnMut() -> Waiter<W>,
    ) -> Vec<Option<Response>> {
        let mut room = self.answer_room();
        let (mut written, last_writes) = (BTreeSet::new(), self.last_writes(operations));
        let mut started = Vec::with_capacity(operations.len());
        let mut refused = BTreeMap::new();
        for (index, (position, operation)) in operations.iter().enumerate() {
            let shard = self.shard_of(operation.key());
            let write_follows = || last_writes.get(&shard).is_some_and(|last| *last > index);
            let waiter = waiter();
            let answer = match room.take(self, operation) {
                Err(refusal) => Some(Err(refusal)),
                // Or else it would be remembered, and the one before it done behind it when the batch is repeated.
                Ok(()) if operation.is_write() && refused.contains_key(operation.key()) => {
                    let detail = "an earlier operation of the batch on this key was refused";
                    Some(Err(Refusal::not_applied(refused[operation.key()], detail)))
                }
                Ok(()) if operation.is_write() => {
                    written.insert(shard);
                    let identity =
                        CommandIdentity::of(identity, context.principal.as_str(), *position);
                    self.enqueue_one(now, context, &identity, operation, Kind::Write, waiter)
                }
                // Behind a write to its shard, a get goes through the log to see it; before one, not to see it where it cannot
                // be answered at once.
                Ok(())
                    if written.contains(&shard)
                        || (write_follows() && !self.can_read_now(now, shard)) =>
                {
                    self.enqueue_one(
                        now,
                        context,
                        &CommandIdentity::None,
                        operation,
                        Kind::Read,
                        waiter,
                    )
                }
                Ok(()) => self.get_one(now, context, operation.key(), waiter),
            };
            if let Some(Err(refusal)) = &answer
                && operation.is_write()
            {
                refused.insert(operation.key(), refusal.code);
            }
            started.push(answer);
        }
        started
    }

    /// Of each shard that these write to, where the last write stands.
    fn last_writes(&self, operations: &[(u16, Operation)]) -> BTreeMap<ShardId, usize> {
        let writes =
            operations.iter().enumerate().filter(|(_, (_, operation))| operation.is_write());
        writes.map(|(index, (_, operation))| (self.shard_of(operation.key()), index)).collect()
    }

    fn can_read_now(&self, now: Monotonic, shard: ShardId) -> bool {
        open_shard(&self.slots, shard).is_ok_and(|open| open.replica.can_read_now(now))
    }

    fn enqueue_one(
        &mut self,
        now: Monotonic,
        context: &Context,
        identity: &CommandIdentity,
        operation: &Operation,
        kind: Kind,
        waiter: Waiter<W>,
    ) -> Option<Response> {
        let shard = self.shard_of(operation.key());
        let operations = std::slice::from_ref(operation);
        let waiter = || waiter;
        self.enqueue(
            now,
            context,
            GroupId::of_shard(shard),
            identity,
            false,
            operations,
            kind,
            waiter,
        )
        .err()
        .map(Err)
    }

    fn get_one(
        &mut self,
        now: Monotonic,
        context: &Context,
        key: &Key,
        waiter: Waiter<W>,
    ) -> Option<Response> {
        let shard = self.shard_of(key);
        match self.get_here(now, context, shard, key, || waiter) {
            GetAnswer::Now(result) => Some(result.map(|got| replied(Done::Got(got.found)))),
            GetAnswer::Later => None,
        }
    }

    fn answer_room(&self) -> AnswerRoom {
        AnswerRoom { left: self.config.answer_bytes_max, put_max: 0 }
    }

    /// Bytes of a key's value as it stands; 0 if it is absent or cannot be read now.
    pub(super) fn value_bytes(&self, key: &Key) -> usize {
        match open_shard(&self.slots, self.shard_of(key)) {
            Ok(open) => open.replica.value_bytes(self.engine.as_ref(), key),
            Err(_) => 0,
        }
    }
}
