//! Large histories: how fast they are decided, and that a store that now and then breaks a promise is found out.
//!
//! `RINGFORT_CHECK_OPERATIONS` says how many operations the first has; 100,000 on a release build is what the crate is
//! measured by.

use std::time::Instant;

use ringfort_check::{Condition, Event, Operation, Options, Outcome, Verdict, check, check_with};

use crate::generate::{Generator, Plan};
use crate::model::BUGS;

const PLAN: Plan = Plan {
    operations: 20_000,
    keys: 100,
    clients: 64,
    delay_us: 5_000,
    unknown_percent: 2,
    ttl_percent: 10,
    ttl_ms_max: 2_000,
    stale_percent: 5,
    batch_percent: 2,
    atomic_percent: 3,
    retry_percent: 3,
    late_us: 1_000_000,
    bug: None,
};

#[test]
fn a_long_history_is_decided_in_time() {
    let operations = std::env::var("RINGFORT_CHECK_OPERATIONS");
    let operations = operations.map_or(PLAN.operations, |text| text.parse().unwrap());
    let one_key = Plan { operations: operations / 5, keys: 1, ..PLAN };
    let doubtful = Plan { operations: operations / 5, keys: 20, unknown_percent: 20, ..PLAN };
    let plans = [
        ("100 keys", Plan { operations, ..PLAN }),
        ("one key", one_key),
        ("a fifth unknown", doubtful),
    ];
    for (name, plan) in plans {
        let history = Generator::new(plan, 1).history();
        let start = Instant::now();
        let report = check(&history);
        let seconds = start.elapsed().as_secs_f64();
        println!("{name}: {} events in {seconds:.2} s: {report}", history.len());
        assert!(report.is_clean(), "{report}");
        // A search that lost its way takes many more.
        assert!(report.steps < 4 * history.len() as u64, "{report}");
    }
}

#[test]
fn a_store_that_breaks_a_promise_now_and_then_is_found_out() {
    for (seed, bug) in (0..).zip(BUGS) {
        let busy = Plan { operations: 6_400, keys: 20, ttl_percent: 30, ttl_ms_max: 5, ..PLAN };
        let plan = Plan { bug: Some((bug, 20)), late_us: 1_000, atomic_percent: 20, ..busy };
        let history = Generator::new(plan, seed).history();
        let start = Instant::now();
        let options = Options { expiry_late_us: 1_000, ..Options::default() };
        let report = check_with(&history, &options);
        let (steps, found) = (report.steps, report.violations.len());
        println!(
            "{bug:?}: {found} violations, {} undecided, {steps} steps, {:?}",
            report.undecided.len(),
            start.elapsed()
        );
        assert_eq!(report.verdict(), Verdict::Violated, "{bug:?}: {report}");
    }
}

/// A search that is given up has passed nothing, and says so.
#[test]
fn what_takes_too_long_is_undecided() {
    let history = Generator::new(PLAN, 2).history();
    let report = check_with(&history, &Options { steps_max: 20, ..Options::default() });
    assert_eq!(report.verdict(), Verdict::Undecided, "{report}");
    assert!(!report.is_clean() && report.undecided.len() > 50, "{report}");
}

/// Writes of unknown outcome that all could explain what was seen, and none does: their number must not count.
#[test]
fn many_unknown_writes_do_not_blow_up_the_search() {
    let event = |at: u64, operation, outcome| Event {
        client: 0,
        key: "k".to_owned(),
        operation,
        invoked_us: 10 * at,
        returned_us: 10 * at + 5,
        outcome,
        batch: None,
        staleness_us: None,
        write: None,
    };
    let put =
        |at: u64, condition, ttl_ms| Operation::Put { value: format!("v{at}"), condition, ttl_ms };
    let mut history = Vec::new();
    for (at, nth) in (0..120).zip(0..) {
        let condition = [Condition::Always, Condition::Exists, Condition::Version(at)][nth % 3];
        let unknown = match at % 2 {
            0 => put(at, condition, (at % 5 == 0).then_some(1)),
            _ => Operation::Delete { condition },
        };
        history.push(event(3 * at, unknown, Outcome::Unknown));
        let version = 10 * (at + 1);
        history.push(event(
            3 * at + 1,
            put(1000 + at, Condition::Always, None),
            Outcome::Written { version },
        ));
        if at % 6 == 5 {
            history.push(event(3 * at + 2, Operation::Get, Outcome::Absent));
        }
    }
    let report = check(&history);
    assert!(report.is_clean(), "{report}");
    // Between these two there is no room for the version of anything.
    history.push(event(
        901,
        put(2001, Condition::Always, None),
        Outcome::Written { version: 1201 },
    ));
    history.push(event(362, Operation::Get, Outcome::Absent));
    history.push(event(
        903,
        put(2002, Condition::Always, None),
        Outcome::Written { version: 1202 },
    ));
    let report = check(&history);
    println!("{report}");
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    assert!(report.steps < 100_000, "{report}");
}
