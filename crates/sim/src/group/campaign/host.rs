//! What a host does for its replica: it delivers, tells the time, executes effects, and reports.

use ringfort_raft::{Body, Effects, Lost, Message, Role};
use ringfort_types::{Monotonic, ReplicaId};

use super::queue::{Event, Local, oldest};
use super::report::Count;
use super::{Mutant, REPLAYS_MAX, Run, Violation};
use crate::group::node::Node;

/// What a host knows besides its replica's group.
#[derive(Debug, Default)]
pub(super) struct Host {
    /// The process stands still until then; its clock does not.
    pub(super) paused_until: u64,
    /// The disk answers nothing until then.
    pub(super) stalled_until: u64,
    /// By how much its clock is fast, in parts of a million.
    pub(super) drift: i64,
    /// Effects will be taken.
    pub(super) poll_planned: bool,
    /// The disk was taken away.
    pub(super) wiped: bool,
    /// It stays down when all others are healed.
    pub(super) left: bool,
    /// Other nodes, as this one hears of them.
    pub(super) heard: Vec<Heard>,
}

/// Another node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    pub(super) id: ReplicaId,
    pub(super) boot: u64,
    pub(super) at: Monotonic,
    /// No vote against a leader there before this.
    pub(super) promised: Monotonic,
}

impl Host {
    pub(super) fn drifted(&self, passed: u64) -> i64 {
        i64::try_from(passed).unwrap_or(i64::MAX).saturating_mul(self.drift) / 1_000_000
    }
}

impl Run {
    /// A replica that was just started gets a host.
    pub(super) fn adopt(&mut self, id: ReplicaId) {
        let drift = self.choose_drift();
        let now = self.now();
        let host = self.hosts.entry(id).or_default();
        host.drift = drift;
        host.poll_planned = false;
        host.paused_until = 0;
        host.stalled_until = now;
        host.heard.clear();
        if let Some(node) = self.cluster.nodes.get_mut(&id) {
            node.stalled = false;
        }
        self.plan_at(id, 1, Local::Poll);
        let wait = self.random.below(self.mix.heartbeat());
        self.plan_at(id, wait, Local::Tick);
        if self.mix.pairs {
            self.plan_at(id, wait, Local::Beat);
            self.plan_at(id, wait + self.mix.election(), Local::Watch);
        }
    }

    pub(super) fn choose_drift(&mut self) -> i64 {
        let most = i64::try_from(self.mix.drift).unwrap_or(0);
        match self.random.below(4) {
            0 => 0,
            1 => -most,
            2 => most,
            _ => most / 2,
        }
    }

    /// What happens at one replica of one start. What comes to a process that stands still waits.
    pub(super) fn happen(
        &mut self,
        id: ReplicaId,
        start: u64,
        what: Local,
    ) -> Result<(), Violation> {
        let now = self.now();
        let alive = |node: &Node| node.starts == start && node.group.is_some();
        if !self.cluster.nodes.get(&id).is_some_and(alive) {
            return Ok(());
        }
        let Some(host) = self.hosts.get_mut(&id) else { return Ok(()) };
        let waits_until = if what == Local::Sync { host.stalled_until } else { host.paused_until };
        if waits_until > now {
            self.queue.push(waits_until, Event::At(id, start, what));
            return Ok(());
        }
        if what == Local::Poll {
            host.poll_planned = false;
        }
        if self.options.trace {
            self.tell(id, &format!("{what:?}"));
        }
        match what {
            Local::Tick => {
                self.cluster.tick(id);
                self.plan_tick(id);
            }
            Local::Poll => {}
            Local::Sync => return self.sync(id),
            Local::Report => self.report(id),
            Local::Apply => {
                if !self.cluster.apply(id) {
                    return Ok(());
                }
            }
            Local::Snapshot => {
                let run = |node: &mut Node, now| node.snapshot_one(now);
                if self.cluster.with(id, run) != Some(true) {
                    return Ok(());
                }
            }
            Local::Beat => return self.beat(id),
            Local::Watch => return self.watch(id),
            Local::Wake => self.wake(id),
            Local::Read => {
                let asked = self.cluster.read(id);
                self.totals.add(Count::Reads, u64::from(matches!(asked, Some(Ok(_)))));
            }
            Local::Fall => {
                self.fall(id);
                return Ok(());
            }
            Local::Unreachable(peer) => {
                self.with_group(id, |group, _| group.handle_unreachable(peer));
            }
        }
        self.happened(id)
    }

