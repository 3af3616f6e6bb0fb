//! `ringfort bench`: the load generator.

use crate::exit::{Exit, Failure};

pub(crate) fn run(arguments: ringfort_bench::Arguments) -> Result<Exit, Failure> {
    let code = ringfort_bench::run(arguments);
    let code = code.map_err(|error| Failure::not_done(format_args!("bench: {error:#}")))?;
    let known = [Exit::Done, Exit::No, Exit::Usage, Exit::NotDone, Exit::Unknown];
    let exit = known.into_iter().find(|exit| std::process::ExitCode::from(*exit) == code);
    Ok(exit.unwrap_or(Exit::NotDone))
}
