//! Leftovers of work in progress, and sleeps.
//!
//! A sleep in a test waits for a time where it should wait for a condition; a sleep in the product is a poll. Where one is
//! right, its file stands on the allow list, with the reason.

use super::source::blank_out;
use super::{Finding, TextFile};

/// Not in code.
const IN_CODE: [(&str, &str); 4] = [
    ("todo!", "is not written yet"),
    ("unimplemented!", "is not written yet"),
    ("dbg!", "is a leftover"),
    ("#[ignore", "is a test that nobody runs"),
];
/// Not in code, comments or strings.
const IN_TEXT: [&str; 3] = ["FIXME", "XXX", "TODO"];
/// The checks themselves name what they look for.
const EXEMPT: &str = "xtask/src/tidy/";

/// Files that may sleep, and why.
const SLEEPS: [(&str, &str); 17] = [
    (
        "crates/bench/src/drive.rs",
        "a run has a length in time, and a lane waits before it connects again",
    ),
    ("crates/bench/src/target/wire.rs", "the alarm of a request's deadline"),
    ("crates/client/src/call.rs", "the pause before a retry"),
    ("crates/door/src/http/bell.rs", "its test, where time is virtual"),
    ("crates/door/src/http/connection.rs", "the alarm of a connection's deadlines"),
    ("crates/door/tests/slow.rs", "time is virtual there"),
    ("crates/door/tests/fake.rs", "a backend that answers late, as a test asks it to"),
    (
        "crates/ringfort/src/commands/dev.rs",
        "asks a child whether it is ready: there is nothing to await",
    ),
    (
        "crates/server/src/disk.rs",
        "the core is left to others for a time: nothing says that they are done",
    ),
    (
        "crates/server/src/listen.rs",
        "the pause after the kernel refused a connection for want of files",
    ),
    ("crates/server/src/peers/link.rs", "the wait before another node is dialled again"),
    ("crates/server/tests/crash/cycles.rs", "a crash comes at a random moment"),
    ("crates/testkit/src/wait.rs", "the one place where tests look at a condition again and again"),
    ("xtask/src/lab/cluster/catch_up.rs", "a warm-up is a time"),
    ("xtask/src/lab/cluster/idle.rs", "what idle nodes use is measured over a time"),
    ("xtask/src/lab/failover/lanes.rs", "an open loop begins its writes at fixed times"),
    ("xtask/src/lab/process.rs", "as testkit's wait"),
];

pub(super) fn check(file: &TextFile) -> Vec<Finding> {
    if file.path.starts_with(EXEMPT) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let code = blank_out(&file.text);
    let may_sleep = SLEEPS.iter().any(|(path, _)| *path == file.path);
    for (number, (code, text)) in code.lines().zip(file.text.lines()).enumerate() {
        let mut find = |what: String| findings.push(Finding::new(&file.path, number + 1, what));
        for (marker, why) in IN_CODE {
            if has_word(code, marker) {
                find(format!("{marker} {why}"));
            }
        }
        for marker in IN_TEXT {
            if has_word(text, marker) {
                find(format!("{marker} is a leftover: do it, or file an issue"));
            }
        }
        if !may_sleep && sleeps(code) {
            find("sleeps: wait for a condition, or state the reason in tidy's allow list".into());
        }
    }
    findings
}

/// A file on the allow list that is gone leaves its permission to nobody.
pub(super) fn check_allow_list(paths: &[String]) -> Vec<Finding> {
    let gone = SLEEPS.iter().filter(|(path, _)| !paths.iter().any(|known| known == path));
    gone.map(|(path, _)| Finding::new(path, 0, "is on tidy's list of sleeps and does not exist"))
        .collect()
}

fn sleeps(code: &str) -> bool {
    let direct = ["thread::sleep", "time::sleep", "time::sleep_until"];
    if direct.iter().any(|path| has_word(code, path)) {
        return true;
    }
    // Imported in a group: `use tokio::time::{sleep, timeout}`.
    ["thread::{", "time::{"].iter().any(|group| {
        code.split_once(group)
            .is_some_and(|(_, names)| has_word(names, "sleep") || has_word(names, "sleep_until"))
    })
}

/// Whether the text has the word, not as a part of a longer one.
fn has_word(text: &str, word: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let joins = |edge: Option<char>, next: Option<char>| {
        edge.is_some_and(is_word) && next.is_some_and(is_word)
    };
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !joins(before, word.chars().next()) && !joins(word.chars().next_back(), after)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str) -> Vec<String> {
        check(&TextFile { path: "crates/x/src/a.rs".to_owned(), text: text.to_owned() })
            .into_iter()
            .map(|finding| finding.what)
            .collect()
    }

    #[test]
    fn leftovers_are_found() {
        for text in [
            "fn a() { todo!() }",
            "let b = dbg!(a);",
            "unimplemented!(\"later\")",
            "#[ignore = \"slow\"]",
            "// FIXME later",
            "//XXX: why",
            "let a = 1; // TODO",
        ] {
            assert_eq!(findings(text).len(), 1, "{text}");
        }
    }

    #[test]
    fn what_only_looks_like_one_is_not() {
        for text in [
            "// a macro like todo! is not allowed",
            "let text = \"dbg!(x)\";",
            "not_todo!()",
            "let a = TODOS;",
            "let ignore = 1;",
        ] {
            assert_eq!(findings(text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn sleeps_are_found_unless_there_is_a_reason() {
        for text in [
            "std::thread::sleep(d);",
            "use std::thread::sleep;",
            "tokio::time::sleep(d).await;",
            "time::sleep_until(t).await",
            "use tokio::time::{self, sleep, timeout};",
            "use std::{thread::{sleep}};",
        ] {
            assert_eq!(findings(text).len(), 1, "{text}");
        }
        assert!(findings("// no thread::sleep here\nfn sleeping() {}").is_empty());
        let file = TextFile {
            path: SLEEPS[0].0.to_owned(),
            text: "tokio::time::sleep(d).await;".to_owned(),
        };
        assert!(check(&file).is_empty());
        assert_eq!(check_allow_list(&[]).len(), SLEEPS.len());
    }
}
