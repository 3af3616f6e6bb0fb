//! `cargo xtask failover`: how long keys cannot be written after `kill -9` of the node that leads the most shards, beside
//! etcd's leader.
//!
//! Three members of each system in turn, with default settings, under writes that begin at fixed times whatever became of
//! those before. What is measured is the longest gap between two successful writes of a shard that lost its leader. All of
//! etcd is one group: its gap is the longest between any two successes. Then the member starts again, and the next kill waits
//! until all serve.

mod lanes;
mod trio;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::options::{Options, Output};
use super::process::{LabDirectory, wait_until};
use super::servers::{System, is_installed, release_executable, target_directory};
use lanes::Lanes;
use trio::Trio;

const SYSTEMS: [System; 2] = [System::Ringfort, System::Etcd];
/// Longest time until every lane succeeds again.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long every lane goes on before a kill, and after it, so that a second interruption is seen.
const CALM_US: u64 = 2_000_000;

/// The gaps of one kill, in milliseconds: one for each shard that lost its leader.
type Gaps = Vec<f64>;

/// The command.
pub(crate) fn failover(root: &Path, arguments: &[String]) -> anyhow::Result<ExitCode> {
    let mut options = Options::new(arguments);
    let kills = options.number("--kills", 20, 1_000)?;
    let rounds = options.number("--rounds", 4.min(kills), kills)?;
    let interval_ms = options.number("--interval-ms", 10, 1_000)?;
    let no_build = options.flag("--no-build");
    let output = options.output()?;
    options.finish()?;
    if !is_installed("etcd") {
        bail!("etcd is missing: cargo xtask peers installs it");
    }
    let executable = release_executable(root, !no_build)?;
    let lab = LabDirectory::new(&target_directory(root))?;
    let interval = Duration::from_millis(interval_ms);
    let mut measured: Vec<Vec<Gaps>> = vec![Vec::new(); SYSTEMS.len()];
    for round in 0..rounds {
        // The rest of the kills goes to the first rounds.
        let share = kills / rounds + u64::from(round < kills % rounds);
        for (system, gaps) in SYSTEMS.into_iter().zip(&mut measured) {
            measure(system, &executable, &lab, interval, share, gaps)?;
        }
    }
    let results: Vec<_> = SYSTEMS.into_iter().zip(measured).map(Failovers::new).collect();
    match output {
        Output::Table => print!("{}", table(&results, interval_ms)),
        Output::Json => println!("{:#}", document(&results, interval_ms)),
    }
    Ok(ExitCode::SUCCESS)
}

fn measure(
    system: System,
    executable: &Path,
    lab: &LabDirectory,
    interval: Duration,
    kills: u64,
    gaps: &mut Vec<Gaps>,
) -> anyhow::Result<()> {
    let mut trio = Trio::start(system, executable, lab)?;
    let lanes = Lanes::start(&trio.writes()?, &trio.addresses(), interval)?;
    for _ in 0..kills {
        await_calm(&lanes, lanes.now_us())?;
        let (member, lost) = trio.leader()?;
        lanes.take();
        await_success(&lanes, lanes.now_us())?;
        let killed_us = lanes.now_us();
        trio.kill(member)?;
        await_calm(&lanes, killed_us)?;
        let found = gaps_of(system, &lanes.take(), &lost, killed_us)?;
        let worst = found.iter().copied().fold(0.0, f64::max);
        eprintln!(
            "  {:<9} killed member {member}, leader of {} groups: gaps of {:.0} ms in the median, {worst:.0} at worst",
            system.name(),
            lost.len(),
            median(&found),
        );
        gaps.push(found);
        trio.start_all()?;
    }
    Ok(())
}

/// Waits until every lane has succeeded some time after `since_us`, and again a while later.
fn await_calm(lanes: &Lanes, since_us: u64) -> anyhow::Result<()> {
    await_success(lanes, since_us)?;
    await_success(lanes, lanes.now_us().max(since_us) + CALM_US)
}

