//! Flushes: which store is made durable next, and what follows when it is.

use ringfort_engine::{EngineError, Flushed, Generation};
use ringfort_log::{Base, GroupWrite};
use ringfort_replica::Output;
use ringfort_types::{GroupId, Monotonic};

use super::{Worker, open_group, open_group_mut};
use crate::checkpoint::next_generation;

impl<W> Worker<W> {
    pub(super) fn start_flush(&mut self, now: Monotonic) {
        self.flush_due = false;
        while let Some(group) = self.checkpoints.next(now) {
            let Ok(open) = open_group_mut(&mut self.slots, group) else {
                self.checkpoints.finish();
                continue;
            };
            let status = open.replica.status();
            if status.raft.applied == status.base.applied.index {
                // A flush would free nothing.
                self.checkpoints.finish();
                continue;
            }
            open.last_generation = next_generation(open.last_generation);
            let unapplied = open.replica.unapplied_bytes() as u64;
            open.flushing_log_bytes = status.log_bytes.saturating_sub(unapplied);
            if let Err(error) = self.engine.flush(group, open.last_generation) {
                self.flush_failed(now, group, &error);
            }
        }
    }

    pub(super) fn poll_flushes(&mut self, now: Monotonic, out: &mut Output) {
        while let Some(flushed) = self.engine.poll_flushed() {
            match flushed {
                Ok(flushed) => self.record_flush(flushed, out),
                Err((group, error)) => self.flush_failed(now, group, &error),
            }
        }
    }

    fn record_flush(&mut self, flushed: Flushed, out: &mut Output) {
        let Flushed { group, generation, applied, bytes } = flushed;
        if let Ok(open) = open_group(&self.slots, group) {
            assert!(applied.index <= open.replica.durable(), "a store is flushed ahead of its log");
        }
        self.stats.flushes += 1;
        self.stats.flush_bytes += bytes;
        // What was enqueued in this turn goes first: the log keeps a source's submissions in order.
        self.submit(out);
        let base = Base { applied, generation: generation.0 };
        self.submit_writes(
            vec![GroupWrite::Rebase { group, base }],
            Vec::new(),
            Some((group, base)),
            0,
        );
    }

    pub(super) fn handle_rebased(&mut self, group: GroupId, base: Base) {
        self.checkpoints.finish();
        let Ok(open) = open_group_mut(&mut self.slots, group) else { return };
        let before = open.replica.status().base;
        open.replica.handle_rebased(base, open.flushing_log_bytes);
        self.engine.remove_generation(group, Generation(before.generation));
    }

    fn flush_failed(&mut self, now: Monotonic, group: GroupId, error: &EngineError) {
        self.stats.flushes_failed += 1;
        self.messages.push_back(format!("group {group}: flush given up: {error}"));
        self.checkpoints.put_off(now, group);
    }
}
