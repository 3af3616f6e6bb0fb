//! What a node's options, and its cluster's settings, are for the parts that it is made of.

use std::time::Duration;

use ringfort_node::control::{ClusterSettings, ReadsBy};
use ringfort_node::host::{LogOptions, Reads, Settings, SourceId};
use ringfort_node::{NodeGuards, WorkerConfig, WorkerLimits};
use ringfort_types::request::Limits;

use crate::claim::Claimed;
use crate::options::ServerOptions;

/// An idle log marks its last batch durable after this time.
const MARKER_DELAY: Duration = Duration::from_millis(100);
/// A group of a cluster of several with nothing to do for this long sleeps.
const SLEEP_AFTER: Duration = Duration::from_secs(3);
/// With no more commands than this under way on a worker, none waits for company.
const COMPANY_MIN: usize = 8;

/// What fits into the log: an entry stays well below a segment.
pub(crate) struct Sizes {
    pub(crate) limits: Limits,
    pub(crate) payload_target: usize,
}

/// A command's bytes besides its keys and values, at most.
const COMMAND_BYTES: usize = 64 << 10;
/// An entry that has grown to this size takes no further command, unless segments are small.
const PAYLOAD_BYTES_TARGET: usize = 1 << 20;

impl Sizes {
    pub(crate) fn of(options: &ServerOptions, log: &LogOptions) -> Self {
        let payload_max = usize::try_from(log.payload_bytes_max()).unwrap_or(usize::MAX);
        let payload_target = PAYLOAD_BYTES_TARGET.min(payload_max / 8);
        let request_bytes_max = options
            .max_request_bytes
            .min(payload_max - payload_target - COMMAND_BYTES.min(payload_max / 4));
        let value_bytes_max = options.max_value_bytes.min(request_bytes_max);
        Self { limits: Limits { value_bytes_max, request_bytes_max }, payload_target }
    }
}

/// A cluster's settings as its Raft groups have them. A lease ends a tenth of the election timeout before a follower that
/// promised it may vote, for clocks that drift.
pub(crate) fn raft_settings(settings: &ClusterSettings, founders: usize) -> Settings {
    let tenth = settings.election_timeout / 10;
    Settings {
        heartbeat: settings.heartbeat,
        election_timeout: settings.election_timeout,
        lease: settings.election_timeout - tenth,
        lease_margin: tenth,
        lease_max: settings.election_timeout,
        reads: match settings.reads {
            ReadsBy::Lease => Reads::Lease,
            ReadsBy::ReadIndex => Reads::Index,
        },
        sleep_after: if founders > 1 { SLEEP_AFTER } else { Duration::ZERO },
        // The worker bounds what is proposed and not applied.
        uncommitted_bytes_max: usize::MAX,
        // A group that has much to apply leaves room in a turn for others.
        apply_bytes_max: WorkerLimits::default().apply_bytes_per_turn,
        ..Settings::default()
    }
}

/// The log's settings for so many shards, without the node's salt.
pub(crate) fn log_options(options: &ServerOptions, shards: u32) -> LogOptions {
    LogOptions {
        segment_bytes: options.segment_bytes,
        // The catalog is a group as well.
        groups_max: shards + 1,
        log_bytes_target: options.log_bytes,
        salt: 0,
        sync_delay_max: options.sync_delay_max,
        marker_delay: MARKER_DELAY,
    }
}

/// The settings of the node's workers, as the first one has them.
pub(crate) fn worker_config(
    options: &ServerOptions,
    claimed: &Claimed,
    shards: u32,
    sizes: &Sizes,
) -> WorkerConfig {
    let workers = options.worker_count();
    WorkerConfig {
        source: SourceId(0),
        node: claimed.number,
        workers,
        boot: claimed.boot,
        shards,
        requests_max: options.inflight_requests,
        retry_bytes_max: options.idempotency_bytes as u64,
        unapplied_bytes_max: options.inflight_bytes,
        answer_bytes_max: sizes.limits.request_bytes_max,
        payload_bytes_target: sizes.payload_target,
        company_min: COMPANY_MIN,
        snapshot_bytes_per_second: options.snapshot_bytes_per_second.div_ceil(u64::from(workers)),
        limits: WorkerLimits::default(),
        guards: NodeGuards::default(),
    }
}
