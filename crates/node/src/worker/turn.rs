//! The turn: words of durability and time in; entries, answers and submissions out.

use ringfort_env::{DiskCompletion, DiskRequest};
use ringfort_log::{GroupWrite, Submission, SubmissionId};
use ringfort_raft::PersistId;
use ringfort_replica::command::CommandIdentity;
use ringfort_replica::{ChunkWanted, Load, Output, Reading, Ticket};
use ringfort_types::request::{Done, Operation};
use ringfort_types::{GroupId, Key, Monotonic};

use super::flush::Record;
use super::{UnderWay, Waiter, Worker, WorkerError, open_group, open_group_mut, replied};
use crate::pending::{Response, response};

impl<W> Worker<W> {
    fn sleeps_through(&self, group: GroupId) -> bool {
        open_group(&self.slots, group).is_ok_and(|open| open.replica.sleeps_through())
    }

    /// Takes word that a submission of this worker, and all before it, are durable.
    pub fn handle_durable(&mut self, id: SubmissionId) {
        while let Some(done) = self.under_way.pop_front_if(|under_way| under_way.id <= id) {
            for (group, persist) in done.persists {
                if let Ok(open) = open_group_mut(&mut self.slots, group) {
                    open.replica.handle_persisted(persist);
                    self.mark_dirty(group);
                }
            }
            if let Some(record) = done.record {
                self.handle_recorded(record);
            }
        }
    }

    /// Takes the passing of time: deadlines and expiry.
    pub fn handle_tick(&mut self, now: Monotonic) {
        self.now = self.now.max(now);
        self.expire_stale(now);
        self.tick_pairs(now);
        self.tick_leads(now);
        self.tick_room(now);
        self.tick_map();
        self.forwarder.handle_tick(now);
        self.forwards_due = true;
        let expired = self.pending.expire(now);
        self.stats.timeouts += expired.len() as u64;
        self.answer_all(expired);
        self.reads.retain(|ticket, _| self.pending.contains(*ticket));
        self.listings.retain(|asked| self.pending.contains(asked.ticket));
        self.flush_due = self.checkpoints.is_due(now) || self.install_due(now);
        for position in 0..self.mine.len() {
            let group = self.mine[position];
            // Most groups of an idle node: each look at one costs a node with many of them.
            if self.rests[group.0 as usize] {
                debug_assert!(self.sleeps_through(group), "{group} has woken, and nobody said so");
                continue;
            }
            let Ok(open) = open_group_mut(&mut self.slots, group) else {
                continue;
            };
            if open.replica.sleeps_through() && !open.healing {
                self.rests[group.0 as usize] = true;
                continue;
            }
            let before = open.replica.load();
            let result = open.replica.handle_tick(self.engine.as_ref(), now);
            self.load = self.load.moved(before, open.replica.load());
            let queued = open.replica.has_queued();
            if open.healing && !open.replica.has_lost() {
                open.healing = false;
                self.checkpoints.want([group]);
            }
            match result {
                Ok(()) if queued => self.mark_dirty(group),
                Ok(()) => {}
                Err(error) => drop(self.close(group, &error)),
            }
        }
    }

    /// Takes the log's wish that stores be flushed. Those of other workers are passed over.
    pub fn handle_want_rebase(&mut self, groups: &[GroupId]) {
        let slots = &self.slots;
        let open = |group: &&GroupId| open_group(slots, **group).is_ok();
        self.checkpoints.want(groups.iter().filter(open).copied());
    }

    /// Takes the end of a disk operation of the engine.
    ///
    /// # Errors
    /// A sync failed: the process must end.
    pub fn handle_disk(&mut self, completion: DiskCompletion) -> Result<(), WorkerError> {
        Ok(self.engine.handle_disk(completion)?)
    }

    /// Whether a turn has something to do.
    #[must_use]
    pub fn has_work(&self) -> bool {
        !self.dirty.is_empty()
            || !self.responses.is_empty()
            || self.flush_due
            || self.listing_due
            || self.forwards_due
    }

