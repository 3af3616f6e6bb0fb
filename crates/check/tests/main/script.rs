//! Histories written one event a line, in microseconds:
//! `times key what [if=VERSION|absent|exists] [ttl=MS] [stale=US] [write=N] [batch=N/POSITION] [each=N/POSITION] => answer`,
//! where `batch` is an atomic one and `each` is not.

use ringfort_check::{Condition, Event, Member, Operation, Outcome, Rule, check};

fn parse(line: &str) -> Event {
    let (question, answer) = line.split_once("=>").expect("an answer");
    let mut words = question.split_whitespace();
    let (invoked, returned) = words.next().unwrap().split_once("..").unwrap();
    let key = words.next().unwrap().to_owned();
    let what = words.next().unwrap();
    let value = (what == "put").then(|| words.next().unwrap().to_owned());
    let (mut condition, mut ttl_ms, mut batch) = (Condition::Always, None, None);
    let (mut staleness_us, mut write) = (None, None);
    for word in words {
        match word.split_once('=').unwrap() {
            ("if", "absent") => condition = Condition::Absent,
            ("if", "exists") => condition = Condition::Exists,
            ("if", version) => condition = Condition::Version(version.parse().unwrap()),
            ("ttl", ttl) => ttl_ms = Some(ttl.parse().unwrap()),
            ("stale", bound) => staleness_us = Some(bound.parse().unwrap()),
            ("write", number) => write = Some(number.parse().unwrap()),
            (kind, place) => {
                let (number, position) = place.split_once('/').unwrap();
                batch = Some(Member {
                    batch: number.parse().unwrap(),
                    position: position.parse().unwrap(),
                    atomic: kind == "batch",
                });
            }
        }
    }
    Event {
        client: 1,
        key,
        operation: match value {
            Some(value) => Operation::Put { value, condition, ttl_ms },
            None if what == "delete" => Operation::Delete { condition },
            None => Operation::Get,
        },
        invoked_us: invoked.parse().unwrap(),
        returned_us: returned.parse().unwrap(),
        outcome: outcome(answer.trim()),
        batch,
        staleness_us,
        write,
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

pub(crate) fn history(text: &str) -> Vec<Event> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(parse).collect()
}

#[track_caller]
pub(crate) fn keeps_all(text: &str) {
    let report = check(&history(text));
    assert!(report.is_clean(), "{report}");
}

/// Exactly this rule is broken.
#[track_caller]
pub(crate) fn breaks(rule: Rule, text: &str) {
    let report = check(&history(text));
    assert!(report.breaks(rule), "{rule:?} is not found broken: {report}");
    let others = report.violations.iter().any(|found| found.rule != rule);
    assert!(!others, "{report}");
}
