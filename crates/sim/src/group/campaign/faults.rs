//! What goes wrong: links, processes, power, disks and clocks.

use ringfort_raft::Lost;
use ringfort_types::{Index, ReplicaId};

use super::queue::{Act, Event, Local};
use super::report::Count;
use super::{Mutant, Run, Violation};
use crate::group::Crash;

/// Ids of replicas stay below this: the bits of a row of links.
pub(super) const IDS_MAX: u64 = 64;
const ROWS: usize = 64;

/// Links between replicas that are cut, by direction.
#[derive(Debug)]
pub(super) struct Links {
    cut: [u64; ROWS],
    /// Counts partitions: each ends by itself only.
    count: u64,
}

impl Default for Links {
    fn default() -> Self {
        Self { cut: [0; ROWS], count: 0 }
    }
}

impl Links {
    pub(super) fn is_cut(&self, from: ReplicaId, to: ReplicaId) -> bool {
        let row = usize::try_from(from.0).ok().and_then(|from| self.cut.get(from));
        row.is_some_and(|row| row & (1 << (to.0 % IDS_MAX)) != 0)
    }

    fn cut(&mut self, from: ReplicaId, to: ReplicaId) {
        let row = usize::try_from(from.0).ok().and_then(|from| self.cut.get_mut(from));
        if let Some(row) = row {
            *row |= 1 << (to.0 % IDS_MAX);
        }
    }

    pub(super) fn heal(&mut self, count: u64) {
        if self.count == count {
            self.heal_all();
        }
    }

    pub(super) fn heal_all(&mut self) {
        self.cut = [0; ROWS];
    }
}

impl Run {
    pub(super) fn fault(&mut self, act: Act) -> Result<(), Violation> {
        let ids = self.cluster.ids();
        let Some(id) = ids.get(self.random.index(ids.len().max(1))).copied() else { return Ok(()) };
        let id = self.cluster.leader().filter(|_| self.chance(self.mix.at_leader)).unwrap_or(id);
        match act {
            Act::Crash => self.fall(id),
            Act::Pause => self.pause(id),
            Act::Stall => self.stall(id),
            Act::Partition => self.partition(id, &ids),
            Act::LoseEntries => self.lose_entries(id),
            Act::Wipe => self.wipe(id),
            Act::Clock => {
                let drift = self.choose_drift();
                if let Some(host) = self.hosts.get_mut(&id) {
                    host.drift = drift;
                }
            }
            Act::Replay => self.replay(),
            _ => {}
        }
        Ok(())
    }

    pub(super) fn struck(&mut self, id: ReplicaId, what: &str) {
        self.count_step(id.0 ^ 0x8000);
        if self.options.trace {
            self.tell(id, what);
        }
    }

    fn is_running(&self, id: ReplicaId) -> bool {
        self.cluster.nodes.get(&id).is_some_and(|node| node.group.is_some())
    }

    /// Ends a process, or the power of its node.
    pub(super) fn end(&mut self, id: ReplicaId, power: bool) {
        self.gather(id);
        let written = self.cluster.nodes.get(&id).map_or(0, |node| node.disk.written.len());
        let staged = self.cluster.nodes.get(&id).is_some_and(|node| !node.staged.is_empty());
        self.totals.add(Count::SnapshotsInterrupted, u64::from(staged));
        if power {
            let whole = self.random.index(written + 1);
            let torn_entries = self.random.index(4);
            self.totals.add(Count::PowerLosses, 1);
            self.totals.add(Count::WritesLost, (written - whole) as u64);
            self.cluster.crash(id, Crash::Power { whole, torn_entries });
            // The clock begins anew with its machine.
            let boot = i64::try_from(self.random.below(1 << 33)).unwrap_or(0);
            let now = i64::try_from(self.now()).unwrap_or(0);
            self.cluster.with(id, |node, _| node.clock_ahead = boot - now);
        } else {
            self.totals.add(Count::Crashes, 1);
            self.cluster.crash(id, Crash::Process);
        }
    }

    pub(super) fn fall(&mut self, id: ReplicaId) {
        if self.healed || !self.is_running(id) {
            return;
        }
        let power = self.chance(self.mix.power);
        self.struck(id, if power { "loses power" } else { "crashes" });
        self.end(id, power);
        // Many are back before anybody misses them.
        let soon = self.chance(512);
        let wait = if soon { self.mix.heartbeat() } else { self.mix.election() * 3 };
        let wait = self.random.below(wait);
        self.queue.push(self.now() + wait, Event::Restart(id));
    }

    pub(super) fn restart(&mut self, id: ReplicaId) -> Result<(), Violation> {
        let Some(node) = self.cluster.nodes.get_mut(&id).filter(|node| node.group.is_none()) else {
            return Ok(());
        };
        let kept = node.disk.hard_state;
        if self.options.mutant == Some(Mutant::ForgetVote) {
            node.disk.hard_state.vote = None;
        }
        self.cluster.restart(id);
        self.cluster.with(id, |node, _| node.disk.hard_state = kept);
        self.adopt(id);
        self.struck(id, "starts");
        self.cluster.check(id)
    }

