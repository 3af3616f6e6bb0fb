//! Developer commands: `cargo xtask COMMAND`. CI calls the same ones.
//!
//! Kept quick to compile: few dependencies, and text scanning where a parser would be one more.

mod lab;
mod proto;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask COMMAND

  tidy                     what no compiler checks: arrows between crates, lengths, leftovers, links
  proto [--check]          the code of the protobuf schemas, written anew; --check: whether it is
                           what is committed
  peers                    install what benchmarks compare with (Debian packages; needs root)
  perf [--seconds S]       the CPU table of a put, measured
  perf --cluster [--seconds S] [-o table|json]
                           the same of three nodes: on the leader's side, and on each follower
  compare [--rounds N] [--seconds S] [--quick] [-o table|json]
                           this server beside etcd and Redis, in interleaved rounds, and its restart
                           with 1,000,000 records; --quick: one short round, 100,000 records
  compare-cluster [--parts speed,equal-load,syncs,idle,catch-up] [--rounds N] [--seconds S]
          [--missed-writes N] [-o table|json]
                           three nodes beside a three-member etcd: see docs/benchmarks.md
  restart [--records N] [-o table|json]
                           the restart part of `compare` alone
  failover [--kills N] [--rounds N] [--interval-ms N] [-o table|json]
                           how long writes fail after kill -9 of the node that leads the most
                           shards, beside a three-member etcd

perf, compare, compare-cluster, restart and failover build the release executable first; --no-build measures the one that is there.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) = match arguments.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", &[][..]),
    };
    let root = workspace_root();
    let result = match command {
        "tidy" => tidy::run(&root, rest),
        "proto" => proto::run(&root, rest),
        "peers" => lab::peers(rest),
        "perf" => lab::perf(&root, rest),
        "compare" => lab::compare(&root, rest),
        "compare-cluster" => lab::compare_cluster(&root, rest),
        "restart" => lab::restart(&root, rest),
        "failover" => lab::failover(&root, rest),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        other => {
            eprint!("xtask has no command {other:?}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The directory of the workspace: the parent of this package's.
fn workspace_root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_owned()
}
