//! Three nodes on loopback with default settings, 64 shards of three replicas each, under puts of clients of all nodes.

use serde_json::{Value, json};

use super::counters::Counters;
use super::sides::{RULES, Sides};
use super::{KEYS, Lab, Measured};
use crate::lab::cluster::{Cluster, Contender};
use crate::lab::options::Output;

const ATTEMPTS: &str = "ringfort_forward_attempts_total";
const PROPOSALS: &str = "ringfort_raft_proposals_total";

/// Messages of a forwarded request: it and its answer.
const MESSAGES_PER_ATTEMPT: f64 = 2.0;
/// Messages of an entry: to each of two followers, and their acknowledgements.
const MESSAGES_PER_PROPOSAL: f64 = 4.0;

/// What nodes count: a title, the counter.
const COUNTED: [(&str, &str); 6] = [
    ("frames between nodes", "ringfort_peer_frames_sent_total"),
    ("bytes between nodes", "ringfort_peer_sent_bytes_total"),
    ("requests sent to other nodes", ATTEMPTS),
    ("entries proposed", PROPOSALS),
    ("records of the logs", "ringfort_log_records_total"),
    ("bytes of the logs", "ringfort_log_written_bytes_total"),
];

/// Measures, and prints the table.
pub(super) fn measure(lab: &Lab, output: Output) -> anyhow::Result<()> {
    let cluster = Cluster::start(&lab.executable, &lab.directory, Contender::Ringfort, &[])?;
    cluster.load(&lab.executable, KEYS)?;
    let before = Counters::scrape(&cluster)?;
    let (measured, after) = Measured::of(lab, &cluster.target(), || Counters::scrape(&cluster))?;
    let of_requests = MESSAGES_PER_ATTEMPT * after.since(&before, ATTEMPTS, "")?;
    let of_entries = MESSAGES_PER_PROPOSAL * after.since(&before, PROPOSALS, "")?;
    let share = of_requests / (of_requests + of_entries);
    let sides = Sides::of(&measured, share);
    let figures = per_put(&measured, &before, &after)?;
    match output {
        Output::Table => print!("{}", table(&measured, &sides, &figures)),
        Output::Json => println!("{:#}", document(&measured, &sides, &figures)),
    }
    Ok(())
}

type Figure = (&'static str, Option<f64>);

/// What else a put takes, over all nodes.
fn per_put(
    measured: &Measured,
    before: &Counters,
    after: &Counters,
) -> anyhow::Result<Vec<Figure>> {
    let cost = &measured.cost;
    let mut figures = vec![
        ("syncs", cost.syncs),
        ("context switches", cost.switches),
        ("µs CPU of the load generator", cost.generator_cpu_us),
    ];
    // The nodes' counters have the warm-up in them, and so has this one.
    let puts = after.since(before, "ringfort_requests_total", "operation=\"put\"")?;
    for (title, name) in COUNTED {
        figures.push((title, Some(after.since(before, name, "")? / puts)));
    }
    Ok(figures)
}

fn table(measured: &Measured, sides: &Sides, figures: &[Figure]) -> String {
    let mut out = format!(
        "{:.0} puts/s at 64 connections, three nodes, {} samples\n\n{}\n{RULES}\nper put, all nodes\n",
        measured.cost.per_second,
        measured.attribution.samples,
        sides.table(measured),
    );
    for (title, figure) in figures {
        let text = figure.map_or_else(|| "unknown".to_owned(), |figure| format!("{figure:.3}"));
        out += &format!("{text:>12} {title}\n");
    }
    out
}

fn document(measured: &Measured, sides: &Sides, figures: &[Figure]) -> Value {
    let figures: serde_json::Map<String, Value> =
        figures.iter().map(|(title, figure)| ((*title).to_owned(), json!(figure))).collect();
    json!({
        "puts_per_second": measured.cost.per_second,
        "connections": 64,
        "samples": measured.attribution.samples,
        "cpu_us_per_put": sides.json(),
        "per_put": figures,
    })
}
