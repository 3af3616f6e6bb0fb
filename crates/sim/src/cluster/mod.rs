//! Whole nodes under random treatment: a cluster with its clients, in one thread, from one seed.
//!
//! ```text
//!   clients ──requests──▶ node: door ▸ workers ▸ log ──▶ simulated disk
//!      ▲                        │  ▲ member
//!      └── answers, or silence  ▼  │ frames, as bytes
//!                             simulated network
//! ```
//!
//! A run has two phases. In the first, *safety*, everything may fail that the seed's [`Mix`] says: processes, power, links,
//! disks, clocks. In the second, *liveness*, everything is healed, and within a bounded time every shard must take a write,
//! every key must be readable, all nodes must have one map, and what it says must be so: no replica is quarantined any more, and
//! those of a group have applied the same. Then the [checker](ringfort_check) judges what clients were told.
//!
//! # Model
//! - Time is virtual and jumps from one event to the next. Each machine's clock starts somewhere and drifts within the bound
//!   that leases allow for; it counts while its process is paused. There is no wall clock.
//! - A process is its threads, each a turn at a time that the seed chooses: log and workers interleave as on a real machine.
//! - A cluster begins with the record that its formation leaves. The catalog is a group like the others; what the nodes'
//!   members say of it goes in frames, and within a node by inboxes, so that workers and nodes hold different maps for a while.
//! - Between nodes go encoded frames over connections ([`network`]); disks are [`SimDisk`]s with a lane each for the log and the
//!   background, whose operations take their time.
//! - Synced bytes are lost or damaged only on a minority of a group's copies, and not where nothing behind them proves them.
//!   A damaged node counts as sound again once a start of it has found everything.
//! - What is rare in production, though no fault, is met often: limits are low, turns are cut ([`buggify`]).
//!
//! Equal seeds give equal runs; the trace hash is over all that happened.
//!
//! # Sources
//! Deterministic simulation as FoundationDB and TigerBeetle (VOPR) do it; swarms of faults after Groce et al.

mod broken_engine;
mod buggify;
mod clients;
mod clock;
mod coup;
mod disks;
mod faults;
mod figures;
mod formed;
mod heal;
mod judge;
mod listings;
mod machine;
mod maps;
mod mix;
mod mutants;
mod network;
mod node;
mod queue;
mod report;
mod threads;
mod words;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use ringfort_node::{Founding, founding_of};
use ringfort_types::NodeNumber;

use crate::{Random, SimDisk};
use buggify::Buggify;
use clients::Crowd;
use clock::Clock;
use faults::Act;
use judge::Seen;
use machine::Machine;
use maps::Newest;
use mix::{MILLI, Mix, SECOND};
use network::Network;
use queue::{Event, Queue};

pub use figures::{Figures, POINTS, WANTED};
pub use mutants::{Mutant, Tried, mutants, try_mutant};
pub use report::{Count, Outcome, Totals, Violation};

/// What is run.
#[derive(Clone, Copy, Debug)]
pub struct RunOptions {
    /// Everything follows from it.
    pub seed: u64,
    /// Length of the first phase, in simulated seconds.
    pub seconds: u64,
    /// What is broken on purpose, if anything.
    pub mutant: Option<Mutant>,
    /// What happens is printed to standard output.
    pub trace: bool,
}

/// One run.
struct Run {
    options: RunOptions,
    mix: Mix,
    buggify: Buggify,
    random: Random,
    queue: Queue,
    now: u64,
    machines: Vec<Machine>,
    founding: Vec<Arc<Founding>>,
    network: Network,
    crowd: Crowd,
    seen: Seen,
    newest: Newest,
    /// The longest time that a shard had no leader, in all, in nanoseconds.
    leaderless: u64,
    /// Nothing fails any more.
    healed: bool,
    hash: u64,
    totals: Totals,
}

/// Runs one seed to its end, or to the first violation. A panic inside is caught and is one.
#[must_use]
pub fn run(options: RunOptions) -> Outcome {
    let mut run = Run::new(options);
    let violation = match catch_unwind(AssertUnwindSafe(|| run.run())) {
        Ok(result) => result.err(),
        Err(panic) => Some(report::of_panic(panic.as_ref())),
    };
    run.finish(violation)
}

