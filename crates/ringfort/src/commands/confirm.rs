//! Asking before something is changed that cannot be undone.

use std::io::{self, IsTerminal};

use crate::arguments::ChangeArguments;
use crate::exit::{Exit, Failure};
use crate::output;

/// What to do about a change.
pub(crate) enum Decision {
    Go,
    /// Somebody said no, or only wanted to know.
    Stop(Exit),
}

/// Decides on a change that `what` describes: a dry run says it and stops; `--yes` goes; else a person is asked.
///
/// # Errors
/// There is nobody to ask.
pub(crate) fn decide(what: &str, arguments: &ChangeArguments) -> Result<Decision, Failure> {
    if arguments.dry_run {
        output::say(&format!("would {what}; nothing was changed"));
        return Ok(Decision::Stop(Exit::Done));
    }
    if arguments.yes {
        return Ok(Decision::Go);
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(format_args!(
            "this would {what}: standard input is no terminal to ask at, so say --yes (or --dry-run)"
        )));
    }
    output::say(&format!("This will {what}. Continue? [y/N]"));
    let mut answer = String::new();
    let read = io::stdin().read_line(&mut answer);
    read.map_err(|error| Failure::not_done(format_args!("standard input: {error}")))?;
    if matches!(answer.trim(), "y" | "Y" | "yes" | "Yes") {
        return Ok(Decision::Go);
    }
    output::say("nothing was changed");
    Ok(Decision::Stop(Exit::NotDone))
}
