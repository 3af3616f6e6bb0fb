//! Three nodes under concurrent clients: `kill -9` of a random node again and again, now and then of all at once, and SIGSTOP
//! of the node that leads the most shards. Afterwards every acknowledged write is there through every node, and the history
//! is that of one store that loses nothing and reads nothing stale.
//!
//! `RINGFORT_CRASH_SECONDS` says how long faults go on: 20 by default, 600 for the campaign.

use std::fs::File;
use std::io::BufWriter;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ringfort_check::{Report, Verdict, check, write_history};
use ringfort_testkit::load::{Load, LoadOptions, Recorder};
use ringfort_testkit::{Cluster, Leaders, Random, binary, seed_from_environment, wait_until};

const NODES: usize = 3;
/// Longest time in which clients get nowhere, whatever happens: elections of a debug build on a shared machine.
const PROGRESS_DEADLINE: Duration = Duration::from_secs(60);
/// Writes acknowledged between two faults, at most.
const WRITES_MAX: u64 = 2_000;
/// Writes that a cluster without one node must acknowledge before that node comes back.
const WRITES_WITHOUT: u64 = 50;
/// A run of more seconds is a campaign, in which pauses are as long as the contract says.
const CAMPAIGN_SECONDS: u64 = 120;

struct Campaign {
    seed: u64,
    random: Random,
    cluster: Cluster,
    recorder: Recorder,
    options: LoadOptions,
    pause: Duration,
    kills: u64,
    kills_of_all: u64,
    pauses: u64,
}

fn seconds_from_environment() -> Result<u64> {
    let seconds = std::env::var("RINGFORT_CRASH_SECONDS");
    Ok(seconds.map_or(Ok(20), |seconds| seconds.parse())?)
}

#[test]
fn three_nodes_lose_no_acknowledged_write_and_read_nothing_stale() -> Result<()> {
    let (seed, seconds) = (seed_from_environment()?, seconds_from_environment()?);
    println!("RINGFORT_SEED={seed} RINGFORT_CRASH_SECONDS={seconds} makes the same choices again");
    let mut campaign = Campaign {
        seed,
        random: Random::new(seed),
        cluster: Cluster::start(NODES, 3, |_, options| crate::with_small_segments(options))?,
        recorder: Recorder::default(),
        options: LoadOptions { clients: 12, seed, ..LoadOptions::default() },
        pause: Duration::from_secs(if seconds > CAMPAIGN_SECONDS { 10 } else { 3 }),
        kills: 0,
        kills_of_all: 0,
        pauses: 0,
    };
    let before = campaign.cluster.await_agreement()?;
    let load = campaign.recorder.start_load_on(&campaign.cluster.ports(), &campaign.options);
    let faults = campaign.make_faults(&load, Duration::from_secs(seconds));
    campaign.recorder.stop_load(load)?;
    if let Err(error) = faults {
        return Err(campaign.explain(error));
    }
    let after = campaign.cluster.await_agreement()?;
    campaign.read_through_every_node()?;
    let report = campaign.require_no_violation()?;
    println!("{}", campaign.summary(&report, terms_between(&before, &after)));
    ensure!(report.acknowledged as u64 > seconds * 20, "too little load to prove anything");
    ensure!(campaign.kills > 0 && campaign.pauses > 0, "hardly a fault was made");
    Ok(())
}

impl Campaign {
    fn make_faults(&mut self, load: &Load, during: Duration) -> Result<()> {
        let begun = Instant::now();
        for turn in 0_u64.. {
            let writes = 1 + self.random.below(WRITES_MAX);
            self.await_writes(load, writes)?;
            // The first turns make one fault of each kind, however short the run.
            match (turn, self.random.below(10)) {
                (0, _) | (3.., 0..7) => self.kill_one(load)?,
                (1, _) | (3.., 7..9) => self.pause_leader(load)?,
                _ => self.kill_all()?,
            }
            if begun.elapsed() >= during && turn >= 3 {
                break;
            }
        }
        self.await_writes(load, WRITES_WITHOUT)
    }

    fn await_writes(&self, load: &Load, count: u64) -> Result<()> {
        load.await_acknowledged(load.acknowledged() + count, PROGRESS_DEADLINE)
    }

    fn kill_one(&mut self, load: &Load) -> Result<()> {
        let node = usize::try_from(self.random.below(NODES as u64))?;
        self.cluster.kill(node)?;
        self.kills += 1;
        // Half of the time the others take over first, else it is back before they have noticed.
        if self.random.percent(50) {
            self.await_writes(load, WRITES_WITHOUT)?;
        }
        self.cluster.start_all()
    }

    fn kill_all(&mut self) -> Result<()> {
        self.cluster.kill_all()?;
        self.kills_of_all += 1;
        self.cluster.start_all()
    }

    /// The others go on while the node is paused; then it comes back with connections and timers of another time.
    fn pause_leader(&mut self, load: &Load) -> Result<()> {
        let node = self.cluster.leads_most()?;
        self.cluster.node_mut(node).pause()?;
        self.pauses += 1;
        let (begun, target) = (Instant::now(), load.acknowledged() + WRITES_WITHOUT);
        let gone_on = wait_until("the others to go on", PROGRESS_DEADLINE, || {
            let over = begun.elapsed() >= self.pause && load.acknowledged() >= target;
            Ok(over.then_some(()))
        });
        self.cluster.node_mut(node).resume()?;
        gone_on?;
        self.cluster.await_ready(node)
    }

    fn read_through_every_node(&mut self) -> Result<()> {
        for port in self.cluster.ports() {
            self.recorder.read_all(port, &self.options)?;
        }
        Ok(())
    }

    fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let log = |node: usize| {
            let text = self.cluster.node(node).log_text();
            let lines: Vec<_> = text.lines().collect();
            format!("n{node}:\n{}", lines[lines.len().saturating_sub(15)..].join("\n"))
        };
        let logs: Vec<_> = (0..NODES).map(log).collect();
        error.context(format!("seed {}; the end of all logs:\n{}", self.seed, logs.join("\n")))
    }

    /// Keeps the history of a run that breaks a rule. Keys that the checker gave up are counted, not passed.
    fn require_no_violation(&self) -> Result<Report> {
        let history = self.recorder.history();
        let report = check(&history);
        if report.verdict() != Verdict::Violated {
            return Ok(report);
        }
        let path = binary::target_dir()?.join(format!("cluster-{}.jsonl", self.seed));
        let file = File::create(&path).with_context(|| format!("{}", path.display()))?;
        write_history(BufWriter::new(file), &history)?;
        bail!("{}\nhistory: {}\n{report}", self.summary(&report, 0), path.display())
    }

    fn summary(&self, report: &Report, terms: u64) -> String {
        let Report { acknowledged, unknown, unknown_seen, reads, .. } = report;
        format!(
            "seed {}: {} kills of a node, {} of all nodes, {} pauses of the node that leads the most; {terms} terms of shards \
             begun; {acknowledged} acknowledged writes, {unknown} of unknown outcome ({unknown_seen} of them seen), {reads} \
             reads; {} keys and sets undecided of {}",
            self.seed,
            self.kills,
            self.kills_of_all,
            self.pauses,
            report.undecided.len(),
            report.keys + report.joined,
        )
    }
}

/// Terms begun between two looks at all shards: at least one for each change of a leader.
fn terms_between(before: &Leaders, after: &Leaders) -> u64 {
    let sum = |leaders: &Leaders| leaders.values().map(|(_, term)| term).sum::<u64>();
    sum(after).saturating_sub(sum(before))
}
