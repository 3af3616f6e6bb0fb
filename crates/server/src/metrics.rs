//! Metrics: plain counters on each thread, gathered and written out when somebody asks.
//!
//! Names follow the conventions of Prometheus: base units, `_total` for counters, and one name for one thing with labels
//! for its kinds. The text is that of Prometheus, or of OpenMetrics for those who ask for it.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use ringfort_door::MetricsFormat;
use ringfort_node::host::{LogStats, Status};
use ringfort_node::{ForwardStats, ShardSummary, WorkerStats};
use ringfort_types::GroupId;
use tokio::sync::oneshot;

use self::raft::RaftTotals;
use crate::log_thread::{LogFigures, LogInput};
use crate::view;
use crate::worker_thread::Host;

mod forwards;
mod histogram;
mod peers;
mod process;
mod raft;
mod requests;
mod text;

pub(crate) use self::histogram::{Latencies, Sizes};
pub(crate) use self::peers::PeerStats;
pub(crate) use self::requests::RequestMetrics;

/// Everything that one answer to `/metrics` says.
#[derive(Debug, Default)]
struct Scrape {
    requests: RequestMetrics,
    connections: u64,
    inflight_bytes: u64,
    pending: u64,
    workers: Vec<WorkerStats>,
    forwards: Vec<ForwardStats>,
    shards: Vec<ShardSummary>,
    catalog: Option<Status>,
    log: LogStats,
    log_figures: LogFigures,
    peers: peers::Peers,
    process: process::Process,
}

/// What one worker's thread says.
struct Part {
    requests: RequestMetrics,
    connections: usize,
    inflight_bytes: usize,
    pending: usize,
    stats: WorkerStats,
    forwards: ForwardStats,
    peers: PeerStats,
}

impl Part {
    fn of(host: &Host) -> Self {
        let (pending, stats, forwards) =
            host.with_worker(|worker| (worker.pending(), worker.stats(), worker.forward_stats()));
        Self {
            requests: host.requests.borrow().clone(),
            connections: host.connections.get(),
            inflight_bytes: host.inflight_bytes(),
            pending,
            stats,
            forwards,
            peers: host.peers.stats(),
        }
    }
}

/// All metrics as text.
pub(crate) async fn encode(host: &Host, format: MetricsFormat) -> String {
    let mut scrape = Scrape { process: process::Process::read(), ..Scrape::default() };
    for number in 0..host.shared.workers.len() {
        // A server that stops answers with what it still has.
        let Ok(part) = host.on_host(number, Part::of).await else { continue };
        scrape.peers.add(&host.shared.map(), &part.peers);
        scrape.requests.add(&part.requests);
        scrape.connections += part.connections as u64;
        scrape.inflight_bytes += part.inflight_bytes as u64;
        scrape.pending += part.pending as u64;
        scrape.workers.push(part.stats);
        scrape.forwards.push(part.forwards);
    }
    scrape.shards = view::summaries(host).await.unwrap_or_default();
    let catalog = |host: &Host| host.with_core(|worker| worker.group_status(GroupId::CATALOG));
    scrape.catalog = host.on_host(0, catalog).await.unwrap_or_default();
    let (sender, receiver) = oneshot::channel();
    if host.shared.log.send(LogInput::Stats(sender)).is_ok() {
        (scrape.log, scrape.log_figures) = receiver.await.unwrap_or_default();
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
        forwards::encode(&self.forwards, &mut encoder)?;
        self.encode_shards(&mut encoder)?;
        RaftTotals::of(&self.shards, self.catalog.as_ref()).encode(&mut encoder)?;
        self.encode_batches(&mut encoder)?;
        self.encode_segments(&mut encoder)?;
        self.peers.encode(&mut encoder)?;
        self.process.encode(encoder)
    }
}

impl Scrape {
    fn encode_requests(&self, encoder: &mut DescriptorEncoder<'_>) -> Encoded {
        self.requests.encode(encoder)?;
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
            "ringfort_log_writes_submitted",
            "Writes of groups handed to the log",
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
        for (name, help, value) in [
            (
                "ringfort_frame_parts_malformed",
                "Parts of frames that could not be read",
                sum(|s| s.frames_malformed),
            ),
            (
                "ringfort_raft_messages_foreign",
                "Messages that came from another node than their replica's",
                sum(|s| s.frames_foreign),
            ),
        ] {
            counter(encoder, name, help, value)?;
        }
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

    fn encode_batches(&self, encoder: &mut DescriptorEncoder<'_>) -> Encoded {
        let log = &self.log;
        counter(encoder, "ringfort_log_syncs", "Syncs of log segments", log.syncs)?;
        let figures = &self.log_figures;
        let (name, help) = ("ringfort_log_sync_duration", "Time that a sync of the log took");
        let unit = Some(&Unit::Seconds);
        figures.syncs.encode(encoder.encode_descriptor(
            name,
            help,
            unit,
            MetricType::Histogram,
        )?)?;
        counter(encoder, "ringfort_log_batches", "Batches made durable", log.batches)?;
        let (name, help) = ("ringfort_log_batch_bytes", "Bytes of a batch, padding included");
        let family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        figures.batch_bytes.encode(family)?;
        let (name, help) = ("ringfort_log_batch_records", "Records of a batch");
        let family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        figures.batch_records.encode(family)?;
        counter(encoder, "ringfort_log_records", "Records made durable", log.records)?;
        counter(
            encoder,
            "ringfort_log_written_bytes",
            "Bytes of batches, padding included",
            log.bytes,
        )
    }

    fn encode_segments(&self, encoder: &mut DescriptorEncoder<'_>) -> Encoded {
        let log = &self.log;
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
        )?;
        counter(
            encoder,
            "ringfort_log_segments_failed",
            "Attempts to prepare, recycle or delete a segment that failed",
            log.segments_failed,
        )?;
        gauge(
            encoder,
            "ringfort_log_room_bytes",
            "Bytes that can be written before another segment is needed",
            log.room_bytes,
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
