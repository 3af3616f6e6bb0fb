//! The checkers on hand-made histories: each rule is broken once by a history that keeps all others, and kept by its
//! closest honest neighbour.
//!
//! A history is written one event a line: `times key what [if=VERSION|if=absent] [batch=N/POSITION] => answer`.
#![allow(clippy::unwrap_used)] // a test may; its helpers are part of it

use ringfort_check::{
    Condition, Event, Member, Operation, Outcome, Rule, check, read_history, write_history,
};

fn parse(line: &str) -> Event {
    let (question, answer) = line.split_once("=>").expect("an answer");
    let mut words = question.split_whitespace();
    let (invoked, returned) = words.next().unwrap().split_once("..").unwrap();
    let key = words.next().unwrap().to_owned();
    let what = words.next().unwrap();
    let value = (what == "put").then(|| words.next().unwrap().to_owned());
    let (mut condition, mut batch) = (Condition::Always, None);
    for word in words {
        if let Some(wanted) = word.strip_prefix("if=") {
            condition = match wanted {
                "absent" => Condition::Absent,
                version => Condition::Version(version.parse().unwrap()),
            };
        } else if let Some((number, position)) =
            word.strip_prefix("batch=").unwrap().split_once('/')
        {
            batch = Some(Member {
                batch: number.parse().unwrap(),
                position: position.parse().unwrap(),
                atomic: true,
            });
        }
    }
    Event {
        client: 1,
        key,
        operation: match value {
            Some(value) => Operation::Put { value, condition },
            None if what == "delete" => Operation::Delete { condition },
            None => Operation::Get,
        },
        invoked_us: invoked.parse().unwrap(),
        returned_us: returned.parse().unwrap(),
        outcome: outcome(answer.trim()),
        batch,
    }
}

fn outcome(answer: &str) -> Outcome {
    let words: Vec<_> = answer.split_whitespace().collect();
    match words[..] {
        ["unknown"] => Outcome::Unknown,
        ["not_applied"] => Outcome::NotApplied,
        ["absent"] => Outcome::Absent,
        ["refused", version] => Outcome::Refused { current_version: version.parse().unwrap() },
        ["found", value, version] => Outcome::Found {
            value: value.to_owned(),
            version: version.strip_prefix('v').unwrap().parse().unwrap(),
        },
        [version] => {
            Outcome::Written { version: version.strip_prefix('v').unwrap().parse().unwrap() }
        }
        _ => panic!("no answer: {answer}"),
    }
}

fn history(text: &str) -> Vec<Event> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(parse).collect()
}

#[track_caller]
fn keeps_all(text: &str) {
    let report = check(&history(text));
    assert!(report.is_clean(), "{report}");
}

/// Exactly this rule is broken.
#[track_caller]
fn breaks(rule: Rule, text: &str) {
    let report = check(&history(text));
    assert!(report.breaks(rule), "{rule:?} is not found broken: {report}");
    let others = report.violations.iter().any(|found| found.rule != rule);
    assert!(!others, "{report}");
}

#[test]
fn an_honest_history_keeps_all() {
    keeps_all(
        "0..5   k put a => v3
         6..8   k get => found a v3
         7..12  k put b => v4
         9..10  k get => found a v3
         11..13 k get => found b v4
         14..15 k delete => v9
         16..17 k get => absent
         18..19 k delete => absent
         20..21 k put c if=absent => v10
         22..23 k put d if=10 => v11
         24..25 k put e if=10 => refused 11
         26..27 k put f if=absent => refused 11",
    );
}

#[test]
fn an_acknowledged_write_that_is_gone_is_lost() {
    breaks(
        Rule::NoLostWrite,
        "0..5 k put a => v1
         6..7 k get => absent",
    );
    breaks(
        Rule::NoLostWrite,
        "0..5 k put a => v1
         6..7 k put b => v2
         8..9 k get => found a v1",
    );
    breaks(
        Rule::NoLostWrite,
        "0..5 k put a => v1
         6..7 k delete => absent",
    );
    breaks(
        Rule::NoLostWrite,
        "0..5 k put a => v1
         6..7 k delete if=1 => v2
         8..9 k get => found a v1",
    );
}

#[test]
fn what_was_read_once_stays() {
    breaks(
        Rule::NoLostWrite,
        "0..5 k put a => unknown
         6..7 k get => found a v1
         8..9 k get => absent",
    );
    breaks(
        Rule::NoLostWrite,
        "0..5 k put a => v1
         4..9 k delete => unknown
         6..7 k get => absent
         8..9 k get => found a v1",
    );
}

#[test]
fn a_write_under_way_may_be_seen_or_not() {
    keeps_all(
        "0..9 k put a => v1
         1..2 k get => absent
         3..4 k get => found a v1",
    );
}

#[test]
fn an_unknown_write_may_appear_at_any_time_or_never() {
    keeps_all(
        "0..5  k put a => unknown
         0..5  k put b => unknown
         6..7  k get => absent
         8..9  k get => found a v4
         10..11 k get => found a v4",
    );
    keeps_all(
        "0..5  k put a => v1
         6..7  k delete => unknown
         8..9  k get => found a v1
         10..11 k get => absent",
    );
}

