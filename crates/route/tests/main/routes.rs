//! Where requests go.

use std::collections::BTreeMap;

use ringfort_route::{AVOID_MAX, AVOID_MIN, PAUSE_MAX, Routes, TIMEOUTS_MAX, Target, Want};
use ringfort_types::{Epoch, Monotonic, NodeNumber, ReplicaId, ShardId, Term};

use crate::support::{at, for_seeds, on, shard};

const S: ShardId = ShardId(0);

fn routes(text: &str) -> Routes {
    let mut routes = Routes::new(None, 7);
    assert!(routes.handle_map(Epoch(1), &[shard(text)]));
    routes
}

/// Asks until a replica is named; gives it and when.
fn ask(routes: &mut Routes, mut now: Monotonic) -> (ReplicaId, Monotonic) {
    loop {
        match routes.target(now, S, Want::Leader) {
            Target::Replica(replica) => return (replica, now),
            Target::Wait(until) => {
                assert!(until > now && until <= now + PAUSE_MAX);
                now = until;
            }
        }
    }
}

#[test]
fn the_believed_leader_is_asked_and_older_terms_never_replace_newer_ones() {
    let mut routes = routes("1 2 3");
    assert!(routes.handle_leader(S, on(2), Term(5)));
    assert_eq!(routes.target(at(0), S, Want::Leader), Target::Replica(on(2)));
    assert!(!routes.handle_leader(S, on(3), Term(4)));
    assert!(!routes.handle_leader(S, on(3), Term(5)));
    assert_eq!(routes.leader(S), Some(on(2)));
    // A late answer of one who is not believed to lead changes nothing either.
    assert!(!routes.handle_not_leader(S, on(1), Some((on(3), Term(4)))));
    assert_eq!(routes.leader(S), Some(on(2)));
    assert!(routes.handle_not_leader(S, on(2), Some((on(3), Term(6)))));
    assert_eq!(routes.leader(S), Some(on(3)));
    // Nobody names himself while he says that he does not lead.
    assert!(!routes.handle_not_leader(S, on(3), Some((on(3), Term(7)))));
    assert_eq!(routes.leader(S), None);
}

#[test]
fn two_who_name_each_other_in_old_terms_cause_no_haste() {
    let mut routes = routes("1 2");
    assert!(routes.handle_leader(S, on(1), Term(5)));
    assert!(!routes.handle_not_leader(S, on(1), Some((on(2), Term(5)))));
    assert_eq!(routes.leader(S), Some(on(2)), "good enough to be tried");
    for _ in 0..10 {
        assert!(!routes.handle_not_leader(S, on(2), Some((on(1), Term(5)))));
        assert!(!routes.handle_not_leader(S, on(1), Some((on(2), Term(5)))));
    }
}

#[test]
fn a_leader_that_served_is_known_where_the_believed_one_is_gone() {
    let mut routes = routes("1 2 3");
    assert!(routes.handle_served(S, on(1)));
    // A late answer of an old leader.
    assert!(!routes.handle_served(S, on(2)));
    assert_eq!(routes.leader(S), Some(on(1)));
    routes.handle_unreachable(at(0), NodeNumber(1));
    assert!(routes.handle_served(S, on(2)));
    assert_eq!(routes.target(at(0), S, Want::Leader), Target::Replica(on(2)));
}

#[test]
fn without_a_leader_one_request_per_pause_asks_the_replicas_in_turn() {
    for_seeds(50, |mut random| {
        let count = 1 + random.below(5);
        let text: Vec<_> = (0..count).map(|node| node.to_string()).collect();
        let mut routes = Routes::new(None, random.next());
        routes.handle_map(Epoch(1), &[shard(&text.join(" "))]);
        let (mut now, mut asked) = (at(0), BTreeMap::<_, u64>::new());
        for _ in 0..3 * count {
            let (replica, when) = ask(&mut routes, now);
            *asked.entry(replica).or_default() += 1;
            assert!(matches!(routes.target(when, S, Want::Leader), Target::Wait(_)));
            now = when;
        }
        assert_eq!(asked.len() as u64, count);
        assert!(asked.values().all(|times| *times == 3), "{asked:?}");
    });
}

#[test]
fn stale_reads_need_no_leader_and_wait_for_nobody() {
    let mut routes = routes("1 2 3");
    let mut any = || routes.target(at(0), S, Want::Any);
    assert_eq!([any(), any(), any()], [on(1), on(2), on(3)].map(Target::Replica));
}

