//! How often a put allocates: probes on the allocator's entry points, counted while a known number of puts runs.
//!
//! A probe costs about a microsecond, so this run's speed says nothing; its counts do.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use super::{Lab, puts};
use crate::lab::load::Until;
use crate::lab::servers::Server;

/// What Rust's allocator interface calls in mimalloc.
const ENTRY_POINTS: [&str; 3] = ["mi_malloc_aligned", "mi_zalloc_aligned", "mi_realloc_aligned"];
/// Name of the group of probes: ours, so that no other's are removed.
const GROUP: &str = "ringfort_lab";
/// Puts that are counted.
const OPERATIONS: u64 = 100_000;
/// Where the kernel lets probes be set.
const TRACING: &str = "/sys/kernel/tracing";

/// Allocations of the server per put.
///
/// # Errors
/// The kernel or the user's rights do not permit probes.
pub(super) fn per_operation(lab: &Lab, server: &Server) -> anyhow::Result<f64> {
    let executable = &lab.executable;
    let _tracing = Tracing::mounted()?;
    let _probes = Probes::set(executable)?;
    let load = puts(Until::Operations(OPERATIONS));
    let bench = load.command(executable, &server.target());
    let mut command = Command::new("perf");
    let counts = lab.directory.file("allocations.txt");
    command.args(["stat", "--field-separator", ",", "--output"]).arg(&counts);
    command.arg("--event").arg(format!("{GROUP}:*"));
    command.arg("--pid").arg(server.process.pid().to_string());
    command.arg("--").arg(bench.get_program()).args(bench.get_args());
    load.run_as(&mut command, &server.target())?;
    let text = std::fs::read_to_string(&counts).context("perf stat wrote no counts")?;
    Ok(total(&text)? / OPERATIONS as f64)
}

/// The sum over all lines `count,unit,event,…`.
fn total(text: &str) -> anyhow::Result<f64> {
    let mut sum = None;
    for line in text.lines().filter(|line| line.contains(GROUP)) {
        let count = line.split(',').next().unwrap_or_default();
        let count: f64 = count.parse().with_context(|| format!("perf stat counted {count:?}"))?;
        sum = Some(sum.unwrap_or(0.0) + count);
    }
    sum.context("perf stat counted nothing")
}

/// Mounted while it is needed, where it was not before.
struct Tracing {
    ours: bool,
}

impl Tracing {
    fn mounted() -> anyhow::Result<Self> {
        if Path::new(TRACING).join("uprobe_events").exists() {
            return Ok(Self { ours: false });
        }
        run("mount", &["-t", "tracefs", "tracefs", TRACING])?;
        Ok(Self { ours: true })
    }
}

impl Drop for Tracing {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = run("umount", &[TRACING])
        {
            eprintln!("{error:#}");
        }
    }
}

/// Probes that are removed when this is dropped.
struct Probes;

impl Probes {
    fn set(executable: &Path) -> anyhow::Result<Self> {
        let executable = executable.to_str().context("a path that is not UTF-8")?;
        let probes = Self;
        for entry_point in ENTRY_POINTS {
            let definition = format!("{GROUP}:{entry_point}={entry_point}");
            run("perf", &["probe", "-q", "-x", executable, "--add", &definition])?;
        }
        Ok(probes)
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        if let Err(error) = run("perf", &["probe", "-q", "--del", &format!("{GROUP}:*")]) {
            eprintln!("{error:#}");
        }
    }
}

fn run(program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{program} {}: {}", arguments.join(" "), said.trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_summed() {
        let text = "# started on Mon\n\n120,,ringfort_lab:mi_malloc_aligned,5,100.00,,\n\
            30,,ringfort_lab:mi_realloc_aligned,5,100.00,,\n";
        assert!((total(text).unwrap() - 150.0).abs() < 1e-9);
        assert!(total("<not counted>,,ringfort_lab:x,0,100.00,,\n").is_err());
        assert!(total("").is_err());
    }
}
