//! Documents whose commands are run and whose outputs are compared.
//!
//! In a Markdown file, a block fenced as `console` holds commands (`$ …`, continued by `> …`) and what each
//! prints. In an expected output `…` stands for anything within a line, and a line of `…` alone for any lines. Blocks fenced
//! otherwise are for the reader only.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// A command that takes longer than this many seconds has hung.
const SECONDS_MAX: &str = "60";

/// One command and what it prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Line of the command in the document, from 1.
    pub line: usize,
    /// The command, as `bash -c` takes it.
    pub command: String,
    /// What it prints, line by line.
    pub expected: Vec<String>,
}

/// The steps of a document, in order.
///
/// # Errors
/// A block does not end, or begins with something else than a command.
pub fn steps(markdown: &str) -> Result<Vec<Step>> {
    let mut steps: Vec<Step> = Vec::new();
    let mut lines = markdown.lines().enumerate();
    while let Some((_, line)) = lines.next() {
        let Some(language) = line.strip_prefix("```") else {
            continue;
        };
        let first = steps.len();
        loop {
            let (index, line) = lines.next().context("a block without an end")?;
            if line == "```" {
                break;
            }
            if language == "console" {
                take_line(&mut steps, first, index + 1, line)?;
            }
        }
    }
    Ok(steps)
}

fn take_line(steps: &mut Vec<Step>, first: usize, number: usize, line: &str) -> Result<()> {
    if let Some(command) = line.strip_prefix("$ ") {
        steps.push(Step { line: number, command: command.to_owned(), expected: Vec::new() });
        return Ok(());
    }
    let in_block = steps.len() > first;
    let step = steps.last_mut().filter(|_| in_block);
    let step = step.with_context(|| format!("line {number}: no command before its output"))?;
    match line.strip_prefix("> ") {
        Some(more) if step.expected.is_empty() => {
            step.command.push('\n');
            step.command.push_str(more);
        }
        _ => step.expected.push(line.to_owned()),
    }
    Ok(())
}

/// Runs a step and compares what it prints. `names` are pairs of what the document says and what is meant here, such as a
/// port; they are replaced in the command, and back in its output.
///
/// # Errors
/// The command cannot be run, hangs, or prints something else.
pub fn run(step: &Step, names: &[(String, String)], directory: &Path) -> Result<()> {
    let mut command = step.command.clone();
    for (document, here) in names {
        command = command.replace(document, here);
    }
    // No progress meter; errors still show.
    std::fs::write(directory.join(".curlrc"), "silent\nshow-error\n")?;
    let output = Command::new("timeout")
        .args([SECONDS_MAX, "bash", "-c"])
        .arg(format!("exec 2>&1\n{command}"))
        .current_dir(directory)
        .env("CURL_HOME", directory)
        .env("LC_ALL", "C.UTF-8")
        .output()
        .context("bash")?;
    ensure!(output.status.code() != Some(124), "line {}: hangs: {command}", step.line);
    let mut printed = String::from_utf8_lossy(&output.stdout).into_owned();
    for (document, here) in names {
        printed = printed.replace(here, document);
    }
    let printed: Vec<_> = printed.lines().map(|line| line.trim_end_matches('\r')).collect();
    let expected: Vec<_> = step.expected.iter().map(String::as_str).collect();
    if !lines_match(&expected, &printed) {
        bail!(
            "line {}: {}\nis said to print\n  {}\nbut prints\n  {}",
            step.line,
            step.command,
            expected.join("\n  "),
            printed.join("\n  ")
        );
    }
    Ok(())
}

fn lines_match(expected: &[&str], printed: &[&str]) -> bool {
    match (expected, printed) {
        ([], []) => true,
        (["…", rest @ ..], _) => {
            (0..=printed.len()).any(|skip| lines_match(rest, &printed[skip..]))
        }
        ([line, rest @ ..], [found, found_rest @ ..]) => {
            line_matches(line, found) && lines_match(rest, found_rest)
        }
        _ => false,
    }
}

fn line_matches(expected: &str, printed: &str) -> bool {
    let Some((before, after)) = expected.split_once('…') else {
        return expected == printed;
    };
    let Some(rest) = printed.strip_prefix(before) else {
        return false;
    };
    let ends = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
    ends.into_iter().any(|at| line_matches(after, &rest[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "# Title\n```sh\nnot run\n```\n```console\n$ echo a; echo b\na\nb\n$ printf '%s %s' x \\\n> y\nx y\n```\n";

    #[test]
    fn steps_are_read_with_continuations_and_outputs() {
        let steps = steps(DOCUMENT).unwrap();
        assert_eq!(steps.len(), 2);
        assert_eq!(steps[0].line, 6);
        assert_eq!(steps[0].expected, ["a", "b"]);
        assert_eq!(steps[1].command, "printf '%s %s' x \\\ny");
        let directory = tempfile::tempdir().unwrap();
        for step in steps {
            run(&step, &[], directory.path()).unwrap();
        }
    }

    #[test]
    fn another_output_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let step = |command: &str, expected: &[&str]| Step {
            line: 1,
            command: command.to_owned(),
            expected: expected.iter().map(ToString::to_string).collect(),
        };
        let wrong = step("echo a", &["b"]);
        assert!(run(&wrong, &[], directory.path()).is_err());
        let more = step("echo a; echo b", &["a"]);
        assert!(run(&more, &[], directory.path()).is_err());
        let error = step("cat nowhere", &["cat: nowhere: No such file or directory"]);
        run(&error, &[], directory.path()).unwrap();
        let names = [("7400".to_owned(), "1234".to_owned())];
        let named = step("echo port 7400", &["port 7400"]);
        run(&named, &names, directory.path()).unwrap();
    }

    #[test]
    fn an_ellipsis_stands_for_what_varies() {
        assert!(line_matches("a…c…", "abbbc and more"));
        assert!(line_matches("…", ""));
        assert!(!line_matches("a…c", "abb"));
        assert!(lines_match(&["a", "…", "z"], &["a", "b", "c", "z"]));
        assert!(!lines_match(&["a", "…", "z"], &["a", "b"]));
    }

    #[test]
    fn a_broken_document_is_an_error() {
        assert!(steps("```console\n$ true\n").is_err());
        assert!(steps("```console\nno command\n```\n").is_err());
    }
}
