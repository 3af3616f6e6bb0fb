//! A node that stops hands its leadership over.

use std::time::Duration;

use ringfort_types::NodeNumber;

use super::{SHARDS, Trio};

/// A trio in which the leader of a shard has one follower that has everything, and one that lacks the newest write. Gives
/// the leader, and those two.
fn uneven(seed: u64) -> (Trio, u16, u16, u16) {
    let mut trio = Trio::new(seed);
    let leader = trio.elect(SHARDS[0]);
    let mut others = (0..3).filter(|node| *node != leader);
    let (ahead, behind) = (others.next().unwrap(), others.next().unwrap());
    trio.cut_off.insert(behind);
    trio.write(SHARDS[0], 10);
    // It can be reached again, and has not got the write yet.
    trio.cut_off.clear();
    (trio, leader, behind, ahead)
}

#[test]
fn the_voter_with_most_of_the_log_leads_next_and_nothing_is_left() {
    for seed in 20..25 {
        let (mut trio, leader, _, ahead) = uneven(seed);
        let now = trio.now;
        let led = SHARDS.iter().filter(|shard| trio.leader(**shard) == Some(leader)).count();
        assert_eq!(trio.node(leader).worker().hand_over(now, |_| true), led);
        let began = trio.now;
        trio.until("the follower that has everything leads", |trio| {
            trio.leader(SHARDS[0]) == Some(ahead)
        });
        assert!(trio.now.since(began) < Duration::from_millis(100), "no election was waited for");
        let now = trio.now;
        assert_eq!(trio.node(leader).worker().hand_over(now, |_| true), 0);
        trio.write(SHARDS[0], 10);
    }
}

#[test]
fn leadership_goes_to_nobody_who_cannot_be_reached() {
    let (mut trio, leader, behind, ahead) = uneven(30);
    let now = trio.now;
    assert_eq!(trio.node(leader).worker().hand_over(now, |_| false), 0);
    trio.run(Duration::from_millis(300));
    assert_eq!(trio.leader(SHARDS[0]), Some(leader));
    let now = trio.now;
    assert!(trio.node(leader).worker().hand_over(now, |node| node == NodeNumber(behind)) > 0);
    trio.until("the only one in reach leads", |trio| trio.leader(SHARDS[0]) == Some(behind));
    assert_ne!(trio.leader(SHARDS[0]), Some(ahead));
}
