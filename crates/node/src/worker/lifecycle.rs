//! Replicas that come and go while a worker runs.
//!
//! ```text
//!             create_replica                     durable
//!   (nothing) ──────────────▶ making ──────────────────────▶ open, blank: it joins as a learner
//!   quarantined, removed ───▶ making     Drop and Create in one submission
//!   open, quarantined ──────▶ ending ──────────────────────▶ (nothing)     Drop; its store and files go then
//!             drop_replica
//! ```
//!
//! # When a replica is made, and when it goes
//!
//! Only on instruction: a worker makes nothing because a message asks for it. A message of a group may be old, of before the
//! replica it is for was dropped, and whoever made that replica again would found it twice, blank where it had voted. The
//! instruction comes from the catalog's record of the shard, which names the learner and whom it replaces; that record
//! follows the group's own committed configuration, so the group has a quorum that will feed the learner.
//!
//! - *Founded once, durably*: ids rise within a group. A worker makes a replica only under an id above the one it holds, and
//!   nothing of it exists before its founding is durable; so nothing that it says or promises can be forgotten.
//!   Whoever instructs names an id until it is told that this replica is here, and never one that it has seen gone.
//! - *Deleted only on proof*: whoever instructs has seen a committed configuration without the id
//!   ([`Worker::committed_configuration`]: the one that counts may yet be rolled back). A record that names a later learner of
//!   this node without the replica that is here is such a proof. The one exception is a quarantined replica: it is replaced in
//!   place, though the configuration names it still, since a node has room for one replica of a group. In this start it says
//!   nothing, whether its files are there or not; its vote is lost to the group, and the learner's promotion is the swap of the
//!   two. One that a later start finds whole, before its successor is made, keeps its place: the node says so, and the learner
//!   goes. A group's only copy is never dropped here.
//! - A node that lost its log does not know what it had. Whatever its first map names of it, learners included, counts as lost:
//!   a learner may have become a voter since.
//! - A crash may come between the two records of a replacement. The start then finds the group missing, which is quarantined
//!   as well; the learner that the map names by then counts as lost, and another one takes its place.

use ringfort_engine::Generation;
use ringfort_log::{Base, GroupWrite};
use ringfort_raft::{Change, ChangeError, Configuration, Guards, Lost, Settings};
use ringfort_replica::{Load, MachineError, Replica, ReplicaConfig};
use ringfort_types::{Entry, GroupId, HardState, Index, Levels, ReplicaId};

use super::flush::Record;
use super::{ClosedGroup, Slot, Worker, describe, open_group, open_group_mut};

/// Why a replica was neither made nor dropped. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LifecycleError {
    /// The id is another node's, or the cluster has no such group.
    #[error("replica {0} is not for this node")]
    NotForHere(ReplicaId),
    /// Another replica is here, and has to go first.
    #[error("replica {0} is here, and neither quarantined nor gone")]
    Held(ReplicaId),
    /// This replica or a later one was here: ids are not used again.
    #[error("replica {0} was here, or a later one was")]
    Used(ReplicaId),
    /// A founding or an end is on its way to the log; later, this may be possible.
    #[error("replica {0} is just being made or dropped")]
    UnderWay(ReplicaId),
    /// There is no such replica here.
    #[error("replica {0} is not here")]
    NotHere(ReplicaId),
    /// It is the only copy that its group has.
    #[error("replica {0} is the only one of its group")]
    OnlyCopy(ReplicaId),
}

/// What all replicas of a worker are made with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Making {
    /// What all replicas of the cluster share.
    pub(crate) settings: Settings,
    /// The active feature level, and which ones are known.
    pub(crate) levels: Levels,
    /// Raft's checks.
    pub(crate) guards: Guards,
    /// Random bits, fresh at each start.
    pub(crate) seed: u64,
    /// A payload that has grown to this size, in bytes, is proposed.
    pub(crate) payload_bytes_target: usize,
    /// See [`WorkerLimits::expire_keys_max`](crate::WorkerLimits::expire_keys_max).
    pub(crate) expire_keys_max: usize,
}

/// What a replica starts with.
#[derive(Debug, Default)]
pub(crate) struct Restoring {
    pub(crate) replica: ReplicaId,
    pub(crate) hard_state: HardState,
    pub(crate) base: Base,
    pub(crate) entries: Vec<Entry>,
    pub(crate) lost: Lost,
    /// Blank where it joins.
    pub(crate) founding: Configuration,
}

