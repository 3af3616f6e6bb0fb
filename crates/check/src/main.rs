//! Checks a history kept as JSON lines.

use std::fs::File;
use std::io::{BufReader, Write};
use std::process::ExitCode;

use ringfort_check::{Event, HistoryError, Options, Verdict, check_with, read_history};

const USAGE: &str = "usage: ringfort-check [--late-ms MS] [--steps N] FILE
  FILE       a history as JSON lines; '-' reads it from standard input
  --late-ms  how long a key may be seen after its time to live: 1000, plus the time without a leader [default: 1000]
  --steps    steps for each key, or keys that atomic batches join, before it is given up [default: 1000000]
exit codes: 0 all promises kept; 1 a promise is broken; 2 some keys are undecided; 3 there is no history to check";

/// No history could be checked.
const NOTHING_CHECKED: u8 = 3;

fn main() -> ExitCode {
    match run(std::env::args().skip(1)) {
        Ok(Verdict::Passed) => ExitCode::SUCCESS,
        Ok(Verdict::Violated) => ExitCode::from(1),
        Ok(Verdict::Undecided) => ExitCode::from(2),
        Err(message) => {
            // Standard error is all there is to say it on.
            let _ = writeln!(std::io::stderr(), "{message}");
            ExitCode::from(NOTHING_CHECKED)
        }
    }
}

fn run(arguments: impl Iterator<Item = String>) -> Result<Verdict, String> {
    let (options, path) = parse(arguments)?;
    let history = read(&path).map_err(|error| format!("{path}: {error}"))?;
    if history.is_empty() {
        return Err(format!("{path}: an empty history proves nothing"));
    }
    let report = check_with(&history, &options);
    writeln!(std::io::stdout(), "{report}").map_err(|error| error.to_string())?;
    Ok(report.verdict())
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<(Options, String), String> {
    let mut options = Options::default();
    let mut path = None;
    while let Some(argument) = arguments.next() {
        let mut number = || {
            let text =
                arguments.next().ok_or_else(|| format!("{argument} wants a number\n{USAGE}"))?;
            text.parse::<u64>().map_err(|error| format!("{argument} {text}: {error}\n{USAGE}"))
        };
        match argument.as_str() {
            "--late-ms" => options.expiry_late_us = number()?.saturating_mul(1000),
            "--steps" => options.steps_max = number()?,
            option if option.starts_with("--") => {
                return Err(format!("{option} is no option\n{USAGE}"));
            }
            _ if path.is_some() => return Err(format!("one file at a time\n{USAGE}")),
            _ => path = Some(argument),
        }
    }
    Ok((options, path.ok_or(USAGE)?))
}

fn read(path: &str) -> Result<Vec<Event>, HistoryError> {
    match path {
        "-" => read_history(std::io::stdin().lock()),
        _ => read_history(BufReader::new(File::open(path)?)),
    }
}