    fn pause(&mut self, id: ReplicaId) {
        let wait = self.random.below(self.mix.election() * 3);
        let until = self.now() + wait;
        self.struck(id, "stands still");
        if self.chance(512) {
            // A client is the first to ask, before whoever stood still can learn of anything.
            self.plan_at(id, wait, Local::Read);
        }
        self.totals.add(Count::Pauses, 1);
        if let Some(host) = self.hosts.get_mut(&id) {
            host.paused_until = until;
        }
    }

    fn stall(&mut self, id: ReplicaId) {
        if !self.mix.asynchronous {
            // Whoever waits for the disk stands still with it.
            return self.pause(id);
        }
        let until = self.now() + self.random.below(self.mix.election() * 5);
        self.struck(id, "has a disk that stalls");
        if let Some(host) = self.hosts.get_mut(&id) {
            host.stalled_until = until;
        }
    }

    fn partition(&mut self, id: ReplicaId, ids: &[ReplicaId]) {
        self.struck(id, "is partitioned");
        self.totals.add(Count::Partitions, 1);
        self.links.heal_all();
        self.links.count += 1;
        let kind = [0, 1, 2, 3, 3, 4, 4, 5][self.random.index(8)];
        let other = ids[self.random.index(ids.len())];
        let sides = self.random.next_u64();
        let side = |id: ReplicaId| sides >> (id.0 % IDS_MAX) & 1;
        for from in ids {
            for to in ids {
                let cut = match kind {
                    0 => *from == id || *to == id,
                    1 => *from == id,
                    2 => *to == id,
                    3 => (*from == id && *to == other) || (*from == other && *to == id),
                    4 => *from == id && *to == other,
                    _ => side(*from) != side(*to),
                };
                if cut && from != to {
                    self.links.cut(*from, *to);
                }
            }
        }
        let wait = self.random.below(self.mix.election() * 6);
        self.queue.push(self.now() + wait, Event::Heal(self.links.count));
    }

    /// Whether something was lost that is not back, or needs a replacement.
    pub(super) fn is_damaged(&self, id: ReplicaId) -> bool {
        let wiped = self.hosts.get(&id).is_some_and(|host| host.wiped);
        wiped || self.cluster.nodes.get(&id).is_none_or(|node| node.disk.lost != Lost::Nothing)
    }

    /// Whether a member may be damaged so that a healthy quorum stays, whatever becomes of changes under way: there are
    /// none, and few are damaged already.
    pub(super) fn may_damage(&self, id: ReplicaId) -> bool {
        let configuration = self.cluster.checks.configuration();
        let damaged = |id: &&ReplicaId| self.is_damaged(**id);
        let few = configuration.voters().iter().filter(damaged).count()
            < configuration.voters().len().saturating_sub(1) / 2;
        let agrees = |id: &ReplicaId| {
            let node = self.cluster.nodes.get(id).and_then(|node| node.group.as_ref());
            self.is_damaged(*id) || node.is_some_and(|group| group.configuration() == configuration)
        };
        configuration.contains(id)
            && few
            && !configuration.is_joint()
            && !self.is_damaged(id)
            && configuration.members().iter().all(agrees)
    }

    /// A disk loses the end of its log, and knows; or its hard state too.
    fn lose_entries(&mut self, id: ReplicaId) {
        if !self.may_damage(id) {
            return;
        }
        self.struck(id, "loses entries");
        self.end(id, true);
        let all = self.chance(128);
        let lost = self.random.between(1, 12);
        self.cluster.with(id, |node, _| {
            let disk = &mut node.disk;
            let through = disk.last().index.max(disk.hard_state.commit);
            let kept = Index(through.0.saturating_sub(lost));
            disk.entries.retain(|entry| entry.index <= kept);
            disk.lost = if all { Lost::HardState } else { Lost::Entries(through) };
        });
        self.totals.add(Count::Losses, 1);
        let wait = self.random.below(self.mix.election());
        self.queue.push(self.now() + wait, Event::Restart(id));
    }

    /// A disk is taken away. What comes back, if it does, is blank, and no message for what was there reaches it.
    fn wipe(&mut self, id: ReplicaId) {
        if !self.may_damage(id) {
            return;
        }
        self.struck(id, "is wiped");
        self.end(id, true);
        self.cluster.wipe(id);
        if let Some(host) = self.hosts.get_mut(&id) {
            host.wiped = true;
        }
        self.queue.messages.drop_where(|message| message.to == id);
        self.replays.retain(|message| message.to != id);
        self.totals.add(Count::Wipes, 1);
        if self.chance(512) {
            let wait = self.random.below(self.mix.election());
            self.queue.push(self.now() + wait, Event::Restart(id));
        }
    }

    fn replay(&mut self) {
        if self.replays.is_empty() {
            return;
        }
        let place = self.random.index(self.replays.len());
        let message = self.replays.swap_remove(place);
        self.totals.add(Count::Replays, 1);
        let wait = self.travel();
        self.put(message, wait);
    }
}
