//! What a worker tells of itself.

use ringfort_engine::StoreSize;
use ringfort_types::{GroupId, Monotonic, ShardId};

use super::{ShardSummary, Slot, Worker, WorkerStats};

impl<W> Worker<W> {
    /// Requests under way.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> WorkerStats {
        self.stats
    }

    /// Every shard of this worker.
    #[must_use]
    pub fn shards(&self) -> Vec<ShardSummary> {
        self.mine.iter().filter_map(|group| self.summary(group.shard()?)).collect()
    }

    /// Whether every open shard of this worker can be read and written.
    #[must_use]
    pub fn is_ready(&self, now: Monotonic) -> bool {
        self.slots.iter().flatten().all(|slot| match slot {
            Slot::Open(open) => open.replica.can_read_now(now),
            Slot::Closed { .. } => true,
        })
    }

    /// A hash over the state of a shard; `None` if it is closed or another worker's.
    #[must_use]
    pub fn state_hash(&self, shard: ShardId) -> Option<u128> {
        match self.slots.get(GroupId::of_shard(shard).0 as usize)? {
            Some(Slot::Open(open)) => open.replica.state_hash(self.engine.as_ref()).ok(),
            _ => None,
        }
    }

    fn summary(&self, shard: ShardId) -> Option<ShardSummary> {
        let stored = self.engine.size(GroupId::of_shard(shard)).unwrap_or_default();
        Some(match self.slots.get(GroupId::of_shard(shard).0 as usize)?.as_ref()? {
            Slot::Open(open) => ShardSummary {
                shard,
                replica: open.replica.id(),
                leads: open.replica.leads(),
                closed: None,
                size: open.replica.size(),
                stored,
                status: Some(open.replica.status()),
            },
            Slot::Closed { replica, reason } => ShardSummary {
                shard,
                replica: *replica,
                leads: false,
                closed: Some(reason.clone()),
                size: StoreSize::default(),
                stored,
                status: None,
            },
        })
    }
}
