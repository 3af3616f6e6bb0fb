//! The command line, as clap reads it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use ringfort_client::{Client, Endpoint, Options};

use crate::exit::Failure;
use crate::output::Format;

/// Where endpoints come from when no flag names one.
const ENDPOINT_VARIABLE: &str = "RINGFORT_ENDPOINT";

const AFTER_HELP: &str = "\
Exit codes: 0 done; 1 the answer is no (absent, condition failed); 2 usage or configuration;
3 not done (unreachable, refused); 4 a write's outcome is unknown.

Try it:
  ringfort dev &
  ringfort kv put greeting hello
  ringfort kv get greeting";

/// A distributed key-value store that never loses an acknowledged write.
#[derive(Debug, Parser)]
#[command(name = "ringfort", version, after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run one node
    #[command(after_help = SERVER_EXAMPLES)]
    Server(ServerArguments),
    /// Run a whole local cluster, for development
    #[command(after_help = DEV_EXAMPLES)]
    Dev(DevArguments),
    /// Read and write keys
    #[command(subcommand, after_help = KV_EXAMPLES)]
    Kv(KvCommand),
    /// Look at a cluster and administer it
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Check a configuration file and explain what counts
    #[command(after_help = CHECK_EXAMPLES)]
    CheckConfig(CheckArguments),
    /// Generate load against any endpoint
    Bench(ringfort_bench::Arguments),
    /// Print shell completions
    #[command(after_help = "Example:\n  source <(ringfort completions bash)")]
    Completions {
        /// The shell they are for
        #[arg(value_enum)]
        shell: ShellName,
    },
}

/// The shells that completions are made for.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum ShellName {
    Bash,
    Zsh,
    Fish,
}

const SERVER_EXAMPLES: &str = "\
Settings come from flags, then the environment (RINGFORT_NODE__DATA_DIR), then the file, then
defaults; see `ringfort check-config`.

SIGTERM and SIGINT stop the node once requests in flight are answered; SIGHUP reads the log level
and the certificates again and reopens the log file.

Examples:
  ringfort server --config /etc/ringfort.toml
  ringfort server --set node.data_dir=./data --set listen.client=127.0.0.1:7500";

/// Settings, wherever they come from.
#[derive(Clone, Debug, Args)]
pub(crate) struct SettingArguments {
    /// Set one setting, over environment and file; repeatable
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ServerArguments {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) settings: SettingArguments,
    /// Stop when standard input ends: how a parent process that dies takes its nodes along
    #[arg(long, hide = true)]
    pub(crate) stop_with_stdin: bool,
}

const DEV_EXAMPLES: &str = "\
Node i has its client port at BASE+10*i and its peer port at BASE+10*i+1. Prints `ready` on a line
of its own when every endpoint serves. Ctrl-C stops everything.

Examples:
  ringfort dev
  ringfort dev --nodes 3
  ringfort dev --nodes 3 --base-port 8400 --data-dir ./data --set cluster.shards=16";

#[derive(Clone, Debug, Args)]
pub(crate) struct DevArguments {
    /// Nodes, 1 to 10
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=10))]
    pub(crate) nodes: u16,
    /// Client port of the first node
    #[arg(long, default_value_t = 7400, value_name = "BASE", value_parser = clap::value_parser!(u16).range(1..=65_000))]
    pub(crate) base_port: u16,
    /// Keep data here [default: a temporary directory, removed at exit]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Where applied data lives
    #[arg(long, default_value = "memory", value_name = "ENGINE")]
    pub(crate) engine: String,
    #[command(flatten)]
    pub(crate) settings: SettingArguments,
}

const CHECK_EXAMPLES: &str = "\
Says what is wrong as FILE:LINE: key: what, and exits 2; or prints every setting with its value and
where it comes from. The environment and --set count as they do for `ringfort server`.";

#[derive(Clone, Debug, Args)]
pub(crate) struct CheckArguments {
    /// The configuration file
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) settings: SettingArguments,
    /// How the result is printed
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Format,
}

/// Which server, how long, and how to print.
#[derive(Clone, Debug, Args)]
pub(crate) struct Connection {
    /// Where the server is; repeat it to name others that are tried in order [env: RINGFORT_ENDPOINT]
    /// [default: http://127.0.0.1:7400]
    #[arg(long = "endpoint", value_name = "URL")]
    endpoints: Vec<Endpoint>,
    /// How the result is printed
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Format,
    /// Bound of the whole request, at most 60s
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = ringfort_types::parse_duration)]
    timeout: Duration,
}

impl Connection {
    /// A client of the endpoints named by flags, else by the environment, else of the default one.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let options = Options { timeout: self.timeout, ..Options::default() };
        let endpoints = self.endpoints()?;
        Client::new(&endpoints, options).map_err(|error| Failure::of_call(&error, self.output))
    }

    fn endpoints(&self) -> Result<Vec<Endpoint>, Failure> {
        if !self.endpoints.is_empty() {
            return Ok(self.endpoints.clone());
        }
        let named = match std::env::var(ENDPOINT_VARIABLE) {
            Ok(named) if !named.trim().is_empty() => named,
            Ok(_) | Err(std::env::VarError::NotPresent) => return Ok(vec![Endpoint::default()]),
            Err(error) => return Err(Failure::usage(format_args!("{ENDPOINT_VARIABLE}: {error}"))),
        };
        let endpoints = named.split(',').map(|text| text.trim().parse());
        let endpoints: Result<_, _> = endpoints.collect();
        endpoints.map_err(|error: ringfort_client::EndpointError| {
            Failure::usage(format_args!("{ENDPOINT_VARIABLE}: {error}"))
        })
    }
}

