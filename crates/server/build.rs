//! Tells the server what it is built from: the source revision, and the target.
//!
//! The revision is the commit that is checked out; changes that are not committed do not show. Where the source is no
//! checkout, or there is no git, it is what `RINGFORT_REVISION` says, else `unknown`.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=RINGFORT_REVISION");
    let given = || std::env::var("RINGFORT_REVISION").ok().filter(|given| !given.is_empty());
    let revision = checked_out().or_else(given).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=RINGFORT_REVISION={revision}");
    let target = std::env::var("TARGET").unwrap_or_else(|_| "unknown".to_owned());
    println!("cargo::rustc-env=RINGFORT_TARGET={target}");
}

/// The revision of the checkout that the workspace is, if it is one.
fn checked_out() -> Option<String> {
    // As this run has it: a target directory that was copied from another checkout holds a script that was built there.
    let package = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR")?);
    let root = package.ancestors().nth(2)?;
    // A checkout further up is of something else, which this source was put into.
    if !root.join(".git").exists() {
        return None;
    }
    let revision = git(root, &["rev-parse", "--verify", "HEAD"])?;
    for path in moves_with_revision(root) {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    Some(revision)
}

/// Files that change whenever another revision is checked out or committed. Only those that are there: cargo runs this
/// script again and again for one that is not.
fn moves_with_revision(root: &Path) -> Vec<PathBuf> {
    let branch = git(root, &["symbolic-ref", "--quiet", "HEAD"]);
    let names = ["HEAD", "logs/HEAD", "packed-refs"].map(str::to_owned).into_iter().chain(branch);
    let paths = names.filter_map(|name| git(root, &["rev-parse", "--git-path", &name]));
    paths.map(|path| root.join(path)).filter(|path| path.exists()).collect()
}

/// What git says; `None` where it says nothing, fails, or is not there.
fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("git");
    // Set where git itself runs us, for a repository that need not be this one.
    command.env_remove("GIT_DIR").arg("-C").arg(root).args(arguments);
    let output = command.output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let text = text.trim();
    (output.status.success() && !text.is_empty()).then(|| text.to_owned())
}
