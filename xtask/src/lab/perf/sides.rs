//! The table of a cluster: what a put costs on the leader's side, and on each follower.
//!
//! A node is leader of some shards and follower of others at the same time, so sides cannot be measured; what all nodes
//! spend is. Which side has how much of it is derived by the rules of [`RULES`].

use serde_json::{Value, json};

use super::Measured;
use super::work::Work;

/// How sides are derived, for whoever reads the table.
pub(super) const RULES: &str = "\
All nodes: measured. Sides: derived, for one put.
- HTTP, forwarding, commands and proposals are the leader's side, whichever node took the put.
- Logs, syncs, applying, wake-ups and the rest: a third for each node.
- Raft by function, where it says the side (appends taken; acknowledgements taken, appends sent).
  Turns, the other functions of Raft, and frames of appends and acknowledgements: half for the leader,
  a quarter for each follower.
- Sending and receiving frames, both kinds in one write: divided between forwarding and appends by the numbers of
  messages, two for a request sent to another node and four for an entry.
";

/// A row of the design's table: what is in it, and its budget for the leader's side and each follower, in µs.
struct Row {
    title: &'static str,
    works: &'static [Work],
    leader: Option<f64>,
    follower: Option<f64>,
}

const fn row(
    title: &'static str,
    works: &'static [Work],
    leader: Option<f64>,
    follower: Option<f64>,
) -> Row {
    Row { title, works, leader, follower }
}

/// Rows of the table, in its order. [`Work::Frames`] is divided between two of them.
const ROWS: [Row; 9] = [
    row("HTTP in and out", &[Work::Http], Some(10.0), None),
    row("forwarding of two thirds, both ends", &[Work::Forwarding], Some(2.5), None),
    row(
        "command, propose, Raft",
        &[Work::Routing, Work::Lead, Work::Follow, Work::Raft],
        Some(2.0),
        Some(1.0),
    ),
    row("log record, checksum", &[Work::LogRecord], Some(0.5), Some(0.5)),
    row("write and sync", &[Work::WriteAndSync], Some(3.5), Some(3.5)),
    row("append and acknowledgement frames", &[Work::Consensus], Some(2.0), Some(1.5)),
    row("apply, retry table", &[Work::Apply], Some(1.2), Some(1.2)),
    row("wake-ups, timers, metrics", &[Work::WakeUps], Some(1.0), Some(1.0)),
    row("rest", &[Work::Rest], None, None),
];

/// Followers of a shard.
const FOLLOWERS: f64 = 2.0;
/// The design's budget for all nodes.
const BUDGET_US: f64 = 40.0;

/// The leader's part of what all nodes spend on some work.
fn part_of_leader(work: Work) -> f64 {
    match work {
        Work::Http | Work::Routing | Work::Forwarding | Work::Lead => 1.0,
        Work::Follow => 0.0,
        Work::Raft | Work::Consensus | Work::Frames => 0.5,
        Work::LogRecord | Work::WriteAndSync | Work::Apply | Work::WakeUps | Work::Rest => {
            1.0 / (1.0 + FOLLOWERS)
        }
    }
}

/// Microseconds of CPU time per put.
#[derive(Clone, Copy, Debug, Default)]
struct Spent {
    all: f64,
    leader: f64,
    /// Each of them.
    follower: f64,
}

impl Spent {
    fn add(&mut self, work: Work, us: f64) {
        let leader = us * part_of_leader(work);
        self.all += us;
        self.leader += leader;
        self.follower += (us - leader) / FOLLOWERS;
    }
}

/// The table, filled.
pub(super) struct Sides {
    /// In the order of [`ROWS`].
    spent: [Spent; ROWS.len()],
    sum: Spent,
    /// What was divided by numbers of messages, and the part that forwarding got of it.
    divided_us: f64,
    share_of_requests: f64,
}

impl Sides {
    /// `share_of_requests`: of the messages in frames, those that are requests and answers.
    pub(super) fn of(measured: &Measured, share_of_requests: f64) -> Self {
        Self::fill(|work| measured.us(&[work]), share_of_requests)
    }

