//! The `ringfort` executable: server, command line and local cluster in one.
//!
//! ```text
//!   server        configuration ──► logging ──► a running node ──► signals
//!   dev           a child process per node, watched
//!   kv, cluster   over the HTTP client
//!   bench         the load generator
//!   check-config  the configuration, checked and explained
//! ```
//!
//! Exit codes are part of the outside contract; [`exit::Exit`] names them, and every command ends with one.

mod allocator;
mod arguments;
mod commands;
mod config;
mod exit;
mod host;
mod logging;
mod output;
mod scheduling;

fn main() -> std::process::ExitCode {
    let arguments = <arguments::Arguments as clap::Parser>::parse();
    match commands::run(arguments.command) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            failure.report();
            failure.exit.into()
        }
    }
}
