//! `cargo xtask tidy`: what no compiler and no linter checks.
//!
//! Every check is a pure function from text to findings, so that each has a test with bad examples; this file alone reads
//! the tree. Checked is what is committed or would be: files that git knows or does not ignore.

mod arrows;
mod documents;
mod leaks;
mod length;
mod markers;
mod source;

use std::fmt;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    file: String,
    /// From 1; 0: the file as a whole.
    line: usize,
    what: String,
}

impl Finding {
    fn new(file: &str, line: usize, what: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.what),
            line => write!(f, "{}:{line}: {}", self.file, self.what),
        }
    }
}

/// A text file of the tree.
#[derive(Clone, Debug)]
struct TextFile {
    /// Relative to the root, with `/`.
    path: String,
    text: String,
}

/// Runs every check; fails if any has a finding.
pub(crate) fn run(root: &Path, arguments: &[String]) -> anyhow::Result<ExitCode> {
    if let Some(argument) = arguments.first() {
        bail!("tidy takes no argument, got {argument:?}");
    }
    let paths = list_files(root)?;
    let files = read_texts(root, &paths)?;
    let findings = check(&files, &paths);
    for finding in &findings {
        eprintln!("{finding}");
    }
    if findings.is_empty() {
        println!("tidy: {} files, nothing to say", files.len());
        Ok(ExitCode::SUCCESS)
    } else {
        eprintln!("tidy: {} findings in {} files", findings.len(), files.len());
        Ok(ExitCode::FAILURE)
    }
}

fn check(files: &[TextFile], paths: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        if file.path.ends_with(".rs") {
            findings.extend(length::check(file));
            findings.extend(markers::check(file));
        }
        if file.path.ends_with("Cargo.toml") {
            findings.extend(arrows::check(&file.path, &file.text));
        }
        if file.path.ends_with(".md") {
            findings.extend(documents::check_links(file, paths));
        }
        findings.extend(leaks::check(file));
    }
    findings.extend(documents::check_rfd_names(paths));
    findings.extend(documents::check_test_command(files));
    findings.extend(markers::check_allow_list(paths));
    findings
}

/// Files that git tracks, or would if they were added.
fn list_files(root: &Path) -> anyhow::Result<Vec<String>> {
    let output = Command::new("git")
        // A tree that another user owns is as good to read.
        .args(["-c", "safe.directory=*"])
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .current_dir(root)
        .output()
        .context("cannot run git")?;
    if !output.status.success() {
        bail!("git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    }
    let listed = String::from_utf8(output.stdout).context("a file name is not UTF-8")?;
    let mut paths: Vec<String> = listed
        .split_terminator('\0')
        // Tracked and deleted, not yet committed.
        .filter(|path| root.join(path).is_file())
        .map(str::to_owned)
        .collect();
    paths.sort();
    paths.dedup();
    Ok(paths)
}

/// The files that are text; fixtures of disk formats and the like are not.
fn read_texts(root: &Path, paths: &[String]) -> anyhow::Result<Vec<TextFile>> {
    let mut files = Vec::new();
    for path in paths {
        let bytes =
            std::fs::read(root.join(path)).with_context(|| format!("cannot read {path}"))?;
        if let Ok(text) = String::from_utf8(bytes) {
            files.push(TextFile { path: path.clone(), text });
        }
    }
    Ok(files)
}

/// Whether a file holds tests only: it may be long.
fn is_test_file(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    path.split('/').any(|part| part == "tests" || part == "benches" || part == "suite")
        || name == "tests.rs"
        || name.ends_with("_tests.rs")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The arrows are checked by the tests too, not only where somebody thinks of running tidy.
    #[test]
    fn manifests_of_this_workspace_keep_to_the_table() {
        let root = crate::workspace_root();
        let paths = list_files(&root).unwrap();
        let manifests: Vec<String> =
            paths.into_iter().filter(|path| path.ends_with("Cargo.toml")).collect();
        assert!(manifests.len() > 10, "{manifests:?}");
        let findings: Vec<Finding> = read_texts(&root, &manifests)
            .unwrap()
            .iter()
            .flat_map(|file| arrows::check(&file.path, &file.text))
            .collect();
        assert!(findings.is_empty(), "{findings:#?}");
    }

    #[test]
    fn files_of_tests_are_told_by_their_path() {
        for path in ["crates/x/tests/main.rs", "crates/x/src/a_tests.rs", "crates/x/src/tests.rs"] {
            assert!(is_test_file(path), "{path}");
        }
        assert!(!is_test_file("crates/testkit/src/lib.rs"));
    }
}
