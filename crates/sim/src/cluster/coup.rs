//! A leader is deposed while it may still hold its lease: what is hard on promises, restarts and clocks.
//!
//! ```text
//!   1. some followers do not hear the leader for more than an election timeout, and want to lead
//!   2. the others, whose promises the lease rests on, lose it too; or start anew, and know of no promise
//! ```
//!
//! Clients go on asking all of them.

use ringfort_types::ShardId;

use super::Run;
use super::faults::Undo;
use super::mix::{MILLI, SECOND};
use super::queue::Event;
use super::report::Count;

impl Run {
    pub(super) fn begin_coup(&mut self) {
        let shard = self.any_shard();
        let Some(leader) = self.leader_of(shard) else { return };
        let others: Vec<_> = self.mix.holders(shard.0).filter(|node| *node != leader).collect();
        let (disloyal, loyal) = others.split_at(others.len() / 2);
        if disloyal.is_empty() {
            return;
        }
        self.totals.add(Count::Coups, 1);
        self.note(|| format!("coup against {leader}: {disloyal:?} do not hear it, {loyal:?} do"));
        let pairs: Vec<_> =
            disloyal.iter().flat_map(|node| [(leader, *node), (*node, leader)]).collect();
        let wait = 2 * self.mix.election() + self.random.below(self.mix.election());
        self.part_for(pairs, wait + 2 * SECOND);
        self.queue.push(self.now + wait, Event::Undo(Undo::Coup(leader, loyal.to_vec())));
    }

    pub(super) fn end_coup(&mut self, leader: usize, loyal: &[usize]) {
        let pairs = loyal.iter().flat_map(|node| [(leader, *node), (*node, leader)]).collect();
        self.part_for(pairs, 2 * SECOND);
        if self.random.one_in(2) {
            for node in loyal {
                self.end_process(*node, false);
                let soon = self.now + self.random.between(1, 20 * MILLI);
                self.queue.push(soon, Event::Start { node: *node });
            }
        }
    }

    fn part_for(&mut self, pairs: Vec<(usize, usize)>, time: u64) {
        self.network.part(&pairs);
        self.queue.push(self.now + time, Event::Undo(Undo::Join(pairs)));
    }

    pub(super) fn any_shard(&mut self) -> ShardId {
        ShardId(u32::try_from(self.random.below(self.mix.shards.into())).unwrap_or(0))
    }
}
