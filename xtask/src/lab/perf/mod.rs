//! `cargo xtask perf`: the CPU table of a durable put, measured.
//!
//! Twice the same load, 64 connections: once undisturbed, for what a put costs as the kernel accounts it; once sampled,
//! for where that goes. The sampled run's shares are scaled to the undisturbed run's cost. Hardware counters need not
//! exist: the clock samples.

mod allocations;
mod stacks;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};

use super::load::{Load, LoadResult, Until, WARMUP};
use super::options::Options;
use super::process::{Guarded, LabDirectory};
use super::servers::{Server, System, is_installed, run_cargo, target_directory};
use stacks::{Attribution, Row};

/// Samples per second and thread that runs.
const SAMPLES_PER_SECOND: &str = "997";
/// Keys that puts choose from.
const KEYS: u64 = 100_000;
/// How many functions are named per row.
const NAMED: usize = 3;

/// The command.
pub(crate) fn perf(root: &Path, arguments: &[String]) -> anyhow::Result<ExitCode> {
    let mut options = Options::new(arguments);
    let seconds = options.number("--seconds", 8, 600)?;
    options.finish()?;
    if !is_installed("perf") {
        bail!("perf is missing: cargo xtask peers installs it");
    }
    let executable = build_with_frame_pointers(root)?;
    let lab = LabDirectory::new(&target_directory(root))?;
    let server = Server::start(System::Ringfort, &executable, &lab)?;
    let load = puts(Until::Seconds(seconds));
    eprintln!("measuring for {seconds} s");
    let cost = load.run(&executable, &server.target())?;
    eprintln!("sampling for {seconds} s");
    let script = sample(seconds, &executable, &server, &lab)?;
    let attribution = Attribution::read(&script);
    if attribution.samples == 0 {
        bail!("perf took no sample of the server");
    }
    eprintln!("counting allocations");
    let allocations = allocations::per_operation(&executable, &server);
    print!("{}", table(&cost, &attribution, allocations)?);
    Ok(ExitCode::SUCCESS)
}

/// The load that the table is about.
pub(super) fn puts(until: Until) -> Load {
    Load { workload: "put", connections: 64, channels: 1, keys: KEYS, until, rate: None }
}

/// Stacks are walked by frame pointers: cheap enough to sample a busy server without bending what is measured.
fn build_with_frame_pointers(root: &Path) -> anyhow::Result<PathBuf> {
    let target = target_directory(root).join("perf");
    let target_text = target.to_str().context("the target directory is not UTF-8")?;
    run_cargo(
        root,
        &[
            "build",
            "--release",
            "--package",
            "ringfort",
            "--target-dir",
            target_text,
            "--config",
            "build.rustflags=[\"-Cforce-frame-pointers=yes\"]",
        ],
    )?;
    Ok(target.join("release/ringfort"))
}

/// Runs the load again with perf beside it, and returns perf's samples as text.
fn sample(
    seconds: u64,
    executable: &Path,
    server: &Server,
    lab: &LabDirectory,
) -> anyhow::Result<String> {
    let data = lab.file("perf.data");
    let mut record = Command::new("perf");
    record.args(["record", "--event", "cpu-clock", "--freq", SAMPLES_PER_SECOND]);
    record.args(["--call-graph", "fp", "--output"]).arg(&data);
    record.arg("--pid").arg(server.process.pid().to_string());
    // Within the load: it begins after the warm-up, and ends before the load does.
    record.args(["--delay", &WARMUP.as_millis().to_string()]);
    record.args(["--", "sleep", &seconds.to_string()]);
    let mut recorder = Guarded::start(&mut record, &lab.file("perf.log"))?;
    puts(Until::Seconds(seconds + 1)).run(executable, &server.target())?;
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

fn table(
    cost: &LoadResult,
    attribution: &Attribution,
    allocations: anyhow::Result<f64>,
) -> anyhow::Result<String> {
    let cpu_us = cost.cpu_us.context("the server's CPU time is not known")?;
    let mut out = format!(
        "{:.0} puts/s at 64 connections, {} samples\n\n{:<28} {:>7} {:>7}  mostly in\n",
        cost.per_second, attribution.samples, "µs CPU per put", "µs", "share"
    );
    for row in Row::ALL {
        let samples = attribution.rows.get(&row).copied().unwrap_or(0);
        let share = samples as f64 / attribution.samples as f64;
        let named: Vec<String> = attribution
            .top(row, NAMED)
            .into_iter()
            .map(|(symbol, count)| {
                let us = count as f64 / attribution.samples as f64 * cpu_us;
                format!("{} {us:.2}", shorten(symbol))
            })
            .collect();
        out += &format!(
            "{:<28} {:>7.2} {:>6.1}%  {}\n",
            row.title(),
            share * cpu_us,
            share * 100.0,
            named.join(", ")
        );
    }
    out += &format!("{:<28} {cpu_us:>7.2}\n\nper put\n", "sum");
    let figures = [
        ("syncs", cost.syncs),
        ("context switches", cost.switches),
        ("bytes written", cost.written_bytes),
        ("µs CPU of the load generator", cost.generator_cpu_us),
    ];
    for (name, figure) in figures {
        let text = figure.map_or_else(|| "unknown".to_owned(), |figure| format!("{figure:.3}"));
        out += &format!("{text:>12} {name}\n");
    }
    match allocations {
        Ok(count) => out += &format!("{count:>12.3} allocations\n"),
        Err(error) => out += &format!("     unknown allocations: {error:#}\n"),
    }
    Ok(out)
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
