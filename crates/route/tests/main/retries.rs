//! When a request is tried again.

use std::time::Duration;

use ringfort_route::{
    Attempts, BudgetConfig, Failure, LAST_TRY_BEFORE_DEADLINE, Next, PAUSE_MAX, PAUSE_MIN, Retrier,
    RetryBudget, Safety,
};
use ringfort_types::{Code, Refusal};

use crate::support::{at, for_seeds};

fn retrier(seed: u64) -> Retrier {
    Retrier::new(at(0), seed, BudgetConfig::default())
}

#[test]
fn pauses_grow_are_spread_and_end_with_the_last_try() {
    let firsts: Vec<_> = (0..20).map(|seed| first_pause(&mut retrier(seed))).collect();
    assert!(firsts.iter().all(|pause| *pause >= PAUSE_MIN / 2 && *pause < PAUSE_MIN));
    assert!(firsts.iter().max() > firsts.iter().min(), "{firsts:?}");

    let mut retrier = retrier(1);
    let mut attempts = Attempts::new(Safety::Once, at(5000));
    let (mut now, mut longest, mut tries) = (at(0), Duration::ZERO, 0);
    while let Next::Retry { after } =
        retrier.handle_failure(now, &mut attempts, &Failure::NotLeader { news: false })
    {
        assert!(after <= PAUSE_MAX);
        longest = longest.max(after);
        now = now + after;
        tries += 1;
    }
    assert!(longest > PAUSE_MAX / 2, "{longest:?}");
    assert!((25..60).contains(&tries), "{tries}");
    assert_eq!(now, at(5000) - LAST_TRY_BEFORE_DEADLINE);
}

fn first_pause(retrier: &mut Retrier) -> Duration {
    let mut attempts = Attempts::new(Safety::Read, at(5000));
    match retrier.handle_failure(at(0), &mut attempts, &Failure::NotSent) {
        Next::Retry { after } => after,
        Next::GiveUp => panic!("a request of which nothing was sent is tried again"),
    }
}

#[test]
fn a_newer_leader_is_asked_at_once_until_the_deadline() {
    let mut retrier = retrier(1);
    let mut attempts = Attempts::new(Safety::Once, at(5000));
    let mut next =
        |now, news| retrier.handle_failure(now, &mut attempts, &Failure::NotLeader { news });
    assert_eq!(next(at(4999), true), Next::Retry { after: Duration::ZERO });
    assert_eq!(next(at(4999), false), Next::GiveUp);
    assert_eq!(next(at(5000), true), Next::GiveUp);
}

#[test]
fn retries_that_cost_a_server_work_are_bounded_by_the_budget() {
    let config = BudgetConfig { percent: 20, burst: 10, floor_per_second: 0 };
    let mut retrier = Retrier::new(at(0), 1, config);
    let refusal = Refusal::not_applied(Code::Overloaded, "");
    let mut again = |failure: &Failure<'_>| {
        retrier.handle_request();
        let mut attempts = Attempts::new(Safety::Read, at(5000));
        retrier.handle_failure(at(0), &mut attempts, failure) != Next::GiveUp
    };
    for failure in [Failure::Lost, Failure::Refused(&refusal)] {
        let retried = (0..1000).filter(|_| again(&failure)).count();
        assert!((190..=210).contains(&retried), "{failure:?}: {retried}");
    }
    for failure in [Failure::NotSent, Failure::NotLeader { news: false }] {
        assert!((0..1000).all(|_| again(&failure)), "{failure:?}");
    }
}

#[test]
fn the_budget_holds_over_any_time() {
    for_seeds(200, |mut random| {
        let config = BudgetConfig {
            percent: u32::try_from(random.below(60)).unwrap(),
            burst: u32::try_from(random.below(50)).unwrap(),
            floor_per_second: u32::try_from(random.below(20)).unwrap(),
        };
        let mut budget = RetryBudget::new(at(0), config);
        let (mut ms, mut requests, mut taken) = (0, 0, 0);
        for _ in 0..2000 {
            match random.below(3) {
                0 => ms += random.below(20),
                1 => {
                    budget.handle_request();
                    requests += 1;
                }
                _ => taken += u64::from(budget.take(at(ms))),
            }
        }
        let most = u64::from(config.burst) * 100
            + requests * u64::from(config.percent)
            + ms * u64::from(config.floor_per_second) / 10;
        assert!(taken * 100 <= most, "{taken} of {most}/100");
        // And it is no stricter than it says: what was earned in the end is there.
        let later = at(ms + 10_000);
        let saved = (0..1000).filter(|_| budget.take(later)).count();
        let earned = (config.floor_per_second * 10).min(config.burst);
        assert!(saved >= earned as usize, "{saved} of {earned}");
    });
}
