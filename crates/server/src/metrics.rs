//! Metrics: plain counters on each thread, gathered and written out when somebody asks.
//!
//! Names follow the conventions of Prometheus: base units, `_total` for counters, and one name for one thing with labels
//! for its kinds. The text is that of Prometheus, or of OpenMetrics for those who ask for it.

use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use ringfort_door::{MetricsFormat, Observation, OperationKind};
use ringfort_node::host::LogStats;
use ringfort_node::{ShardSummary, WorkerStats};
use tokio::sync::oneshot;

use crate::log_thread::LogInput;
use crate::view;
use crate::worker_thread::Host;

mod process;
mod text;

/// Buckets of the latency histogram: powers of two from 32 microseconds to about 16.8 seconds.
const BUCKETS: usize = 20;
const FIRST_BUCKET_LOG2: u32 = 5;

/// Latencies of one kind of request.
#[derive(Clone, Copy, Debug, Default)]
struct Latencies {
    /// How many fell into each bucket; what is above the last is in `count` only.
    buckets: [u64; BUCKETS],
    count: u64,
    sum: Duration,
}

impl Latencies {
    fn observe(&mut self, elapsed: Duration) {
        let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        let log2_ceil = u64::BITS - micros.saturating_sub(1).leading_zeros();
        let bucket = log2_ceil.saturating_sub(FIRST_BUCKET_LOG2) as usize;
        if let Some(bucket) = self.buckets.get_mut(bucket) {
            *bucket += 1;
        }
        self.count += 1;
        self.sum += elapsed;
    }

    fn add(&mut self, other: &Self) {
        for (mine, others) in self.buckets.iter_mut().zip(other.buckets) {
            *mine += others;
        }
        self.count += other.count;
        self.sum += other.sum;
    }
}

/// The requests of one worker's connections.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequestMetrics {
    latencies: [Latencies; OperationKind::ALL.len()],
    /// Few statuses occur, so a short list finds them fastest.
    statuses: [Vec<(u16, u64)>; OperationKind::ALL.len()],
}

impl RequestMetrics {
    pub(crate) fn observe(&mut self, observation: Observation) {
        let kind = observation.kind as usize;
        self.latencies[kind].observe(observation.elapsed);
        self.count(kind, observation.status, 1);
    }

    fn count(&mut self, kind: usize, status: u16, count: u64) {
        match self.statuses[kind].iter_mut().find(|(known, _)| *known == status) {
            Some((_, counted)) => *counted += count,
            None => self.statuses[kind].push((status, count)),
        }
    }

    fn add(&mut self, other: &Self) {
        for (kind, latencies) in other.latencies.iter().enumerate() {
            self.latencies[kind].add(latencies);
            for (status, count) in &other.statuses[kind] {
                self.count(kind, *status, *count);
            }
        }
    }
}

/// Everything that one answer to `/metrics` says.
#[derive(Debug, Default)]
struct Scrape {
    requests: RequestMetrics,
    connections: u64,
    inflight_bytes: u64,
    pending: u64,
    workers: Vec<WorkerStats>,
    shards: Vec<ShardSummary>,
    log: LogStats,
    process: process::Process,
}

/// All metrics as text.
pub(crate) async fn encode(host: &Host, format: MetricsFormat) -> String {
    let mut scrape = Scrape { process: process::Process::read(), ..Scrape::default() };
    for number in 0..host.shared.workers.len() {
        let part = host.on_host(number, |host| {
            let (pending, stats) = host.with_worker(|worker| (worker.pending(), worker.stats()));
            (
                host.requests.borrow().clone(),
                host.connections.get(),
                host.inflight_bytes(),
                pending,
                stats,
            )
        });
        // A server that stops answers with what it still has.
        let Ok((requests, connections, inflight, pending, stats)) = part.await else {
            continue;
        };
        scrape.requests.add(&requests);
        scrape.connections += connections as u64;
        scrape.inflight_bytes += inflight as u64;
        scrape.pending += pending as u64;
        scrape.workers.push(stats);
    }
    scrape.shards = view::summaries(host).await.unwrap_or_default();
    let (sender, receiver) = oneshot::channel();
    if host.shared.log.send(LogInput::Stats(sender)).is_ok() {
        scrape.log = receiver.await.unwrap_or_default();
    }
    write(scrape, format)
}

