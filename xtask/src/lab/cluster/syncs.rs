//! Syncs of one load, spread over 64 shards and over one: groups of a node share its batches.

use serde_json::json;

use super::members::{Cluster, Contender, MEMBERS};
use super::verdict::{self, Limit, Verdict};
use super::{Findings, KEYS, Lab, OPEN_LOOP_CLIENTS, puts};
use crate::lab::load::{LoadResult, Until, median};

/// Numbers of shards that are compared.
const SHARDS: [u32; 2] = [64, 1];
/// Share of the smaller peak of both.
const SHARE: f64 = 0.5;
/// Syncs with many shards over syncs with one.
const RATIO_MAX: f64 = 1.1;

/// The part.
pub(super) fn measure(lab: &Lab) -> anyhow::Result<Findings> {
    let until = Until::Seconds(lab.seconds);
    let mut peak = f64::INFINITY;
    for shards in SHARDS {
        let cluster = start(lab, shards)?;
        let result =
            puts(OPEN_LOOP_CLIENTS, until, None).run(&lab.executable, &cluster.target())?;
        eprintln!("  {shards:>2} shards: peak {:>8.0}/s", result.per_second);
        peak = peak.min(result.per_second);
    }
    let rate = SHARE * peak;
    let mut rounds: [Vec<LoadResult>; 2] = [Vec::new(), Vec::new()];
    for round in 1..=lab.rounds {
        eprintln!("round {round} of {}", lab.rounds);
        for (shards, results) in SHARDS.into_iter().zip(&mut rounds) {
            let cluster = start(lab, shards)?;
            let load = puts(OPEN_LOOP_CLIENTS, until, Some(rate));
            let result = load.run(&lab.executable, &cluster.target())?;
            eprintln!(
                "  {shards:>2} shards: {:>8.0}/s, syncs/s of a node {:>7.0}",
                result.per_second,
                per_node(&result).unwrap_or(f64::NAN)
            );
            results.push(result);
        }
    }
    let syncs: Vec<f64> = rounds.iter().map(|rounds| median(rounds, per_node)).collect();
    let what = "syncs of a node, 64 shards over 1";
    let verdicts = [Verdict::new(what, syncs[0] / syncs[1], "x", Limit::AtMost(RATIO_MAX))];
    let mut table = format!(
        "puts in an open loop at {rate:.0}/s, medians of {} rounds of {} s\n",
        lab.rounds, lab.seconds
    );
    for (shards, syncs) in SHARDS.into_iter().zip(&syncs) {
        table += &format!("  {shards:>2} shards {syncs:>8.0} syncs/s of a node\n");
    }
    table += &verdict::lines(&verdicts);
    let json = json!({
        "due_per_second": rate,
        "shards": SHARDS,
        "syncs_per_second_of_a_node": rounds
            .iter()
            .map(|rounds| rounds.iter().map(per_node).collect::<Vec<_>>())
            .collect::<Vec<_>>(),
        "targets": verdict::json(&verdicts),
    });
    Ok(Findings { table, json })
}

fn start(lab: &Lab, shards: u32) -> anyhow::Result<Cluster> {
    let cluster = lab.start(Contender::Ringfort, &[format!("cluster.shards={shards}")])?;
    cluster.load(&lab.executable, KEYS)?;
    Ok(cluster)
}

fn per_node(result: &LoadResult) -> Option<f64> {
    result.syncs_per_second.map(|syncs| syncs / MEMBERS as f64)
}
