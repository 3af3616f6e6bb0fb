//! Frames between nodes that know each other.

use std::time::{Duration, Instant};

use ringfort_types::NodeNumber;

use super::support::*;
use crate::peers::*;

#[test]
fn frames_arrive_in_order_on_each_channel() {
    run(async {
        let (one, two) = pair();
        for number in 0..1000 {
            for channel in Channel::OF_FRAMES {
                one.links.send(TWO, channel, frame(number, 100)).unwrap();
            }
        }
        two.host.until(|host| host.frames.borrow().len() == 3000).await;
        for channel in Channel::OF_FRAMES {
            assert_eq!(two.host.numbers(channel), (0..1000).collect::<Vec<_>>());
        }
        assert!(two.host.frames.borrow().iter().all(|(from, ..)| *from == NodeNumber(1)));
        let stats = one.stats(Channel::Consensus);
        assert!(stats.is_up && stats.frames == 1000 && stats.connects == 1, "{stats:?}");
        // What was sent in one go left in one write.
        assert_eq!(stats.writes, 1);
        assert_eq!((stats.queue_frames, stats.queue_bytes), (0, 0));
        let accepted = two.links.accept_stats();
        assert_eq!((accepted.connections, accepted.frames), (3, 3000));
        assert_eq!(accepted.bytes, 3 * stats.bytes);
    });
}

#[test]
fn requests_go_along_with_consensus_while_that_is_up_and_has_little_to_write() {
    run(async {
        let options = PeerOptions { along_bytes_max: 1000, ..PeerOptions::default() };
        let (one, two) = introduced(Node::start_with(own(1), None, options), Node::start(own(2)));
        let send = |channel, number, bytes| {
            one.links.send(TWO, channel, frame(number, bytes)).unwrap();
        };
        // What waits for a link that is dialled may go at any time: requests do not wait there.
        send(Channel::Consensus, 1, 10);
        send(Channel::Requests, 2, 10);
        one.host.until_event(Event::Up(TWO, Channel::Consensus)).await;
        one.host.until_event(Event::Up(TWO, Channel::Requests)).await;
        two.host.until(|host| host.frames.borrow().len() == 2).await;
        until(|| one.stats(Channel::Consensus).queue_frames == 0).await;
        send(Channel::Requests, 3, 10);
        send(Channel::Requests, 4, 2000);
        send(Channel::Consensus, 5, 2000);
        send(Channel::Requests, 6, 10);
        two.host.until(|host| host.frames.borrow().len() == 6).await;
        assert_eq!(two.host.numbers(Channel::Consensus), [1, 3, 5]);
        assert_eq!(two.host.numbers(Channel::Requests), [2, 4, 6]);
    });
}

#[test]
fn both_directions_have_connections_of_their_own() {
    run(async {
        let (one, two) = pair();
        one.links.send(TWO, Channel::Requests, frame(1, 10)).unwrap();
        two.links.send(NodeNumber(1), Channel::Requests, frame(2, 10)).unwrap();
        one.host.until(|host| host.numbers(Channel::Requests) == [2]).await;
        two.host.until(|host| host.numbers(Channel::Requests) == [1]).await;
    });
}

#[test]
fn large_frames_do_not_hold_up_consensus() {
    run(async {
        let (one, two) = pair();
        one.links.send(TWO, Channel::Consensus, frame(0, 10)).unwrap();
        two.host.until(|host| host.numbers(Channel::Consensus) == [0]).await;
        let (large, mut number) = (16 << 20, 0);
        for round in 0..6 {
            one.links.send(TWO, Channel::Snapshots, frame(round, large)).unwrap();
            // Small ones, one after the other, go by while the large one is under way, though one thread does it all.
            let before = number;
            while two.host.numbers(Channel::Snapshots).len() as u64 <= round {
                number += 1;
                one.links.send(TWO, Channel::Consensus, frame(number, 100)).unwrap();
                two.host.until(|host| host.numbers(Channel::Consensus).contains(&number)).await;
            }
            assert!(number - before >= 2, "{} small frames", number - before);
        }
    });
}

#[test]
fn a_restarted_node_is_reached_again() {
    run(async {
        let (one, mut two) = pair();
        one.links.send(TWO, Channel::Requests, frame(1, 10)).unwrap();
        two.host.until(|host| host.numbers(Channel::Requests) == [1]).await;
        two.stop_listening().await;
        one.host.until_event(Event::Down(TWO, Channel::Requests, Loss::InDoubt)).await;
        let unsent = one.links.send(TWO, Channel::Requests, frame(2, 10)).unwrap_err();
        assert_eq!((unsent.why, number_of(&unsent.frame)), (WhyUnsent::Unreachable, 2));
        one.host.events.borrow_mut().clear();
        two.listen();
        // Nobody asks for it.
        one.host.until_event(Event::Up(TWO, Channel::Requests)).await;
        one.links.send(TWO, Channel::Requests, frame(3, 10)).unwrap();
        two.host.until(|host| host.numbers(Channel::Requests) == [1, 3]).await;
        let stats = one.stats(Channel::Requests);
        assert_eq!((stats.connects, stats.unsent), (2, 1));
    });
}

#[test]
fn a_node_that_comes_back_and_dials_is_dialled_at_once() {
    run(async {
        let (one, mut two) = pair();
        two.stop_listening().await;
        one.links.send(TWO, Channel::Consensus, frame(1, 10)).unwrap();
        // Until the waits between dials are long.
        one.host.until_event(Event::Down(TWO, Channel::Consensus, Loss::NotSent)).await;
        until(|| one.stats(Channel::Consensus).dials_failed >= 7).await;
        two.listen();
        let since = Instant::now();
        two.links.send(NodeNumber(1), Channel::Consensus, frame(1, 10)).unwrap();
        one.host.until_event(Event::Up(TWO, Channel::Consensus)).await;
        // The wait was between one and two seconds.
        assert!(since.elapsed() < Duration::from_millis(950), "{:?}", since.elapsed());
    });
}

