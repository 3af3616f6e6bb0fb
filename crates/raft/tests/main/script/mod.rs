//! Scripts: a group driven step by step, in text. `tests/scripts/README.md` describes the language and lists them.
//!
//! A script's first line names the property that it shows. Input and output stand in one file; `UPDATE_GOLDENFILES=1`
//! writes the output anew, and a person reads the difference. After every verb everything is checked that must hold in a
//! group, and a script fails that breaks it.
//!
//! A script that says `# guards: A B` fails where one of these guards is taken out: see `guards`.
//!
//! Where a script does not say how storage works, it runs with storage that is done before the next step and with storage
//! that lags behind messages, and what it asks to see has to be the same.

mod args;
mod disk;
mod drive;
mod filter;
mod guards;
mod inject;
mod look;
mod network;
mod runner;
mod setup;
mod show;
mod votes;
mod world;

use std::path::{Path, PathBuf};

use ringfort_raft::Guards;

use runner::Runner;

/// How the storage of all replicas works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Storage {
    /// Everything is durable, told and applied before the next input.
    Sync,
    /// Nothing is, until the verb ends, or no message is left that could arrive first.
    Lazy,
    /// Nothing is, until the script says so, or lets the cluster stabilize.
    Async,
}

/// How a script is run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    /// How storage works where the script does not say.
    pub(crate) storage: Option<Storage>,
    /// Guards in place, instead of those that the script names.
    pub(crate) guards: Option<Guards>,
    /// Whether effects are part of the output, or only what the script asks to see.
    pub(crate) loud: bool,
}

impl Setup {
    /// As the script says it, with everything told.
    pub(crate) const LOUD: Self = Self { storage: None, guards: None, loud: true };
}

/// Where scripts are.
pub(crate) fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts")
}

/// Runs a script. Gives its text with the output as it is now, and whether it says itself how storage works.
///
/// # Errors
/// A verb failed, something that must hold does not, or the text is no script; where, and how.
pub(crate) fn run(text: &str, setup: Setup) -> Result<(String, bool), String> {
    let mut runner = Runner::new(setup);
    match goldenscript::generate(&mut runner, text) {
        Ok(output) => Ok((output, runner.says_storage)),
        Err(error) => Err(format!("{error}; it went:\n{}", Vec::from(runner.trail).concat())),
    }
}

/// All scripts, by path.
pub(crate) fn scripts() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![directory()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "txt") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The first line that differs, with both versions.
fn difference(old: &str, new: &str) -> Option<String> {
    let (mut old, mut new) = (old.lines(), new.lines());
    for number in 1.. {
        match (old.next(), new.next()) {
            (None, None) => return None,
            (old, new) if old == new => {}
            (old, new) => {
                let [old, new] = [old, new].map(|line| line.unwrap_or("(the end)"));
                return Some(format!("line {number}\n  before: {old}\n  now:    {new}"));
            }
        }
    }
    None
}

fn check(path: &Path, update: bool) -> Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    if !text.starts_with("# ") {
        return Err("a script begins with a comment that names its property".to_owned());
    }
    let (output, says_storage) = run(&text, Setup::LOUD)?;
    if update && output != text {
        #[expect(clippy::disallowed_methods, reason = "a test, where it is asked to")]
        std::fs::write(path, &output).map_err(|error| error.to_string())?;
    } else if let Some(difference) = difference(&text, &output) {
        return Err(difference);
    }
    if says_storage {
        return Ok(());
    }
    let seen = |storage| {
        let setup = Setup { storage: Some(storage), loud: false, ..Setup::LOUD };
        run(&text, setup).map_err(|error| format!("{storage:?} storage: {error}"))
    };
    match difference(&seen(Storage::Sync)?.0, &seen(Storage::Lazy)?.0) {
        None => Ok(()),
        Some(difference) => Err(format!("storage that lags shows something else: {difference}")),
    }
}

#[test]
fn scripts_show_what_they_showed() {
    #[expect(clippy::disallowed_methods, reason = "a test, told what to do")]
    let update = std::env::var("UPDATE_GOLDENFILES").is_ok_and(|value| value == "1");
    #[expect(clippy::disallowed_methods, reason = "a test, told what to do")]
    let only = std::env::var("RINGFORT_SCRIPT").unwrap_or_default();
    let directory = directory();
    let mut failures = Vec::new();
    let mut count = 0;
    for path in scripts() {
        let name = path.strip_prefix(&directory).unwrap().display().to_string();
        if !name.contains(&only) {
            continue;
        }
        count += 1;
        let checked = std::panic::catch_unwind(|| check(&path, update));
        let checked = checked.unwrap_or_else(|_| Err("panicked".to_owned()));
        if let Err(failure) = checked {
            failures.push(format!("{name}: {failure}"));
        }
    }
    assert!(count > 0, "there is no script");
    assert!(
        failures.is_empty(),
        "{} of {count} scripts failed; UPDATE_GOLDENFILES=1 writes output anew\n{}",
        failures.len(),
        failures.join("\n")
    );
}