#[test]
fn the_own_node_is_asked_only_where_it_leads() {
    let mut routes = Routes::new(Some(NodeNumber(1)), 7);
    routes.handle_map(Epoch(1), &[shard("1 2"), shard("1")]);
    for _ in 0..4 {
        assert_eq!(routes.target(at(0), S, Want::Any), Target::Replica(on(2)));
    }
    assert!(matches!(routes.target(at(0), ShardId(1), Want::Any), Target::Wait(_)));
    assert!(
        matches!(routes.target(at(0), ShardId(2), Want::Any), Target::Wait(_)),
        "no such shard"
    );
    assert!(routes.handle_leader(ShardId(1), on(1), Term(1)));
    assert_eq!(routes.target(at(0), ShardId(1), Want::Leader), Target::Replica(on(1)));
}

#[test]
fn learners_and_damaged_replicas_are_asked_only_where_there_is_nobody_else() {
    let mut any = routes("1! 2 3+");
    for _ in 0..4 {
        assert_eq!(any.target(at(0), S, Want::Any), Target::Replica(on(2)));
    }
    let mut any = routes("1! 3+");
    let mut next = || any.target(at(0), S, Want::Any);
    assert_eq!([next(), next()], [on(1), on(3)].map(Target::Replica));
}

#[test]
fn an_older_map_changes_nothing_and_a_leader_outlives_a_map() {
    let mut routes = routes("1 2");
    routes.handle_leader(S, on(9), Term(3));
    assert!(!routes.handle_map(Epoch(1), &[shard("3 4")]));
    assert!(routes.handle_map(Epoch(2), &[shard("5")]));
    assert_eq!(routes.epoch(), Epoch(2));
    assert_eq!(routes.target(at(0), S, Want::Leader), Target::Replica(on(9)));
    routes.handle_not_leader(S, on(9), None);
    assert_eq!(ask(&mut routes, at(0)).0, on(5));
}

#[test]
fn an_unreachable_node_is_avoided_for_a_growing_time_and_tested_by_one_request() {
    let mut routes = routes("1 2 3");
    routes.handle_leader(S, on(1), Term(1));
    let mut now = at(0);
    let mut wait = AVOID_MIN;
    for round in 0..8 {
        // Many requests fail with one connection.
        for _ in 0..100 {
            routes.handle_unreachable(now, NodeNumber(1));
        }
        let almost = Monotonic((now + wait).0 - 1);
        assert_ne!(ask(&mut routes, almost).0, on(1), "round {round}");
        now = now + wait;
        assert_eq!(routes.target(now, S, Want::Leader), Target::Replica(on(1)), "round {round}");
        assert_ne!(routes.target(now, S, Want::Any), Target::Replica(on(1)), "one is the test");
        wait = (wait * 2).min(AVOID_MAX);
    }
    routes.handle_reachable(NodeNumber(1));
    for _ in 0..3 {
        assert_eq!(routes.target(now, S, Want::Leader), Target::Replica(on(1)));
    }
    routes.handle_unreachable(now, NodeNumber(1));
    let then = now + AVOID_MIN;
    assert_eq!(routes.target(then, S, Want::Leader), Target::Replica(on(1)), "from the beginning");
}

#[test]
fn a_node_that_lets_requests_pass_is_avoided_unless_it_answers_some() {
    let mut routes = routes("1 2");
    routes.handle_leader(S, on(1), Term(1));
    for _ in 0..5 {
        for _ in 1..TIMEOUTS_MAX {
            routes.handle_timeout(at(0), NodeNumber(1));
        }
        assert_eq!(routes.target(at(0), S, Want::Leader), Target::Replica(on(1)));
        routes.handle_reachable(NodeNumber(1));
    }
    for _ in 0..TIMEOUTS_MAX {
        routes.handle_timeout(at(0), NodeNumber(1));
    }
    assert_eq!(routes.target(at(0), S, Want::Leader), Target::Replica(on(2)));
}

#[test]
fn somebody_is_asked_even_if_everybody_is_avoided() {
    let mut routes = routes("1 2 3");
    for node in 1..4 {
        routes.handle_unreachable(at(0), NodeNumber(node));
    }
    let mut any = || routes.target(at(1), S, Want::Any);
    assert_eq!([any(), any(), any()], [on(1), on(2), on(3)].map(Target::Replica));
}
