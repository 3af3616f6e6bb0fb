//! The executables under test.
//!
//! Cargo tells only the package that defines an executable where it is, so other packages' tests build it themselves: once
//! a process, with the cargo and into the target directory that built the test. Cargo's own lock keeps concurrent test
//! processes apart, and a build of what is built already costs a fraction of a second. `RINGFORT_TEST_BINARY` and
//! `RINGFORT_TEST_MUTANT` name executables to take instead.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow, ensure};

/// Where this test itself was built: `<target>/<profile>/deps/<test>`, or `<target>/<triple>/<profile>/deps/<test>`.
struct Place {
    target: PathBuf,
    profile: OsString,
}

fn place() -> Result<Place> {
    let test = std::env::current_exe()?;
    let profile_dir =
        test.ancestors().skip(1).find(|dir| !dir.ends_with("deps") && !dir.ends_with("examples"));
    let profile_dir = profile_dir.context("a test without a directory")?;
    let target = profile_dir.ancestors().find(|dir| dir.join("CACHEDIR.TAG").exists());
    Ok(Place {
        target: target
            .or_else(|| profile_dir.parent())
            .context("a test without a target directory")?
            .to_owned(),
        profile: profile_dir.file_name().context("a test without a profile")?.to_owned(),
    })
}

/// The target directory that holds this test.
///
/// # Errors
/// The test lies nowhere.
pub fn target_dir() -> Result<PathBuf> {
    Ok(place()?.target)
}

/// The root of the workspace.
///
/// # Errors
/// It is not there any more: the test was moved to another machine.
pub fn workspace_dir() -> Result<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = own.ancestors().nth(2).context("a crate without a workspace")?;
    ensure!(root.join("Cargo.lock").exists(), "no workspace at {}", root.display());
    Ok(root.to_owned())
}

/// The `ringfort` executable, built in this test's profile.
///
/// # Errors
/// It cannot be built.
pub fn ringfort() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    once(&BUILT, || {
        if let Some(path) = std::env::var_os("RINGFORT_TEST_BINARY") {
            return Ok(path.into());
        }
        let place = place()?;
        build(&place.target, &place.profile, &[])
    })
}

/// A `ringfort` whose log acknowledges without syncing: the negative control of the crash tests. Built into a target
/// directory of its own, so that it is never taken for the real one.
///
/// # Errors
/// It cannot be built.
pub fn ringfort_that_skips_syncs() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    once(&BUILT, || {
        if let Some(path) = std::env::var_os("RINGFORT_TEST_MUTANT") {
            return Ok(path.into());
        }
        let target = place()?.target.join("mutants");
        build(&target, "debug".as_ref(), &["ringfort-server/mutant-skip-sync"])
    })
}

fn once(
    built: &OnceLock<Result<PathBuf, String>>,
    build: impl FnOnce() -> Result<PathBuf>,
) -> Result<PathBuf> {
    let result = built.get_or_init(|| build().map_err(|error| format!("{error:#}")));
    result.clone().map_err(|error| anyhow!("{error}"))
}

fn build(target: &Path, profile_dir: &std::ffi::OsStr, features: &[&str]) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // The directory of the profile `dev` is `debug`; all others are called like theirs.
    let profile = if profile_dir == "debug" { "dev".as_ref() } else { profile_dir };
    let mut command = Command::new(cargo);
    command
        .current_dir(workspace_dir()?)
        .args(["build", "--quiet", "--package", "ringfort", "--bin", "ringfort"])
        .arg("--profile")
        .arg(profile)
        .arg("--target-dir")
        .arg(target);
    if !features.is_empty() {
        command.arg("--features").arg(features.join(","));
    }
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(
        output.status.success(),
        "ringfort cannot be built:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let path = target.join(profile_dir).join("ringfort");
    ensure!(path.exists(), "cargo built no {}", path.display());
    Ok(path)
}
