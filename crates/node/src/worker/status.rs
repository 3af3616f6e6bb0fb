//! What a worker tells of itself.

use ringfort_engine::StoreSize;
use ringfort_raft::LeaderHint;
use ringfort_types::{Applied, GroupId, Monotonic, ReplicaId, ShardId};

use super::{ShardSummary, Slot, Worker, WorkerStats, open_group};

impl<W> Worker<W> {
    /// Requests under way.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> WorkerStats {
        WorkerStats { frames_split: self.outbox.split, ..self.stats }
    }

    /// Every shard of this worker.
    #[must_use]
    pub fn shards(&self) -> Vec<ShardSummary> {
        self.mine.iter().filter_map(|group| self.summary(group.shard()?)).collect()
    }

    /// Whether every open group of this worker has come as far as it can by itself: where it is the only voter, it serves.
    #[must_use]
    pub fn is_replayed(&self, now: Monotonic) -> bool {
        self.slots.iter().flatten().all(|slot| match slot {
            Slot::Open(open) => {
                let alone = open.replica.configuration().is_alone(open.replica.id());
                !alone || open.replica.can_read_now(now)
            }
            _ => true,
        })
    }

    /// Who leads each of the shards that are this worker's to care for, and in which term, as far as it knows: replicas name
    /// their nodes.
    #[must_use]
    pub fn leaders(&self) -> Vec<(ShardId, LeaderHint)> {
        let (workers, own) = (u32::from(self.config.workers), u32::from(self.config.source.0));
        let shards = (own..self.config.shards).step_by(workers as usize).map(ShardId);
        let leader = |shard| match super::open_shard(&self.slots, shard) {
            Ok(open) => open.replica.leader(),
            Err(_) => {
                let routes = self.forwarder.routes();
                LeaderHint { leader: routes.leader(shard), term: routes.term(shard) }
            }
        };
        shards.map(|shard| (shard, leader(shard))).collect()
    }

    /// Whether every open shard of this worker can be read and written, here or where it is led.
    #[must_use]
    pub fn is_ready(&self, now: Monotonic) -> bool {
        self.slots.iter().flatten().all(|slot| match slot {
            Slot::Open(open) if open.replica.leads() => open.replica.can_read_now(now),
            Slot::Open(open) => open.replica.leader().leader.is_some(),
            Slot::Closed(_) | Slot::Making { .. } | Slot::Ending { .. } => true,
        })
    }

    /// A hash over the state of a shard; `None` if it is closed or another worker's.
    #[must_use]
    pub fn state_hash(&self, shard: ShardId) -> Option<u128> {
        self.applied_state(GroupId::of_shard(shard)).map(|(_, hash)| hash)
    }

    /// What a group's store has applied, and a hash over all that it holds; `None` if it is closed or another worker's.
    /// Replicas that give the same index give the same term and hash, or have diverged.
    #[must_use]
    pub fn applied_state(&self, group: GroupId) -> Option<(Applied, u128)> {
        match self.slots.get(group.0 as usize)? {
            Some(Slot::Open(open)) => open.replica.applied_state(self.engine.as_ref()).ok(),
            _ => None,
        }
    }

    /// A group's Raft, the catalog's among them; `None` if it is closed, or not here.
    #[must_use]
    pub fn group_status(&self, group: GroupId) -> Option<ringfort_raft::Status> {
        open_group(&self.slots, group).ok().map(|open| open.replica.status().raft)
    }

    /// Groups whose replica here is to be replaced under a new id, with that replica and why. The catalog's among them.
    pub fn quarantined(&self) -> impl Iterator<Item = (GroupId, ReplicaId, &str)> {
        self.mine.iter().filter_map(|group| match self.slots.get(group.0 as usize)? {
            Some(Slot::Closed(closed)) if closed.quarantined => {
                Some((*group, closed.replica, closed.reason.as_str()))
            }
            _ => None,
        })
    }

    fn summary(&self, shard: ShardId) -> Option<ShardSummary> {
        let stored = self.engine.size(GroupId::of_shard(shard)).unwrap_or_default();
        Some(match self.slots.get(GroupId::of_shard(shard).0 as usize)?.as_ref()? {
            Slot::Open(open) => ShardSummary {
                shard,
                replica: open.replica.id(),
                leads: open.replica.leads(),
                closed: None,
                quarantined: None,
                size: open.replica.size(),
                stored,
                status: Some(open.replica.status()),
            },
            Slot::Closed(closed) => ShardSummary {
                shard,
                replica: closed.replica,
                leads: false,
                closed: Some(closed.reason.clone()),
                quarantined: closed.quarantined.then(|| closed.reason.clone()),
                size: StoreSize::default(),
                stored,
                status: None,
            },
            Slot::Making { .. } | Slot::Ending { .. } => return None,
        })
    }
}
