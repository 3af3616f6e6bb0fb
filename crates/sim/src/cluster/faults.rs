//! What goes wrong: processes, power, pauses, links, disks, clocks; and how each ends.

use ringfort_proto::peer::Channel;
use ringfort_types::GroupId;

use super::Run;
use super::coup::Coup;
use super::mix::{MILLI, SECOND};
use super::mutants::Mutant;
use super::network::{LinkId, Network};
use super::node::Change;
use super::queue::Event;
use super::report::Count;
use crate::PowerLoss;

/// Who acts: bad luck, or the host in a mood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(usize)]
pub(super) enum Act {
    Crash,
    Power,
    AllPower,
    Pause,
    Partition,
    Cut,
    Slow,
    Stall,
    FailSync,
    CrashAtOperation,
    FullDisk,
    Damage,
    Drift,
    Flush,
    Shun,
    Coup,
}

impl Act {
    pub(super) const ALL: [Self; 16] = [
        Self::Crash,
        Self::Power,
        Self::AllPower,
        Self::Pause,
        Self::Partition,
        Self::Cut,
        Self::Slow,
        Self::Stall,
        Self::FailSync,
        Self::CrashAtOperation,
        Self::FullDisk,
        Self::Damage,
        Self::Drift,
        Self::Flush,
        Self::Shun,
        Self::Coup,
    ];

    /// The shortest mean time between two of them.
    pub(super) fn every_min(self) -> u64 {
        match self {
            Self::Cut | Self::Flush => 500 * MILLI,
            Self::Drift => SECOND,
            Self::Crash | Self::Power | Self::Partition | Self::Slow | Self::Shun | Self::Coup => {
                3 * SECOND
            }
            Self::Pause | Self::Stall | Self::CrashAtOperation => 4 * SECOND,
            Self::FailSync => 6 * SECOND,
            Self::AllPower | Self::FullDisk => 15 * SECOND,
            Self::Damage => 10 * SECOND,
        }
    }
}

/// How a fault ends.
#[derive(Clone, Debug)]
pub(super) enum Undo {
    Resume {
        node: usize,
        boot: u64,
    },
    Join(Vec<(usize, usize)>),
    Quicken(usize, usize),
    Empty(usize),
    Unshun(usize, usize),
    /// The process ends, and what its disk could not read it can.
    ReadAgain(usize),
    /// The second part of a coup.
    Coup(Coup),
    /// The second part of damage: the node, and those that have whole what it loses.
    Damage {
        node: usize,
        whole: Vec<usize>,
    },
}

impl Run {
    /// Plans the next act of a kind.
    pub(super) fn plan(&mut self, act: Act) {
        let every = self.mix.every(act);
        if every > 0 {
            let at = self.now + 1 + self.random.below(2 * every);
            self.queue.push(at, Event::Act(act));
        }
    }

    pub(super) fn act(&mut self, act: Act) {
        let node = self.victim();
        match act {
            Act::Crash => self.end_process(node, false),
            Act::Power => self.end_process(node, true),
            Act::AllPower => {
                for node in 0..self.mix.nodes {
                    self.end_process(node, true);
                }
            }
            Act::Pause => self.pause(node),
            Act::Partition => self.partition(),
            Act::Cut => self.cut(),
            Act::Slow => self.slow(),
            Act::Stall => {
                self.totals.add(Count::Stalls, 1);
                let until = self.now + self.random.between(50 * MILLI, 4 * SECOND);
                let lane = self.random.index(2);
                self.machines[node].stalled_until[lane] = until;
            }
            Act::FailSync => {
                let syncs = self.random.below(50);
                self.machines[node].disk.fail_sync_in(syncs);
            }
            Act::CrashAtOperation => {
                let operations = self.random.below(100);
                self.machines[node].disk.crash_in(operations);
            }
            Act::FullDisk => self.fill_disk(node),
            Act::Damage => self.damage(node),
            Act::Drift => {
                let drift = self.drift();
                self.machines[node].clock.set_drift(self.now, drift);
            }
            Act::Flush => self.flush(node),
            Act::Shun => self.shun(node),
            Act::Coup => self.begin_coup(),
        }
    }

