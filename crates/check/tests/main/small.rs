//! The checker against [`Brute`] on small random histories, honest ones and ones that were tampered with.
//!
//! `RINGFORT_SEEDS` says how many histories; `RINGFORT_SEED` is the first one's seed.

use std::collections::BTreeMap;

use ringfort_check::{
    Condition, Event, Operation, Options, Outcome, Rule, Verdict, check_with, write_history,
};

use crate::brute::Brute;
use crate::generate::{Generator, Plan, Random};
use crate::model::{BUGS, Bug};

const LATE_US: u64 = 600;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

fn plan(random: &mut Random) -> Plan {
    let some = |random: &mut Random, percent| if random.percent(40) { percent } else { 0 };
    let (clients, each) = random.pick(&[(1, 7), (2, 4), (3, 3), (4, 2)]);
    Plan {
        operations: clients * each,
        keys: 1 + random.below(2),
        clients,
        delay_us: random.pick(&[600, 2000]),
        unknown_percent: random.pick(&[0, 20, 50]),
        ttl_percent: random.pick(&[0, 50, 100]),
        ttl_ms_max: 2,
        stale_percent: some(random, 25),
        batch_percent: some(random, 15),
        atomic_percent: some(random, 50),
        retry_percent: some(random, 20),
        late_us: LATE_US,
        bug: None,
    }
}

fn shown(history: &[Event]) -> String {
    let mut lines = Vec::new();
    write_history(&mut lines, history).unwrap();
    String::from_utf8(lines).unwrap()
}

fn options() -> Options {
    Options { expiry_late_us: LATE_US, ..Options::default() }
}

#[test]
fn honest_histories_pass() {
    let (first, seeds) = (number("RINGFORT_SEED", 0), number("RINGFORT_SEEDS", 8000));
    for seed in first..first + seeds {
        let plan = plan(&mut Random(seed));
        let history = Generator::new(plan, seed).history();
        let report = check_with(&history, &options());
        assert!(report.is_clean(), "RINGFORT_SEED={seed}: {report}\n{}", shown(&history));
    }
}

/// The same verdict as every order tried one by one: half of the histories are of a store with a bug, the others of a good
/// one and tampered with. The violations are of all kinds.
#[test]
fn bad_histories_get_the_verdict_of_all_orders() {
    let (first, seeds) = (number("RINGFORT_SEED", 0), number("RINGFORT_SEEDS", 8000));
    let (mut linearizable, mut not, mut malformed) = (0, 0, 0);
    let mut rules = BTreeMap::new();
    for seed in first..first + seeds {
        let mut random = Random(seed);
        let mut plan = plan(&mut random);
        if seed % 4 == 0 {
            // Two keys that only batches join, and batches that nobody knows to have happened.
            let bug = Some((Bug::TearAtomicBatches, 90));
            plan = Plan { keys: 2, clients: 2, operations: 6, unknown_percent: 50, bug, ..plan };
            plan = Plan { atomic_percent: 40, stale_percent: 0, batch_percent: 0, ..plan };
        } else if seed % 4 == 2 {
            plan.bug = Some((random.pick(&BUGS), 50));
        }
        let mut history = Generator::new(plan, seed).history();
        if seed % 2 == 1 {
            for _ in 0..1 + random.below(4) {
                tamper(&mut history, &mut random);
            }
        }
        if history.len() > 9 {
            continue; // too many orders
        }
        let report = check_with(&history, &options());
        if report.breaks(Rule::WellFormed) {
            malformed += 1;
            continue;
        }
        let expected = match Brute::new(&history, LATE_US).explains() {
            true => Verdict::Passed,
            false => Verdict::Violated,
        };
        let lines = shown(&history);
        assert_eq!(report.verdict(), expected, "RINGFORT_SEED={seed}: {report}\n{lines}");
        match expected {
            Verdict::Passed => linearizable += 1,
            _ => not += 1,
        }
        for violation in &report.violations {
            *rules.entry(violation.rule).or_insert(0) += 1;
        }
    }
    println!("{linearizable} linearizable, {not} not, {malformed} malformed; {rules:?}");
    assert!(seeds < 8000 || linearizable > seeds / 5 && not > seeds / 15 && rules.len() == 8);
}

fn tamper(history: &mut Vec<Event>, random: &mut Random) {
    let other = history[random.index(history.len())].clone();
    let at = random.index(history.len());
    let event = &mut history[at];
    match random.below(12) {
        0..4 => tamper_with_answer(event, &other, random),
        4 => event.outcome = other.outcome,
        5 => event.outcome = Outcome::Unknown,
        6 if event.batch.is_none() => event.outcome = Outcome::NotApplied,
        7 if event.batch.is_none() => event.invoked_us = random.below(event.returned_us + 1),
        8 => event.returned_us = event.invoked_us + random.below(2000),
        9 if event.staleness_us.is_some() => event.staleness_us = Some(random.below(2000)),
        10 => match &mut event.operation {
            Operation::Put { ttl_ms, condition, .. } => {
                if random.percent(50) {
                    *ttl_ms = random.pick(&[None, Some(1), Some(3)]);
                } else {
                    *condition = Condition::Version(random.below(6));
                }
            }
            Operation::Delete { condition } => *condition = Condition::Exists,
            Operation::Get => event.staleness_us = None,
        },
        11 if event.write.is_none() && event.batch.is_none() => {
            history.remove(at);
            if history.is_empty() {
                history.push(other);
            }
        }
        _ => {}
    }
}

fn tamper_with_answer(event: &mut Event, other: &Event, random: &mut Random) {
    let shifted = |version: u64, random: &mut Random| (version + random.below(5)).saturating_sub(2);
    match &mut event.outcome {
        Outcome::Written { version } => *version = shifted(*version, random).max(1),
        Outcome::Refused { current_version } => {
            *current_version = shifted(*current_version, random);
        }
        Outcome::Found { value, version } => match other.outcome.clone() {
            Outcome::Found { value: others, version: at } if other.key == event.key => {
                (*value, *version) = (others, at);
            }
            _ if random.percent(50) => event.outcome = Outcome::Absent,
            _ => *version = shifted(*version, random).max(1),
        },
        Outcome::Absent => {
            if let Some(value) = other.put_value()
                && event.operation == Operation::Get
            {
                let version = other.named_version().unwrap_or(1 + random.below(4));
                event.outcome = Outcome::Found { value: value.to_owned(), version };
            }
        }
        Outcome::NotApplied | Outcome::Unknown => {}
    }
}
