//! The result, for programs (JSON) and for people.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::arguments::{Arguments, Distribution, TargetKind, Workload};
use crate::cost::Cost;
use crate::drive::Measured;

/// Latencies of one kind of operation, in microseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Latency {
    /// How many operations.
    pub operations: u64,
    /// Mean.
    pub mean_us: f64,
    /// Shortest.
    pub min_us: f64,
    /// Half were not longer.
    pub p50_us: f64,
    /// 90 of 100 were not longer.
    pub p90_us: f64,
    /// 95 of 100 were not longer.
    pub p95_us: f64,
    /// 99 of 100 were not longer.
    pub p99_us: f64,
    /// 999 of 1,000 were not longer.
    pub p999_us: f64,
    /// 9,999 of 10,000 were not longer.
    pub p9999_us: f64,
    /// Longest.
    pub max_us: f64,
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Option<Self> {
        if histogram.is_empty() {
            return None;
        }
        let quantile = |q: f64| histogram.value_at_quantile(q) as f64 / 1000.0;
        Some(Self {
            operations: histogram.len(),
            mean_us: round(histogram.mean() / 1000.0),
            min_us: histogram.min() as f64 / 1000.0,
            p50_us: quantile(0.50),
            p90_us: quantile(0.90),
            p95_us: quantile(0.95),
            p99_us: quantile(0.99),
            p999_us: quantile(0.999),
            p9999_us: quantile(0.9999),
            max_us: histogram.max() as f64 / 1000.0,
        })
    }
}

/// What the server spent per operation; `null` where nobody tells.
#[derive(Clone, Debug, Serialize)]
pub struct ServerCost {
    /// User and system time of the server's processes, in microseconds per operation.
    pub cpu_us_per_operation: Option<f64>,
    /// User time, in microseconds per operation.
    pub cpu_user_us_per_operation: Option<f64>,
    /// System time, in microseconds per operation.
    pub cpu_system_us_per_operation: Option<f64>,
    /// Context switches of all threads per operation.
    pub switches_per_operation: Option<f64>,
    /// Those of them that were involuntary (a thread was displaced).
    pub involuntary_switches_per_operation: Option<f64>,
    /// Syncs of the log per operation.
    pub syncs_per_operation: Option<f64>,
    /// Syncs of the log per second.
    pub syncs_per_second: Option<f64>,
    /// Bytes written to the disk per operation.
    pub written_bytes_per_operation: Option<f64>,
    /// Frames that the nodes of a cluster sent each other per operation, where every node is an endpoint.
    pub peer_frames_per_operation: Option<f64>,
    /// Bytes that they sent each other per operation.
    pub peer_bytes_per_operation: Option<f64>,
    /// Resident memory at the end, in bytes.
    pub resident_bytes: Option<f64>,
}

impl ServerCost {
    fn of(cost: &Cost, operations: u64, seconds: f64) -> Self {
        let per_operation =
            |total: Option<f64>| Some(total? / operations as f64).filter(|_| operations > 0);
        Self {
            cpu_us_per_operation: per_operation(cost.cpu_us),
            cpu_user_us_per_operation: per_operation(cost.cpu_user_us),
            cpu_system_us_per_operation: per_operation(cost.cpu_system_us),
            switches_per_operation: per_operation(cost.switches),
            involuntary_switches_per_operation: per_operation(cost.involuntary_switches),
            syncs_per_operation: per_operation(cost.syncs),
            syncs_per_second: cost.syncs.map(|syncs| syncs / seconds),
            written_bytes_per_operation: per_operation(cost.written_bytes),
            peer_frames_per_operation: per_operation(cost.peer_frames),
            peer_bytes_per_operation: per_operation(cost.peer_bytes),
            resident_bytes: cost.resident_bytes,
        }
    }
}

/// The result of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What the endpoints spoke.
    pub target: TargetKind,
    /// Where the load went.
    pub endpoints: Vec<String>,
    /// Which operations were sent.
    pub workload: Workload,
    /// Share of reads in a mixed workload.
    pub read_share: f64,
    /// Concurrent clients.
    pub connections: usize,
    /// gRPC connections they shared, for etcd.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etcd_channels: Option<usize>,
    /// Size of a value.
    pub value_bytes: usize,
    /// Number of keys.
    pub keys: u64,
    /// How keys were chosen.
    pub distribution: Distribution,
    /// Operations due per second; `null` in a closed loop.
    pub rate: Option<f64>,
    /// Seconds measured.
    pub seconds: f64,
    /// Operations answered as expected.
    pub operations: u64,
    /// The same per second.
    pub operations_per_second: f64,
    /// Operations not answered as expected, by code; those of the warm-up and of a load beforehand included.
    pub errors: BTreeMap<String, u64>,
    /// Latencies of all operations.
    pub latency: Option<Latency>,
    /// Latencies of puts.
    pub put_latency: Option<Latency>,
    /// Latencies of gets.
    pub get_latency: Option<Latency>,
    /// What the server spent.
    pub server: ServerCost,
    /// What the load generator itself spent, in microseconds of CPU per operation.
    pub generator_cpu_us_per_operation: Option<f64>,
    /// Details of the first few errors.
    pub error_examples: Vec<String>,
}

