//! Latency of puts in an open loop, at 70% of what etcd reaches in a closed one, the same for both.

use serde_json::json;

use super::members::Contender;
use super::verdict::{self, Limit, Verdict};
use super::{Findings, KEYS, Lab, OPEN_LOOP_CLIENTS, puts};
use crate::lab::load::{LoadResult, Until, median};

/// Share of etcd's peak.
const SHARE: f64 = 0.7;

/// The part.
pub(super) fn measure(lab: &Lab) -> anyhow::Result<Findings> {
    let until = Until::Seconds(lab.seconds);
    let (mut rates, mut etcd, mut ringfort) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=lab.rounds {
        eprintln!("round {round} of {}", lab.rounds);
        let cluster = lab.start(Contender::Etcd34, &[])?;
        cluster.load(&lab.executable, KEYS)?;
        // One connection for each member is the better choice for etcd where clients are many.
        let with_channels = |rate| {
            let mut load = puts(OPEN_LOOP_CLIENTS, until, rate);
            load.channels = cluster.target().endpoints.len() as u64;
            load.run(&lab.executable, &cluster.target())
        };
        let rate = SHARE * with_channels(None)?.per_second;
        let result = with_channels(Some(rate))?;
        report(Contender::Etcd34, rate, &result);
        etcd.push(result);
        drop(cluster);
        let cluster = lab.start(Contender::Ringfort, &[])?;
        cluster.load(&lab.executable, KEYS)?;
        let load = puts(OPEN_LOOP_CLIENTS, until, Some(rate));
        let result = load.run(&lab.executable, &cluster.target())?;
        report(Contender::Ringfort, rate, &result);
        ringfort.push(result);
        rates.push(rate);
    }
    let p99 = |rounds: &[LoadResult]| median(rounds, |result| Some(result.p99_us));
    let verdict = Verdict::new(
        "p99 of puts at equal load",
        p99(&ringfort) / p99(&etcd),
        "x etcd",
        Limit::AtMost(1.0),
    );
    let mut table = format!(
        "puts in an open loop at 70% of etcd's peak, {OPEN_LOOP_CLIENTS} clients, medians of {} rounds of {} s\n",
        lab.rounds, lab.seconds
    );
    let mut systems = Vec::new();
    for (contender, rounds) in [(Contender::Etcd34, &etcd), (Contender::Ringfort, &ringfort)] {
        let of = |figure: fn(&LoadResult) -> Option<f64>| median(rounds, figure);
        let (due, done) = (median(&rates, |rate| Some(*rate)), of(|r| Some(r.per_second)));
        let (p50, cpu) = (of(|r| Some(r.p50_us)), of(|r| r.cpu_us));
        table += &format!(
            "  {:<9} {due:>8.0}/s due {done:>8.0}/s done  p50 {p50:>8.0} µs  p99 {:>8.0} µs  CPU {cpu:>6.1} µs\n",
            contender.name(),
            p99(rounds)
        );
        systems.push(json!({
            "system": contender.name(),
            "due_per_second": rates,
            "operations_per_second": rounds.iter().map(|r| r.per_second).collect::<Vec<_>>(),
            "p50_us": rounds.iter().map(|r| r.p50_us).collect::<Vec<_>>(),
            "p99_us": rounds.iter().map(|r| r.p99_us).collect::<Vec<_>>(),
            "server_cpu_us_per_operation": rounds.iter().map(|r| r.cpu_us).collect::<Vec<_>>(),
        }));
    }
    let verdicts = [verdict];
    table += &verdict::lines(&verdicts);
    Ok(Findings { table, json: json!({ "systems": systems, "targets": verdict::json(&verdicts) }) })
}

fn report(contender: Contender, rate: f64, result: &LoadResult) {
    eprintln!(
        "  {:<9} {rate:>8.0}/s due {:>8.0}/s done  p99 {:>8.0} µs",
        contender.name(),
        result.per_second,
        result.p99_us
    );
}
