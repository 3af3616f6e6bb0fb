//! Replicas of one group, and the network between them.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use ringfort_raft::{
    Body, Change, ChangeError, Config, Configuration, Effects, Guards, Message, Position,
    ProposeError, ReadId, Role, Settings,
};
use ringfort_types::{Index, Monotonic, ReplicaId};

use super::checks::{Checks, Violation};
use super::disk::GroupDisk;
use super::node::{Crash, Node, ReadState};

/// How a cluster is set up.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// Its founding voters.
    pub voters: Vec<ReplicaId>,
    /// Settings of all.
    pub settings: Settings,
    /// Guards in place.
    pub guards: Guards,
    /// Seed of the replicas' own randomness.
    pub seed: u64,
}

/// A message on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InFlight {
    /// Counts up: the order of sending.
    pub number: u64,
    /// The message.
    pub message: Message,
}

/// One group.
#[derive(Clone, Debug)]
pub struct Cluster {
    options: ClusterOptions,
    /// Its replicas, running or not.
    pub nodes: BTreeMap<ReplicaId, Node>,
    /// Messages on their way.
    pub network: Vec<InFlight>,
    /// The simulation's time.
    pub now: Monotonic,
    /// What must hold.
    pub checks: Checks,
    sent: u64,
    read_ids: u64,
}

impl Cluster {
    /// A group whose founding voters are all running.
    #[must_use]
    pub fn new(options: ClusterOptions) -> Self {
        let configuration = Configuration::founding(options.voters.iter().copied());
        let mut cluster = Self {
            nodes: BTreeMap::new(),
            network: Vec::new(),
            now: Monotonic(1_000_000_000),
            checks: Checks::default(),
            sent: 0,
            read_ids: 0,
            options,
        };
        for id in configuration.voters() {
            cluster.add(*id, GroupDisk::founded(configuration.clone()));
        }
        cluster
    }

    /// Adds a replica with a disk, and starts it. A blank disk is that of one that joins.
    pub fn add(&mut self, id: ReplicaId, disk: GroupDisk) {
        let mut config = Config::new(id, self.options.seed);
        config.settings = self.options.settings;
        config.guards = self.options.guards;
        let mut node = Node::new(config, disk);
        node.start(self.now);
        self.nodes.insert(id, node);
    }