/// What is known of the process alone, as text.
pub(crate) fn encode_process(format: MetricsFormat) -> String {
    write(process::Process::read(), format)
}

fn write(collector: impl Collector, format: MetricsFormat) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(collector));
    let mut open_metrics = String::new();
    match prometheus_client::encoding::text::encode(&mut open_metrics, &registry) {
        Ok(()) => match format {
            MetricsFormat::Prometheus => text::prometheus(&open_metrics),
            MetricsFormat::OpenMetrics => open_metrics,
        },
        // Writing to a string fails only where one of our names is malformed.
        Err(error) => {
            tracing::error!("the metrics cannot be written: {error}");
            String::new()
        }
    }
}

type Encoded = Result<(), std::fmt::Error>;

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Encoded {
        self.encode_requests(&mut encoder)?;
        self.encode_workers(&mut encoder)?;
        self.encode_shards(&mut encoder)?;
        self.encode_log(&mut encoder)?;
        self.process.encode(encoder)
    }
}

impl Scrape {
    fn encode_requests(&self, encoder: &mut DescriptorEncoder<'_>) -> Encoded {
        let help = "Requests answered, by operation and status";
        let mut metric =
            encoder.encode_descriptor("ringfort_requests", help, None, MetricType::Counter)?;
        for kind in OperationKind::ALL {
            for (status, count) in &self.requests.statuses[kind as usize] {
                let labels =
                    [("operation", kind.as_str().to_owned()), ("status", status.to_string())];
                ConstCounter::new(*count).encode(metric.encode_family(&labels)?)?;
            }
        }
        let help = "Time from a request's head to its answer, by operation";
        let name = "ringfort_request_duration";
        let mut metric =
            encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for kind in OperationKind::ALL {
            let labels = [("operation", kind.as_str())];
            encode_latencies(
                &self.requests.latencies[kind as usize],
                metric.encode_family(&labels)?,
            )?;
        }
        gauge(encoder, "ringfort_client_connections", "Client connections open", self.connections)?;
        gauge(
            encoder,
            "ringfort_request_body_bytes",
            "Bytes of request bodies held",
            self.inflight_bytes,
        )?;
        gauge(
            encoder,
            "ringfort_requests_pending",
            "Requests that wait for log or replica",
            self.pending,
        )
    }

    fn encode_workers(&self, encoder: &mut DescriptorEncoder<'_>) -> Encoded {
        let sum = |of: fn(&WorkerStats) -> u64| self.workers.iter().map(of).sum();
        counter(
            encoder,
            "ringfort_raft_entries_proposed",
            "Entries handed to the log",
            sum(|s| s.entries),
        )?;
        counter(
            encoder,
            "ringfort_commands_applied",
            "Client commands applied and answered",
            sum(|s| s.commands),
        )?;
        counter(
            encoder,
            "ringfort_requests_refused",
            "Requests refused by admission",
            sum(|s| s.refused),
        )?;
        counter(
            encoder,
            "ringfort_requests_timed_out",
            "Requests whose deadline passed",
            sum(|s| s.timeouts),
        )?;
        counter(encoder, "ringfort_engine_flushes", "Flushes that ended well", sum(|s| s.flushes))?;
        counter(
            encoder,
            "ringfort_engine_flushes_failed",
            "Flushes given up",
            sum(|s| s.flushes_failed),
        )?;
        counter(
            encoder,
            "ringfort_engine_flush_bytes",
            "Bytes written by flushes",
            sum(|s| s.flush_bytes),
        )
    }

