//! Requests: what is answered at once, what is enqueued, and what is refused.

use std::borrow::Cow;

use ringfort_log::Headroom;
use ringfort_proto::Ask;
use ringfort_replica::Reading;
use ringfort_replica::command::{CommandIdentity, POSITION_SINGLE};
use ringfort_types::request::{Consistency, Context, Get, Got, Operation, Write};
use ringfort_types::{
    Code, GroupId, Key, Monotonic, NamespaceId, Refusal, ShardId, shard_of_token,
};

use super::room::Short;
use super::{GetAnswer, Waiter, Worker, open_group_mut, open_shard};
use crate::guard::NodeGuard;
use crate::pending::Kind;
use crate::space::growth;

/// Where a request for a shard is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// By this node's replica, which leads, or is the only one there is.
    Here,
    /// By another node's, or by whoever comes to lead: also where this node's hands leadership over.
    Elsewhere,
}

impl<W> Worker<W> {
    /// The shard of a key.
    #[must_use]
    pub fn shard_of(&self, key: &Key) -> ShardId {
        shard_of_token(key.token(NamespaceId::default()), self.config.shards)
    }

    /// Where a request for a shard is served.
    pub(super) fn place_of(&self, shard: ShardId) -> Place {
        match open_shard(&self.slots, shard) {
            Ok(open) if open.replica.serves() => Place::Here,
            _ if self.forwarder.routes().is_elsewhere(shard) => Place::Elsewhere,
            _ => Place::Here,
        }
    }

    /// Reads one key: at once where that is safe, else later under the waiter.
    pub fn get(
        &mut self,
        now: Monotonic,
        context: &Context,
        get: &Get,
        waiter: impl FnOnce() -> W,
    ) -> GetAnswer {
        let shard = self.shard_of(&get.key);
        if get.consistency == Consistency::Stale && open_shard(&self.slots, shard).is_ok() {
            return self.get_stale(now, context, shard, &get.key, || Waiter::Host(waiter()));
        }
        match self.place_of(shard) {
            Place::Here => self.get_here(now, context, shard, &get.key, || Waiter::Host(waiter())),
            Place::Elsewhere => {
                let ask = Ask::Get(get.clone());
                self.forward(now, context, shard, ask, Waiter::Host(waiter()));
                GetAnswer::Later
            }
        }
    }

    /// Reads one key where this node leads its shard.
    pub(super) fn get_here(
        &mut self,
        now: Monotonic,
        context: &Context,
        shard: ShardId,
        key: &Key,
        waiter: impl FnOnce() -> Waiter<W>,
    ) -> GetAnswer {
        let open = match open_shard(&self.slots, shard) {
            Ok(open) => open,
            Err(refusal) => return GetAnswer::Now(Err(refusal)),
        };
        let accepts = !open.replica.leads() && !self.config.guards.has(NodeGuard::OnlyLeadersServe);
        if !open.replica.can_read_now(now) && !accepts {
            return self.get_later(now, shard, context, key, waiter);
        }
        match open.replica.get(self.engine.as_ref(), now, key) {
            Ok(Reading::Found(found)) => GetAnswer::Now(Ok(Got { found, staleness_ms: None })),
            // The key goes first, through the log, and the read behind it.
            Ok(Reading::Due(..)) => {
                let get = [Operation::Get { key: key.clone() }];
                let none = CommandIdentity::None;
                let enqueued = self.enqueue(
                    now,
                    context,
                    GroupId::of_shard(shard),
                    &none,
                    false,
                    &get,
                    Kind::Read,
                    waiter,
                );
                enqueued.map_or_else(|refusal| GetAnswer::Now(Err(refusal)), |()| GetAnswer::Later)
            }
            Err(error) => GetAnswer::Now(Err(self.close(GroupId::of_shard(shard), &error))),
        }
    }

    fn get_later(
        &mut self,
        now: Monotonic,
        shard: ShardId,
        context: &Context,
        key: &Key,
        waiter: impl FnOnce() -> Waiter<W>,
    ) -> GetAnswer {
        if self.pending.len() >= self.config.requests_max {
            return GetAnswer::Now(Err(self.overloaded(false)));
        }
        let group = GroupId::of_shard(shard);
        match open_group_mut(&mut self.slots, group) {
            Ok(open) if open.replica.leads() => {
                let ticket = self.pending.insert(context.deadline, Kind::Read, waiter());
                open.replica.enqueue_read(now, ticket);
                self.reads.insert(ticket, (group, key.clone()));
                self.mark_dirty(group);
                GetAnswer::Later
            }
            Ok(_) => {
                GetAnswer::Now(Err(Refusal::new(Code::Unavailable, "the shard has no leader")))
            }
            Err(refusal) => GetAnswer::Now(Err(refusal)),
        }
    }

    /// Writes one key; the answer comes under the waiter.
    ///
    /// # Errors
    /// The write was refused, and never happens.
    pub fn write(
        &mut self,
        now: Monotonic,
        context: &Context,
        write: &Write,
        waiter: impl FnOnce() -> W,
    ) -> Result<(), Refusal> {
        let shard = self.shard_of(write.operation.key());
        match self.place_of(shard) {
            Place::Here => self.write_here(now, context, shard, write, || Waiter::Host(waiter())),
            Place::Elsewhere => {
                let ask = Ask::Write(write.clone());
                self.forward(now, context, shard, ask, Waiter::Host(waiter()));
                Ok(())
            }
        }
    }

