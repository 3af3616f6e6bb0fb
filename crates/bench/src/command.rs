//! `ringfort bench`: from arguments to a printed result and an exit code.

use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use tokio::task::LocalSet;

use crate::arguments::{Arguments, Output, UsageError, Workload};
use crate::drive::{Measured, Phase, Until, drive};
use crate::report::Report;
use crate::target::Endpoint;
use crate::workload::{Operations, Random, Values};

/// Exit code of arguments that make no sense.
const EXIT_USAGE: u8 = 2;
/// Exit code of a run that had errors, or did nothing.
const EXIT_NOT_DONE: u8 = 3;

/// Runs the load and prints the result: 0 if every operation was answered as expected, 2 if the arguments make no sense,
/// 3 if an operation was not answered as expected or none was answered at all.
///
/// # Errors
/// Nothing answers at the endpoint, or a named server process cannot be read.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let output = arguments.output;
    let report = match execute(arguments) {
        Ok(report) => report,
        Err(error) => match error.downcast::<UsageError>() {
            Ok(usage) => {
                eprintln!("error: {usage}");
                return Ok(ExitCode::from(EXIT_USAGE));
            }
            Err(error) => return Err(error),
        },
    };
    match output {
        Output::Table => print!("{report}"),
        Output::Json => println!("{}", serde_json::to_string_pretty(&report)?),
    }
    if report.is_clean() { Ok(ExitCode::SUCCESS) } else { Ok(ExitCode::from(EXIT_NOT_DONE)) }
}

/// Runs the load and returns the result.
///
/// # Errors
/// As [`run`]; arguments that make no sense are a [`UsageError`].
pub fn execute(mut arguments: Arguments) -> anyhow::Result<Report> {
    arguments.check()?;
    if arguments.endpoints.is_empty() {
        arguments.endpoints = default_endpoints(&arguments);
    }
    let endpoints = arguments
        .endpoints
        .iter()
        .map(|text| Endpoint::parse(text, arguments.target))
        .collect::<Result<Vec<_>, _>>()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Lanes are all there is to run: look for I/O after each round of them, not after 61 polls.
        .event_interval(127)
        .build()
        .context("cannot start the runtime")?;
    LocalSet::new().block_on(&runtime, run_phases(&arguments, &endpoints))
}

/// From the environment for Ringfort, else where the target listens by default.
fn default_endpoints(arguments: &Arguments) -> Vec<String> {
    let from_environment = match arguments.target {
        crate::TargetKind::Ringfort => std::env::var("RINGFORT_ENDPOINT").unwrap_or_default(),
        crate::TargetKind::Etcd | crate::TargetKind::Redis => String::new(),
    };
    let listed: Vec<String> = from_environment
        .split(',')
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
        .collect();
    if listed.is_empty() { vec![Endpoint::default_of(arguments.target).to_owned()] } else { listed }
}

async fn run_phases(arguments: &Arguments, endpoints: &[Endpoint]) -> anyhow::Result<Report> {
    let mut random = Random::new(arguments.seed);
    let values = Rc::new(Values::new(arguments.value_bytes, &mut random));
    let load = || Phase {
        name: "load",
        operations: Operations::load(arguments),
        warmup: Duration::ZERO,
        until: Until::Exhausted(arguments.keys),
        rate: None,
    };
    let mut loaded: Option<Measured> = None;
    if arguments.load {
        loaded = Some(drive(arguments, endpoints, &values, load()).await?);
    }
    let phase = if arguments.workload == Workload::Load {
        Phase { rate: arguments.rate, ..load() }
    } else {
        Phase {
            name: "run",
            operations: Operations::new(arguments),
            warmup: arguments.warmup,
            until: arguments
                .requests
                .map_or_else(|| Until::Elapsed(arguments.measured_time()), Until::Operations),
            rate: arguments.rate,
        }
    };
    let measured = drive(arguments, endpoints, &values, phase).await?;
    let mut report = Report::new(arguments, measured)?;
    if let Some(loaded) = loaded {
        let load_report = Report::new(arguments, loaded)?;
        report.add_errors(load_report.errors, load_report.error_examples);
    }
    Ok(report)
}

#[cfg(test)]
pub(crate) mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct CommandLine {
        #[command(flatten)]
        arguments: Arguments,
    }

    pub(crate) fn arguments(line: &[&str]) -> Arguments {
        CommandLine::try_parse_from(["bench"].iter().chain(line)).unwrap().arguments
    }

    #[test]
    fn arguments_that_make_no_sense_name_the_flag() {
        for (line, flag) in [
            (&["--connections", "0"][..], "--connections"),
            (&["--keys", "0"], "--keys"),
            (&["--route", "--target", "etcd"], "--route"),
            (&["--read-share", "1.1"], "--read-share"),
            (&["--read-share", "NaN"], "--read-share"),
            (&["--rate", "0"], "--rate"),
            (&["--rate", "inf"], "--rate"),
            (&["--requests", "0"], "--requests"),
            (&["--duration", "0s"], "--duration"),
            (&["--etcd-channels", "65"], "--etcd-channels"),
            (&["--value-bytes", "99999999"], "--value-bytes"),
            (&["--workload", "load", "--load"], "--workload"),
            (&["--endpoint", "https://x:1"], "TLS"),
        ] {
            let error = execute(arguments(line)).unwrap_err();
            assert!(error.is::<UsageError>(), "{line:?}: {error}");
            assert!(error.to_string().contains(flag), "{line:?}: {error}");
        }
    }

    #[test]
    fn the_defaults_make_sense() {
        arguments(&[]).check().unwrap();
    }
}
