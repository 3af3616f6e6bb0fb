//! A follower that was down for many writes comes back under load.
//!
//! It counts as caught up when no leader knows it, and it knows itself, further behind in any shard than what is always
//! under way in an open loop. The load beside it is measured behind a warm-up, as the one that it is compared with: 256 clients
//! that connect at once delay each other, whoever comes back.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};

use super::members::{Cluster, Contender, MEMBERS, get_json, member_name};
use super::verdict::{self, Limit, Verdict};
use super::{Findings, KEYS, Lab, OPEN_LOOP_CLIENTS, puts};
use crate::lab::load::{LoadResult, Until, WARMUP};
use crate::lab::process::wait_looking_every;
use crate::lab::servers::STOP_PATIENCE;

/// The member that is down for a while.
const FOLLOWER: usize = 2;
/// Share of the peak that goes on beside the catching up.
const SHARE: f64 = 0.3;
/// p99 meanwhile over p99 before.
const RATIO_MAX: f64 = 2.0;
/// Entries of a shard that may be under way: each of them is a put that has not been answered everywhere.
const LAG_MAX: u64 = 64;
/// The follower is started when the warm-up has ended for certain: so much usual time is measured with what is looked for.
const BEFOREHAND: Duration = Duration::from_millis(100);
/// How often the nodes are asked how far behind it is: each time costs all three of them an answer about all shards.
const ASKED_EVERY: Duration = Duration::from_millis(50);
/// Longest time until it has caught up.
const PATIENCE: Duration = Duration::from_secs(600);

/// The part. Rounds are not taken: it takes long enough once.
pub(super) fn measure(lab: &Lab) -> anyhow::Result<Findings> {
    let until = Until::Seconds(lab.seconds);
    let mut cluster = lab.start(Contender::Ringfort, &[])?;
    cluster.load(&lab.executable, KEYS)?;
    let closed = puts(OPEN_LOOP_CLIENTS, until, None);
    let peak = closed.run(&lab.executable, &cluster.target())?.per_second;
    let rate = SHARE * peak;
    let open = puts(OPEN_LOOP_CLIENTS, until, Some(rate));
    let before = open.run(&lab.executable, &cluster.target())?;
    eprintln!("  peak {peak:.0}/s; at {rate:.0}/s p99 {:.0} µs", before.p99_us);

    let follower = cluster.process_mut(FOLLOWER);
    follower.as_mut().context("it does not run")?.terminate(STOP_PATIENCE)?;
    *follower = None;
    cluster.await_ready()?;
    let missed = Until::Operations(lab.missed_writes);
    let alone = puts(OPEN_LOOP_CLIENTS, missed, None).run(&lab.executable, &cluster.target())?;
    eprintln!("  missed {} writes, at {:.0}/s", lab.missed_writes, alone.per_second);
    // What two nodes alone do, so that it is seen what the third one's return costs.
    let two = open.run(&lab.executable, &cluster.target())?;

    let running = puts(OPEN_LOOP_CLIENTS, Until::Stopped, Some(rate));
    let running = running.start(&lab.executable, &cluster.target())?;
    thread::sleep(WARMUP + BEFOREHAND);
    let began = Instant::now();
    cluster.spawn(FOLLOWER)?;
    let caught_up = wait_looking_every(ASKED_EVERY, PATIENCE, || {
        let follower = cluster.process_mut(FOLLOWER).as_mut().context("it does not run")?;
        follower.expect_alive()?;
        // It may not listen yet, and leaders may change: then nobody knows.
        Ok(lag(&cluster).is_ok_and(|lag| lag.is_some_and(|lag| lag <= LAG_MAX)))
    });
    let seconds = began.elapsed().as_secs_f64();
    let during = running.stop()?;
    caught_up.context("the follower does not catch up")?;
    Ok(findings(lab, rate, seconds, &[("before", before), ("two nodes", two), ("during", during)]))
}

/// The furthest that the follower is behind in any shard, in entries; `None` where that is not known.
fn lag(cluster: &Cluster) -> anyhow::Result<Option<u64>> {
    let name = member_name(FOLLOWER);
    let mut furthest = 0;
    let mut seen_by = Vec::new();
    for position in 0..MEMBERS {
        let view = get_json(cluster.address(position), "/v1/cluster/shards")?;
        let shards = view.get("shards").and_then(Value::as_array).cloned().unwrap_or_default();
        seen_by.resize(seen_by.len().max(shards.len()), false);
        for (shard, seen) in shards.iter().zip(&mut seen_by) {
            let replicas = shard.get("replicas").and_then(Value::as_array);
            let its = |replica: &&Value| replica.get("node") == Some(&Value::from(name.as_str()));
            let replica = replicas.and_then(|replicas| replicas.iter().find(its));
            let number = |key| replica.and_then(|it| it.get(key)).and_then(Value::as_u64);
            let leads = shard.get("leader") == Some(&Value::from(member_name(position)));
            if leads {
                // A leader knows what is durable there.
                let Some(behind) = number("commit_lag") else { return Ok(None) };
                furthest = furthest.max(behind);
                *seen = true;
            }
            if position == FOLLOWER {
                let Some(behind) = number("apply_lag") else { return Ok(None) };
                furthest = furthest.max(behind);
            }
        }
    }
    Ok((!seen_by.is_empty() && seen_by.into_iter().all(|seen| seen)).then_some(furthest))
}

fn findings(lab: &Lab, rate: f64, seconds: f64, loads: &[(&str, LoadResult); 3]) -> Findings {
    let [(_, before), _, (_, during)] = loads;
    let ratio = during.p99_us / before.p99_us;
    let what = "p99 of puts while it catches up over before";
    let verdicts = [Verdict::new(what, ratio, "x", Limit::AtMost(RATIO_MAX))];
    let mut table = format!(
        "a follower down for {} writes, load of {rate:.0}/s in an open loop\n  caught up after {seconds:.1} s, its start included\n",
        lab.missed_writes
    );
    let mut phases = Vec::new();
    for (name, load) in loads {
        table += &format!(
            "  {name:<10} {:>8.0}/s  p50 {:>8.0} µs  p99 {:>8.0} µs  {} errors\n",
            load.per_second, load.p50_us, load.p99_us, load.errors
        );
        phases.push(json!({
            "phase": name,
            "operations_per_second": load.per_second,
            "p50_us": load.p50_us,
            "p99_us": load.p99_us,
            "errors": load.errors,
        }));
    }
    table += &verdict::lines(&verdicts);
    let json = json!({
        "missed_writes": lab.missed_writes,
        "due_per_second": rate,
        "seconds_until_caught_up": seconds,
        "phases": phases,
        "targets": verdict::json(&verdicts),
    });
    Findings { table, json }
}
