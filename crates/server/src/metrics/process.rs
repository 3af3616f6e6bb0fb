//! What the kernel says of this process, under the names that Prometheus' own client libraries use.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

/// Numbers of `/proc/self`; zero where it cannot be read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Process {
    cpu_seconds: f64,
    resident_bytes: u64,
    open_files: u64,
    threads: u64,
    context_switches: u64,
}

impl Process {
    pub(super) fn read() -> Self {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // The name in parentheses may hold anything; fields are counted behind it.
        let fields: Vec<u64> = stat
            .rsplit_once(')')
            .map(|(_, rest)| {
                rest.split_whitespace().skip(1).map(|field| field.parse().unwrap_or(0)).collect()
            })
            .unwrap_or_default();
        let field = |number: usize| fields.get(number - 4).copied().unwrap_or(0);
        let ticks_per_second = rustix::param::clock_ticks_per_second().max(1);
        #[expect(
            clippy::cast_precision_loss,
            reason = "ticks of the CPU: a double counts them for millions of years"
        )]
        let cpu_seconds = (field(14) + field(15)) as f64 / ticks_per_second as f64;
        Self {
            cpu_seconds,
            threads: field(20),
            resident_bytes: field(24) * rustix::param::page_size() as u64,
            open_files: std::fs::read_dir("/proc/self/fd").map_or(0, |files| files.count() as u64),
            context_switches: context_switches(),
        }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let help = "CPU time, user and system";
        let cpu = encoder.encode_descriptor(
            "process_cpu",
            help,
            Some(&Unit::Seconds),
            MetricType::Counter,
        )?;
        ConstCounter::new(self.cpu_seconds).encode(cpu)?;
        let help = "Memory in RAM";
        let rss = encoder.encode_descriptor(
            "process_resident_memory",
            help,
            Some(&Unit::Bytes),
            MetricType::Gauge,
        )?;
        ConstGauge::new(self.resident_bytes).encode(rss)?;
        let files =
            encoder.encode_descriptor("process_open_fds", "Open files", None, MetricType::Gauge)?;
        ConstGauge::new(self.open_files).encode(files)?;
        let threads =
            encoder.encode_descriptor("process_threads", "Threads", None, MetricType::Gauge)?;
        ConstGauge::new(self.threads).encode(threads)?;
        let help = "Context switches of all threads, voluntary or not";
        let switches = encoder.encode_descriptor(
            "process_context_switches",
            help,
            None,
            MetricType::Counter,
        )?;
        ConstCounter::new(self.context_switches).encode(switches)
    }
}

fn context_switches() -> u64 {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else {
        return 0;
    };
    let of_task = |path: std::path::PathBuf| {
        let status = std::fs::read_to_string(path.join("status")).unwrap_or_default();
        let lines = status.lines().filter(|line| line.contains("ctxt_switches:"));
        lines.filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok()).sum::<u64>()
    };
    tasks.flatten().map(|task| of_task(task.path())).sum()
}
