//! What is said of a write is true: servers that execute or not, a network that loses requests or answers.

use ringfort_route::{Attempts, BudgetConfig, Failure, Next, Retrier, Safety};
use ringfort_types::{Code, Outcome, Refusal, Version};

use crate::support::{Random, at, for_seeds};

/// One attempt: what the caller sees, and whether a server executed the write.
enum Attempt {
    Failed(Fault, bool),
    Answered,
}

enum Fault {
    NotSent,
    Lost,
    NotLeader { news: bool },
    Refused(Refusal),
    Malformed,
}

fn attempt(random: &mut Random, executed_before: bool, safety: Safety) -> Attempt {
    let executes = random.below(2) == 0;
    let passing = random.pick(&[Code::Unavailable, Code::Internal, Code::Overloaded]);
    let fault = match random.below(9) {
        0 => return Attempt::Failed(Fault::NotSent, false),
        1 => return Attempt::Failed(Fault::NotLeader { news: random.below(2) == 0 }, false),
        2 => return Attempt::Failed(Fault::Refused(Refusal::not_applied(passing, "")), false),
        // A condition that fails does nothing, then or in a repetition; with an identity, the answer is that of the first
        // attempt, so it cannot come after one that was executed.
        3 if safety == Safety::Once || !executed_before => {
            let refusal = Refusal::precondition(Version(3));
            return Attempt::Failed(Fault::Refused(refusal), false);
        }
        4 => return Attempt::Answered,
        5 => Fault::Refused(Refusal::unknown(passing, "")),
        6 => Fault::Refused(Refusal::new(Code::Unavailable, "")),
        7 => Fault::Malformed,
        _ => Fault::Lost,
    };
    Attempt::Failed(fault, executes)
}

#[test]
fn not_applied_is_said_only_where_no_attempt_was_executed() {
    let (mut unknown, mut not_applied, mut answered) = (0, 0, 0);
    for_seeds(5000, |mut random| {
        let safety = random.pick(&[Safety::Once, Safety::Identified]);
        let mut retrier = Retrier::new(at(0), random.next(), BudgetConfig::default());
        let mut attempts = Attempts::new(safety, at(1 + random.below(3000)));
        let (mut now, mut executions) = (at(0), 0);
        for tries in 0.. {
            assert!(tries < 1000, "it ends");
            let (fault, executed) = match attempt(&mut random, executions > 0, safety) {
                Attempt::Failed(fault, executed) => (fault, executed),
                Attempt::Answered => {
                    answered += 1;
                    assert!(safety != Safety::Once || executions == 0, "a second execution");
                    return;
                }
            };
            assert!(!executed || safety != Safety::Once || executions == 0, "a second execution");
            executions += u32::from(executed);
            let failure = match &fault {
                Fault::NotSent => Failure::NotSent,
                Fault::Lost => Failure::Lost,
                Fault::NotLeader { news } => Failure::NotLeader { news: *news },
                Fault::Refused(refusal) => Failure::Refused(refusal),
                Fault::Malformed => Failure::Malformed,
            };
            match retrier.handle_failure(now, &mut attempts, &failure) {
                Next::Retry { after } => now = now + after + at(random.below(40)).since(at(0)),
                Next::GiveUp => {
                    let refusal = attempts.give_up(&failure);
                    assert_eq!(refusal.outcome, attempts.outcome());
                    match refusal.outcome.unwrap() {
                        Outcome::NotApplied => {
                            not_applied += 1;
                            assert_eq!(executions, 0, "{refusal}");
                        }
                        Outcome::Unknown => unknown += 1,
                    }
                    return;
                }
            }
        }
    });
    println!("{answered} answered, {not_applied} not applied, {unknown} unknown");
}

#[test]
fn the_time_that_passes_says_what_is_known() {
    let outcome = |safety, lost, under_way| {
        let mut attempts = Attempts::new(safety, at(100));
        if lost {
            attempts.handle_failure(&Failure::Lost);
        }
        let refusal = attempts.time_out(under_way);
        assert_eq!(refusal.code, Code::Timeout);
        refusal.outcome
    };
    assert_eq!(outcome(Safety::Once, false, false), Some(Outcome::NotApplied));
    assert_eq!(outcome(Safety::Once, false, true), Some(Outcome::Unknown));
    assert_eq!(outcome(Safety::Identified, true, false), Some(Outcome::Unknown));
    assert_eq!(outcome(Safety::Read, true, true), None);
}

#[test]
fn a_refusal_at_the_end_keeps_its_words_and_takes_the_outcome_of_all() {
    let mut attempts = Attempts::new(Safety::Identified, at(100));
    attempts.handle_failure(&Failure::Lost);
    let full = attempts.settle(Refusal::not_applied(Code::StorageFull, "full"));
    assert_eq!(
        (full.code, &*full.detail, full.outcome),
        (Code::StorageFull, "full", Some(Outcome::Unknown))
    );
    let condition = attempts.settle(Refusal::precondition(Version(3)));
    assert_eq!(condition, Refusal::precondition(Version(3)), "remembered from the first attempt");
    let mut once = Attempts::new(Safety::Once, at(100));
    once.handle_failure(&Failure::Lost);
    let outcome = once.settle(Refusal::precondition(Version(3))).outcome;
    assert_eq!(outcome, Some(Outcome::Unknown), "nothing is remembered without identity");
    let session = attempts.settle(Refusal::not_applied(Code::SessionExpired, ""));
    assert_eq!(session.outcome, Some(Outcome::Unknown), "the first attempt may have been in time");
}
