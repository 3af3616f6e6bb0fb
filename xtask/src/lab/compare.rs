//! `cargo xtask compare`: this server beside etcd and Redis, on one machine, in interleaved rounds.
//!
//! In each round every system is started on an empty directory, loaded with the same keys, measured, and taken away, so
//! that no system works while another is measured. The medians over all rounds are compared with the targets.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;
use serde_json::{Value, json};

use super::load::{Load, LoadResult, Until, known, median};
use super::options::{Options, Output};
use super::process::LabDirectory;
use super::restart::{self, RestartResult};
use super::servers::{Server, System, is_installed, release_executable, target_directory};

/// Keys that puts and gets choose from.
const KEYS: u64 = 100_000;

/// One thing that is measured of a system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Case {
    Put64,
    Get64,
    Put1,
}

impl Case {
    const ALL: [Self; 3] = [Self::Put64, Self::Get64, Self::Put1];

    fn name(self) -> &'static str {
        match self {
            Self::Put64 => "put, 64 connections",
            Self::Get64 => "get, 64 connections",
            Self::Put1 => "put, 1 connection",
        }
    }

    fn workload(self) -> &'static str {
        match self {
            Self::Put64 | Self::Put1 => "put",
            Self::Get64 => "get",
        }
    }

    fn connections(self) -> u64 {
        match self {
            Self::Put64 | Self::Get64 => 64,
            Self::Put1 => 1,
        }
    }
}

/// A figure that is asked for: ours is at least this many times a peer's.
struct Target {
    case: Case,
    peer: System,
    ratio: f64,
}

const TARGETS: [Target; 5] = [
    Target { case: Case::Put64, peer: System::Etcd, ratio: 4.0 },
    Target { case: Case::Put64, peer: System::Redis, ratio: 1.0 },
    Target { case: Case::Get64, peer: System::Etcd, ratio: 6.0 },
    Target { case: Case::Get64, peer: System::Redis, ratio: 0.8 },
    Target { case: Case::Put1, peer: System::Etcd, ratio: 1.3 },
];
/// CPU of the server per put at 64 connections, in microseconds.
const CPU_US_MAX: f64 = 20.0;

/// One value per round; for etcd per number of gRPC connections.
type Rounds = BTreeMap<(Case, System, u64), Vec<LoadResult>>;

/// The command.
pub(crate) fn compare(root: &Path, arguments: &[String]) -> anyhow::Result<ExitCode> {
    let mut options = Options::new(arguments);
    let quick = options.flag("--quick");
    let rounds = options.number("--rounds", if quick { 1 } else { 5 }, 100)?;
    let seconds = options.number("--seconds", if quick { 2 } else { 5 }, 600)?;
    let no_build = options.flag("--no-build");
    let output = options.output()?;
    options.finish()?;
    for program in ["etcd", "redis-server"] {
        if !is_installed(program) {
            bail!("{program} is missing: cargo xtask peers installs it");
        }
    }
    let executable = release_executable(root, !no_build)?;
    let lab = LabDirectory::new(&target_directory(root))?;
    let mut results = Rounds::new();
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        for system in System::ALL {
            measure_system(system, &executable, &lab, seconds, &mut results)?;
        }
    }
    let records = if quick { 100_000 } else { 1_000_000 };
    let restart = restart::measure(&executable, &lab, records)?;
    let comparison = Comparison { results, restart, rounds, seconds };
    match output {
        Output::Table => print!("{}", comparison.table()),
        Output::Json => println!("{:#}", comparison.json()),
    }
    Ok(ExitCode::SUCCESS)
}

fn measure_system(
    system: System,
    executable: &Path,
    lab: &LabDirectory,
    seconds: u64,
    results: &mut Rounds,
) -> anyhow::Result<()> {
    let server = Server::start(system, executable, lab)?;
    Load::of_all(KEYS).run(executable, &server.target())?;
    for case in Case::ALL {
        for channels in channels(system, case) {
            let load = Load {
                workload: case.workload(),
                connections: case.connections(),
                channels: *channels,
                keys: KEYS,
                until: Until::Seconds(seconds),
                rate: None,
            };
            let result = load.run(executable, &server.target())?;
            eprintln!(
                "  {:<9} {:<20} {:>9.0}/s{}",
                system.name(),
                case.name(),
                result.per_second,
                if system == System::Etcd {
                    format!("  over {channels} gRPC connections")
                } else {
                    String::new()
                }
            );
            results.entry((case, system, *channels)).or_default().push(result);
        }
    }
    // The guard kills it; its directory is emptied by the next start, or with the lab.
    drop(server);
    Ok(())
}

/// Numbers of gRPC connections to try.
fn channels(system: System, case: Case) -> &'static [u64] {
    match (system, case) {
        (System::Etcd, Case::Put64 | Case::Get64) => &[1, 16],
        _ => &[1],
    }
}

