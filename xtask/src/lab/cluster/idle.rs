//! Nodes that nobody asks for anything: CPU time with many shards, memory with the usual number and no data.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::members::{Cluster, Contender};
use super::verdict::{self, Limit, Verdict};
use super::{Findings, Lab};
use crate::lab::process::Guarded;

/// Shards whose groups must cost next to nothing.
const SHARDS: u32 = 1024;
/// Until groups are asleep.
const SETTLING: Duration = Duration::from_secs(30);
/// How long CPU time is counted.
const COUNTED: Duration = Duration::from_secs(20);
/// Percent of one core.
const CPU_PERCENT_MAX: f64 = 2.0;
const RESIDENT_MIB_MAX: f64 = 64.0;

/// The part. A time is what is measured here: it passes by sleeping.
pub(super) fn measure(lab: &Lab) -> anyhow::Result<Findings> {
    let cluster = lab.start(Contender::Ringfort, &[format!("cluster.shards={SHARDS}")])?;
    eprintln!("  {SHARDS} shards: settling for {} s", SETTLING.as_secs());
    thread::sleep(SETTLING);
    let used = || -> anyhow::Result<Vec<Duration>> {
        cluster.processes().map(Guarded::cpu_time).collect()
    };
    let (began, before) = (Instant::now(), used()?);
    thread::sleep(COUNTED);
    let (elapsed, after) = (began.elapsed(), used()?);
    let percent: Vec<f64> = before
        .iter()
        .zip(&after)
        .map(|(before, after)| {
            100.0 * after.saturating_sub(*before).as_secs_f64() / elapsed.as_secs_f64()
        })
        .collect();
    let resident_many = resident_mib(&cluster)?;
    drop(cluster);
    let cluster = lab.start(Contender::Ringfort, &[])?;
    eprintln!("  64 shards: settling for {} s", SETTLING.as_secs());
    thread::sleep(SETTLING);
    let resident = resident_mib(&cluster)?;
    let verdicts = [
        Verdict::new(
            format!("CPU of the busiest node, {SHARDS} shards, no load"),
            largest(&percent),
            "% core",
            Limit::AtMost(CPU_PERCENT_MAX),
        ),
        Verdict::new(
            "resident memory of the largest, 64 shards, no data",
            largest(&resident),
            "MiB",
            Limit::AtMost(RESIDENT_MIB_MAX),
        ),
    ];
    let listed = |figures: &[f64]| {
        let figures: Vec<String> = figures.iter().map(|figure| format!("{figure:.2}")).collect();
        figures.join(", ")
    };
    let table = format!(
        "idle nodes\n  CPU, {SHARDS} shards: {} % of a core\n  resident, {SHARDS} shards: {} MiB\n  resident, 64 shards: {} MiB\n{}",
        listed(&percent),
        listed(&resident_many),
        listed(&resident),
        verdict::lines(&verdicts)
    );
    let json = json!({
        "cpu_percent": percent,
        "cpu_shards": SHARDS,
        "cpu_shards_resident_mib": resident_many,
        "resident_mib": resident,
        "targets": verdict::json(&verdicts),
    });
    Ok(Findings { table, json })
}

fn resident_mib(cluster: &Cluster) -> anyhow::Result<Vec<f64>> {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    cluster.processes().map(|process| process.resident_bytes().map(mib)).collect()
}

fn largest(figures: &[f64]) -> f64 {
    figures.iter().copied().fold(f64::NAN, f64::max)
}