#[test]
fn an_unknown_write_appears_once() {
    breaks(
        Rule::OneVersionPerWrite,
        "0..5   k put a => unknown
         6..7   k get => found a v4
         8..9   k put b => v5
         10..11 k get => found a v6",
    );
}

#[test]
fn versions_never_repeat() {
    breaks(
        Rule::OneVersionPerWrite,
        "0..5 k put a => v1
         0..6 k put b => v1",
    );
    breaks(
        Rule::OneVersionPerWrite,
        "0..5 k put a => v1
         0..6 k put b => unknown
         7..8 k get => found b v1",
    );
    breaks(
        Rule::OneVersionPerWrite,
        "0..5 k put a => v1
         7..8 k get => found a v2",
    );
}

#[test]
fn versions_rise() {
    breaks(
        Rule::VersionsRise,
        "0..5 k put a => v5
         6..7 k put b => v3",
    );
    keeps_all(
        "0..7 k put a => v5
         6..8 k put b => v3",
    );
    breaks(
        Rule::VersionsRise,
        "0..9 k put a batch=1/0 => v5
         0..9 k put b batch=1/1 => v4",
    );
}

#[test]
fn nothing_is_invented() {
    breaks(Rule::NoInventedValue, "0..5 k get => found a v1");
    breaks(
        Rule::NoInventedValue,
        "0..5 j put a => v1
         6..7 k get => found a v1",
    );
    breaks(
        Rule::NoInventedValue,
        "0..5 k put a => not_applied
         6..7 k get => found a v1",
    );
    breaks(
        Rule::NoInventedValue,
        "0..5 k put a if=absent => refused 7
         6..7 k get => found a v8",
    );
}

#[test]
fn nothing_is_read_before_it_was_sent() {
    let report = check(&history(
        "0..5 k get => found a v1
         6..7 k put a => v1",
    ));
    // The put also comes too late for a version that is known already.
    assert!(report.breaks(Rule::NoFuture), "{report}");
    assert!(report.breaks(Rule::VersionsRise), "{report}");
}

#[test]
fn a_condition_that_cannot_have_held_or_failed_is_found() {
    for text in [
        "0..5 k put a => v1
         6..7 k put b => v2
         8..9 k put c if=1 => v3",
        "0..5 k put a => v1
         0..7 k put b if=absent => v2",
        "0..5 k put a => v1
         6..7 k put b if=1 => refused 1",
        "0..5 k put a if=absent => refused 0",
    ] {
        breaks(Rule::ConditionsHold, text);
    }
}

#[test]
fn half_of_an_atomic_batch_is_torn() {
    let honest = "0..5 k put a => v1
         0..5  j put a => v1
         6..7  k put b batch=1/0 => unknown
         6..7  j put b batch=1/1 => unknown
         8..9  j get => found a v1
         10..11 k get => found b v2";
    keeps_all(honest);
    breaks(Rule::AllOrNothing, &format!("{honest}\n 12..13 j get => found a v1"));
}

#[test]
fn a_malformed_history_is_not_judged_in_silence() {
    for text in [
        "0..5 k put a => v1
         6..7 k put a => v2",
        "0..5 k get => v1",
        "0..5 k put a => v0",
        "0..5 k put a => absent",
    ] {
        assert!(check(&history(text)).breaks(Rule::WellFormed), "{text}");
    }
}

#[test]
fn a_report_counts_what_it_looked_at() {
    let report = check(&history(
        "0..5 k put a => v1
         0..5 k put b => unknown
         0..5 k put c => unknown
         6..7 k get => found b v2
         6..7 j get => absent",
    ));
    assert!(report.is_clean(), "{report}");
    let counts = [report.keys, report.acknowledged, report.unknown];
    assert_eq!(counts, [2, 1, 2]);
    assert_eq!([report.unknown_seen, report.reads], [1, 2]);
}

#[test]
fn histories_round_trip_as_json_lines() {
    let events = history(
        "0..5 k put a if=absent batch=1/0 => v1
         6..7 k delete if=4 => refused 1
         8..9 k get => found a v1
         10..11 k get => not_applied",
    );
    let mut lines = Vec::new();
    write_history(&mut lines, &events).unwrap();
    assert_eq!(read_history(&lines[..]).unwrap(), events);
    let first = lines.split(|byte| *byte == b'\n').next().unwrap();
    assert_eq!(
        String::from_utf8_lossy(first),
        r#"{"client":1,"key":"k","operation":{"do":"put","value":"a","condition":"absent"},"invoked_us":0,"returned_us":5,"outcome":{"is":"written","version":1},"batch":{"batch":1,"position":0,"atomic":true}}"#
    );
    let error = read_history(&b"\n{\"client\":1}\n"[..]).unwrap_err();
    assert!(error.to_string().starts_with("history, line 2: "), "{error}");
}