#[derive(Debug)]
struct Comparison {
    results: Rounds,
    restart: RestartResult,
    rounds: u64,
    seconds: u64,
}

impl Comparison {
    /// The median over the rounds; for etcd of the better number of connections.
    fn median(&self, case: Case, system: System, figure: fn(&LoadResult) -> Option<f64>) -> f64 {
        let rate = |result: &LoadResult| Some(result.per_second);
        let best = self
            .results
            .iter()
            .filter(|((its_case, its_system, _), _)| *its_case == case && *its_system == system)
            .map(|(_, rounds)| rounds)
            .max_by(|a, b| median(a, rate).total_cmp(&median(b, rate)));
        best.map_or(f64::NAN, |rounds| median(rounds, figure))
    }

    fn rate(&self, case: Case, system: System) -> f64 {
        self.median(case, system, |result| Some(result.per_second))
    }

    fn ratio(&self, target: &Target) -> f64 {
        self.rate(target.case, System::Ringfort) / self.rate(target.case, target.peer)
    }

    fn table(&self) -> String {
        let mut out = format!(
            "medians of {} rounds of {} s, values of 256 bytes, {KEYS} keys\n\n{:<22}",
            self.rounds, self.seconds, "operations/s"
        );
        for system in System::ALL {
            out += &format!("{:>12}", system.name());
        }
        out.push('\n');
        for case in Case::ALL {
            out += &format!("{:<22}", case.name());
            for system in System::ALL {
                out += &format!("{:>12.0}", self.rate(case, system));
            }
            out.push('\n');
        }
        for (title, figure) in FIGURES {
            out += &format!("\n{title}\n");
            for case in Case::ALL {
                out += &format!("{:<22}", case.name());
                for system in System::ALL {
                    let value = self.median(case, system, figure);
                    let text = if value.is_nan() { "-".to_owned() } else { format!("{value:.2}") };
                    out += &format!("{text:>12}");
                }
                out.push('\n');
            }
        }
        out + "\n" + &self.verdicts() + "\n" + &self.restart.table()
    }

    fn verdicts(&self) -> String {
        let mut out = String::from("targets\n");
        for target in &TARGETS {
            let ratio = self.ratio(target);
            out += &format!(
                "  {:<22} {:>6.2} x {:<6} at least {:<4} {}\n",
                target.case.name(),
                ratio,
                target.peer.name(),
                target.ratio,
                verdict(ratio >= target.ratio)
            );
        }
        let cpu = self.median(Case::Put64, System::Ringfort, |result| result.cpu_us);
        out += &format!(
            "  {:<22} {cpu:>6.2} µs CPU per put, at most {CPU_US_MAX}  {}\n",
            Case::Put64.name(),
            verdict(cpu <= CPU_US_MAX)
        );
        out
    }

    fn json(&self) -> Value {
        let mut cases = Vec::new();
        for ((case, system, channels), rounds) in &self.results {
            cases.push(json!({
                "case": case.name(),
                "system": system.name(),
                "grpc_connections": (*system == System::Etcd).then_some(channels),
                "operations_per_second": {
                    "median": median(rounds, |result| Some(result.per_second)),
                    "rounds": rounds.iter().map(|r| r.per_second).collect::<Vec<_>>(),
                },
                "p50_us": median(rounds, |result| Some(result.p50_us)),
                "p99_us": median(rounds, |result| Some(result.p99_us)),
                "server_cpu_us_per_operation": known(median(rounds, |r| r.cpu_us)),
                "syncs_per_operation": known(median(rounds, |r| r.syncs)),
                "switches_per_operation": known(median(rounds, |r| r.switches)),
                "written_bytes_per_operation": known(median(rounds, |r| r.written_bytes)),
                "generator_cpu_us_per_operation": known(median(rounds, |r| r.generator_cpu_us)),
            }));
        }
        let targets: Vec<Value> = TARGETS
            .iter()
            .map(|target| {
                let ratio = self.ratio(target);
                json!({
                    "case": target.case.name(),
                    "peer": target.peer.name(),
                    "ratio": ratio,
                    "at_least": target.ratio,
                    "pass": ratio >= target.ratio,
                })
            })
            .collect();
        json!({
            "rounds": self.rounds,
            "seconds": self.seconds,
            "cases": cases,
            "targets": targets,
            "restart": self.restart.json(),
        })
    }
}

type Figure = fn(&LoadResult) -> Option<f64>;

const FIGURES: [(&str, Figure); 6] = [
    ("latency p50, µs", |result| Some(result.p50_us)),
    ("latency p99, µs", |result| Some(result.p99_us)),
    ("server CPU per operation, µs", |result| result.cpu_us),
    ("syncs per operation", |result| result.syncs),
    ("context switches per operation", |result| result.switches),
    ("generator CPU per operation, µs", |result| result.generator_cpu_us),
];

fn verdict(good: bool) -> &'static str {
    if good { "pass" } else { "MISS" }
}