    /// Runs something on a group that runs, with its clock.
    pub(super) fn with_group<R>(
        &mut self,
        id: ReplicaId,
        run: impl FnOnce(&mut ringfort_raft::Group, Monotonic) -> R,
    ) -> Option<R> {
        let now = self.cluster.now;
        let node = self.cluster.nodes.get_mut(&id)?;
        let clock = node.clock(now);
        node.group.as_mut().map(|group| run(group, clock))
    }

    fn plan_tick(&mut self, id: ReplicaId) {
        let heartbeat = self.mix.heartbeat();
        let due = self.with_group(id, |group, now| (group.deadline(), now));
        let wait = match due {
            Some((Some(due), now)) => due.0.saturating_sub(now.0).min(heartbeat),
            _ => heartbeat,
        };
        let late = self.random.below(heartbeat / 8);
        self.plan_at(id, wait + late, Local::Tick);
    }

    fn sync(&mut self, id: ReplicaId) -> Result<(), Violation> {
        let skips = self.options.mutant == Some(Mutant::SkipSync) && self.chance(256);
        let Some(node) = self.cluster.nodes.get_mut(&id) else { return Ok(()) };
        if let Some(write) = node.disk.written.front().filter(|_| skips) {
            // The mutant: told as durable, and synced much later.
            node.disk.unreported.push_back(write.id);
            let late = 20 * self.mix.disk;
            self.plan_at(id, late, Local::Sync);
        } else {
            node.disk.sync_one();
        }
        self.count_step(id.0);
        let wait = self.about(self.mix.disk / 4 + 1);
        self.plan_at(id, wait, Local::Report);
        self.cluster.check(id)
    }

    fn report(&mut self, id: ReplicaId) {
        let at_once = self.chance(256);
        self.cluster.with(id, |node, _| {
            let Some(group) = &mut node.group else { return };
            let reported = if at_once {
                node.disk.unreported.drain(..).next_back()
            } else {
                node.disk.unreported.pop_front()
            };
            if let Some(reported) = reported {
                group.handle_persisted(reported);
            }
        });
    }

    /// What was lost is back.
    fn settle_loss(&mut self, id: ReplicaId) {
        let Some(node) = self.cluster.nodes.get_mut(&id) else { return };
        let (Some(group), Lost::Entries(through)) = (&node.group, node.disk.lost) else { return };
        if group.commit() >= through && group.durable() >= through {
            node.disk.lost = Lost::Nothing;
            self.totals.add(Count::LossesRecovered, 1);
        }
    }

    /// Takes effects until there are none.
    pub(super) fn poll(&mut self, id: ReplicaId) -> Result<(), Violation> {
        loop {
            let Some(node) = self.cluster.nodes.get_mut(&id) else { return Ok(()) };
            let Some(group) = &mut node.group else { return Ok(()) };
            let effects = group.poll_effects();
            let writes = effects.persist.is_some();
            self.execute(id, effects);
            self.cluster.check(id)?;
            self.answer_reads(id);
            self.settle_loss(id);
            if !writes || self.mix.asynchronous {
                return Ok(());
            }
        }
    }

    fn execute(&mut self, id: ReplicaId, effects: Effects) {
        let Effects { persist, messages, snapshots, apply, reads, reads_lost, role } = effects;
        let Some(node) = self.cluster.nodes.get_mut(&id) else { return };
        for ready in reads {
            node.confirm(ready);
        }
        for lost in reads_lost {
            node.reads.remove(&lost);
        }
        let (applies, reads_snapshots) = (apply.len(), snapshots.len());
        node.to_apply.extend(apply);
        node.snapshots.extend(snapshots);
        if let Some(persist) = persist {
            self.weigh(persist.id.0 ^ (persist.entries.len() as u64) << 32);
            self.write(id, persist);
        }
        if let Some((role, term)) = role {
            self.weigh(term.0 << 8 | role as u64);
            if self.options.trace {
                self.tell(id, &format!("is {role:?} of term {term}"));
            }
            if role == Role::Leader && self.chance(self.mix.coups) {
                let wait = self.about(self.mix.latency + self.mix.disk);
                self.plan_at(id, wait, Local::Fall);
            }
        }
        for message in messages {
            self.send(message);
        }
        for _ in 0..reads_snapshots {
            let wait = self.about(self.mix.disk);
            self.plan_at(id, wait, Local::Snapshot);
        }
        for count in 0..applies as u64 {
            let wait = self.about(self.mix.apply) + count;
            self.plan_at(id, wait, Local::Apply);
        }
    }

