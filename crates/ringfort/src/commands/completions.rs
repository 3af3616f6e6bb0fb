//! `ringfort completions`: shell completions on standard output.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::arguments::{Arguments, ShellName};
use crate::exit::{Exit, Failure};
use crate::output;

pub(crate) fn run(shell: ShellName) -> Result<Exit, Failure> {
    let shell = match shell {
        ShellName::Bash => Shell::Bash,
        ShellName::Zsh => Shell::Zsh,
        ShellName::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "ringfort", &mut script);
    output::print(&script)?;
    Ok(Exit::Done)
}
