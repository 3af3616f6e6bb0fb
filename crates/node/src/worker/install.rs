//! Snapshots of other replicas: from a stream that came whole to the state of the group.
//!
//! ```text
//!   Install ─▶ in the store ─▶ waiting ─▶ flush under way ─▶ Rebase record submitted ─▶ record durable
//!                 │ refused     ▲  │ ▲         │ disk full, …                              │
//!                 ▼             └──┘ └─────────┘ after a while                             ▼
//!              asked for anew   a flush of the old content ends first         old generation removed
//! ```
//!
//! Invariants:
//! - The record is the commit point: a start before it comes back to the old state, whole, whose generation and entries are
//!   still there.
//! - Once the content is in the store, nothing is applied and no other generation of the store is recorded until the record
//!   is durable. The content before it is gone from memory: a flush that fails is tried again, as often as it takes.
//! - A stream whose content is not what its head says closes the replica: what it held is not in memory any more, and
//!   what it would hold is not what the group holds. A start comes back to the old state.

use ringfort_engine::{EngineError, Generation};
use ringfort_log::Base;
use ringfort_raft::{SnapshotId, SnapshotMeta};
use ringfort_replica::{Install, MachineError, Output};
use ringfort_types::{GroupId, Monotonic};

use super::flush::Record;
use super::{Slot, Worker, open_group_mut};
use crate::checkpoint::{RETRY_DELAY, next_generation};

/// How far a snapshot is that is in the store.
#[derive(Debug)]
pub(super) struct Installing {
    snapshot: SnapshotMeta,
    stage: Stage,
}

#[derive(Debug, PartialEq, Eq)]
enum Stage {
    /// To be flushed from this time on, once no other flush of the store is under way.
    Waiting(Monotonic),
    /// It becomes this generation.
    Flushing(Generation),
    /// The log is told.
    Recording,
}

impl<W> Worker<W> {
    /// Puts snapshots that came whole into their stores.
    pub(super) fn begin_installs(&mut self, installs: Vec<Install>) {
        for Install { group, snapshot, stream } in installs {
            if let Err(error) = self.begin_install(group, snapshot, stream) {
                self.close(group, &error);
            }
        }
    }

    fn begin_install(
        &mut self,
        group: GroupId,
        snapshot: SnapshotMeta,
        stream: Vec<bytes::Bytes>,
    ) -> Result<(), MachineError> {
        // One that was closed in this turn installs nothing.
        let Ok(open) = open_group_mut(&mut self.slots, group) else { return Ok(()) };
        if let Err(refused) = self.engine.install(group, &mut stream.into_iter())? {
            self.stats.snapshots_refused += 1;
            self.messages.push_back(format!("group {group}: {refused}; it is asked for anew"));
            open.replica.handle_install_failed(snapshot.id);
            self.mark_dirty(group);
            return Ok(());
        }
        open.replica.handle_store_replaced(self.engine.as_ref(), &snapshot)?;
        open.installing = Some(Installing { snapshot, stage: Stage::Waiting(Monotonic(0)) });
        self.installs.push(group);
        Ok(())
    }

    /// Whether a snapshot waits to be flushed that may be now.
    pub(super) fn install_due(&self, now: Monotonic) -> bool {
        self.installs.iter().any(|group| {
            match self.slots.get(group.0 as usize) {
            Some(Some(Slot::Open(open))) => open.installing.as_ref().is_some_and(|installing| {
                matches!(installing.stage, Stage::Waiting(not_before) if not_before <= now)
            }),
            _ => false,
        }
        })
    }

    /// Begins the flushes of snapshots that wait for one.
    pub(super) fn flush_installs(&mut self, now: Monotonic) {
        for group in std::mem::take(&mut self.installs) {
            let Ok(open) = open_group_mut(&mut self.slots, group) else { continue };
            let Some(installing) = &mut open.installing else { continue };
            self.installs.push(group);
            if !matches!(installing.stage, Stage::Waiting(not_before) if not_before <= now) {
                continue;
            }
            let generation = next_generation(open.last_generation);
            match self.engine.flush(group, generation) {
                Ok(()) => {
                    open.last_generation = generation;
                    installing.stage = Stage::Flushing(generation);
                }
                // Of the content before: its end is waited for.
                Err(EngineError::FlushUnderWay(_)) => {}
                Err(error) => drop(self.close(group, &error.into())),
            }
        }
    }

    pub(super) fn install_flush_failed(&mut self, now: Monotonic, group: GroupId) {
        if let Ok(open) = open_group_mut(&mut self.slots, group)
            && let Some(installing) = &mut open.installing
        {
            installing.stage = Stage::Waiting(now + RETRY_DELAY);
        }
    }

    /// A snapshot's content is durable as a generation: has the log take note.
    pub(super) fn record_install(&mut self, group: GroupId, base: Base, out: &mut Output) {
        let Ok(open) = open_group_mut(&mut self.slots, group) else { return };
        let Some(installing) = &mut open.installing else { return };
        assert_eq!(
            installing.stage,
            Stage::Flushing(Generation(base.generation)),
            "a generation is recorded that nobody asked for"
        );
        installing.stage = Stage::Recording;
        let record = Record::Installed(group, installing.snapshot.id, base);
        let write = open.replica.record_install(base);
        self.submit_record(write, record, out);
    }

    pub(super) fn handle_installed(&mut self, group: GroupId, id: SnapshotId, base: Base) {
        let Ok(open) = open_group_mut(&mut self.slots, group) else { return };
        open.installing = None;
        let before = open.replica.base();
        open.replica.handle_installed(id, base);
        self.engine.remove_generation(group, Generation(before.generation));
        self.stats.snapshots_installed += 1;
        self.mark_dirty(group);
    }
}