    fn write(&mut self, id: ReplicaId, persist: ringfort_raft::Persist) {
        let wait = self.about(self.mix.disk);
        let skips = self.options.mutant == Some(Mutant::SkipSync) && self.chance(256);
        let asynchronous = self.mix.asynchronous;
        if asynchronous {
            self.plan_at(id, wait, Local::Sync);
        }
        let Some(node) = self.cluster.nodes.get_mut(&id) else { return };
        let written = persist.id;
        node.disk.written.push_back(persist);
        if !asynchronous && let Some(group) = &mut node.group {
            if !skips {
                while node.disk.sync_one() {}
            }
            node.disk.unreported.clear();
            group.handle_persisted(written);
        }
    }

    /// Reads that are confirmed and applied are answered; who waits for too long gives up.
    fn answer_reads(&mut self, id: ReplicaId) {
        let Some(node) = self.cluster.nodes.get_mut(&id) else { return };
        if node.reads.is_empty() {
            return;
        }
        let applied = node.machine.applied.index;
        let served = |_: &_, read: &mut super::ReadState| {
            read.confirmed.is_some_and(|index| index <= applied)
        };
        for (read, _) in node.reads.extract_if(.., served) {
            self.totals.add(Count::ReadsAnswered, 1);
            self.answered = self.answered.max(Some(read));
        }
        if let Some(given_up) = oldest(&node.reads) {
            node.reads.remove(&given_up);
        }
    }

    // --- messages ---

    /// Sends a message; it may be lost, late, or arrive twice.
    pub(super) fn send(&mut self, message: Message) {
        self.weigh(super::trace::digest(&message));
        if self.options.trace {
            self.tell(message.from, &super::trace::describe(&message));
        }
        if !self.healed && self.chance(self.mix.loss) {
            return self.lose(&message);
        }
        if !self.healed && self.chance(self.mix.duplicates) {
            let wait = self.travel();
            self.put(message.clone(), wait);
        }
        let wait = self.travel();
        self.put(message, wait);
    }

    fn lose(&mut self, message: &Message) {
        self.totals.add(Count::MessagesLost, 1);
        self.totals
            .add(Count::ChunksLost, u64::from(matches!(message.body, Body::Snapshot { .. })));
        if self.chance(128) {
            let wait = self.about(self.mix.latency);
            self.plan_at(message.from, wait, Local::Unreachable(message.to));
        }
    }

    pub(super) fn travel(&mut self) -> u64 {
        let wait = self.about(self.mix.latency);
        if !self.healed && self.chance(self.mix.late) {
            return wait + self.random.below(self.mix.late_max);
        }
        wait
    }

    pub(super) fn put(&mut self, message: Message, wait: u64) {
        let place = self.queue.messages.put(message);
        self.queue.push(self.now() + wait, Event::Deliver(place));
    }

    pub(super) fn deliver(&mut self, place: usize) -> Result<(), Violation> {
        let Some(message) = self.queue.messages.get(place) else {
            self.queue.messages.take(place);
            return Ok(());
        };
        let (from, to) = (message.from, message.to);
        let paused_until = self.hosts.get(&to).map_or(0, |host| host.paused_until);
        if paused_until > self.now() {
            self.queue.push(paused_until, Event::Deliver(place));
            return Ok(());
        }
        let Some(message) = self.queue.messages.take(place) else { return Ok(()) };
        let runs = self.cluster.nodes.get(&to).is_some_and(|node| node.group.is_some());
        if !runs || self.links.is_cut(from, to) {
            self.lose(&message);
            return Ok(());
        }
        if self.mix.every(super::Act::Replay) > 0 && self.chance(256) {
            self.remember(message.clone());
        }
        if self.options.trace {
            self.tell(to, &format!("receives {}", super::trace::describe(&message)));
        }
        if matches!(message.body, Body::Vote { .. } | Body::PreVote { .. }) {
            // Whatever was promised meanwhile counts, also for a group that slept.
            self.wake(to);
        }
        self.cluster.receive(message);
        self.happened(to)
    }

    fn remember(&mut self, message: Message) {
        if self.replays.len() < REPLAYS_MAX {
            self.replays.push(message);
        } else {
            let place = self.random.index(REPLAYS_MAX);
            self.replays[place] = message;
        }
    }

    /// Adds a replica's counters to the totals before they are gone.
    pub(super) fn gather(&mut self, id: ReplicaId) {
        let group = self.cluster.nodes.get(&id).and_then(|node| node.group.as_ref());
        if let Some(group) = group {
            self.totals.gather(group.counters());
        }
    }
}