    /// A node; every third time one that leads.
    fn victim(&mut self) -> usize {
        if self.random.one_in(3) {
            let shard = self.any_shard();
            if let Some(leader) = self.leader_of(shard) {
                return leader;
            }
        }
        self.random.index(self.mix.nodes)
    }

    /// A drift within the bound, often at it.
    pub(super) fn drift(&mut self) -> i64 {
        let most = i64::try_from(self.mix.drift).unwrap_or(0);
        match self.random.index(4) {
            0 => -most,
            1 => most,
            2 => 0,
            _ if most == 0 => 0,
            _ => i64::try_from(self.random.below(2 * self.mix.drift)).unwrap_or(0) - most,
        }
    }

    /// A process ends; with its machine, where the power fails.
    pub(super) fn end_process(&mut self, node: usize, power: bool) {
        let machine = &mut self.machines[node];
        let Some(process) = machine.end() else { return };
        if power {
            self.totals.add(Count::PowerLosses, 1);
            machine.disk.power_loss(PowerLoss::Any);
        } else {
            self.totals.add(Count::Crashes, 1);
            machine.disk.process_crash();
        }
        self.totals.count_interrupted(&process.shards());
        self.gather(&process);
        if power {
            let base = self.random.below(SECOND);
            let drift = self.drift();
            self.machines[node].clock = super::clock::Clock::new(base, self.now, drift);
        }
        self.cut_off(node, power);
        self.break_clients(node, power);
        let down =
            if self.healed { 50 * MILLI } else { self.random.between(20 * MILLI, 5 * SECOND) };
        let down = if self.random.one_in(3) { down } else { down / 8 };
        self.queue.push(self.now + down, Event::Start { node });
        self.note(|| format!("node {node} ends, power lost: {power}"));
    }

    fn cut_off(&mut self, node: usize, power: bool) {
        for link in self.network.links_of(node) {
            let (from, _) = self.network.ends(link);
            // What the kernel had taken is still sent where only the process is gone.
            let drains = from == node && !power;
            let until =
                if drains { self.now + self.random.below(self.mix.latency + 1) } else { self.now };
            if from == node {
                self.network.forget(link);
            }
            self.cut_link(link, until);
        }
    }

    fn cut_link(&mut self, link: LinkId, drains_until: u64) {
        if !self.network.cut(link, drains_until) {
            return;
        }
        self.plan_connect(link);
        let (from, to) = self.network.ends(link);
        let channel = Network::channel(link);
        if channel == Channel::Snapshots {
            return;
        }
        self.tell_of_connection(from, to, Change::RequestsDown);
        self.tell_of_connection(to, from, Change::RequestsDown);
        if channel == Channel::Consensus {
            self.tell_of_connection(from, to, Change::ConsensusDown);
        }
    }

    pub(super) fn plan_connect(&mut self, link: LinkId) {
        let wait = self.random.between(10 * MILLI, 400 * MILLI);
        self.queue.push(self.now + wait, Event::Connect(link));
    }

    fn pause(&mut self, node: usize) {
        let time = self.random.between(20 * MILLI, 4 * SECOND);
        self.pause_for(node, time);
    }

    pub(super) fn pause_for(&mut self, node: usize, time: u64) {
        let machine = &mut self.machines[node];
        if machine.process.is_none() || machine.paused {
            return;
        }
        machine.paused = true;
        if self.options.mutant == Some(Mutant::ClockStops) {
            machine.clock.set_drift(self.now, -999_999);
        }
        self.totals.add(Count::Pauses, 1);
        let boot = machine.boot;
        self.note(|| format!("node {node} is paused"));
        self.queue.push(self.now + time, Event::Undo(Undo::Resume { node, boot }));
    }

    /// Parts a set of nodes from the others, in one direction or both.
    fn partition(&mut self) {
        let nodes = self.mix.nodes;
        let some: Vec<bool> = (0..nodes).map(|_| self.random.one_in(2)).collect();
        let (there, back) =
            [(true, true), (true, true), (true, false), (false, true)][self.random.index(4)];
        let mut pairs = Vec::new();
        for from in 0..nodes {
            for to in 0..nodes {
                if (there && some[from] && !some[to]) || (back && !some[from] && some[to]) {
                    pairs.push((from, to));
                }
            }
        }
        if pairs.is_empty() {
            return;
        }
        self.totals.add(Count::Partitions, 1);
        self.note(|| format!("parted {pairs:?}"));
        self.network.part(&pairs);
        // Some are long enough for connections to be given up.
        if self.random.one_in(2) {
            for (from, to) in &pairs {
                self.cut_between(*from, *to);
            }
        }
        let until = self.now + self.random.between(50 * MILLI, 8 * SECOND);
        self.queue.push(until, Event::Undo(Undo::Join(pairs)));
    }

