//! Two starts of one node at the same time.

use std::time::Duration;

use ringfort_types::BootId;

use super::support::*;
use crate::peers::*;

const DAY: Duration = Duration::from_secs(86_400);

/// Node 2, which lets another start of a node in after this silence; and how long node 1 and its copy try.
fn options(silence_max: Duration, duplicate_max: Duration) -> PeerOptions {
    PeerOptions { silence_max, duplicate_max, ..PeerOptions::default() }
}

/// Node 1, a second start of it, and node 2, which knows node 1 by its address.
fn with_a_copy(silence_max: Duration, duplicate_max: Duration) -> (Node, Node, Node) {
    let one = Node::start_with(own(1), None, options(DAY, duplicate_max));
    let two = Node::start_with(own(2), None, options(silence_max, DAY));
    let copy = start_of_copy(duplicate_max);
    copy.meet(&[(2, two.as_peer())]);
    let (one, two) = introduced(one, two);
    (one, copy, two)
}

fn start_of_copy(duplicate_max: Duration) -> Node {
    let own = Own { boot_id: BootId(5), ..own(1) };
    Node::start_with(own, None, options(DAY, duplicate_max))
}

fn speaks(node: &Node, number: u64) {
    node.links.send(TWO, Channel::Consensus, frame(number, 10)).unwrap();
}

/// Returns once node 2 has heard these from node 1, whichever start of it said them.
async fn hears(two: &Node, numbers: &[u64]) {
    two.host.until(|host| host.numbers(Channel::Consensus) == numbers).await;
}

/// Where node 2 hears that node 1 is, and where the catalog has it.
fn heard(there: &Node, recorded: &Node) -> Peer {
    Peer { address: there.as_peer().address, ..recorded.as_peer() }
}

const LOST: Event = Event::Down(TWO, Channel::Consensus, Loss::InDoubt);
const UP: Event = Event::Up(TWO, Channel::Consensus);
const ONE: ringfort_types::NodeNumber = ringfort_types::NodeNumber(1);
const THREE: ringfort_types::NodeNumber = ringfort_types::NodeNumber(3);

#[test]
fn a_copy_beside_the_node_is_refused_and_the_node_goes_on() {
    run(async {
        let (one, copy, two) = with_a_copy(DAY, Duration::ZERO);
        speaks(&one, 1);
        hears(&two, &[1]).await;
        speaks(&copy, 2);
        copy.host.until_event(Event::Duplicate).await;
        speaks(&one, 3);
        hears(&two, &[1, 3]).await;
        assert!(!copy.host.events.borrow().contains(&UP));
        assert!(!one.host.events.borrow().contains(&Event::Duplicate));
    });
}

#[test]
fn the_next_start_is_let_in_once_the_connections_of_the_last_are_gone() {
    run(async {
        let (one, next, two) = with_a_copy(DAY, DAY);
        speaks(&one, 1);
        hears(&two, &[1]).await;
        speaks(&next, 2);
        until(|| next.stats(Channel::Consensus).refusals >= 1).await;
        drop(one);
        next.host.until_event(UP).await;
        speaks(&next, 3);
        hears(&two, &[1, 3]).await;
        assert!(!next.host.events.borrow().contains(&Event::Duplicate));
    });
}

#[test]
fn a_start_that_is_silent_gives_way_once_it_does_not_answer() {
    run(async {
        let (mut one, next, two) = with_a_copy(Duration::ZERO, DAY);
        speaks(&one, 1);
        hears(&two, &[1]).await;
        speaks(&next, 2);
        // It may be node 2 that stood still.
        until(|| next.stats(Channel::Consensus).refusals >= 1).await;
        assert!(!one.host.events.borrow().contains(&LOST));
        // Its connections stay, as those of a machine that lost its power.
        one.stop_listening().await;
        next.host.until_event(UP).await;
        one.host.until_event(LOST).await;
    });
}

/// Where a node says that it is, it is dialled; but a copy says so as well.
#[test]
fn a_copy_at_an_address_that_was_only_heard_does_not_take_the_nodes_seat() {
    run(async {
        let (one, copy, two) = with_a_copy(DAY, DAY);
        speaks(&one, 1);
        hears(&two, &[1]).await;
        two.meet(&[(1, heard(&copy, &one))]);
        two.links.send(ONE, Channel::Requests, frame(1, 10)).unwrap();
        until(|| two.stats(Channel::Requests).dials_failed >= 2).await;
        assert_eq!(two.stats(Channel::Requests).connects, 0);
        speaks(&one, 2);
        hears(&two, &[1, 2]).await;
        assert!(!one.host.events.borrow().contains(&LOST));
        // Nor is it the node where nobody answers at the recorded address while the node speaks.
        let mut one = one;
        one.stop_listening().await;
        let before = two.stats(Channel::Requests).dials_failed;
        until(|| two.stats(Channel::Requests).dials_failed >= before + 2).await;
        speaks(&one, 3);
        hears(&two, &[1, 2, 3]).await;
    });
}