    fn encode_shards(&self, encoder: &mut DescriptorEncoder<'_>) -> Encoded {
        let sum = |of: fn(&ShardSummary) -> u64| self.shards.iter().map(of).sum();
        gauge(encoder, "ringfort_keys", "Live keys", sum(|s| s.size.keys))?;
        gauge(encoder, "ringfort_bytes", "Bytes of live keys and values", sum(|s| s.size.bytes))?;
        let help = "Records in the engine: keys, their expiry, remembered answers";
        gauge(encoder, "ringfort_engine_records", help, sum(|s| s.stored.keys))?;
        let help = "Bytes of records in the engine";
        gauge(encoder, "ringfort_engine_bytes", help, sum(|s| s.stored.bytes))?;
        let retry = |s: &ShardSummary| s.status.as_ref().map_or(0, |status| status.retry_bytes);
        gauge(encoder, "ringfort_retry_bytes", "Bytes of remembered answers", sum(retry))?;
        let help = "Shards of this node, by state";
        let mut metric =
            encoder.encode_descriptor("ringfort_shards", help, None, MetricType::Gauge)?;
        let closed = self.shards.iter().filter(|s| s.closed.is_some()).count();
        let leading = self.shards.iter().filter(|s| s.closed.is_none() && s.leads).count();
        let states = [
            ("leading", leading),
            ("closed", closed),
            ("following", self.shards.len() - closed - leading),
        ];
        for (state, count) in states {
            ConstGauge::new(count as u64).encode(metric.encode_family(&[("state", state)])?)?;
        }
        Ok(())
    }

    fn encode_log(&self, encoder: &mut DescriptorEncoder<'_>) -> Encoded {
        let log = &self.log;
        counter(encoder, "ringfort_log_syncs", "Syncs of log segments", log.syncs)?;
        counter(encoder, "ringfort_log_batches", "Batches made durable", log.batches)?;
        counter(encoder, "ringfort_log_records", "Records made durable", log.records)?;
        counter(
            encoder,
            "ringfort_log_written_bytes",
            "Bytes of batches, padding included",
            log.bytes,
        )?;
        counter(
            encoder,
            "ringfort_log_segments_recycled",
            "Segments used again",
            log.segments_recycled,
        )?;
        counter(
            encoder,
            "ringfort_log_stragglers_rewritten",
            "Entries rewritten forward",
            log.stragglers_rewritten,
        )?;
        gauge(
            encoder,
            "ringfort_log_segments",
            "Segment files, prepared ones included",
            log.segments,
        )?;
        gauge(
            encoder,
            "ringfort_log_live_bytes",
            "Bytes of log that a start would read",
            log.live_bytes,
        )
    }
}

fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> Encoded {
    ConstCounter::new(value).encode(encoder.encode_descriptor(
        name,
        help,
        None,
        MetricType::Counter,
    )?)
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> Encoded {
    ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
}

fn encode_latencies(latencies: &Latencies, mut encoder: MetricEncoder<'_>) -> Encoded {
    let bound = |bucket: usize| {
        Duration::from_micros(1 << (FIRST_BUCKET_LOG2 as usize + bucket)).as_secs_f64()
    };
    let mut buckets: Vec<(f64, u64)> = latencies
        .buckets
        .iter()
        .enumerate()
        .map(|(bucket, count)| (bound(bucket), *count))
        .collect();
    let above = latencies.count - latencies.buckets.iter().sum::<u64>();
    buckets.push((f64::INFINITY, above));
    encoder.encode_histogram::<NoLabelSet>(
        latencies.sum.as_secs_f64(),
        latencies.count,
        &buckets,
        None,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_falls_into_the_bucket_whose_bound_it_does_not_exceed() {
        for (micros, bucket) in [(0, 0), (1, 0), (32, 0), (33, 1), (64, 1), (65, 2), (1 << 24, 19)]
        {
            let mut latencies = Latencies::default();
            latencies.observe(Duration::from_micros(micros));
            assert_eq!(latencies.buckets[bucket], 1, "{micros} us");
        }
        let mut latencies = Latencies::default();
        latencies.observe(Duration::from_secs(60));
        assert_eq!((latencies.buckets.iter().sum::<u64>(), latencies.count), (0, 1));
    }
}