    /// Does one turn.
    pub fn poll(&mut self, now: Monotonic) {
        let mut out = Output::default();
        self.now = self.now.max(now);
        let holds = self.holds();
        self.poll_groups(holds, &mut out);
        // What waits may have waited for what has just been applied.
        if holds && !self.holds() {
            self.poll_groups(false, &mut out);
        }
        while self.send_chunks(&mut out) {
            let holds = self.holds();
            self.poll_groups(holds, &mut out);
        }
        self.begin_installs(std::mem::take(&mut out.installs));
        self.poll_flushes(now, &mut out);
        self.flush_installs(now);
        self.start_flush(now);
        self.submit(&mut out);
        if !out.roles.is_empty() {
            self.tell_leads_soon();
        }
        for (group, message) in out.messages.drain(..) {
            self.outbox.message(group, message);
        }
        for (ticket, answer) in std::mem::take(&mut out.answers) {
            let Some(waiter) = self.pending.take(ticket) else { continue };
            // What the node itself asks of the catalog is no client's.
            self.stats.commands += u64::from(!matches!(waiter, Waiter::Catalog(_)));
            self.answer(waiter, response(answer));
        }
        for ticket in std::mem::take(&mut out.reads) {
            self.finish_read(now, ticket);
        }
        for (ticket, error) in out.refused.drain(..) {
            let refused = self.pending.refuse(ticket, &error);
            self.answer_all(refused);
        }
        self.work_on_listings(now);
        self.forwards_due = false;
        self.poll_forwards(now);
        let lost = self.pending.lose(out.lost);
        self.answer_all(lost);
    }

    /// Does what waits in each group; where much is to be applied, in some of them: the others are left for the next turn.
    fn poll_groups(&mut self, holds: bool, out: &mut Output) {
        let now = self.now;
        let applied_before = out.applied_bytes;
        let mut groups = std::mem::take(&mut self.dirty).into_iter();
        for group in groups.by_ref() {
            let Ok(open) = open_group_mut(&mut self.slots, group) else {
                continue;
            };
            open.dirty = false;
            let (before, engine) = (open.replica.load(), self.engine.as_mut());
            let polled = match holds {
                true => open.replica.poll_holding(engine, now, out),
                false => open.replica.poll(engine, now, out).map(|()| false),
            };
            if matches!(polled, Ok(true)) && !open.held {
                open.held = true;
                self.held.push(group);
            }
            self.load = self.load.moved(before, open.replica.load());
            let hint = open.replica.leader();
            if let (Some(shard), Some(leader)) = (group.shard(), hint.leader) {
                self.forwarder.handle_leader(now, shard, leader, hint.term);
            }
            let goes_on = open.replica.has_more_to_apply();
            self.finish_stale(now, group);
            match polled {
                Err(error) => drop(self.close(group, &error)),
                // Nothing else need come that would have the rest applied.
                Ok(_) if goes_on => self.mark_dirty(group),
                Ok(_) => {}
            }
            let applied = out.applied_bytes - applied_before;
            if applied >= self.config.limits.apply_bytes_per_turn as u64 {
                break;
            }
        }
        if groups.len() > 0 {
            self.stats.groups_put_off += 1;
            self.dirty.splice(..0, groups);
        }
    }

    /// Whether queues wait for company. If not, those that did are looked at.
    fn holds(&mut self) -> bool {
        let Load { queued, proposed, .. } = self.load;
        if self.company.is_awaited(self.now, queued, proposed, self.config.company_min) {
            return true;
        }
        if self.held.is_empty() {
            return false;
        }
        let held = std::mem::take(&mut self.held);
        let others = std::mem::take(&mut self.dirty);
        for group in held {
            if let Ok(open) = open_group_mut(&mut self.slots, group) {
                open.held = false;
            }
            self.mark_dirty(group);
        }
        // They have waited: where a turn does not come to all groups, it comes to them.
        self.dirty.extend(others);
        false
    }

