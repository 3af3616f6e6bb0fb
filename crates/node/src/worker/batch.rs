//! Batches: the operations of one worker's shards, in their order.

use std::collections::BTreeSet;

use ringfort_replica::command::CommandIdentity;
use ringfort_types::request::{Batch, Consistency, Context, Done, Get, Identity, Operation};
use ringfort_types::{Code, Key, Monotonic, Refusal};

use super::{GetAnswer, Worker, open_shard, replied};
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
        let mut room = self.answer_room();
        for (position, operation) in batch.operations.iter().enumerate() {
            room.take(self, operation).map_err(|refusal| Refusal {
                failed_op: Some(position),
                ..Refusal::not_applied(refusal.code, refusal.detail)
            })?;
        }
        let shard = self.shard_of(first.key());
        let identity = CommandIdentity::of(&batch.identity, context.principal.as_str(), 0);
        self.enqueue(now, context, shard, &identity, true, &batch.operations, Kind::Write, waiter)
    }

    /// Executes those operations of a batch, each with its position, that fall to this worker's shards. Gives what is
    /// answered at once; `None` where the answer comes under the operation's waiter, one of which is made for each.
    pub fn batch(
        &mut self,
        now: Monotonic,
        context: &Context,
        identity: &Identity,
        operations: &[(u16, Operation)],
        mut waiter: impl FnMut() -> W,
    ) -> Vec<Option<Response>> {
        let mut room = self.answer_room();
        let mut written = BTreeSet::new();
        let mut started = Vec::with_capacity(operations.len());
        for (position, operation) in operations {
            let shard = self.shard_of(operation.key());
            let waiter = waiter();
            let answer = match room.take(self, operation) {
                Err(refusal) => Some(Err(refusal)),
                Ok(()) if operation.is_write() => {
                    written.insert(shard);
                    let identity =
                        CommandIdentity::of(identity, context.principal.as_str(), *position);
                    self.enqueue_one(now, context, &identity, operation, Kind::Write, waiter)
                }
                // Behind a write to its shard, a get goes through the log to see it.
                Ok(()) if written.contains(&shard) => self.enqueue_one(
                    now,
                    context,
                    &CommandIdentity::None,
                    operation,
                    Kind::Read,
                    waiter,
                ),
                Ok(()) => self.get_one(now, context, operation.key(), waiter),
            };
            started.push(answer);
        }
        started
    }

    fn enqueue_one(
        &mut self,
        now: Monotonic,
        context: &Context,
        identity: &CommandIdentity,
        operation: &Operation,
        kind: Kind,
        waiter: W,
    ) -> Option<Response> {
        let shard = self.shard_of(operation.key());
        let operations = std::slice::from_ref(operation);
        let waiter = || waiter;
        self.enqueue(now, context, shard, identity, false, operations, kind, waiter).err().map(Err)
    }

    fn get_one(
        &mut self,
        now: Monotonic,
        context: &Context,
        key: &Key,
        waiter: W,
    ) -> Option<Response> {
        let get = Get { key: key.clone(), consistency: Consistency::Linearizable };
        match self.get(now, context, &get, || waiter) {
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