fn await_success(lanes: &Lanes, since_us: u64) -> anyhow::Result<()> {
    let awaited = wait_until(PATIENCE, || Ok(lanes.all_succeeded_since(since_us)));
    awaited.context("not every lane can be written")
}

/// The longest gaps around a kill, of the shards that lost their leader.
fn gaps_of(
    system: System,
    lanes: &[Vec<u64>],
    lost: &[usize],
    killed_us: u64,
) -> anyhow::Result<Gaps> {
    let groups: Vec<Vec<u64>> = match system {
        System::Etcd => {
            let mut all: Vec<_> = lanes.iter().flatten().copied().collect();
            all.sort_unstable();
            vec![all]
        }
        _ => lost.iter().map(|lane| lanes[*lane].clone()).collect(),
    };
    groups.iter().map(|successes| gap_ms(successes, killed_us)).collect()
}

/// The longest time between two successes of which the later one came after the kill, in milliseconds.
fn gap_ms(successes: &[u64], killed_us: u64) -> anyhow::Result<f64> {
    let pairs = successes.windows(2).filter(|pair| pair[1] >= killed_us);
    let longest = pairs.map(|pair| pair[1] - pair[0]).max();
    let longest = longest.context("no two writes succeeded around a kill")?;
    Ok(Duration::from_micros(longest).as_secs_f64() * 1e3)
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    match (values.len(), values.len() / 2) {
        (0, _) => f64::NAN,
        (len, middle) if len % 2 == 0 => f64::midpoint(values[middle - 1], values[middle]),
        (_, middle) => values[middle],
    }
}

/// What was measured of one system.
struct Failovers {
    system: System,
    kills: Vec<Gaps>,
    all: Gaps,
}

impl Failovers {
    fn new((system, kills): (System, Vec<Gaps>)) -> Self {
        Self { system, all: kills.iter().flatten().copied().collect(), kills }
    }

    fn worst(&self) -> f64 {
        self.all.iter().copied().fold(0.0, f64::max)
    }
}

fn table(results: &[Failovers], interval_ms: u64) -> String {
    let mut out = format!(
        "kill -9 of the leader of the most; longest gap between successful writes of each group that lost its leader; each \
         group is written every {interval_ms} ms or more often\n\n{:<10}{:>8}{:>10}{:>14}{:>14}\n",
        "", "kills", "groups", "median, ms", "worst, ms"
    );
    for result in results {
        out += &format!(
            "{:<10}{:>8}{:>10}{:>14.0}{:>14.0}\n",
            result.system.name(),
            result.kills.len(),
            result.all.len(),
            median(&result.all),
            result.worst()
        );
    }
    if let [ours, peer] = results {
        let good = median(&ours.all) <= median(&peer.all);
        out += &format!("\nmedian at most etcd's: {}\n", if good { "pass" } else { "MISS" });
    }
    out
}

fn document(results: &[Failovers], interval_ms: u64) -> Value {
    let system = |result: &Failovers| {
        json!({
            "system": result.system.name(),
            "kills": result.kills.len(),
            "groups_that_lost_their_leader": result.all.len(),
            "median_ms": median(&result.all),
            "worst_ms": result.worst(),
            "gaps_ms_by_kill": result.kills,
        })
    };
    json!({
        "interval_ms": interval_ms,
        "systems": results.iter().map(system).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_that_around_the_kill_or_a_later_one() {
        let gap = |successes: &[u64], killed| gap_ms(successes, killed).unwrap();
        assert!((gap(&[0, 9_000, 10_000, 30_000, 31_000], 10_500) - 20.0).abs() < 1e-9);
        assert!((gap(&[0, 10_000, 11_000, 14_000], 10_500) - 3.0).abs() < 1e-9);
        assert!(gap_ms(&[0, 1_000], 5_000).is_err());
    }

    #[test]
    fn etcd_is_one_group() {
        let lanes = [vec![0, 20_000], vec![10_000, 50_000]];
        assert_eq!(gaps_of(System::Etcd, &lanes, &[0], 5_000).unwrap(), [30.0]);
        assert_eq!(gaps_of(System::Ringfort, &lanes, &[1], 5_000).unwrap(), [40.0]);
    }
}
