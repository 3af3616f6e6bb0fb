//! Puts and linearizable gets in closed loops, and what they cost.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::members::{Contender, MEMBERS};
use super::verdict::{self, Limit, Verdict};
use super::{Findings, KEYS, Lab};
use crate::lab::load::{Load, LoadResult, Until, known, median};

/// One thing that is measured of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Case {
    Put1,
    /// Of one key, at the member that leads its shard.
    Put1Leader,
    Put64,
    Put256,
    Get1,
    Get64,
    Get256,
}

impl Case {
    const ALL: [Self; 7] = [
        Self::Put1,
        Self::Put1Leader,
        Self::Put64,
        Self::Put256,
        Self::Get1,
        Self::Get64,
        Self::Get256,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Put1 => "put, 1 connection",
            Self::Put1Leader => "put, 1 connection, leader",
            Self::Put64 => "put, 64 connections",
            Self::Put256 => "put, 256 connections",
            Self::Get1 => "get, 1 connection",
            Self::Get64 => "get, 64 connections",
            Self::Get256 => "get, 256 connections",
        }
    }

    fn is_get(self) -> bool {
        matches!(self, Self::Get1 | Self::Get64 | Self::Get256)
    }

    fn connections(self) -> u64 {
        match self {
            Self::Put1 | Self::Put1Leader | Self::Get1 => 1,
            Self::Put64 | Self::Get64 => 64,
            Self::Put256 | Self::Get256 => 256,
        }
    }

    /// Numbers of gRPC connections to try, over all members.
    fn channels(self, contender: Contender) -> &'static [u64] {
        const PER_MEMBER: [u64; 2] = [MEMBERS as u64, 16 * MEMBERS as u64];
        match contender {
            Contender::Ringfort => &[1],
            _ if self.connections() == 1 => &[1],
            Contender::Etcd34 | Contender::Etcd35 => &PER_MEMBER,
        }
    }
}

/// Ours is at least this many times the better etcd's.
const RATIOS: [(Case, f64); 5] = [
    (Case::Put64, 4.5),
    (Case::Put256, 3.5),
    (Case::Put1, 1.6),
    (Case::Put1Leader, 2.0),
    (Case::Get64, 3.0),
];
/// CPU of all servers per put at 64 connections, in microseconds.
const CPU_US_MAX: f64 = 40.0;

/// One value per round; for etcd per number of gRPC connections.
type Rounds = BTreeMap<(Case, Contender, u64), Vec<LoadResult>>;

/// The part.
pub(super) fn measure(lab: &Lab) -> anyhow::Result<Findings> {
    let mut results = Rounds::new();
    for round in 1..=lab.rounds {
        eprintln!("round {round} of {}", lab.rounds);
        for contender in Contender::ALL {
            measure_cluster(lab, contender, round, &mut results)?;
        }
    }
    let speed = Speed { results };
    let verdicts = speed.verdicts();
    Ok(Findings {
        table: format!(
            "medians of {} rounds of {} s, {MEMBERS} nodes, values of 256 bytes, {KEYS} keys\n\n{}\n{}",
            lab.rounds,
            lab.seconds,
            speed.table(),
            verdict::lines(&verdicts)
        ),
        json: json!({
            "rounds": lab.rounds,
            "seconds": lab.seconds,
            "cases": speed.json(),
            "targets": verdict::json(&verdicts),
        }),
    })
}

fn measure_cluster(
    lab: &Lab,
    contender: Contender,
    round: u64,
    results: &mut Rounds,
) -> anyhow::Result<()> {
    let cluster = lab.start(contender, &[])?;
    cluster.load(&lab.executable, KEYS)?;
    for case in Case::ALL {
        // The newer one is there for its reads.
        if contender == Contender::Etcd35 && !case.is_get() {
            continue;
        }
        let target = match case {
            Case::Put1Leader => cluster.target_at(cluster.leader("0000000000000000")?),
            // The only client is at another member in every round.
            _ if case.connections() == 1 => {
                cluster.target_at(usize::try_from(round).unwrap_or(0) % MEMBERS)
            }
            _ => cluster.target(),
        };
        for channels in case.channels(contender) {
            let load = Load {
                workload: if case.is_get() { "get" } else { "put" },
                connections: case.connections(),
                channels: *channels,
                keys: if case == Case::Put1Leader { 1 } else { KEYS },
                until: Until::Seconds(lab.seconds),
                rate: None,
            };
            let result = load.run(&lab.executable, &target)?;
            eprintln!(
                "  {:<9} {:<26} {:>9.0}/s  p99 {:>8.0} µs{}",
                contender.name(),
                case.name(),
                result.per_second,
                result.p99_us,
                if contender == Contender::Ringfort {
                    String::new()
                } else {
                    format!("  over {channels} gRPC connections")
                }
            );
            results.entry((case, contender, *channels)).or_default().push(result);
        }
    }
    Ok(())
}

struct Speed {
    results: Rounds,
}

type Figure = fn(&LoadResult) -> Option<f64>;

const FIGURES: [(&str, Figure); 9] = [
    ("operations/s", |result| Some(result.per_second)),
    ("latency p50, µs", |result| Some(result.p50_us)),
    ("latency p99, µs", |result| Some(result.p99_us)),
    ("CPU of all servers per operation, µs", |result| result.cpu_us),
    ("syncs of all servers per operation", |result| result.syncs),
    ("frames between servers per operation", |result| result.peer_frames),
    ("bytes between servers per operation", |result| result.peer_bytes),
    ("context switches of all servers per operation", |result| result.switches),
    ("generator CPU per operation, µs", |result| result.generator_cpu_us),
];

