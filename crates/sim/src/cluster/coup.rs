//! A leader is deposed while it may still hold its lease: what is hard on promises, restarts and clocks.
//!
//! ```text
//!   election timeouts   0                     1                     2
//!   clocks      drift ──┴─▶ all lose the leader ─▶ lease, promises end ─▶ somebody else leads
//!   restart     some lose the leader ─▶ the others too, and start anew, as the first begin to ask for votes
//!   pause       all lose the leader, which does not run ─▶ somebody else leads ─▶ it goes on
//! ```
//!
//! Meanwhile witnesses write to the others and read at the leader, all of them one key, without a pause: a stale answer is
//! given in few milliseconds or never.

use ringfort_types::ShardId;

use super::Run;
use super::clients::shard_of;
use super::faults::Undo;
use super::mix::{MILLI, SECOND};
use super::queue::Event;
use super::report::Count;

/// How a leader is deposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plot {
    /// Its clock is as slow as any may be, those of the others as fast.
    Clocks,
    /// Those whose promises its lease rests on start anew.
    Restart,
    /// It does not run for a while, and does not know.
    Pause,
}

/// A coup under way.
#[derive(Clone, Debug)]
pub(super) struct Coup {
    plot: Plot,
    leader: usize,
    /// Those that lose the leader first.
    disloyal: Vec<usize>,
    loyal: Vec<usize>,
    /// What witnesses write and read.
    key: String,
}

/// What witnesses look at, and when.
#[derive(Clone, Debug)]
pub(super) struct Focus {
    pub(super) key: String,
    /// Where they read.
    pub(super) leader: usize,
    /// Where they write.
    pub(super) others: Vec<usize>,
    pub(super) from: u64,
    pub(super) until: u64,
}

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
        let number = self.totals.of(Count::Coups);
        let is_there = |key: &String| shard_of(key, self.mix.shards) == shard;
        let key = (0..).map(|salt| format!("c{number}.{salt}")).find(is_there);
        let plot = match self.random.index(4) {
            0 | 1 if self.mix.drift > 0 => Plot::Clocks,
            0 | 2 => Plot::Restart,
            _ => Plot::Pause,
        };
        let (disloyal, loyal) = (disloyal.to_vec(), loyal.to_vec());
        let coup = Coup { plot, leader, disloyal, loyal, key: key.unwrap_or_default() };
        self.note(|| format!("{coup:?}"));
        let election = self.mix.election();
        let wait = match plot {
            Plot::Clocks => {
                self.set_clocks_apart(leader);
                2 * election
            }
            Plot::Restart => {
                self.depose(leader, &coup.disloyal);
                // Just before the first of them asks for votes.
                election - self.random.below(election / 10 + 1)
            }
            Plot::Pause => {
                self.depose(leader, &others);
                let time = 2 * election + self.random.below(election);
                self.pause_for(leader, time);
                time - time / 16
            }
        };
        self.queue.push(self.now + wait, Event::Undo(Undo::Coup(coup)));
    }

    pub(super) fn end_coup(&mut self, coup: Coup) {
        let Coup { plot, leader, disloyal, loyal, key } = coup;
        match plot {
            Plot::Clocks => {
                self.depose(leader, &disloyal);
                self.depose(leader, &loyal);
            }
            Plot::Restart => {
                self.depose(leader, &loyal);
                for node in &loyal {
                    self.end_process(*node, false);
                    let soon = self.now + self.random.between(1, 20 * MILLI);
                    self.queue.push(soon, Event::Start { node: *node });
                }
            }
            Plot::Pause => {}
        }
        let election = self.mix.election();
        // Clocks: nobody asks for votes before that.
        let from = self.now + if plot == Plot::Clocks { 3 * election / 4 } else { 0 };
        let until = self.now + 3 * election / 2;
        let others = disloyal.into_iter().chain(loyal).collect();
        self.begin_focus(Focus { key, leader, others, from, until });
    }

    /// The clock of a leader is slow, and those of all others are fast, by the most.
    fn set_clocks_apart(&mut self, leader: usize) {
        let most = i64::try_from(self.mix.drift).unwrap_or(0);
        for (node, machine) in self.machines.iter_mut().enumerate() {
            machine.clock.set_drift(self.now, if node == leader { -most } else { most });
        }
    }

    /// Some nodes and a leader lose each other, and know it.
    pub(super) fn depose(&mut self, leader: usize, nodes: &[usize]) {
        let pairs: Vec<_> =
            nodes.iter().flat_map(|node| [(leader, *node), (*node, leader)]).collect();
        self.part_for(pairs, 4 * self.mix.election() + SECOND);
    }

    pub(super) fn part_for(&mut self, pairs: Vec<(usize, usize)>, time: u64) {
        self.network.part(&pairs);
        for (from, to) in &pairs {
            self.cut_between(*from, *to);
        }
        self.queue.push(self.now + time, Event::Undo(Undo::Join(pairs)));
    }

    pub(super) fn any_shard(&mut self) -> ShardId {
        ShardId(u32::try_from(self.random.below(self.mix.shards.into())).unwrap_or(0))
    }
}