impl Report {
    pub(crate) fn new(arguments: &Arguments, measured: Measured) -> anyhow::Result<Self> {
        let operations = measured.recorder.operations();
        let seconds = measured.elapsed.as_secs_f64();
        let [put, get, all] = measured.recorder.histograms()?;
        Ok(Self {
            target: arguments.target,
            endpoints: arguments.endpoints.clone(),
            workload: arguments.workload,
            read_share: arguments.read_share,
            connections: arguments.connections,
            etcd_channels: (arguments.target == TargetKind::Etcd)
                .then_some(arguments.etcd_channels),
            value_bytes: arguments.value_bytes,
            keys: arguments.keys,
            distribution: arguments.distribution,
            rate: arguments.rate,
            seconds,
            operations,
            operations_per_second: round(operations as f64 / seconds),
            errors: measured
                .recorder
                .errors
                .into_iter()
                .map(|(code, count)| (code.into_owned(), count))
                .collect(),
            latency: Latency::of(&all),
            put_latency: Latency::of(&put),
            get_latency: Latency::of(&get),
            server: ServerCost::of(&measured.cost, operations, seconds),
            generator_cpu_us_per_operation: measured
                .own_cpu_us
                .map(|us| us / operations as f64)
                .filter(|us| us.is_finite()),
            error_examples: measured.examples,
        })
    }

    /// Adds the errors of a phase before the run.
    pub(crate) fn add_errors(&mut self, errors: BTreeMap<String, u64>, examples: Vec<String>) {
        for (code, count) in errors {
            *self.errors.entry(code).or_default() += count;
        }
        self.error_examples.splice(0..0, examples);
    }

    /// Whether every operation was answered as expected, and at least one was.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.operations > 0 && self.errors.is_empty()
    }
}

fn round(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = format!("{:?}", self.target).to_lowercase();
        let workload = format!("{:?}", self.workload).to_lowercase();
        writeln!(
            f,
            "{workload} at {target}: {} connections, values of {} bytes, {} keys",
            self.connections, self.value_bytes, self.keys
        )?;
        writeln!(
            f,
            "{:>12.0} operations/s   {} operations in {:.2} s",
            self.operations_per_second, self.operations, self.seconds
        )?;
        let rows = [("put", &self.put_latency), ("get", &self.get_latency)];
        if rows.iter().any(|(_, latency)| latency.is_some()) {
            writeln!(
                f,
                "\n{:>10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10}",
                "latency", "mean", "p50", "p90", "p99", "p99.9", "max"
            )?;
        }
        for (name, latency) in rows {
            if let Some(latency) = latency {
                let mut line = format!("{name:>10}");
                for us in [
                    latency.mean_us,
                    latency.p50_us,
                    latency.p90_us,
                    latency.p99_us,
                    latency.p999_us,
                    latency.max_us,
                ] {
                    write!(line, " {:>10}", time(us))?;
                }
                writeln!(f, "{line}")?;
            }
        }
        self.write_costs(f)?;
        if !self.errors.is_empty() {
            writeln!(f, "\nerrors")?;
            for (code, count) in &self.errors {
                writeln!(f, "{count:>12} {code}")?;
            }
            for example in &self.error_examples {
                writeln!(f, "             {example}")?;
            }
        }
        Ok(())
    }
}

impl Report {
    fn write_costs(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let server = &self.server;
        let rows = [
            ("µs CPU of the server", server.cpu_us_per_operation),
            ("context switches of the server", server.switches_per_operation),
            ("syncs", server.syncs_per_operation),
            ("bytes written", server.written_bytes_per_operation),
            ("frames between nodes", server.peer_frames_per_operation),
            ("bytes between nodes", server.peer_bytes_per_operation),
            ("µs CPU of this generator", self.generator_cpu_us_per_operation),
        ];
        if rows.iter().any(|(_, figure)| figure.is_some()) {
            writeln!(f, "\nper operation")?;
        }
        for (name, figure) in rows {
            if let Some(figure) = figure {
                writeln!(f, "{figure:>12.3} {name}")?;
            }
        }
        if let Some(bytes) = server.resident_bytes {
            let mib = bytes / f64::from(1 << 20);
            writeln!(f, "{mib:>12.1} MiB resident memory of the server")?;
        }
        Ok(())
    }
}

/// A time with the unit that fits.
fn time(us: f64) -> String {
    if us < 1000.0 {
        format!("{us:.1} µs")
    } else if us < 1_000_000.0 {
        format!("{:.2} ms", us / 1e3)
    } else {
        format!("{:.2} s", us / 1e6)
    }
}
