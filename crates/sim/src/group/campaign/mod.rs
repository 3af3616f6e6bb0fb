//! Groups under random treatment, each from one seed.
//!
//! A run has two phases. In the first, *safety*, everything may fail that the seed's [`Mix`] says: messages, links, clocks,
//! processes, power, disks; clients propose and read, an administrator changes members and hands leadership over. After
//! each step all of [`Checks`](super::Checks) must hold. In the second, *liveness*, everything is healed, and within a
//! bounded time the group must have left joint configurations, replaced what is lost, committed and applied a proposal on
//! every member, and answered a read.
//!
//! ```text
//!            ┌───────── steps ─────────┐┌── within so many election timeouts ──┐
//!   seed ──▶ │ safety: faults and work ││ liveness: healed, must make progress │ ──▶ counts, trace hash, violation
//!            └─────────────────────────┘└──────────────────────────────────────┘
//! ```
//!
//! # Model
//!
//! A step is the smallest thing that can happen: one message arrives, one write becomes durable or is reported, one entry
//! is applied, one node looks at its clock, one fault strikes, one client asks. Time is virtual and jumps from one event to
//! the next. Equal seeds give equal runs; the trace hash is over all that happened.
//!
//! # Sources
//!
//! Deterministic simulation as FoundationDB and TigerBeetle do it: swarms of faults from a seed, a phase of safety and one
//! of liveness, and counts of what rarely happens, so that a campaign which tested nothing does not pass.

mod admin;
mod faults;
mod heal;
mod host;
mod mix;
mod mutants;
mod queue;
mod report;
mod trace;
mod watch;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ringfort_raft::{Guards, Message};
use ringfort_types::{Monotonic, ReplicaId};

use super::{Cluster, ClusterOptions, ReadState, Violation};
use crate::Random;

use faults::Links;
use host::Host;
use mix::Mix;
use queue::{Act, Event, Local, Queue};

pub use mutants::{Mutant, Tried, mutants, try_mutant};
pub use report::{Count, Outcome, Totals};

/// What is run.
#[derive(Clone, Copy, Debug)]
pub struct RunOptions {
    /// Everything follows from it.
    pub seed: u64,
    /// Steps of the first phase.
    pub steps: u64,
    /// What is broken on purpose, if anything.
    pub mutant: Option<Mutant>,
    /// Every step is printed to standard output.
    pub trace: bool,
}

/// Messages that were delivered, of which some arrive again much later.
const REPLAYS_MAX: usize = 48;

/// One run.
#[derive(Debug)]
struct Run {
    options: RunOptions,
    mix: Mix,
    random: Random,
    cluster: Cluster,
    queue: Queue,
    hosts: BTreeMap<ReplicaId, Host>,
    links: Links,
    /// Delivered messages.
    replays: Vec<Message>,
    /// The greatest id given to a replica.
    last_id: u64,
    /// Nothing fails any more.
    healed: bool,
    steps: u64,
    hash: u64,
    totals: Totals,
    /// The newest read that was answered.
    answered: Option<ringfort_raft::ReadId>,
}

/// Runs one seed to its end, or to the first violation. A panic inside is caught: one of ours that names an invariant is a
/// violation by the name `invariant`, any other one is called `panic`.
#[must_use]
pub fn run(options: RunOptions) -> Outcome {
    let mut run = Run::new(options);
    let result = catch_unwind(AssertUnwindSafe(|| run.run()));
    let violation = match result {
        Ok(result) => result.err(),
        Err(panic) => Some(report::of_panic(panic.as_ref())),
    };
    run.finish(violation)
}

impl Run {
    fn new(options: RunOptions) -> Self {
        let mut random = Random::new(options.seed);
        let mix = Mix::choose(&mut random);
        let guards = match options.mutant {
            Some(Mutant::Without(guard)) => Guards::without(guard),
            _ => Guards::default(),
        };
        let cluster = Cluster::new(ClusterOptions {
            voters: (1..=mix.voters).map(ReplicaId).collect(),
            settings: mix.settings,
            guards,
            seed: random.next_u64(),
        });
        let mut run = Self {
            options,
            last_id: mix.voters,
            mix,
            random,
            cluster,
            queue: Queue::default(),
            hosts: BTreeMap::new(),
            links: Links::default(),
            replays: Vec::new(),
            healed: false,
            steps: 0,
            hash: 0,
            totals: Totals::default(),
            answered: None,
        };
        for id in run.cluster.ids() {
            run.adopt(id);
        }
        for act in Act::ALL {
            run.plan(act);
        }
        run
    }