impl Run {
    fn new(options: RunOptions) -> Self {
        let mut random = Random::new(options.seed);
        let mut mix = Mix::choose(&mut random);
        let mut buggify = Buggify::choose(options.seed);
        buggify.lower(&mut mix);
        if options.mutant == Some(Mutant::Drift) {
            mix.drift *= 5;
        }
        let mut machines = Vec::new();
        for _ in 0..mix.nodes {
            let mut disk = SimDisk::new(random.next_u64());
            disk.skip_syncs(options.mutant == Some(Mutant::SkipSync));
            let clock = Clock::new(random.below(1_000 * SECOND), 0, 0);
            machines.push(Machine::new(disk, clock, 1 + random.below(3)));
        }
        let founding = (0..mix.nodes).map(number);
        let founding = founding.map(|number| Arc::new(founding_of(&mix.formed.record, number)));
        let founding = founding.collect();
        let mut network = Network::new(mix.nodes, random.fork());
        network.doubles_requests = options.mutant == Some(Mutant::RequestsDoubled);
        let crowd = Crowd::new(&mix, &mut random);
        Self {
            options,
            buggify,
            random,
            queue: Queue::default(),
            now: 0,
            machines,
            founding,
            network,
            crowd,
            seen: Seen::default(),
            newest: Newest::default(),
            leaderless: 0,
            healed: false,
            hash: 0,
            totals: Totals::default(),
            mix,
        }
    }

    fn run(&mut self) -> Result<(), Violation> {
        self.note(|| format!("{:#?}\n{:?}", self.mix, self.buggify));
        for node in 0..self.mix.nodes {
            let drift = self.drift();
            self.machines[node].clock.set_drift(0, drift);
            let at = self.random.below(200 * MILLI);
            self.queue.push(at, Event::Start { node });
        }
        for act in Act::ALL {
            self.plan(act);
        }
        self.queue.push(0, Event::Look);
        self.start_clients();
        let until = self.options.seconds * SECOND;
        while self.now < until {
            self.step()?;
        }
        self.count_fault_time();
        self.heal()?;
        self.judge()
    }

    /// Time counts where there was enough to check.
    fn count_fault_time(&mut self) {
        let told = self.crowd.history.len() as u64;
        if told >= 50 * self.options.seconds {
            self.totals.set(Count::FaultMillis, self.options.seconds * 1_000);
        }
    }

    /// Does what comes next.
    fn step(&mut self) -> Result<(), Violation> {
        let Some((at, event)) = self.queue.pop() else {
            return Err(Violation { name: "harness", what: "nothing is left to happen".into() });
        };
        self.now = self.now.max(at);
        self.totals.add(Count::Events, 1);
        self.weigh(self.now);
        self.weigh(event.mark());
        match event {
            Event::Turn { node, boot, thread } => self.turn(node, boot, thread),
            Event::Tick { node, boot } => {
                self.tick(node, boot);
                Ok(())
            }
            Event::LogTimer { node, boot } => {
                self.ring_log_timer(node, boot);
                Ok(())
            }
            Event::Disk { node, boot, lane } => self.complete_disk(node, boot, lane),
            Event::Late { node, boot, lane, completion } => {
                self.hear_late(node, boot, lane, completion)
            }
            Event::Arrive(arrival) => self.arrive(arrival),
            Event::Connect(link) => {
                self.connect(link);
                Ok(())
            }
            Event::Ask { node, asked } => {
                self.arrive_request(node, asked);
                Ok(())
            }
            Event::Reply { client, request, reply } => self.handle_reply(client, request, &reply),
            Event::Broken { client, request, sent } => self.handle_broken(client, request, sent),
            Event::Client { client, wake } => self.wake_client(client, wake),
            Event::Start { node } => self.start_process(node),
            Event::Act(act) => {
                if !self.healed {
                    self.plan(act);
                    self.act(act);
                }
                Ok(())
            }
            Event::Undo(undo) => {
                if !self.healed {
                    self.undo(undo);
                }
                Ok(())
            }
            Event::Look => self.look(),
        }
    }

    fn weigh(&mut self, what: u64) {
        self.hash = (self.hash ^ what).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }

    fn chance(&mut self, of_1024: u64) -> bool {
        of_1024 > 0 && self.random.below(1024) < of_1024
    }

    /// Prints what a person wants to see of a run.
    fn note(&self, what: impl FnOnce() -> String) {
        if self.options.trace {
            println!("{:>10.3} ms  {}", self.now as f64 / 1e6, what());
        }
    }

    fn finish(mut self, violation: Option<Violation>) -> Outcome {
        for node in 0..self.mix.nodes {
            if let Some(process) = self.machines[node].end() {
                self.gather(&process);
            }
        }
        let counts = self.network.counts;
        self.totals.count_network(&counts);
        self.totals.set(Count::VirtualMillis, self.now / MILLI);
        Outcome {
            seed: self.options.seed,
            violation,
            hash: self.hash,
            totals: self.totals,
            history: self.crowd.history,
        }
    }
}

/// A node's number in its cluster.
fn number(node: usize) -> NodeNumber {
    NodeNumber(u16::try_from(node).unwrap_or(u16::MAX))
}
