//! `cargo xtask perf`: the CPU table of a durable put, measured; with `--cluster` of three nodes.
//!
//! Twice the same load, 64 connections: once undisturbed, for what a put costs as the kernel accounts it; once sampled,
//! for where that goes. The sampled run's shares are scaled to the undisturbed run's cost. Hardware counters need not
//! exist: the clock samples.

mod allocations;
mod cluster;
mod counters;
mod one_node;
mod sides;
mod stacks;
mod work;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};

use super::load::{Load, LoadResult, Target, Until, WARMUP};
use super::options::{Options, Output};
use super::process::{Guarded, LabDirectory};
use super::servers::{is_installed, release_executable, target_directory};
use stacks::Attribution;
use work::Work;

/// Samples per second and thread that runs.
const SAMPLES_PER_SECOND: &str = "997";
/// Stacks are copied, so many bytes of each, and walked later by the tables for unwinding: the C library's functions for
/// sockets keep no frame pointer, and whose socket it is stands above them.
const CALL_GRAPH: &str = "dwarf,4096";
/// Keys that puts choose from.
const KEYS: u64 = 100_000;
/// How many functions are named per row.
const NAMED: usize = 3;

/// The command.
pub(crate) fn perf(root: &Path, arguments: &[String]) -> anyhow::Result<ExitCode> {
    let mut options = Options::new(arguments);
    let seconds = options.number("--seconds", 8, 600)?;
    let is_cluster = options.flag("--cluster");
    let no_build = options.flag("--no-build");
    let output = if is_cluster { options.output()? } else { Output::Table };
    options.finish()?;
    if !is_installed("perf") {
        bail!("perf is missing: cargo xtask peers installs it");
    }
    let executable = release_executable(root, !no_build)?;
    let directory = LabDirectory::new(&target_directory(root))?;
    let lab = Lab { executable, directory, seconds };
    if is_cluster {
        cluster::measure(&lab, output)?;
    } else {
        one_node::measure(&lab)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What both tables need.
struct Lab {
    /// Server and load generator.
    executable: PathBuf,
    directory: LabDirectory,
    seconds: u64,
}

/// What a put costs, and where that goes.
struct Measured {
    cost: LoadResult,
    /// Of all servers, in microseconds of CPU time per put.
    cpu_us: f64,
    attribution: Attribution,
}

impl Measured {
    /// Runs the load undisturbed, then sampled. Between them it does what else is wanted.
    fn of<T>(
        lab: &Lab,
        target: &Target,
        between: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<(Self, T)> {
        eprintln!("measuring for {} s", lab.seconds);
        let cost = puts(Until::Seconds(lab.seconds)).run(&lab.executable, target)?;
        let cpu_us = cost.cpu_us.context("the servers' CPU time is not known")?;
        let wanted = between()?;
        eprintln!("sampling for {} s", lab.seconds);
        let attribution = Attribution::read(&sample(lab, target)?);
        if attribution.samples == 0 {
            bail!("perf took no sample");
        }
        Ok((Self { cost, cpu_us, attribution }, wanted))
    }

    /// Microseconds of some kinds of work per put.
    fn us(&self, works: &[Work]) -> f64 {
        works.iter().map(|work| self.attribution.share(*work)).sum::<f64>() * self.cpu_us
    }

    /// The functions in which most of that is spent, with microseconds per put.
    fn top(&self, works: &[Work]) -> String {
        let named: Vec<String> = self
            .attribution
            .top(works, NAMED)
            .into_iter()
            .map(|(symbol, share)| format!("{} {:.2}", shorten(symbol), share * self.cpu_us))
            .collect();
        named.join(", ")
    }
}

/// The load that the tables are about.
fn puts(until: Until) -> Load {
    Load { workload: "put", connections: 64, channels: 1, keys: KEYS, until, rate: None }
}

/// Runs the load with perf beside it, and returns perf's samples as text.
fn sample(lab: &Lab, target: &Target) -> anyhow::Result<String> {
    let data = lab.directory.file("perf.data");
    let pids: Vec<String> = target.pids.iter().map(u32::to_string).collect();
    let mut record = Command::new("perf");
    record.args(["record", "--event", "cpu-clock", "--freq", SAMPLES_PER_SECOND]);
    record.args(["--call-graph", CALL_GRAPH, "--output"]).arg(&data);
    record.args(["--pid", &pids.join(",")]);
    // Within the load: it begins after the warm-up, which is part of the sleep, and ends before the load does.
    record.args(["--delay", &WARMUP.as_millis().to_string()]);
    record.args(["--", "sleep", &(WARMUP.as_secs() + lab.seconds).to_string()]);
    let mut recorder = Guarded::start(&mut record, &lab.directory.file("perf.log"))?;
    puts(Until::Seconds(lab.seconds + 1)).run(&lab.executable, target)?;
    recorder.wait(Duration::from_secs(60))?;
    let output = Command::new("perf")
        .args(["script", "--no-inline", "--fields", "comm,tid,ip,sym", "--input"])
        .arg(&data)
        .stderr(Stdio::null())
        .output()
        .context("cannot run perf script")?;
    if !output.status.success() {
        bail!("perf script ended with {}", output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A symbol without its generic arguments' depth: enough to find it.
fn shorten(symbol: &str) -> String {
    const CHARACTERS_MAX: usize = 60;
    let plain = symbol.split("+0x").next().unwrap_or(symbol);
    if plain.chars().count() <= CHARACTERS_MAX {
        plain.to_owned()
    } else {
        let head: String = plain.chars().take(CHARACTERS_MAX).collect();
        format!("{head}…")
    }
}