    fn fill(us: impl Fn(Work) -> f64, share_of_requests: f64) -> Self {
        let divided_us = us(Work::Frames);
        let mut spent = [Spent::default(); ROWS.len()];
        let mut sum = Spent::default();
        for (row, spent) in ROWS.iter().zip(&mut spent) {
            for work in row.works {
                let divided = match work {
                    Work::Forwarding => divided_us * share_of_requests,
                    Work::Consensus => divided_us * (1.0 - share_of_requests),
                    _ => 0.0,
                };
                spent.add(*work, us(*work) + divided);
            }
            sum.all += spent.all;
            sum.leader += spent.leader;
            sum.follower += spent.follower;
        }
        Self { spent, sum, divided_us, share_of_requests }
    }

    /// For people.
    pub(super) fn table(&self, measured: &Measured) -> String {
        let mut out = format!(
            "{:<36} {:>7} {:>15} {:>15}  mostly in\n",
            "µs CPU per put (budget)", "all", "leader side", "each follower"
        );
        for (row, spent) in ROWS.iter().zip(&self.spent) {
            let top = measured.top(row.works);
            out += &line(row.title, spent, row.leader, row.follower, &top);
        }
        let (leader, follower) = budget();
        out += &line("sum", &self.sum, Some(leader), Some(follower), "");
        out += &format!(
            "\nThe budget for all nodes: {BUDGET_US} µs. Divided by numbers of messages: {:.2} µs, {:.0}% of it to \
             forwarding;\nmostly in {}\n",
            self.divided_us,
            self.share_of_requests * 100.0,
            measured.top(&[Work::Frames]),
        );
        out
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let rows: Vec<Value> = ROWS
            .iter()
            .zip(&self.spent)
            .map(|(row, spent)| entry(row.title, spent, row.leader, row.follower))
            .collect();
        let (leader, follower) = budget();
        json!({
            "rows": rows,
            "sum": entry("sum", &self.sum, Some(leader), Some(follower)),
            "budget_all_nodes": BUDGET_US,
            "divided_by_messages": self.divided_us,
            "share_of_requests": self.share_of_requests,
        })
    }
}

/// The sums of the budget: leader's side, each follower.
fn budget() -> (f64, f64) {
    let sum = |side: fn(&Row) -> Option<f64>| ROWS.iter().filter_map(side).sum();
    (sum(|row| row.leader), sum(|row| row.follower))
}

fn line(
    title: &str,
    spent: &Spent,
    leader: Option<f64>,
    follower: Option<f64>,
    top: &str,
) -> String {
    let side = |us: f64, budget: Option<f64>| {
        let budget = budget.map_or_else(|| "–".to_owned(), |budget| format!("{budget:.1}"));
        format!("{us:.2} ({budget})")
    };
    let (leader, follower) = (side(spent.leader, leader), side(spent.follower, follower));
    format!("{title:<36} {:>7.2} {leader:>15} {follower:>15}  {top}\n", spent.all)
}

fn entry(title: &str, spent: &Spent, leader: Option<f64>, follower: Option<f64>) -> Value {
    json!({
        "row": title,
        "all_nodes": spent.all,
        "leader_side": spent.leader,
        "each_follower": spent.follower,
        "budget_leader_side": leader,
        "budget_each_follower": follower,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn the_budget_is_the_designs() {
        let (leader, follower) = budget();
        assert!(close(leader, 22.7) && close(follower, 8.7), "{leader} {follower}");
        assert!((leader + FOLLOWERS * follower - BUDGET_US).abs() < 0.2);
    }

    #[test]
    fn what_is_spent_is_on_some_side() {
        let all = 13.0;
        let sides = Sides::fill(|_| 1.0, 0.25);
        assert!(close(sides.sum.all, all), "{:?}", sides.sum);
        assert!(close(sides.sum.leader + FOLLOWERS * sides.sum.follower, all), "{:?}", sides.sum);
        for spent in sides.spent {
            assert!(close(spent.leader + FOLLOWERS * spent.follower, spent.all), "{spent:?}");
        }
    }

    #[test]
    fn frames_are_divided_by_the_numbers_of_messages() {
        let frames = |work| if work == Work::Frames { 8.0 } else { 0.0 };
        let sides = Sides::fill(frames, 0.25);
        let row = |title: &str| {
            let at = ROWS.iter().position(|row| row.title.contains(title)).unwrap();
            sides.spent[at]
        };
        let (forwarding, appends) = (row("forwarding"), row("acknowledgement"));
        assert!(close(forwarding.leader, 2.0) && close(forwarding.follower, 0.0));
        assert!(close(appends.leader, 3.0) && close(appends.follower, 1.5));
    }
}
