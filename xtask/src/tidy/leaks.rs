//! What says more about the machine it was written on than a repository should: its directories, its package sources.

use super::{Finding, TextFile};

/// Directories of one machine.
const PATHS: [&str; 4] = ["/work/", "/tmp/", "/root/", "/home/"];
/// Where packages come from is every developer's own configuration.
const HOSTS: [&str; 6] = [
    "crates.io",
    "deb.debian.org",
    "registry.npmjs.org",
    "pypi.org",
    "pythonhosted.org",
    "static.rust-lang.org",
];
/// Written by tools, or the checks themselves.
const EXEMPT: [&str; 2] = ["Cargo.lock", "xtask/src/tidy/leaks.rs"];

pub(super) fn check(file: &TextFile) -> Vec<Finding> {
    if EXEMPT.contains(&file.path.as_str()) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        let mut find = |what: String| findings.push(Finding::new(&file.path, number + 1, what));
        for path in PATHS {
            if names_path(line, path) {
                find(format!("names a directory of one machine: {path}"));
            }
        }
        for host in HOSTS {
            if line.contains(host) {
                find(format!("names a package source: {host}"));
            }
        }
    }
    findings
}

/// Whether an absolute path begins here: `a/tmp/b` is relative, and so is `$DIR/tmp/b`.
fn names_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "._-/}>%".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(text: &str) -> usize {
        let file = TextFile { path: "docs/a.md".to_owned(), text: text.to_owned() };
        check(&file).len()
    }

    #[test]
    fn machine_paths_and_package_sources_are_found() {
        assert_eq!(count("see /work/x and \"/tmp/y\""), 2);
        assert_eq!(count("cd /root/.cargo"), 1);
        assert_eq!(count("https://index.crates.io/"), 1);
        assert_eq!(count("target/tmp/x, $HOME/work/y, ${DIR}/tmp/z, /var/lib/ringfort"), 0);
    }
}