#[test]
fn a_node_that_moved_is_let_in_and_dialled_where_it_is_before_the_catalog_knows() {
    run(async {
        let (one, moved, two) = with_a_copy(DAY, DAY);
        speaks(&one, 1);
        hears(&two, &[1]).await;
        let there = heard(&moved, &one);
        drop(one);
        two.meet(&[(1, there)]);
        two.links.send(ONE, Channel::Consensus, frame(1, 10)).unwrap();
        two.host.until_event(Event::Up(ONE, Channel::Consensus)).await;
        speaks(&moved, 2);
        hears(&two, &[1, 2]).await;
    });
}

/// It was let in while the node was not there, and says where it is.
#[test]
fn a_copy_that_was_let_in_gives_way_when_the_node_comes_back() {
    run(async {
        let (mut one, copy, two) = with_a_copy(DAY, DAY);
        one.stop_listening().await;
        speaks(&copy, 1);
        copy.host.until_event(UP).await;
        two.meet(&[(1, heard(&copy, &one))]);
        two.links.send(ONE, Channel::Requests, frame(1, 10)).unwrap();
        two.host.until_event(Event::Up(ONE, Channel::Requests)).await;
        one.listen();
        speaks(&one, 2);
        one.host.until_event(UP).await;
        copy.host.until_event(LOST).await;
        // Its seat is gone for what node 2 sends as well.
        until(|| !two.stats(Channel::Requests).is_up).await;
        two.meet(&[(1, one.as_peer())]);
        two.links.send(ONE, Channel::Requests, frame(2, 10)).unwrap();
        one.host.until(|host| host.numbers(Channel::Requests) == [2]).await;
    });
}

#[test]
fn a_copy_that_came_first_gives_way_to_the_node_at_the_known_address() {
    run(async {
        let (one, copy, two) = with_a_copy(DAY, Duration::ZERO);
        speaks(&copy, 1);
        copy.host.until_event(UP).await;
        two.links.send(ONE, Channel::Consensus, frame(1, 10)).unwrap();
        two.host.until_event(Event::Up(ONE, Channel::Consensus)).await;
        copy.host.until_event(Event::Duplicate).await;
        speaks(&one, 2);
        two.host.until(|host| host.numbers(Channel::Consensus).last() == Some(&2)).await;
    });
}

/// Both are let in, at different nodes, and nobody answers where node 3 has node 1 in its record.
#[test]
fn a_start_that_is_refused_by_one_node_speaks_to_none_until_it_is_not() {
    run(async {
        let (one, copy, two) = with_a_copy(DAY, Duration::from_secs(10));
        let three = Node::start_with(own(3), None, options(DAY, DAY));
        let mut gone = Node::start(own(1));
        gone.stop_listening().await;
        three.meet(&[(1, gone.as_peer())]);
        for node in [&one, &copy] {
            node.meet(&[(2, two.as_peer()), (3, three.as_peer())]);
        }
        let refusals = |of| {
            let stats = copy.links.link_stats().into_iter();
            let of_node = stats.filter(|(node, _, _)| *node == of);
            of_node.map(|(_, _, stats)| stats.refusals).sum::<u64>()
        };
        speaks(&one, 1);
        one.host.until_event(UP).await;
        let say =
            |node: &Node, number| node.links.send(THREE, Channel::Consensus, frame(number, 10));
        say(&copy, 1).unwrap();
        three.host.until(|host| host.numbers(Channel::Consensus) == [1]).await;
        // It dials the one that refuses it.
        drop(copy.links.send(TWO, Channel::Consensus, frame(2, 10)));
        let lost = Event::Down(THREE, Channel::Consensus, Loss::InDoubt);
        copy.host.until_event(lost).await;
        assert_eq!(say(&copy, 2).unwrap_err().why, WhyUnsent::Doubted);
        until(|| refusals(TWO) >= 4).await;
        let is_up = |event: &&Event| **event == Event::Up(THREE, Channel::Consensus);
        assert_eq!(copy.host.events.borrow().iter().filter(is_up).count(), 1);
        // So the other one is let in everywhere, and it ends.
        until(|| say(&one, 3).is_ok()).await;
        three.host.until(|host| host.numbers(Channel::Consensus).contains(&3)).await;
        until(|| refusals(THREE) > 0).await;
        assert!(!copy.host.events.borrow().contains(&Event::Duplicate));
        assert_eq!(say(&copy, 4).unwrap_err().why, WhyUnsent::Doubted);
        // Unless that one ends.
        drop(one);
        until(|| say(&copy, 5).is_ok()).await;
        three.host.until(|host| host.numbers(Channel::Consensus).contains(&5)).await;
    });
}
