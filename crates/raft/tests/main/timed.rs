//! A cluster in which time passes: replicas are told the time every half heartbeat, messages take a few milliseconds, and
//! each link can be cut on its own. Disks are at once durable, or take a few milliseconds for each write.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ringfort_raft::Message;
use ringfort_sim::Random;
use ringfort_sim::group::{Cluster, Node, Violation};
use ringfort_types::{Monotonic, ReplicaId};

/// Messages take from one to this many milliseconds.
const LATENCY_MS_MAX: u64 = 5;

#[derive(Debug)]
enum Event {
    Tick(ReplicaId),
    Arrive(Message),
    Sync(ReplicaId),
}

/// A cluster and what is going to happen to it, in the order of time.
#[derive(Debug)]
pub(crate) struct Timed {
    pub(crate) cluster: Cluster,
    pub(crate) random: Random,
    /// Links, each from one replica to another, on which nothing arrives.
    pub(crate) cut: BTreeSet<(ReplicaId, ReplicaId)>,
    /// Of so many messages, one is lost; zero: none.
    pub(crate) loses_one_in: u64,
    /// A write is durable after at most so many milliseconds; zero: at once.
    pub(crate) disk_ms_max: u64,
    events: BTreeMap<(Monotonic, u64), Event>,
    numbered: u64,
}

impl Timed {
    pub(crate) fn new(cluster: Cluster, seed: u64) -> Self {
        let mut timed = Self {
            cluster,
            random: Random::new(seed),
            cut: BTreeSet::new(),
            loses_one_in: 0,
            disk_ms_max: 0,
            events: BTreeMap::new(),
            numbered: 0,
        };
        for id in timed.cluster.ids() {
            timed.begin_ticks(id);
        }
        timed
    }

    fn tick_nanos(&self) -> u64 {
        u64::try_from(self.cluster.settings().heartbeat.as_nanos() / 2).unwrap()
    }

    /// From now on a replica is told the time.
    pub(crate) fn begin_ticks(&mut self, id: ReplicaId) {
        let phase = self.random.below(self.tick_nanos());
        self.schedule(Duration::from_nanos(phase), Event::Tick(id));
    }

    fn schedule(&mut self, after: Duration, event: Event) {
        self.numbered += 1;
        self.events.insert((self.cluster.now + after, self.numbered), event);
    }

    /// Does all that a replica asks for, and puts its messages on their way.
    pub(crate) fn settle(&mut self, id: ReplicaId) -> Result<(), Violation> {
        if self.disk_ms_max == 0 {
            self.cluster.settle(id)?;
        } else {
            self.settle_without_disk(id)?;
        }
        for flight in std::mem::take(&mut self.cluster.network) {
            let latency = self.some_millis(LATENCY_MS_MAX);
            self.schedule(latency, Event::Arrive(flight.message));
        }
        Ok(())
    }

    fn settle_without_disk(&mut self, id: ReplicaId) -> Result<(), Violation> {
        loop {
            let effects = self.cluster.poll(id)?;
            if effects.persist.is_some() {
                let latency = self.some_millis(self.disk_ms_max);
                self.schedule(latency, Event::Sync(id));
            }
            let mut busy = !effects.is_empty();
            while self.cluster.apply(id) {
                busy = true;
            }
            busy |= self.cluster.with(id, Node::snapshot_one).unwrap_or(false);
            if !busy {
                return self.cluster.check(id);
            }
        }
    }

    fn some_millis(&mut self, most: u64) -> Duration {
        Duration::from_nanos(self.random.between(1_000_000, most * 1_000_000))
    }

    /// The next thing that happens. Gives whose tick it was, if it was one.
    pub(crate) fn step(&mut self) -> Result<Option<ReplicaId>, Violation> {
        let Some(((at, _), event)) = self.events.pop_first() else { return Ok(None) };
        self.cluster.now = at;
        match event {
            Event::Tick(id) => {
                self.cluster.tick(id);
                self.settle(id)?;
                if !self.cluster.nodes.contains_key(&id) {
                    return Ok(None);
                }
                let tick = Duration::from_nanos(self.tick_nanos());
                self.schedule(tick, Event::Tick(id));
                Ok(Some(id))
            }
            Event::Arrive(message) => {
                let lost = self.loses_one_in > 0 && self.random.one_in(self.loses_one_in);
                let to = message.to;
                if !lost && !self.cut.contains(&(message.from, to)) {
                    self.cluster.receive(message);
                    self.settle(to)?;
                }
                Ok(None)
            }
            Event::Sync(id) => {
                while self.cluster.sync(id) || self.cluster.report(id) {}
                self.settle(id)?;
                Ok(None)
            }
        }
    }

    /// Steps for a time.
    pub(crate) fn pass(&mut self, time: Duration) -> Result<(), Violation> {
        let end = self.cluster.now + time;
        while self.cluster.now < end {
            self.step()?;
        }
        Ok(())
    }
}