    fn run(&mut self) -> Result<(), Violation> {
        if self.options.trace {
            println!("{:#?}", self.mix);
        }
        while self.steps < self.options.steps {
            self.step()?;
        }
        self.heal()
    }

    /// Does what comes next.
    fn step(&mut self) -> Result<(), Violation> {
        let Some((at, event)) = self.queue.pop() else {
            return Err(Violation { name: "harness", what: "nothing is left to happen".into() });
        };
        self.pass_time(at);
        match event {
            Event::Deliver(place) => self.deliver(place),
            Event::Beat(place) => self.deliver_beat(place),
            Event::At(id, start, local) => self.happen(id, start, local),
            Event::Restart(id) if self.hosts.get(&id).is_some_and(|host| host.left) => Ok(()),
            Event::Restart(id) => self.restart(id),
            Event::Heal(count) => {
                self.links.heal(count);
                Ok(())
            }
            Event::Act(act) => {
                self.plan(act);
                self.act(act)
            }
        }
    }

    fn act(&mut self, act: Act) -> Result<(), Violation> {
        if self.healed {
            return Ok(());
        }
        match act {
            Act::Propose => self.propose(),
            Act::Read => self.read(),
            Act::Change => self.change(),
            Act::Transfer => self.transfer(),
            Act::Compact => self.compact(),
            Act::Priority => self.prioritize(),
            Act::Clean => {
                self.clean();
                Ok(())
            }
            _ => self.fault(act),
        }
    }

    /// Plans the next act of a kind.
    fn plan(&mut self, act: Act) {
        let every = self.mix.every(act);
        if every > 0 {
            let at = self.now() + 1 + self.random.below(2 * every);
            self.queue.push(at, Event::Act(act));
        }
    }

    fn now(&self) -> u64 {
        self.cluster.now.0
    }

    /// Time passes; each clock in its own way.
    fn pass_time(&mut self, at: u64) {
        let passed = at.saturating_sub(self.now());
        if passed == 0 {
            return;
        }
        self.cluster.now = Monotonic(at);
        for (id, node) in &mut self.cluster.nodes {
            if let Some(host) = self.hosts.get_mut(id) {
                node.clock_ahead += host.drifted(passed);
            }
        }
    }

    /// Something happened at a replica: it counts, and the host looks what is to be done.
    fn happened(&mut self, id: ReplicaId) -> Result<(), Violation> {
        self.count_step(id.0);
        if self.mix.deferred > 0 && self.chance(self.mix.deferred) && !self.healed {
            let host = self.hosts.get_mut(&id);
            if let Some(host) = host.filter(|host| !host.poll_planned) {
                host.poll_planned = true;
                let wait = self.random.below(2 * self.mix.latency);
                self.plan_at(id, wait, Local::Poll);
            }
            return self.cluster.check(id);
        }
        self.poll(id)
    }

    fn count_step(&mut self, what: u64) {
        self.steps += 1;
        self.weigh(self.now() ^ (what << 48));
    }

    fn weigh(&mut self, what: u64) {
        self.hash = (self.hash ^ what).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }

    fn chance(&mut self, of_1024: u64) -> bool {
        of_1024 > 0 && self.random.below(1024) < of_1024
    }

    /// A time between a typical one and four times as long.
    fn about(&mut self, typical: u64) -> u64 {
        typical + self.random.below(3 * typical + 1)
    }

    fn plan_at(&mut self, id: ReplicaId, wait: u64, local: Local) {
        let start = self.cluster.nodes.get(&id).map_or(0, |node| node.starts);
        self.queue.push(self.now() + wait, Event::At(id, start, local));
    }

    fn finish(mut self, violation: Option<Violation>) -> Outcome {
        for id in self.cluster.ids() {
            self.gather(id);
        }
        self.totals.add(Count::Steps, self.steps);
        self.totals.add(Count::VirtualMillis, self.now() / mix::MILLI);
        Outcome {
            seed: self.options.seed,
            violation,
            hash: self.hash,
            steps: self.steps,
            totals: self.totals,
        }
    }
}