const KV_EXAMPLES: &str = "\
Values go raw to standard output, with a newline only on a terminal; all else goes to standard error.

Examples:
  ringfort kv put user:1 '{\"name\":\"Ada\"}' --ttl 1h
  ringfort kv put lock:job me --if-absent
  tar c . | ringfort kv put backup -
  ringfort kv get backup | tar x
  ringfort kv scan --prefix user:";

#[derive(Debug, Subcommand)]
pub(crate) enum KvCommand {
    /// Set a key
    Put(PutArguments),
    /// Print the value of a key; exits 1 where it is absent
    Get(GetArguments),
    /// Remove a key; exits 1 where it is absent
    Del(DelArguments),
    /// List keys in order
    #[command(after_help = SCAN_HELP)]
    Scan(ScanArguments),
}

#[derive(Debug, Args)]
pub(crate) struct PutArguments {
    /// The key, 1 to 4096 bytes
    pub(crate) key: OsString,
    /// The value; - reads it from standard input
    #[arg(allow_negative_numbers = true)]
    pub(crate) value: OsString,
    /// Let it expire after this time: 250ms, 30s, 5m, 2h, 7d
    #[arg(long, value_name = "TIME", value_parser = ringfort_types::parse_duration)]
    pub(crate) ttl: Option<Duration>,
    /// Only if the key is at this version; 0: only if it is absent
    #[arg(long, value_name = "VERSION")]
    pub(crate) if_version: Option<u64>,
    /// Only if the key is absent
    #[arg(long, conflicts_with = "if_version")]
    pub(crate) if_absent: bool,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

#[derive(Debug, Args)]
pub(crate) struct GetArguments {
    /// The key
    pub(crate) key: OsString,
    /// Let any replica answer from what it has applied
    #[arg(long)]
    pub(crate) stale: bool,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

#[derive(Debug, Args)]
pub(crate) struct DelArguments {
    /// The key
    pub(crate) key: OsString,
    /// Only if the key is at this version
    #[arg(long, value_name = "VERSION")]
    pub(crate) if_version: Option<u64>,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

const SCAN_HELP: &str = "\
On a terminal a table; otherwise one line per key: the key, a tab, the value, with control
characters, backslashes and bytes that are not UTF-8 escaped (\\n, \\t, \\\\, \\xff). With -o json one
document per line, exact for any bytes (key_b64, value_b64).";

#[derive(Debug, Args)]
pub(crate) struct ScanArguments {
    /// Only keys that begin so
    #[arg(long, default_value = "")]
    pub(crate) prefix: OsString,
    /// The first key, inclusive
    #[arg(long, default_value = "", value_name = "KEY")]
    pub(crate) start: OsString,
    /// The end, exclusive
    #[arg(long, value_name = "KEY")]
    pub(crate) end: Option<OsString>,
    /// Stop after this many keys
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: Option<u64>,
    /// Leave the values out
    #[arg(long)]
    pub(crate) keys_only: bool,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

const INIT_HELP: &str = "\
Only for nodes whose cluster.bootstrap_expect is 0; others form their cluster by themselves. Ask one
node, once, when all founders are started: it proposes the cluster to those it has met.

Example:
  ringfort cluster init --endpoint http://db1.example.org:7400 --yes";

#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// How the cluster is: readiness, nodes, shards, data, warnings
    Status(ClusterArguments),
    /// The members
    Nodes(ClusterArguments),
    /// The shards, their tokens and where they live
    Shards {
        /// Only those of this node
        #[arg(long, value_name = "ID")]
        node: Option<String>,
        #[command(flatten)]
        arguments: ClusterArguments,
    },
    /// Which token, shard, replicas and leader serve a key
    Route {
        /// The key
        key: OsString,
        #[command(flatten)]
        arguments: ClusterArguments,
    },
    /// Form a cluster of nodes that wait for it: those with cluster.bootstrap_expect = 0 that know each other
    #[command(after_help = INIT_HELP)]
    Init(ChangeArguments),
    /// Change a setting of the cluster
    Set {
        /// SETTING=VALUE
        setting: String,
        #[command(flatten)]
        arguments: ChangeArguments,
    },
    /// Move everything off a node
    Drain {
        /// The node's id
        node: String,
        #[command(flatten)]
        arguments: ChangeArguments,
    },
    /// Remove a node from the cluster
    Remove {
        /// The node's id
        node: String,
        #[command(flatten)]
        arguments: ChangeArguments,
    },
    /// Bring shards back that have lost most of their replicas
    Recover(ChangeArguments),
}

#[derive(Debug, Args)]
pub(crate) struct ClusterArguments {
    #[command(flatten)]
    pub(crate) connection: Connection,
}

/// What commands take that change a cluster.
#[derive(Debug, Args)]
pub(crate) struct ChangeArguments {
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) connection: Connection,
}