    /// All connections from one node to another are given up.
    pub(super) fn cut_between(&mut self, from: usize, to: usize) {
        for link in self.network.links_between(from, to) {
            self.cut_link(link, self.now);
        }
    }

    fn cut(&mut self) {
        let (from, to) = self.two_nodes();
        let until = self.now + self.random.below(2 * self.mix.latency);
        for link in self.network.links_between(from, to) {
            if self.random.one_in(2) {
                self.cut_link(link, until);
            }
        }
    }

    fn two_nodes(&mut self) -> (usize, usize) {
        let from = self.random.index(self.mix.nodes);
        let other = 1 + self.random.index(self.mix.nodes.max(2) - 1);
        (from, (from + other) % self.mix.nodes)
    }

    fn slow(&mut self) {
        let (from, to) = self.two_nodes();
        let by = self.random.between(MILLI, 500 * MILLI);
        self.network.slow(from, to, by);
        let until = self.now + self.random.between(200 * MILLI, 5 * SECOND);
        self.queue.push(until, Event::Undo(Undo::Quicken(from, to)));
    }

    fn flush(&mut self, node: usize) {
        let count = 1 + self.random.below(self.mix.shards.into());
        let groups: Vec<_> = (0..count).map(|_| GroupId::of_shard(self.any_shard())).collect();
        if let Some(process) = &mut self.machines[node].process {
            process.want_flush(&groups);
        }
        self.plan_turns(node);
    }

    /// A client and a node cannot see each other.
    fn shun(&mut self, node: usize) {
        let client = self.random.index(self.mix.clients);
        self.crowd.shun(client, node, true);
        let until = self.now + self.random.between(100 * MILLI, 5 * SECOND);
        self.queue.push(until, Event::Undo(Undo::Unshun(client, node)));
    }

    pub(super) fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::Resume { node, boot } => {
                if self.machines[node].boot == boot {
                    self.machines[node].paused = false;
                    if self.options.mutant == Some(Mutant::ClockStops) {
                        self.machines[node].clock.set_drift(self.now, 0);
                    }
                    self.note(|| format!("node {node} goes on"));
                    self.plan_turns(node);
                }
            }
            Undo::Join(pairs) => {
                self.note(|| format!("joined {pairs:?}"));
                let arrivals = self.network.join(self.now, &pairs, &self.mix);
                self.push_arrivals(arrivals);
            }
            Undo::Quicken(from, to) => self.network.slow(from, to, 0),
            Undo::Empty(node) => self.machines[node].disk.set_capacity(None),
            Undo::Unshun(client, node) => self.crowd.shun(client, node, false),
            Undo::ReadAgain(node) => {
                self.machines[node].disk.read_again();
                if !self.healed {
                    self.end_process(node, false);
                }
            }
            Undo::Coup(coup) => self.end_coup(coup),
            Undo::Damage { node, whole } => self.damage_newest(node, &whole),
        }
    }

    /// Nothing fails any more: what is broken is mended.
    pub(super) fn end_faults(&mut self) {
        self.healed = true;
        self.network.healed = true;
        let nodes = self.mix.nodes;
        let pairs: Vec<_> =
            (0..nodes).flat_map(|from| (0..nodes).map(move |to| (from, to))).collect();
        for _ in 0..self.network.partitions() {
            let arrivals = self.network.join(self.now, &pairs, &self.mix);
            self.push_arrivals(arrivals);
        }
        for node in 0..nodes {
            let machine = &mut self.machines[node];
            machine.disk.heal();
            if std::mem::take(&mut machine.paused)
                && self.options.mutant == Some(Mutant::ClockStops)
            {
                machine.clock.set_drift(self.now, 0);
            }
            machine.stalled_until = [self.now; 2];
            self.plan_turns(node);
            for client in 0..self.mix.clients {
                self.crowd.shun(client, node, false);
            }
        }
    }
}
