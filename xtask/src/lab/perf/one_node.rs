//! The table of a single node.

use super::work::Work;
use super::{Lab, Measured, allocations};
use crate::lab::servers::{Server, System};

/// Rows of the table, in its order.
const ROWS: [(&str, &[Work]); 8] = [
    ("HTTP in and out", &[Work::Http]),
    ("routing", &[Work::Routing]),
    ("command, propose, Raft", &[Work::Lead, Work::Follow, Work::Raft]),
    ("log record, checksum", &[Work::LogRecord]),
    ("write and sync", &[Work::WriteAndSync]),
    ("apply, retry table", &[Work::Apply]),
    ("wake-ups, timers, metrics", &[Work::WakeUps]),
    // There is nobody to forward to, or to send frames to.
    ("rest", &[Work::Rest, Work::Forwarding, Work::Consensus, Work::Frames]),
];

/// Measures, and prints the table.
pub(super) fn measure(lab: &Lab) -> anyhow::Result<()> {
    let server = Server::start(System::Ringfort, &lab.executable, &lab.directory)?;
    let (measured, ()) = Measured::of(lab, &server.target(), || Ok(()))?;
    eprintln!("counting allocations");
    let allocations = allocations::per_operation(lab, &server);
    print!("{}", table(&measured, allocations));
    Ok(())
}

fn table(measured: &Measured, allocations: anyhow::Result<f64>) -> String {
    let Measured { cost, cpu_us, attribution } = measured;
    let mut out = format!(
        "{:.0} puts/s at 64 connections, {} samples\n\n{:<28} {:>7} {:>7}  mostly in\n",
        cost.per_second, attribution.samples, "µs CPU per put", "µs", "share"
    );
    for (title, works) in ROWS {
        let us = measured.us(works);
        let (percent, top) = (us / cpu_us * 100.0, measured.top(works));
        out += &format!("{title:<28} {us:>7.2} {percent:>6.1}%  {top}\n");
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
    out
}
