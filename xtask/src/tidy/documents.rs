//! Documents: links that point nowhere, names of decisions, and the one command that both README and CI run.

use std::collections::BTreeMap;

use super::{Finding, TextFile};

/// How README and `.ci/run` run the tests, to the letter.
const TEST_COMMAND: &str = "cargo test --workspace";

/// Relative links of a document must lead to a file or directory of the tree.
pub(super) fn check_links(file: &TextFile, paths: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut fenced = false;
    for (number, line) in file.text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        for target in link_targets(line) {
            if !leads_somewhere(&file.path, &target, paths) {
                let what = format!("the link to {target} leads nowhere");
                findings.push(Finding::new(&file.path, number + 1, what));
            }
        }
    }
    findings
}

/// What stands in `](…)` and in `[label]: …`, outside inline code.
fn link_targets(line: &str) -> Vec<String> {
    let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
    let mut targets = Vec::new();
    for (at, _) in prose.match_indices("](") {
        let rest = &prose[at + 2..];
        if let Some(end) = rest.find(')') {
            targets.push(rest[..end].split(' ').next().unwrap_or_default().to_owned());
        }
    }
    if let Some((label, target)) = prose.split_once("]: ")
        && label.starts_with('[')
        && !label.contains(' ')
    {
        targets.push(target.trim().to_owned());
    }
    targets
}

fn leads_somewhere(document: &str, target: &str, paths: &[String]) -> bool {
    let elsewhere = ["http://", "https://", "mailto:", "#"];
    if elsewhere.iter().any(|prefix| target.starts_with(prefix)) {
        return true;
    }
    let target = target.split('#').next().unwrap_or_default();
    let mut parts: Vec<&str> = document.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                if parts.pop().is_none() {
                    return false;
                }
            }
            part => parts.push(part),
        }
    }
    let path = parts.join("/");
    let directory = format!("{path}/");
    path.is_empty() || paths.iter().any(|known| *known == path || known.starts_with(&directory))
}

/// Decisions are `docs/rfd/NNNN-title.md`, each number once.
pub(super) fn check_rfd_names(paths: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut numbers: BTreeMap<&str, &str> = BTreeMap::new();
    for path in paths {
        let Some(name) = path.strip_prefix("docs/rfd/") else {
            continue;
        };
        if name == "README.md" {
            continue;
        }
        let Some(number) = rfd_number(name) else {
            let what = "decisions are named NNNN-words-of-the-title.md";
            findings.push(Finding::new(path, 0, what));
            continue;
        };
        if let Some(other) = numbers.insert(number, path) {
            let what = format!("{other} has the same number");
            findings.push(Finding::new(path, 0, what));
        }
    }
    findings
}

fn rfd_number(name: &str) -> Option<&str> {
    let (number, title) = name.strip_suffix(".md")?.split_once('-')?;
    let words = title.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    let good = number.len() == 4
        && number.bytes().all(|b| b.is_ascii_digit())
        && !title.is_empty()
        && words;
    good.then_some(number)
}

/// CI runs the tests as README says.
pub(super) fn check_test_command(files: &[TextFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for path in ["README.md", ".ci/run"] {
        let has_command = files.iter().any(|file| {
            let mut lines = file.text.lines().map(str::trim);
            file.path == path && lines.any(|line| line == TEST_COMMAND)
        });
        if !has_command {
            let what = format!("has no line {TEST_COMMAND:?}, the command that runs the tests");
            findings.push(Finding::new(path, 0, what));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> TextFile {
        TextFile { path: path.to_owned(), text: text.to_owned() }
    }

    fn paths(paths: &[&str]) -> Vec<String> {
        paths.iter().map(|path| (*path).to_owned()).collect()
    }

    #[test]
    fn links_lead_somewhere() {
        let known = paths(&["README.md", "docs/a.md", "docs/rfd/0001-x.md"]);
        for (document, text, findings) in [
            ("README.md", "[a](docs/a.md) [b](docs/) [c](#here) [d](https://x/y)", 0),
            ("docs/a.md", "[a](../README.md#top) [b](rfd/0001-x.md \"title\")", 0),
            ("docs/a.md", "[label]: rfd/0001-x.md", 0),
            ("README.md", "[a](docs/b.md)", 1),
            ("README.md", "[a](doc) and [b](docs/a.md/x)", 2),
            ("docs/a.md", "[a](../../outside.md)", 1),
            ("docs/a.md", "[label]: rfd/0002-y.md", 1),
            ("README.md", "`[a](nowhere)` is code", 0),
            ("README.md", "```\n[a](nowhere)\n```", 0),
        ] {
            let found = check_links(&file(document, text), &known);
            assert_eq!(found.len(), findings, "{text}: {found:?}");
        }
    }

    #[test]
    fn decisions_have_a_number_and_a_title() {
        let good = paths(&["docs/rfd/0001-one-door.md", "docs/rfd/README.md", "docs/x.md"]);
        assert!(check_rfd_names(&good).is_empty());
        for bad in ["docs/rfd/1-a.md", "docs/rfd/0002-A.md", "docs/rfd/0003.md", "docs/rfd/a.txt"] {
            assert_eq!(check_rfd_names(&paths(&[bad])).len(), 1, "{bad}");
        }
        let twice = paths(&["docs/rfd/0001-a.md", "docs/rfd/0001-b.md"]);
        assert_eq!(check_rfd_names(&twice).len(), 1);
    }

    #[test]
    fn readme_and_ci_run_the_same_tests() {
        let readme = file("README.md", "Run\n\n    cargo test --workspace\n");
        let same = file(".ci/run", "cargo test --workspace\n");
        let other = file(".ci/run", "cargo test --workspace --release\n");
        assert!(check_test_command(&[readme.clone(), same]).is_empty());
        assert_eq!(check_test_command(&[readme, other]).len(), 1);
        assert_eq!(check_test_command(&[]).len(), 2);
    }
}