#[test]
fn frames_for_a_node_that_is_never_reached_were_not_sent() {
    run(async {
        let (one, mut two) = pair();
        two.stop_listening().await;
        one.links.send(TWO, Channel::Requests, frame(1, 10)).unwrap();
        one.host.until_event(Event::Down(TWO, Channel::Requests, Loss::NotSent)).await;
        assert_eq!(one.stats(Channel::Requests).lost, 1);
        // It is told once, not at each attempt.
        two.listen();
        one.host.until_event(Event::Up(TWO, Channel::Requests)).await;
        assert_eq!(one.host.events.borrow().len(), 2);
        one.links.send(TWO, Channel::Requests, frame(2, 10)).unwrap();
        two.host.until(|host| host.numbers(Channel::Requests).contains(&2)).await;
        assert_eq!(two.host.numbers(Channel::Requests), [2]);
    });
}

#[test]
fn a_queue_is_bounded_in_frames_and_bytes() {
    run(async {
        let options =
            PeerOptions { queue_frames_max: 10, queue_bytes_max: 10_000, ..PeerOptions::default() };
        let (one, two) = introduced(Node::start_with(own(1), None, options), Node::start(own(2)));
        for number in 0..10 {
            one.links.send(TWO, Channel::Requests, frame(number, 10)).unwrap();
        }
        let unsent = one.links.send(TWO, Channel::Requests, frame(10, 10)).unwrap_err();
        assert_eq!((unsent.why, number_of(&unsent.frame)), (WhyUnsent::Full, 10));
        for number in 0..3 {
            one.links.send(TWO, Channel::Snapshots, frame(number, 3_000)).unwrap();
        }
        let unsent = one.links.send(TWO, Channel::Snapshots, frame(3, 3_000)).unwrap_err();
        assert_eq!(unsent.why, WhyUnsent::Full);
        // A frame beyond the bound goes alone.
        one.links.send(TWO, Channel::Consensus, frame(0, 100_000)).unwrap();
        let unsent = one.links.send(TWO, Channel::Consensus, frame(1, 0)).unwrap_err();
        assert_eq!(unsent.why, WhyUnsent::Full);
        two.host.until(|host| host.frames.borrow().len() == 14).await;
        assert_eq!(one.stats(Channel::Requests).unsent, 1);
    });
}

#[test]
fn a_frame_that_no_node_would_read_is_not_taken() {
    run(async {
        let (one, _two) = pair();
        let unsent = one.links.send(TWO, Channel::Snapshots, frame(1, 33 << 20)).unwrap_err();
        assert_eq!(unsent.why, WhyUnsent::TooLarge);
        let unsent = one.links.send(NodeNumber(9), Channel::Snapshots, frame(1, 1)).unwrap_err();
        assert_eq!(unsent.why, WhyUnsent::Unknown);
        let unsent = one.links.send(TWO, Channel::Formation, frame(1, 1)).unwrap_err();
        assert_eq!(unsent.why, WhyUnsent::Unknown);
    });
}

#[test]
fn a_host_that_is_behind_slows_the_sender() {
    run(async {
        let slow = PeerOptions { window_bytes: 100_000, ..PeerOptions::default() };
        let (one, two) = introduced(Node::start(own(1)), Node::start_with(own(2), None, slow));
        two.host.is_behind.set(true);
        // More than sockets hold.
        let mut sent = 0;
        while one.links.send(TWO, Channel::Requests, frame(sent, 40_000)).is_ok() {
            sent += 1;
            tokio::task::yield_now().await;
            assert!(sent < 10_000, "the sender is never told");
        }
        two.host.until(|host| host.rooms.borrow().len() == 2).await;
        assert_eq!(two.host.numbers(Channel::Requests), [0, 1]);
        // Whoever catches up gets the rest.
        two.host.is_behind.set(false);
        two.host.rooms.borrow_mut().clear();
        two.host.until(|host| host.frames.borrow().len() as u64 == sent).await;
        assert_eq!(two.host.numbers(Channel::Requests), (0..sent).collect::<Vec<_>>());
    });
}

#[test]
fn a_changed_address_is_dialled_and_a_removed_node_is_not() {
    run(async {
        let (one, two) = pair();
        one.links.send(TWO, Channel::Consensus, frame(1, 10)).unwrap();
        two.host.until(|host| host.numbers(Channel::Consensus) == [1]).await;
        let moved = Node::start(own(2));
        moved.meet(&[(1, one.as_peer())]);
        one.meet(&[(2, moved.as_peer())]);
        assert_eq!(
            one.host.events.borrow()[..],
            [
                Event::Up(TWO, Channel::Consensus),
                Event::Down(TWO, Channel::Consensus, Loss::InDoubt)
            ]
        );
        one.links.send(TWO, Channel::Consensus, frame(2, 10)).unwrap();
        moved.host.until(|host| host.numbers(Channel::Consensus) == [2]).await;
        one.meet(&[]);
        let unsent = one.links.send(TWO, Channel::Consensus, frame(3, 10)).unwrap_err();
        assert_eq!(unsent.why, WhyUnsent::Unknown);
        assert!(one.links.link_stats().is_empty());
    });
}
