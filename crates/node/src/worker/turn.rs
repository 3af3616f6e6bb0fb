//! The turn: words of durability and time in; entries, answers and submissions out.

use ringfort_env::{DiskCompletion, DiskRequest};
use ringfort_log::{Base, GroupWrite, Submission, SubmissionId};
use ringfort_raft::PersistId;
use ringfort_replica::{Output, Reading, Ticket};
use ringfort_types::request::Done;
use ringfort_types::{GroupId, Monotonic};

use super::{Slot, UnderWay, Worker, WorkerError, open_shard_mut, replied};
use crate::pending::{Response, response};

impl<W> Worker<W> {
    /// Takes word that a submission of this worker, and all before it, are durable.
    pub fn handle_durable(&mut self, id: SubmissionId) {
        while let Some(done) = self.under_way.pop_front_if(|under_way| under_way.id <= id) {
            for (group, persist) in done.persists {
                if let Some(shard) = group.shard()
                    && let Ok(open) = open_shard_mut(&mut self.slots, shard)
                {
                    open.replica.handle_persisted(persist);
                    self.mark_dirty(shard);
                }
            }
            if let Some((group, base)) = done.rebase {
                self.handle_rebased(group, base);
            }
        }
    }

    /// Takes the passing of time: deadlines and expiry.
    pub fn handle_tick(&mut self, now: Monotonic) {
        let expired = self.pending.expire(now);
        self.stats.timeouts += expired.len() as u64;
        self.responses.extend(expired);
        self.reads.retain(|ticket, _| self.pending.contains(*ticket));
        for position in 0..self.mine.len() {
            let shard = self.mine[position];
            let Ok(open) = open_shard_mut(&mut self.slots, shard) else {
                continue;
            };
            let result = open.replica.handle_tick(self.engine.as_ref(), now);
            let queued = open.replica.has_queued();
            match result {
                Ok(()) if queued => self.mark_dirty(shard),
                Ok(()) => {}
                Err(error) => drop(self.close(shard, &error)),
            }
        }
    }

    /// Takes the bytes by which this worker's shards may grow until it is told again.
    pub fn handle_room(&mut self, bytes: u64) {
        self.room = bytes;
    }

    /// Takes the log's wish that stores be flushed. Those of other workers are passed over.
    pub fn handle_want_rebase(&mut self, groups: &[GroupId]) {
        let slots = &self.slots;
        let open = |group: &&GroupId| {
            let slot = group.shard().and_then(|shard| slots.get(shard.0 as usize));
            matches!(slot, Some(Some(Slot::Open(_))))
        };
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
        !self.dirty.is_empty() || !self.responses.is_empty()
    }

    /// Does one turn.
    pub fn poll(&mut self, now: Monotonic) {
        let mut out = Output::default();
        for shard in std::mem::take(&mut self.dirty) {
            let Ok(open) = open_shard_mut(&mut self.slots, shard) else {
                continue;
            };
            open.dirty = false;
            if let Err(error) = open.replica.poll(self.engine.as_mut(), now, &mut out) {
                self.close(shard, &error);
            }
        }
        self.poll_flushes(&mut out);
        self.start_flush();
        self.submit(&mut out);
        self.stats.commands += out.answers.len() as u64;
        for (ticket, answer) in out.answers {
            if let Some(waiter) = self.pending.take(ticket) {
                self.responses.push_back((waiter, response(answer)));
            }
        }
        for ticket in out.reads {
            self.finish_read(now, ticket);
        }
        self.responses.extend(self.pending.lose(out.lost));
    }

    pub(super) fn submit(&mut self, out: &mut Output) {
        if out.writes.is_empty() {
            return;
        }
        let writes = std::mem::take(&mut out.writes);
        self.stats.entries += writes.len() as u64;
        let persists = std::mem::take(&mut out.persists);
        self.submit_writes(writes, persists, None);
    }

    pub(super) fn submit_writes(
        &mut self,
        writes: Vec<GroupWrite>,
        persists: Vec<(GroupId, PersistId)>,
        rebase: Option<(GroupId, Base)>,
    ) {
        self.last_submission = SubmissionId(self.last_submission.0 + 1);
        let id = self.last_submission;
        let operations = u32::try_from(self.pending.len()).unwrap_or(u32::MAX);
        self.submissions.push_back(Submission {
            source: self.config.source,
            id,
            writes,
            operations,
        });
        self.under_way.push_back(UnderWay { id, persists, rebase });
    }

    fn finish_read(&mut self, now: Monotonic, ticket: Ticket) {
        let Some((shard, key)) = self.reads.remove(&ticket) else {
            return;
        };
        let Some(waiter) = self.pending.take(ticket) else {
            return;
        };
        let result = match open_shard_mut(&mut self.slots, shard) {
            Ok(open) => open.replica.get(self.engine.as_ref(), now, &key),
            Err(refusal) => return self.responses.push_back((waiter, Err(refusal))),
        };
        let response = match result {
            Ok(Reading::Found(found)) => Ok(replied(Done::Got(found))),
            // Confirmed as of now: to whoever asked, the key is gone.
            Ok(Reading::Due(..)) => Ok(replied(Done::Got(None))),
            Err(error) => Err(self.close(shard, &error)),
        };
        self.responses.push_back((waiter, response));
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
