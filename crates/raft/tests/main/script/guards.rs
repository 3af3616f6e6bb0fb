//! Every guard is missed by a script.
//!
//! A script names the guards that it is about, each of which is then taken out for a run of its own. That run has to fail,
//! by what the script expects, by a check of what must always hold, or by an assertion of the core. A difference in what
//! is told is not enough, nor is any other panic.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ringfort_raft::{Guard, Guards};

use super::runner::{Cause, Runner};
use super::{Setup, directory, scripts, setup};

/// What begins the line that names a script's guards.
const MARK: &str = "# guards: ";

/// The guards that a script names.
fn named(text: &str) -> Result<Vec<Guard>, String> {
    let names = text.lines().filter_map(|line| line.strip_prefix(MARK));
    let guard = |name| setup::guard(name).map_err(|error| error.to_string());
    names.flat_map(str::split_whitespace).map(guard).collect()
}

/// Runs a script without a guard, and says how it fails.
///
/// # Errors
/// It does not fail, or in a way that says nothing about the guard.
fn fails(text: &str, without: Guard) -> Result<String, String> {
    let setup = Setup { guards: Some(Guards::without(without)), loud: false, ..Setup::LOUD };
    let mut runner = Runner::new(setup);
    let run = || goldenscript::generate(&mut runner, text);
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(_)) => Err("nothing fails".to_owned()),
        Ok(Err(failure)) => match runner.cause {
            Some(Cause::Violation | Cause::Expectation) => Ok(failure.to_string()),
            _ => Err(format!("fails, but by no check: {failure}")),
        },
        Err(panic) => {
            let message = panic.downcast_ref::<String>().map(String::as_str);
            let message = message.or_else(|| panic.downcast_ref::<&str>().copied());
            match message.filter(|message| message.starts_with("raft:")) {
                Some(message) => Ok(message.to_owned()),
                None => Err("panics, but by no assertion of the core".to_owned()),
            }
        }
    }
}

#[test]
fn every_guard_is_missed() {
    let only = std::env::var("RINGFORT_SCRIPT").unwrap_or_default();
    let mut unnamed: BTreeSet<Guard> = Guard::ALL.iter().copied().collect();
    let mut failures = Vec::new();
    for path in scripts() {
        let name = path.strip_prefix(directory()).unwrap().display().to_string();
        let text = std::fs::read_to_string(&path).unwrap();
        let guards = named(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        if !name.contains(&only) {
            continue;
        }
        for guard in guards {
            unnamed.remove(&guard);
            match fails(&text, guard) {
                Ok(how) => println!("{name} without {guard:?}: {how}"),
                Err(how) => failures.push(format!("{name} without {guard:?}: {how}")),
            }
        }
    }
    assert!(failures.is_empty(), "guards that nobody misses\n{}", failures.join("\n"));
    assert!(!only.is_empty() || unnamed.is_empty(), "no script is about {unnamed:?}");
}