    /// Writes one key where this node leads its shard.
    pub(super) fn write_here(
        &mut self,
        now: Monotonic,
        context: &Context,
        shard: ShardId,
        write: &Write,
        waiter: impl FnOnce() -> Waiter<W>,
    ) -> Result<(), Refusal> {
        let identity =
            CommandIdentity::of(&write.identity, context.principal.as_str(), POSITION_SINGLE);
        let operations = std::slice::from_ref(&write.operation);
        self.enqueue(
            now,
            context,
            GroupId::of_shard(shard),
            &identity,
            false,
            operations,
            Kind::Write,
            waiter,
        )
    }

    #[expect(clippy::too_many_arguments, reason = "the one funnel that all commands go through")]
    pub(super) fn enqueue(
        &mut self,
        now: Monotonic,
        context: &Context,
        group: GroupId,
        identity: &CommandIdentity,
        atomic: bool,
        operations: &[Operation],
        kind: Kind,
        waiter: impl FnOnce() -> Waiter<W>,
    ) -> Result<(), Refusal> {
        if self.pending.len() >= self.config.requests_max {
            return Err(self.overloaded(kind == Kind::Write));
        }
        if context.deadline <= now {
            return Err(refused(
                kind,
                Code::Timeout,
                "the request's time passed before it was begun",
            ));
        }
        if self.load.bytes > self.config.unapplied_bytes_max {
            return Err(self.overloaded(kind == Kind::Write));
        }
        if self.headroom == Headroom::Exhausted {
            return Err(exhausted(kind));
        }
        let growth = growth_of(operations);
        let retry_bytes = match identity {
            CommandIdentity::None => 0,
            _ => operations.iter().map(|operation| self.remembered_bytes(operation)).sum(),
        };
        let short = self.short_of_room(group, growth);
        let open = open_group_mut(&mut self.slots, group)
            .map_err(|refusal| refused(kind, refusal.code, refusal.detail))?;
        let engine = self.engine.as_ref();
        let retry_full = retry_bytes > 0
            && open.replica.retry_bytes() + retry_bytes > self.config.retry_bytes_max;
        if short.is_some() || retry_full {
            // A repetition gets its first answer all the same: nothing grows by it.
            let first = operations.first().map(Operation::key);
            if !first.is_some_and(|key| open.replica.remembers(engine, identity, key)) {
                if let Some(short) = short {
                    self.rooms.refuse(now, growth);
                    self.refused_for_room |= short == Short::Own;
                    return Err(refused(kind, Code::StorageFull, short.detail()));
                }
                let detail = "the memory for idempotency keys is full (limits.idempotency_bytes)";
                return Err(refused(kind, Code::Overloaded, detail));
            }
        }
        if !open.replica.leads() {
            return Err(refused(kind, Code::Unavailable, "the shard has no leader"));
        }
        self.room = self.room.saturating_sub(growth);
        self.rooms.admit(growth);
        let ticket = self.pending.insert(context.deadline, kind, waiter());
        let before = open.replica.load();
        let enqueued = open.replica.enqueue(engine, now, ticket, identity, atomic, operations);
        self.load = self.load.moved(before, open.replica.load());
        if let Err(error) = enqueued {
            // The waiter is answered with everything else that the shard gives up.
            self.close(group, &error);
            let lost = self.pending.lose(vec![ticket]);
            self.answer_all(lost);
            return Ok(());
        }
        self.mark_dirty(group);
        Ok(())
    }

    pub(super) fn overloaded(&mut self, write: bool) -> Refusal {
        self.stats.refused += 1;
        let detail = "too many requests are under way on this worker";
        if write {
            Refusal::not_applied(Code::Overloaded, detail)
        } else {
            Refusal::new(Code::Overloaded, detail)
        }
    }
}

impl<W> Worker<W> {
    /// What the remembered answer of an operation takes, about: its scope twice, and what it read.
    fn remembered_bytes(&self, operation: &Operation) -> u64 {
        const RECORD_BYTES: usize = 256;
        let key = operation.key();
        let read = if operation.is_write() { 0 } else { self.value_bytes(key) };
        (RECORD_BYTES + 2 * key.as_bytes().len() + read) as u64
    }
}

/// What a command's puts take of the room.
fn growth_of(operations: &[Operation]) -> u64 {
    let of = |operation: &Operation| match operation {
        Operation::Put { key, value, .. } => growth((key.as_bytes().len() + value.len()) as u64),
        Operation::Get { .. } | Operation::Delete { .. } => 0,
    };
    operations.iter().map(of).sum()
}

/// The refusal of a command that would wait for the log to get another segment.
fn exhausted(kind: Kind) -> Refusal {
    let detail = "the log is full, and the disk gives it no further segment";
    match kind {
        // Only reads that have to write something first come here.
        Kind::Read => Refusal::new(Code::Unavailable, detail),
        Kind::Write => Refusal::not_applied(Code::StorageFull, detail),
    }
}

/// A refusal of a command that was not enqueued.
fn refused(kind: Kind, code: Code, detail: impl Into<Cow<'static, str>>) -> Refusal {
    match kind {
        Kind::Read => Refusal::new(code, detail),
        Kind::Write => Refusal::not_applied(code, detail),
    }
}