impl Making {
    pub(crate) fn config(&self, group: GroupId, restoring: Restoring) -> ReplicaConfig {
        let Restoring { replica, hard_state, base, entries, lost, founding } = restoring;
        ReplicaConfig {
            group,
            replica,
            hard_state,
            base,
            entries,
            lost,
            founding,
            settings: self.settings,
            levels: self.levels,
            // Groups of one node draw different timeouts.
            seed: self.seed ^ u64::from(group.0).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            guards: self.guards,
            payload_bytes_target: self.payload_bytes_target,
            expire_keys_max: self.expire_keys_max,
        }
    }
}

impl<W> Worker<W> {
    /// Makes a replica that joins its group as a learner, in place of a quarantined one if there is one. Says nothing, and
    /// hears nothing, before that is durable. Nothing happens if it is here.
    ///
    /// # Errors
    /// See [`LifecycleError`].
    pub fn create_replica(
        &mut self,
        group: GroupId,
        replica: ReplicaId,
    ) -> Result<(), LifecycleError> {
        self.make_replica(group, replica, false)
    }

    /// As [`Worker::create_replica`]. `is_removed`: a committed configuration without the one that is here was seen, and so it
    /// goes.
    pub(super) fn make_replica(
        &mut self,
        group: GroupId,
        replica: ReplicaId,
        is_removed: bool,
    ) -> Result<(), LifecycleError> {
        let Some(slot) = self.slots.get(group.0 as usize) else {
            return Err(LifecycleError::NotForHere(replica));
        };
        if replica.node() != self.config.node || !self.owns(group) {
            return Err(LifecycleError::NotForHere(replica));
        }
        let nothing = (ReplicaId(0), true, false, Generation(0));
        let (held, replaceable, drops, left) = match slot {
            None => nothing,
            Some(Slot::Open(open)) if open.replica.id() == replica => return Ok(()),
            Some(Slot::Making { replica: making, .. }) if *making == replica => return Ok(()),
            Some(Slot::Making { replica, .. } | Slot::Ending { replica, .. }) => {
                return Err(LifecycleError::UnderWay(*replica));
            }
            Some(Slot::Open(open)) => (open.replica.id(), is_removed, true, Generation(0)),
            Some(Slot::Closed(closed)) => {
                (closed.replica, closed.quarantined, closed.in_log, closed.generation)
            }
        };
        if replica <= held {
            return Err(LifecycleError::Used(replica));
        }
        if !replaceable {
            return Err(LifecycleError::Held(held));
        }
        let mut writes = vec![GroupWrite::Create { group, replica }];
        if drops {
            writes.insert(0, GroupWrite::Drop { group });
        }
        self.end_replica(group);
        self.set_slot(group, Slot::Making { replica, left });
        self.submit_writes(writes, Vec::new(), Some(Record::Lifecycle(group)), 0);
        Ok(())
    }

    /// Drops a replica, with its store and files once its end is durable. Whoever asks for it has seen a committed
    /// configuration of the group without that id, or replaces it.
    ///
    /// # Errors
    /// See [`LifecycleError`].
    pub fn drop_replica(
        &mut self,
        group: GroupId,
        replica: ReplicaId,
    ) -> Result<(), LifecycleError> {
        let in_log = match self.slots.get(group.0 as usize).and_then(Option::as_ref) {
            Some(Slot::Ending { replica: ending, .. }) if *ending == replica => return Ok(()),
            Some(Slot::Making { replica, .. } | Slot::Ending { replica, .. }) => {
                return Err(LifecycleError::UnderWay(*replica));
            }
            Some(Slot::Open(open)) if open.replica.id() == replica => {
                if open.replica.configuration().is_alone(replica) {
                    return Err(LifecycleError::OnlyCopy(replica));
                }
                true
            }
            Some(Slot::Closed(closed)) if closed.replica == replica => {
                if !closed.quarantined {
                    return Err(LifecycleError::OnlyCopy(replica));
                }
                closed.in_log
            }
            _ => return Err(LifecycleError::NotHere(replica)),
        };
        let left = self.end_replica(group);
        if in_log {
            self.set_slot(group, Slot::Ending { replica, left });
            let record = Record::Lifecycle(group);
            self.submit_writes(vec![GroupWrite::Drop { group }], Vec::new(), Some(record), 0);
        } else {
            self.remove_slot(group);
        }
        Ok(())
    }

