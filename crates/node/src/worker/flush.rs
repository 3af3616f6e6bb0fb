//! Flushes: which store is made durable next, and what follows when it is.

use ringfort_engine::{EngineError, Flushed, Generation};
use ringfort_log::{Base, GroupWrite};
use ringfort_raft::SnapshotId;
use ringfort_replica::Output;
use ringfort_types::{GroupId, Monotonic};

use super::{Worker, open_group_mut};
use crate::checkpoint::next_generation;

/// What a submission does besides entries and hard states, once it is durable.
#[derive(Clone, Copy, Debug)]
pub(super) enum Record {
    /// A flush of what is applied counts.
    Rebased(GroupId, Base),
    /// A snapshot of another replica counts.
    Installed(GroupId, SnapshotId, Base),
    /// A replica was founded, or has gone.
    Lifecycle(GroupId),
}

impl<W> Worker<W> {
    pub(super) fn start_flush(&mut self, now: Monotonic) {
        self.flush_due = false;
        let mut later = Vec::new();
        while let Some(group) = self.checkpoints.next(now) {
            let Ok(open) = open_group_mut(&mut self.slots, group) else {
                self.checkpoints.finish(group);
                continue;
            };
            let replica = &open.replica;
            if open.installing.is_some() || replica.applied() == replica.base().applied.index {
                // A flush would free nothing, or a snapshot is about to free more.
                self.checkpoints.finish(group);
                continue;
            }
            if replica.applied() > replica.durable() {
                self.checkpoints.finish(group);
                later.push(group);
                continue;
            }
            let generation = next_generation(open.last_generation);
            open.last_generation = generation;
            open.flushing = Some((generation, replica.applied_log_bytes()));
            if let Err(error) = self.engine.flush(group, generation) {
                self.flush_failed(now, group, &error);
            }
        }
        // In a later turn: an own write that becomes durable has one.
        self.checkpoints.want(later);
    }

    pub(super) fn poll_flushes(&mut self, now: Monotonic, out: &mut Output) {
        while let Some(flushed) = self.engine.poll_flushed() {
            match flushed {
                Ok(flushed) => self.handle_flushed(flushed, out),
                Err((group, error)) => self.flush_failed(now, group, &error),
            }
        }
    }

    fn handle_flushed(&mut self, flushed: Flushed, out: &mut Output) {
        let Flushed { group, generation, applied, bytes } = flushed;
        self.stats.flushes += 1;
        self.stats.flush_bytes += bytes;
        let Ok(open) = open_group_mut(&mut self.slots, group) else {
            // Its replica has stopped, or is to go. If it comes back, then to the generation before.
            return self.checkpoints.finish(group);
        };
        let base = Base { applied, generation: generation.0 };
        let flushing = open.flushing.is_some_and(|(flushing, _)| flushing == generation);
        if !flushing {
            return self.record_install(group, base, out);
        }
        if open.installing.is_some() {
            // What it held is in the store no more: it must not count once the snapshot does.
            open.flushing = None;
            self.engine.remove_generation(group, generation);
            return self.checkpoints.finish(group);
        }
        assert!(applied.index <= open.replica.durable(), "a store is flushed ahead of its log");
        let write = GroupWrite::Rebase { group, base };
        self.submit_record(write, Record::Rebased(group, base), out);
    }

    /// Submits a record of its own, behind what was enqueued in this turn: the log keeps a source's submissions in order.
    pub(super) fn submit_record(&mut self, write: GroupWrite, record: Record, out: &mut Output) {
        self.submit(out);
        self.submit_writes(vec![write], Vec::new(), Some(record), 0);
    }

    pub(super) fn handle_recorded(&mut self, record: Record) {
        match record {
            Record::Rebased(group, base) => self.handle_rebased(group, base),
            Record::Installed(group, id, base) => self.handle_installed(group, id, base),
            Record::Lifecycle(group) => self.handle_lifecycle(group),
        }
    }

    fn handle_rebased(&mut self, group: GroupId, base: Base) {
        self.checkpoints.finish(group);
        let Ok(open) = open_group_mut(&mut self.slots, group) else { return };
        let before = open.replica.base();
        let log_bytes = open.flushing.take().map_or(0, |(_, log_bytes)| log_bytes);
        open.replica.handle_rebased(base, log_bytes);
        self.engine.remove_generation(group, Generation(before.generation));
    }

    fn flush_failed(&mut self, now: Monotonic, group: GroupId, error: &EngineError) {
        self.stats.flushes_failed += 1;
        self.messages.push_back(format!("group {group}: flush given up: {error}"));
        let Ok(open) = open_group_mut(&mut self.slots, group) else {
            return self.checkpoints.finish(group);
        };
        match (open.flushing.take(), &open.installing) {
            (Some(_), None) => self.checkpoints.put_off(now, group),
            (Some(_), Some(_)) => self.checkpoints.finish(group),
            (None, _) => self.install_flush_failed(now, group),
        }
    }
}