    /// The settings of all.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.options.settings
    }

    /// Time passes. Nobody is told.
    pub fn advance(&mut self, passed: Duration) {
        self.now = self.now + passed;
    }

    /// Tells a replica the time.
    pub fn tick(&mut self, id: ReplicaId) {
        let now = self.now;
        self.with(id, |node, _| {
            let now = node.clock(now);
            if let Some(group) = &mut node.group {
                group.handle_tick(now);
            }
        });
    }

    /// Runs something on a node; nothing if there is no such.
    pub fn with<R>(
        &mut self,
        id: ReplicaId,
        run: impl FnOnce(&mut Node, Monotonic) -> R,
    ) -> Option<R> {
        let now = self.now;
        self.nodes.get_mut(&id).map(|node| run(node, now))
    }

    /// Takes the effects of a replica: writes go to its disk's cache, messages to the network, the rest waits. Gives what
    /// they were.
    ///
    /// # Errors
    /// Something that must hold does not.
    pub fn poll(&mut self, id: ReplicaId) -> Result<Effects, Violation> {
        let mut taken = Effects::default();
        if let Some(node) = self.nodes.get_mut(&id)
            && let Some(group) = &mut node.group
        {
            let effects = group.poll_effects();
            if let Some(persist) = effects.persist.clone() {
                node.disk.written.push_back(persist);
            }
            node.snapshots.extend(effects.snapshots.iter().cloned());
            node.to_apply.extend(effects.apply.iter().cloned());
            effects.reads.iter().for_each(|ready| node.confirm(*ready));
            node.reads_lost.extend(effects.reads_lost.iter().copied());
            for message in &effects.messages {
                self.sent += 1;
                self.network.push(InFlight { number: self.sent, message: message.clone() });
            }
            taken = effects;
        }
        self.check(id)?;
        Ok(taken)
    }

    /// Checks everything that a step of this replica may have broken.
    ///
    /// # Errors
    /// Something that must hold does not.
    pub fn check(&mut self, id: ReplicaId) -> Result<(), Violation> {
        self.checks.check(&self.nodes, id, self.now)
    }

    /// Makes the oldest write of a replica durable; it is not told.
    pub fn sync(&mut self, id: ReplicaId) -> bool {
        self.with(id, |node, _| !node.stalled && node.disk.sync_one()).unwrap_or(false)
    }

    /// Tells a replica of the oldest durable write that it does not know of.
    pub fn report(&mut self, id: ReplicaId) -> bool {
        let told = self.with(id, |node, _| {
            let persist = node.disk.unreported.pop_front()?;
            node.group.as_mut()?.handle_persisted(persist);
            Some(())
        });
        told.flatten().is_some()
    }

    /// Applies one committed entry of a replica.
    pub fn apply(&mut self, id: ReplicaId) -> bool {
        self.with(id, |node, _| node.apply_one()).unwrap_or(false)
    }

    /// Delivers a message on its way, by its place in `network`. One whose receiver does not run is lost.
    pub fn deliver(&mut self, place: usize) -> Option<Message> {
        if place >= self.network.len() {
            return None;
        }
        let message = self.network.remove(place).message;
        self.receive(message.clone());
        Some(message)
    }

    /// Gives a message to its receiver.
    pub fn receive(&mut self, message: Message) {
        self.with(message.to, |node, now| {
            let now = node.clock(now);
            if let Some(group) = &mut node.group {
                group.handle_message(now, message);
            }
        });
    }

    /// Proposes a payload.
    ///
    /// # Errors
    /// The replica refused, or does not run.
    pub fn propose(
        &mut self,
        id: ReplicaId,
        payload: Bytes,
    ) -> Option<Result<Position, ProposeError>> {
        self.with(id, |node, now| {
            let now = node.clock(now);
            node.group.as_mut().map(|group| group.propose(now, payload))
        })
        .flatten()
    }

    /// Proposes a change.
    pub fn change(
        &mut self,
        id: ReplicaId,
        changes: &[Change],
    ) -> Option<Result<Position, ChangeError>> {
        self.with(id, |node, now| {
            let now = node.clock(now);
            node.group.as_mut().map(|group| group.propose_change(now, changes))
        })
        .flatten()
    }

    /// Asks for a read. It must see everything that is committed anywhere now.
    pub fn read(&mut self, id: ReplicaId) -> Option<Result<ReadId, ProposeError>> {
        self.read_ids += 1;
        let read = ReadId(self.read_ids);
        let must_see = self.checks.committed();
        self.with(id, |node, now| {
            let now = node.clock(now);
            let asked = node.group.as_mut()?.read(now, read);
            Some(asked.map(|()| {
                node.reads.insert(read, ReadState { must_see, confirmed: None });
                read
            }))
        })
        .flatten()
    }

    /// Ends a replica.
    pub fn crash(&mut self, id: ReplicaId, crash: Crash) {
        self.with(id, |node, _| node.crash(crash));
        self.checks.forget(id);
    }

    /// Starts a replica that does not run.
    pub fn restart(&mut self, id: ReplicaId) {
        self.with(id, super::node::Node::start);
    }

    /// Takes a replica's disk away. It comes back blank, if it comes back.
    pub fn wipe(&mut self, id: ReplicaId) {
        self.crash(id, Crash::Process);
        if let Some(disk) = self.with(id, |node, _| std::mem::take(&mut node.disk)) {
            self.checks.forget_disk(id, disk.last().index);
        }
    }

    /// Does all that a replica's host would do at once: effects, disk, applying, snapshots. Messages stay in the network.
    ///
    /// # Errors
    /// Something that must hold does not.
    pub fn settle(&mut self, id: ReplicaId) -> Result<(), Violation> {
        loop {
            let effects = self.poll(id)?;
            let mut busy = !effects.is_empty();
            while self.sync(id) || self.report(id) || self.apply(id) {
                busy = true;
            }
            busy |= self.with(id, super::node::Node::snapshot_one).unwrap_or(false);
            if !busy {
                return self.check(id);
            }
        }
    }

    /// Settles every replica and delivers every message, until nothing is left to do.
    ///
    /// # Errors
    /// Something that must hold does not.
    pub fn stabilize(&mut self) -> Result<(), Violation> {
        loop {
            for id in self.ids() {
                self.settle(id)?;
            }
            if self.network.is_empty() {
                return Ok(());
            }
            for flight in std::mem::take(&mut self.network) {
                self.receive(flight.message);
            }
        }
    }

    /// All replicas.
    #[must_use]
    pub fn ids(&self) -> Vec<ReplicaId> {
        self.nodes.keys().copied().collect()
    }

    /// Whoever leads, of the newest term.
    #[must_use]
    pub fn leader(&self) -> Option<ReplicaId> {
        let groups = self.nodes.values().filter_map(|node| node.group.as_ref());
        let leaders = groups.filter(|group| group.role() == Role::Leader);
        leaders.max_by_key(|group| group.leader().term).map(ringfort_raft::Group::id)
    }

    /// What is committed at a replica.
    #[must_use]
    pub fn commit(&self, id: ReplicaId) -> Index {
        let group = self.nodes.get(&id).and_then(|node| node.group.as_ref());
        group.map_or(Index(0), ringfort_raft::Group::commit)
    }

    /// Whether a message says that its sender leads.
    #[must_use]
    pub fn is_from_leader(message: &Message) -> bool {
        matches!(message.body, Body::Append { .. } | Body::Heartbeat { .. } | Body::Snapshot { .. })
    }
}