    /// Begins a change of a group's members, where this node leads it.
    ///
    /// # Errors
    /// The group is not open here (`None`), or see [`ringfort_raft::Group::propose_change`]; nothing has changed.
    pub fn propose_change(
        &mut self,
        group: GroupId,
        changes: &[Change],
    ) -> Result<(), Option<ChangeError>> {
        let open = open_group_mut(&mut self.slots, group).map_err(|_| None)?;
        open.replica.propose_change(self.now, changes)?;
        self.mark_dirty(group);
        Ok(())
    }

    /// The configuration that counts in a group, as its replica here knows it, committed or not; `None` if it is not open.
    #[must_use]
    pub fn configuration(&self, group: GroupId) -> Option<&Configuration> {
        open_group(&self.slots, group).ok().map(|open| open.replica.configuration())
    }

    /// The newest configuration of a group that is committed, as its replica here knows it, and its index: what an instruction
    /// may rest on. `None` if it is not open.
    #[must_use]
    pub fn committed_configuration(&self, group: GroupId) -> Option<(Index, &Configuration)> {
        open_group(&self.slots, group).ok().map(|open| open.replica.committed_configuration())
    }

    /// Whether a group is this worker's.
    pub(super) fn owns(&self, group: GroupId) -> bool {
        (group.shard().unwrap_or_default().0 % u32::from(self.config.workers))
            == u32::from(self.config.source.0)
    }

    /// Ends what a replica has under way: whoever waits for it is answered, and its flush does not count. Gives the
    /// generation of a store that is not open.
    fn end_replica(&mut self, group: GroupId) -> Generation {
        self.checkpoints.forget(group);
        let open = match self.slots.get_mut(group.0 as usize) {
            Some(Some(Slot::Open(open))) => open,
            Some(Some(Slot::Closed(closed))) => return closed.generation,
            _ => return Generation(0),
        };
        self.load = self.load.moved(open.replica.load(), Load::default());
        open.replica.release_snapshots(self.engine.as_mut());
        let lost = open.replica.abandon();
        let lost = self.pending.lose(lost);
        self.answer_all(lost);
        Generation(0)
    }

    /// Gives back what the store of a replica that has gone took.
    fn remove_store(&mut self, group: GroupId, left: Generation) {
        self.engine.drop_store(group);
        self.engine.remove_generation(group, left);
    }

    fn remove_slot(&mut self, group: GroupId) {
        self.slots[group.0 as usize] = None;
        self.mine.retain(|mine| *mine != group);
    }

    /// A founding or an end is durable.
    pub(super) fn handle_lifecycle(&mut self, group: GroupId) {
        match self.slots.get(group.0 as usize) {
            Some(Some(Slot::Making { replica, left })) => {
                let (replica, left) = (*replica, *left);
                self.remove_store(group, left);
                if let Err(error) = self.start_blank(group, replica) {
                    let reason = describe(&error);
                    let generation = Generation(0);
                    let (quarantined, in_log) = (true, true);
                    let closed = ClosedGroup { replica, reason, quarantined, in_log, generation };
                    self.add_closed_group(group, closed);
                }
            }
            Some(Some(Slot::Ending { left, .. })) => {
                let left = *left;
                self.remove_store(group, left);
                self.remove_slot(group);
            }
            _ => {}
        }
    }

    fn start_blank(&mut self, group: GroupId, replica: ReplicaId) -> Result<(), MachineError> {
        self.engine.create(group)?;
        self.start_replica(group, Restoring { replica, ..Restoring::default() })
    }

    /// Starts a replica over its open store.
    pub(crate) fn start_replica(
        &mut self,
        group: GroupId,
        restoring: Restoring,
    ) -> Result<(), MachineError> {
        let generation = Generation(restoring.base.generation);
        let config = self.making.config(group, restoring);
        let replica = Replica::new(config, self.engine.as_ref(), self.now)?;
        self.add_group(group, replica, generation);
        Ok(())
    }
}
