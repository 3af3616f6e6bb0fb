//! The commands. Each module is one, from its arguments to its exit code.

mod bench;
mod check_config;
mod cluster;
mod completions;
mod confirm;
mod dev;
mod kv;
mod node_process;
mod server;

use std::future::Future;

use crate::arguments::Command;
use crate::exit::{Exit, Failure};

/// Runs a command to its end.
pub(crate) fn run(command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Server(arguments) => server::run(&arguments),
        Command::Dev(arguments) => dev::run(&arguments),
        Command::Kv(command) => block_on(kv::run(command))?,
        Command::Cluster(command) => block_on(cluster::run(command))?,
        Command::CheckConfig(arguments) => check_config::run(arguments),
        Command::Bench(arguments) => bench::run(arguments),
        Command::Completions { shell } => completions::run(shell),
    }
}

/// Runs a future on a runtime of this thread.
fn block_on<F: Future>(future: F) -> Result<F::Output, Failure> {
    Ok(runtime()?.block_on(future))
}

/// A runtime of this thread alone: a command waits for one thing, or for few.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::not_done(format_args!("no runtime: {error}")))
}
