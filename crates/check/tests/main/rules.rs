//! Hand-made histories: each rule is broken by one that keeps all others, and kept by its closest honest neighbour.

use ringfort_check::{Rule, check, read_history, write_history};

use crate::script::{breaks, history, keeps_all};

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
        Rule::Linearizable,
        "0..5 k put a => v1
         6..7 k get => absent",
    );
    breaks(
        Rule::Linearizable,
        "0..5 k put a => v1
         6..7 k put b => v2
         8..9 k get => found a v1",
    );
    breaks(
        Rule::Linearizable,
        "0..5 k put a => v1
         6..7 k delete => absent",
    );
    breaks(
        Rule::Linearizable,
        "0..5 k put a => v1
         6..7 k delete if=1 => v2
         8..9 k get => found a v1",
    );
}

#[test]
fn what_was_read_once_stays() {
    breaks(
        Rule::Linearizable,
        "0..5 k put a => unknown
         6..7 k get => found a v1
         8..9 k get => absent",
    );
    breaks(
        Rule::Linearizable,
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
        Rule::Linearizable,
        "0..5 k put a => v5
         6..7 k put b => v3",
    );
    keeps_all(
        "0..7 k put a => v5
         6..8 k put b => v3",
    );
    breaks(
        Rule::Linearizable,
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
    breaks(
        Rule::Linearizable,
        "0..5 k get => found a v1
         6..7 k put a => v1",
    );
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

/// A time to live of 1 ms is 1,000 on the clock of these lines.
#[test]
fn a_key_is_gone_neither_before_its_time_nor_long_after() {
    keeps_all(
        "0..5     k put a ttl=1 => v1
         900..910 k get => found a v1
         999..1000 k get => absent
         1001..1002 k put b if=absent => v2",
    );
    breaks(
        Rule::ExpiryInTime,
        "0..5     k put a ttl=1 => v1
         998..999 k get => absent",
    );
    breaks(
        Rule::ExpiryInTime,
        "0..5   k put a ttl=1 => v1
         6..999 k put b if=absent => v2",
    );
    // Seen until 5 + 1,000 + 1,000,000.
    keeps_all(
        "0..5     k put a ttl=1 => v1
         1001005..1001006 k get => found a v1",
    );
    for late in [
        "get => found a v1",
        "put b if=1 => v2",
        "put b if=exists => v2",
        "delete => v2",
        "put b if=absent => refused 1",
    ] {
        breaks(
            Rule::ExpiryInTime,
            &format!(
                "0..5             k put a ttl=1 => v1
                 1001006..1001007 k {late}"
            ),
        );
    }
    // What stays is not seen again.
    breaks(
        Rule::Linearizable,
        "0..5       k put a ttl=1 => v1
         2000..2001 k get => absent
         2002..2003 k get => found a v1",
    );
}

#[test]
fn a_time_to_live_counts_from_the_first_answer_that_tells_of_the_write() {
    // Unknown, and nobody saw it: it may come, and go, at any time.
    keeps_all(
        "0..5             k put a ttl=1 => unknown
         3001006..3001007 k get => found a v1
         3002008..3002009 k get => absent",
    );
    breaks(
        Rule::ExpiryInTime,
        "0..5             k put a ttl=1 => unknown
         6..10            k get => found a v1
         1001011..1001012 k get => found a v1",
    );
    // A put without one clears it.
    keeps_all(
        "0..5             k put a ttl=1 => v1
         6..7             k put b => v2
         9001011..9001012 k get => found b v2",
    );
    breaks(
        Rule::Linearizable,
        "0..5       k put a ttl=1 => v1
         6..7       k put b => v2
         5000..5001 k get => absent",
    );
    // Nor does it count for the put before it.
    breaks(
        Rule::ExpiryInTime,
        "0..5       k put a ttl=1 => v1
         100..105   k put b ttl=1 => v2
         1050..1099 k get => absent",
    );
}

#[test]
fn versions_rise_over_expiry_and_deletes() {
    for (end, gone) in
        [("2000..2001 k get => absent", "expired"), ("6..7 k delete => v5", "deleted")]
    {
        let report = check(&history(&format!(
            "0..5       k put a ttl=1 => v4
             {end}
             3000..3001 k put b => v4"
        )));
        assert!(report.breaks(Rule::OneVersionPerWrite), "{gone}: {report}");
        breaks(
            Rule::Linearizable,
            &format!(
                "0..5       k put a ttl=1 => v4
                 {end}
                 3000..3001 k put b => v3"
            ),
        );
    }
}

#[test]
fn a_stale_read_is_as_old_as_it_says_and_no_older() {
    let writes = "0..5   k put a => v1
                  10..15 k put b => v2\n";
    keeps_all(&format!("{writes} 20..25 k get stale=5 => found a v1"));
    breaks(Rule::StaleWithinBound, &format!("{writes} 20..25 k get stale=4 => found a v1"));
    breaks(Rule::StaleWithinBound, &format!("{writes} 20..25 k get stale=14 => absent"));
    // The next read is linearizable again.
    breaks(Rule::Linearizable, &format!("{writes} 26..27 k get => found a v1"));
    // Not from the future either.
    breaks(
        Rule::StaleWithinBound,
        "0..5   k get stale=5 => found a v1
         6..7   k put a => unknown",
    );
    // What is due may be seen by it.
    keeps_all(
        "0..5             k put a ttl=1 => v1
         3001006..3001007 k get stale=5 => found a v1",
    );
}

#[test]
fn a_retry_happens_once_and_is_told_the_same() {
    keeps_all(
        "0..5   k put a write=1 => unknown
         6..9   k put b => v2
         10..15 k put a write=1 => v1
         16..17 k get => found b v2",
    );
    keeps_all(
        "0..5   k put a if=absent write=1 => not_applied
         6..9   k put b => v2
         10..15 k put a if=absent write=1 => refused 2
         16..17 k put a if=absent write=1 => refused 2",
    );
    breaks(
        Rule::RetriesAgree,
        "0..5   k put a write=1 => v1
         10..15 k put a write=1 => v2",
    );
    breaks(
        Rule::RetriesAgree,
        "0..5   k put a if=absent write=1 => v1
         10..15 k put a if=absent write=1 => refused 1",
    );
    // Executed again, over what came between.
    breaks(
        Rule::OneVersionPerWrite,
        "0..5   k put a write=1 => unknown
         6..7   k get => found a v1
         8..9   k put b => v2
         10..15 k put a write=1 => v3",
    );
    breaks(
        Rule::OneVersionPerWrite,
        "0..5   k put a write=1 => v1
         8..9   k put b => v2
         10..15 k put a write=1 => v1
         16..17 k get => found a v3",
    );
    // It happened by the first answer.
    breaks(
        Rule::Linearizable,
        "0..5   k put a write=1 => v1
         6..7   k get => absent
         10..15 k put a write=1 => v1",
    );
    assert!(
        check(&history("0..5 k put a write=1 => v1\n 6..7 k put b write=1 => v1"))
            .breaks(Rule::WellFormed)
    );
}

#[test]
fn an_update_is_not_lost() {
    // Two clients that read version 1 and write on the condition that it stands: one of them must be refused.
    let start = "0..5   k put a => v1
                 6..7   k get => found a v1\n";
    keeps_all(&format!("{start} 8..20 k put b if=1 => v2\n 8..20 k put c if=1 => refused 2"));
    keeps_all(&format!("{start} 8..20 k put b if=1 => unknown\n 8..20 k put c if=1 => refused 2"));
    breaks(
        Rule::ConditionsHold,
        &format!("{start} 8..20 k put b if=1 => v2\n 8..20 k put c if=1 => v3"),
    );
    breaks(
        Rule::ConditionsHold,
        &format!("{start} 8..20 k put b if=1 => refused 2\n 8..20 k put c if=1 => not_applied"),
    );
}

#[test]
fn an_unknown_write_explains_what_it_can_and_only_once() {
    keeps_all(
        "0..5   k put a => v1
         0..5   k delete => unknown
         6..7   k get => absent
         8..9   k put b if=absent => v4
         10..11 k get => found b v4",
    );
    breaks(
        Rule::Linearizable,
        "0..5   k put a => v1
         0..5   k delete => unknown
         6..7   k get => absent
         8..9   k put b if=absent => v4
         10..11 k get => absent",
    );
    // There is no room for the version of an unknown write between 1 and 2.
    breaks(
        Rule::Linearizable,
        "0..5   k put a => v1
         0..5   k delete => unknown
         6..7   k get => absent
         8..9   k put b => v2",
    );
    // It was sent too late.
    breaks(
        Rule::Linearizable,
        "0..5   k put a => v1
         6..7   k get => absent
         8..9   k delete => unknown",
    );
    // Its condition did not hold.
    breaks(
        Rule::ConditionsHold,
        "0..5   k put a => v1
         0..5   k delete if=7 => unknown
         6..7   k get => absent",
    );
}

/// What is far from any number that a store would say is judged, not a panic.
#[test]
fn the_largest_numbers_are_judged() {
    let max = u64::MAX;
    let version_max = (1_u64 << 53) - 1;
    keeps_all(&format!(
        "{max}..{max} k put a ttl={max} => v{version_max}
         {max}..{max} k put b ttl={max} if={max} => unknown
         0..{max} k delete => unknown
         {max}..{max} k get stale={max} => absent"
    ));
    for text in [format!("0..5 k put a => v{max}"), format!("0..5 k put a if=1 => refused {max}")] {
        assert!(check(&history(&text)).breaks(Rule::WellFormed), "{text}");
    }
}
