//! `cargo xtask compare-cluster`: three nodes of ours beside a three-member etcd, on one machine and disk.
//!
//! Parts, each by itself or all in a row:
//!
//! - `speed`: puts and linearizable gets in closed loops, in interleaved rounds; what a put costs.
//! - `equal-load`: latency of puts in an open loop, the same rate for both.
//! - `syncs`: syncs with 64 shards and with one, in an open loop of one rate.
//! - `idle`: CPU time and memory of nodes that nobody asks for anything.
//! - `catch-up`: a follower that was down, under load.
//!
//! In each round every cluster is started on empty directories, measured, and taken away, so that none works while
//! another is measured.

mod catch_up;
mod equal_load;
mod idle;
mod members;
mod speed;
mod syncs;
mod verdict;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;
use serde_json::{Map, Value};

use self::members::executables;
pub(super) use self::members::{Cluster, Contender, MEMBERS};
use super::load::{Load, Until};
use super::options::{Options, Output};
use super::process::LabDirectory;
use super::servers::{release_executable, target_directory};

/// Keys that puts and gets choose from.
const KEYS: u64 = 100_000;
/// Clients of an open loop, each with at most one put under way.
const OPEN_LOOP_CLIENTS: u64 = 256;
/// Writes that a follower misses.
const MISSED_WRITES: u64 = 1_000_000;

/// What all parts need.
struct Lab {
    /// Ours: server and load generator.
    executable: PathBuf,
    directory: LabDirectory,
    rounds: u64,
    seconds: u64,
    /// Writes that a follower misses.
    missed_writes: u64,
}

impl Lab {
    /// See [`Cluster::start`].
    fn start(&self, contender: Contender, settings: &[String]) -> anyhow::Result<Cluster> {
        Cluster::start(&self.executable, &self.directory, contender, settings)
    }
}

/// What a part found, for people and for programs.
struct Findings {
    table: String,
    json: Value,
}

type Part = fn(&Lab) -> anyhow::Result<Findings>;

const PARTS: [(&str, Part); 5] = [
    ("speed", speed::measure),
    ("equal-load", equal_load::measure),
    ("syncs", syncs::measure),
    ("idle", idle::measure),
    ("catch-up", catch_up::measure),
];

/// The command.
pub(crate) fn compare_cluster(root: &Path, arguments: &[String]) -> anyhow::Result<ExitCode> {
    let mut options = Options::new(arguments);
    let parts = chosen(options.text("--parts")?)?;
    let rounds = options.number("--rounds", 5, 100)?;
    let seconds = options.number("--seconds", 4, 600)?;
    let missed_writes = options.number("--missed-writes", MISSED_WRITES, 100_000_000)?;
    let no_build = options.flag("--no-build");
    let output = options.output()?;
    options.finish()?;
    for contender in Contender::ALL {
        if executables(contender).is_none() {
            bail!("{} is missing: cargo xtask peers installs it", contender.name());
        }
    }
    let executable = release_executable(root, !no_build)?;
    let directory = LabDirectory::new(&target_directory(root))?;
    let lab = Lab { executable, directory, rounds, seconds, missed_writes };
    let mut json = Map::new();
    for (name, part) in parts {
        eprintln!("{name}");
        let findings = part(&lab)?;
        match output {
            // Part by part: a long run that breaks off has said what it found.
            Output::Table => println!("{}", findings.table),
            Output::Json => drop(json.insert(name.to_owned(), findings.json)),
        }
    }
    if output == Output::Json {
        println!("{:#}", Value::Object(json));
    }
    Ok(ExitCode::SUCCESS)
}

/// The parts of a list with commas, in the order of the table; all without one.
fn chosen(list: Option<&str>) -> anyhow::Result<Vec<(&'static str, Part)>> {
    let Some(list) = list else { return Ok(PARTS.to_vec()) };
    let names: Vec<&str> = list.split(',').collect();
    if let Some(unknown) = names.iter().find(|name| PARTS.iter().all(|(known, _)| known != *name)) {
        let known: Vec<&str> = PARTS.iter().map(|(name, _)| *name).collect();
        bail!("--parts takes {}, got {unknown:?}", known.join(","));
    }
    Ok(PARTS.into_iter().filter(|(name, _)| names.contains(name)).collect())
}

/// Puts over all keys.
fn puts(connections: u64, until: Until, rate: Option<f64>) -> Load {
    Load { workload: "put", connections, channels: 1, keys: KEYS, until, rate }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_chosen_by_name() {
        let names = |list| -> Vec<&str> {
            chosen(list).unwrap().into_iter().map(|(name, _)| name).collect()
        };
        assert_eq!(names(None).len(), PARTS.len());
        assert_eq!(names(Some("syncs,speed")), ["speed", "syncs"]);
        assert!(chosen(Some("speed,sped")).is_err());
        assert!(chosen(Some("")).is_err());
    }
}
