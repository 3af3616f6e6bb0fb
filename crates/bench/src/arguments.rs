//! What the user asks for, and what of it makes no sense.

use std::time::Duration;

use clap::ValueEnum;
use ringfort_types::limits::VALUE_BYTES_MAX_DEFAULT;

use crate::workload::KEYS_MAX;

/// The most lanes of a run: each is a socket here and one at the server.
const CONNECTIONS_MAX: usize = 10_000;

/// What the load speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetKind {
    /// Ringfort over HTTP/1.1 with keep-alive
    #[default]
    Ringfort,
    /// etcd over gRPC (KV Put and linearizable Range)
    Etcd,
    /// Redis over RESP (SET and GET)
    Redis,
}

/// Which operations are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Workload {
    /// Writes of random keys
    #[default]
    Put,
    /// Reads of random keys, which must have been loaded
    Get,
    /// Reads and writes, as --read-share says
    Mixed,
    /// One write of every key, in order
    Load,
}

/// Which keys are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Distribution {
    /// Every key as often as any other
    #[default]
    Uniform,
    /// A few keys very often (exponent 0.99), spread over the key space
    Zipfian,
}

/// How the result is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    #[default]
    Table,
    /// For programs
    Json,
}

/// Arguments of `ringfort bench`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Where the load goes; repeat it to spread connections [env: RINGFORT_ENDPOINT] [default: the target's own port on
    /// 127.0.0.1]
    #[arg(long = "endpoint", value_name = "URL")]
    pub endpoints: Vec<String>,
    /// What the endpoint speaks
    #[arg(long, value_enum, default_value_t)]
    pub target: TargetKind,
    /// Send each key's request to the node that leads its shard, by the cluster's map, instead of spreading connections over the
    /// endpoints
    #[arg(long)]
    pub route: bool,
    /// Which operations are sent
    #[arg(long, value_enum, default_value_t)]
    pub workload: Workload,
    /// Share of reads in a mixed workload, 0 to 1
    #[arg(long, default_value_t = 0.5, value_name = "SHARE")]
    pub read_share: f64,
    /// Concurrent clients, each with one request in flight
    #[arg(long, default_value_t = 64, value_name = "C")]
    pub connections: usize,
    /// Size of a value in bytes
    #[arg(long, default_value_t = 256, value_name = "BYTES")]
    pub value_bytes: usize,
    /// Number of keys (16 bytes each)
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    pub keys: u64,
    /// How keys are chosen
    #[arg(long, value_enum, default_value_t)]
    pub distribution: Distribution,
    /// How long to measure, such as 10s or 1m [default: 10s]
    #[arg(long, value_parser = ringfort_types::parse_duration, value_name = "TIME", conflicts_with = "requests")]
    pub duration: Option<Duration>,
    /// Measure this many operations instead of a time
    #[arg(long, value_name = "N")]
    pub requests: Option<u64>,
    /// Open loop: operations due per second, latency counted from when each was due [default: closed loop]
    #[arg(long, value_name = "R")]
    pub rate: Option<f64>,
    /// How long to send before measuring
    #[arg(long, value_parser = ringfort_types::parse_duration, default_value = "2s", value_name = "TIME")]
    pub warmup: Duration,
    /// Write every key once before the run
    #[arg(long)]
    pub load: bool,
    /// Absent keys are no errors
    #[arg(long)]
    pub allow_absent: bool,
    /// gRPC connections that the clients of an etcd target share
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub etcd_channels: usize,
    /// Process of the server, to read its CPU time and context switches; repeatable
    #[arg(long = "server-pid", value_name = "PID")]
    pub server_pids: Vec<u32>,
    /// A request without an answer for this long is an error
    #[arg(long, value_parser = ringfort_types::parse_duration, default_value = "10s", value_name = "TIME")]
    pub timeout: Duration,
    /// Seed of keys, values and the mix
    #[arg(long, default_value_t = 1, value_name = "SEED")]
    pub seed: u64,
    /// How the result is printed
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// Arguments that make no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageError(pub(crate) String);

impl std::fmt::Display for UsageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

impl Arguments {
    /// How long to measure, unless a number of requests is set.
    pub(crate) fn measured_time(&self) -> Duration {
        self.duration.unwrap_or(Duration::from_secs(10))
    }

    /// Whether the arguments make sense together.
    pub(crate) fn check(&self) -> Result<(), UsageError> {
        let refuse = |text: String| Err(UsageError(text));
        if !(1..=CONNECTIONS_MAX).contains(&self.connections) {
            return refuse(format!("--connections is 1 to {CONNECTIONS_MAX}"));
        }
        if self.value_bytes > VALUE_BYTES_MAX_DEFAULT {
            return refuse(format!("--value-bytes is at most {VALUE_BYTES_MAX_DEFAULT}"));
        }
        if !(1..=KEYS_MAX).contains(&self.keys) {
            return refuse(format!("--keys is 1 to {KEYS_MAX}"));
        }
        if !(0.0..=1.0).contains(&self.read_share) {
            return refuse("--read-share is 0 to 1".to_owned());
        }
        if let Some(rate) = self.rate
            && !(rate > 0.0 && rate <= 10_000_000.0)
        {
            return refuse("--rate is more than 0 and at most 10000000 per second".to_owned());
        }
        if self.route && self.target != TargetKind::Ringfort {
            return refuse("--route needs the target ringfort: it follows its map".to_owned());
        }
        if self.requests == Some(0) {
            return refuse("--requests is at least 1".to_owned());
        }
        if self.timeout.is_zero() || (self.requests.is_none() && self.measured_time().is_zero()) {
            return refuse("--timeout and --duration are at least 1ms".to_owned());
        }
        if !(1..=self.connections.max(1)).contains(&self.etcd_channels) {
            return refuse("--etcd-channels is 1 to the number of connections".to_owned());
        }
        if self.workload == Workload::Load && (self.load || self.requests.is_some()) {
            return refuse(
                "--workload load writes every key once: leave out --load and --requests".to_owned(),
            );
        }
        Ok(())
    }
}