    /// Has chunks of snapshots sent that may go by now. Gives whether their replicas have to be polled again.
    fn send_chunks(&mut self, out: &mut Output) -> bool {
        for chunk in out.chunks.drain(..) {
            self.pace.want(chunk);
        }
        let mut sent = false;
        loop {
            let slots = &self.slots;
            let urgent = |chunk: &ChunkWanted| {
                let open = open_group(slots, chunk.group);
                let outgrown = open.is_ok_and(|open| open.replica.is_outgrown());
                chunk.group == GroupId::CATALOG || chunk.goes_on && outgrown
            };
            let waits = !self.pace.is_free(self.now);
            let next = self.pace.next(self.now, urgent);
            let Some(ChunkWanted { group, to, .. }) = next else { break };
            self.stats.chunks_urgent += u64::from(waits && group != GroupId::CATALOG);
            let Ok(open) = open_group_mut(&mut self.slots, group) else { continue };
            let bytes = open.replica.send_chunk(self.engine.as_mut(), self.now, to);
            self.pace.sent(self.now, bytes);
            self.mark_dirty(group);
            sent = true;
        }
        sent
    }

    /// When a turn is due, whatever else happens, if one is: commands have waited for company long enough by then, or a chunk
    /// of a snapshot may go.
    #[must_use]
    pub fn turn_due(&self) -> Option<Monotonic> {
        let company = self.company.until().filter(|_| !self.held.is_empty());
        [company, self.pace.until()].into_iter().flatten().min()
    }

    pub(super) fn submit(&mut self, out: &mut Output) {
        if out.writes.is_empty() {
            return;
        }
        let writes = std::mem::take(&mut out.writes);
        self.stats.entries += writes.len() as u64;
        let persists = std::mem::take(&mut out.persists);
        let commands = std::mem::take(&mut out.commands);
        self.submit_writes(writes, persists, None, commands);
    }

    pub(super) fn submit_writes(
        &mut self,
        writes: Vec<GroupWrite>,
        persists: Vec<(GroupId, PersistId)>,
        record: Option<Record>,
        operations: u32,
    ) {
        self.last_submission = SubmissionId(self.last_submission.0 + 1);
        let id = self.last_submission;
        self.submissions.push_back(Submission {
            source: self.config.source,
            id,
            writes,
            operations,
        });
        self.under_way.push_back(UnderWay { id, persists, record });
    }

    fn finish_read(&mut self, now: Monotonic, ticket: Ticket) {
        let Some((group, key)) = self.reads.remove(&ticket) else { return };
        let reading = match open_group(&self.slots, group) {
            Ok(open) => open.replica.get(self.engine.as_ref(), now, &key),
            Err(refusal) => return self.respond(ticket, Err(refusal)),
        };
        match reading {
            Ok(Reading::Found(found)) => self.respond(ticket, Ok(replied(Done::Got(found)))),
            // The key goes first, through the log, and the read behind it.
            Ok(Reading::Due(..)) => self.get_through_log(now, group, ticket, key),
            Err(error) => {
                let refusal = self.close(group, &error);
                self.respond(ticket, Err(refusal));
            }
        }
    }

    fn get_through_log(&mut self, now: Monotonic, group: GroupId, ticket: Ticket, key: Key) {
        let operation = [Operation::Get { key }];
        let open = match open_group_mut(&mut self.slots, group) {
            Ok(open) => open,
            Err(refusal) => return self.respond(ticket, Err(refusal)),
        };
        let before = open.replica.load();
        let identity = CommandIdentity::None;
        let enqueued =
            open.replica.enqueue(self.engine.as_ref(), now, ticket, &identity, false, &operation);
        self.load = self.load.moved(before, open.replica.load());
        match enqueued {
            Ok(()) => self.mark_dirty(group),
            Err(error) => {
                let refusal = self.close(group, &error);
                self.respond(ticket, Err(refusal));
            }
        }
    }

    pub(super) fn respond(&mut self, ticket: Ticket, response: Response) {
        if let Some(waiter) = self.pending.take(ticket) {
            self.answer(waiter, response);
        }
    }

    /// The next answer and whoever waits for it.
    pub fn poll_response(&mut self) -> Option<(W, Response)> {
        self.responses.pop_front()
    }

    /// The next submission for the log. Submissions are to be handed over in order.
    pub fn poll_submission(&mut self) -> Option<Submission> {
        self.submissions.pop_front()
    }

    /// The next disk operation of the engine.
    pub fn poll_disk(&mut self) -> Option<DiskRequest> {
        self.engine.poll_disk()
    }

    /// The next thing that a person should read.
    pub fn poll_message(&mut self) -> Option<String> {
        self.messages.pop_front()
    }
}
