//! The load generator on its own, without the rest of the `ringfort` executable.

use std::process::ExitCode;

use clap::Parser;
use ringfort_bench::Arguments;

#[derive(Debug, Parser)]
struct CommandLine {
    #[command(flatten)]
    arguments: Arguments,
}

fn main() -> anyhow::Result<ExitCode> {
    ringfort_bench::run(CommandLine::parse().arguments)
}