impl Speed {
    /// The median over the rounds; for etcd of the better number of connections.
    fn median(&self, case: Case, contender: Contender, figure: Figure) -> f64 {
        let rate = |result: &LoadResult| Some(result.per_second);
        let best = self
            .results
            .iter()
            .filter(|((its_case, its_contender, _), _)| {
                *its_case == case && *its_contender == contender
            })
            .map(|(_, rounds)| rounds)
            .max_by(|a, b| median(a, rate).total_cmp(&median(b, rate)));
        best.map_or(f64::NAN, |rounds| median(rounds, figure))
    }

    fn rate(&self, case: Case, contender: Contender) -> f64 {
        self.median(case, contender, |result| Some(result.per_second))
    }

    /// The better version's, at the member that serves the only client best.
    fn rate_of_etcd(&self, case: Case) -> f64 {
        let at_any_member = (case == Case::Put1Leader).then_some(Case::Put1);
        let cases = std::iter::once(case).chain(at_any_member);
        // A version that was not asked is not a number, which `max` passes over.
        cases
            .flat_map(|case| [(case, Contender::Etcd34), (case, Contender::Etcd35)])
            .map(|(case, contender)| self.rate(case, contender))
            .fold(f64::NAN, f64::max)
    }

    fn verdicts(&self) -> Vec<Verdict> {
        let ratio = |(case, limit): (Case, f64)| {
            let ratio = self.rate(case, Contender::Ringfort) / self.rate_of_etcd(case);
            Verdict::new(case.name(), ratio, "x etcd", Limit::AtLeast(limit))
        };
        let mut verdicts: Vec<Verdict> = RATIOS.into_iter().map(ratio).collect();
        let cpu = self.median(Case::Put64, Contender::Ringfort, |result| result.cpu_us);
        let what = "CPU of all servers per put, 64 connections";
        verdicts.push(Verdict::new(what, cpu, "µs", Limit::AtMost(CPU_US_MAX)));
        verdicts
    }

    fn table(&self) -> String {
        let mut out = String::new();
        for (title, figure) in FIGURES {
            out += &format!("{title:<48}");
            for contender in Contender::ALL {
                out += &format!("{:>12}", contender.name());
            }
            out.push('\n');
            for case in Case::ALL {
                out += &format!("  {:<46}", case.name());
                for contender in Contender::ALL {
                    let value = self.median(case, contender, figure);
                    let text = match value {
                        value if value.is_nan() => "-".to_owned(),
                        value if value >= 1000.0 => format!("{value:.0}"),
                        value => format!("{value:.2}"),
                    };
                    out += &format!("{text:>12}");
                }
                out.push('\n');
            }
            out.push('\n');
        }
        out
    }

    fn json(&self) -> Value {
        let case_json =
            |((case, contender, channels), rounds): (&(Case, Contender, u64), &Vec<LoadResult>)| {
                json!({
                    "case": case.name(),
                    "system": contender.name(),
                    "grpc_connections": (*contender != Contender::Ringfort).then_some(channels),
                    "operations_per_second": {
                        "median": median(rounds, |result| Some(result.per_second)),
                        "rounds": rounds.iter().map(|r| r.per_second).collect::<Vec<_>>(),
                    },
                    "p50_us": median(rounds, |result| Some(result.p50_us)),
                    "p99_us": median(rounds, |result| Some(result.p99_us)),
                    "server_cpu_us_per_operation": known(median(rounds, |r| r.cpu_us)),
                    "syncs_per_operation": known(median(rounds, |r| r.syncs)),
                    "peer_frames_per_operation": known(median(rounds, |r| r.peer_frames)),
                    "peer_bytes_per_operation": known(median(rounds, |r| r.peer_bytes)),
                    "switches_per_operation": known(median(rounds, |r| r.switches)),
                    "written_bytes_per_operation": known(median(rounds, |r| r.written_bytes)),
                    "generator_cpu_us_per_operation": known(median(rounds, |r| r.generator_cpu_us)),
                })
            };
        self.results.iter().map(case_json).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_better_etcd_counts() {
        let rounds = |per_second| vec![LoadResult { per_second, ..LoadResult::default() }];
        let results = Rounds::from([
            ((Case::Get64, Contender::Ringfort, 1), rounds(30.0)),
            ((Case::Get64, Contender::Etcd34, 3), rounds(4.0)),
            ((Case::Get64, Contender::Etcd34, 48), rounds(5.0)),
            ((Case::Get64, Contender::Etcd35, 3), rounds(10.0)),
            ((Case::Put1Leader, Contender::Ringfort, 1), rounds(8.0)),
            ((Case::Put1Leader, Contender::Etcd34, 1), rounds(3.0)),
            ((Case::Put1, Contender::Etcd34, 1), rounds(5.0)),
        ]);
        let verdicts = Speed { results }.verdicts();
        let figure = |case: Case| {
            verdicts.iter().find(|verdict| verdict.what == case.name()).unwrap().figure
        };
        assert!((figure(Case::Get64) - 3.0).abs() < 1e-9, "{verdicts:?}");
        assert!((figure(Case::Put1Leader) - 1.6).abs() < 1e-9, "{verdicts:?}");
        let met: Vec<_> = verdicts.iter().filter(|verdict| verdict.is_met()).collect();
        assert_eq!(met.len(), 1, "{met:?}");
    }
}
