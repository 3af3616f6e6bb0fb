//! The command that checks a file: its exit codes are what scripts go by.

use std::io::Write;
use std::process::{Command, Stdio};

const HONEST: &str = r#"{"client":1,"key":"k","operation":{"do":"put","value":"a","ttl_ms":5},"invoked_us":0,"returned_us":5,"outcome":{"is":"written","version":1}}
{"client":1,"key":"k","operation":{"do":"get"},"invoked_us":6,"returned_us":7,"outcome":{"is":"found","value":"a","version":1}}
"#;
const GONE: &str = r#"{"client":1,"key":"k","operation":{"do":"get"},"invoked_us":8,"returned_us":9,"outcome":{"is":"absent"}}
"#;
const LATE: &str = r#"{"client":1,"key":"k","operation":{"do":"get"},"invoked_us":2005006,"returned_us":2005007,"outcome":{"is":"found","value":"a","version":1}}
"#;

fn checked(arguments: &[&str], history: &str) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringfort-check"));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that refuses its arguments reads nothing: then the pipe breaks, and that is right.
    let _ = child.stdin.take().unwrap().write_all(history.as_bytes());
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[track_caller]
fn ends(arguments: &[&str], history: &str, code: i32, says: &str) {
    let (ended, said) = checked(arguments, history);
    assert_eq!(ended, Some(code), "{said}");
    assert!(said.contains(says), "{said}");
}

#[test]
fn the_exit_code_is_the_verdict() {
    ends(&["-"], HONEST, 0, "0 violations, 0 undecided");
    ends(&["-"], &format!("{HONEST}{GONE}"), 1, "ExpiryInTime: key k");
    ends(&["-"], &format!("{HONEST}{LATE}"), 1, "ExpiryInTime: key k");
    ends(&["--late-ms", "3000", "-"], &format!("{HONEST}{LATE}"), 0, "0 violations");
    ends(&["--steps", "1", "-"], HONEST, 2, "undecided: k");
}

#[test]
fn nothing_checked_is_no_verdict() {
    ends(&["-"], "", 3, "proves nothing");
    ends(&["-"], "{}", 3, "line 1");
    ends(&["/nowhere/history.jsonl"], "", 3, "/nowhere/history.jsonl");
    ends(&[], "", 3, "usage");
    ends(&["--fast", "-"], HONEST, 3, "--fast is no option");
    ends(&["--steps", "many", "-"], HONEST, 3, "--steps many");
    ends(&["-", "-"], HONEST, 3, "one file");
}
