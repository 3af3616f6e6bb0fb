//! Nodes that do not belong together.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use ringfort_proto::peer as wire;
use ringfort_types::{ClusterId, Incarnation, NodeId, NodeNumber};

use super::support::*;
use crate::peers::dial::Dial;
use crate::peers::*;

/// Dials node 2 as this node, and gives what that says to it.
async fn dialled(two: &Node, as_own: Own, to: u16) -> DialError {
    let hello = Hello {
        cluster: as_own.cluster,
        node_id: as_own.node_id,
        incarnation: as_own.incarnation,
        boot_id: as_own.boot_id,
        number: as_own.number,
        channel: Channel::Consensus,
        to: NodeNumber(to),
        version: as_own.version,
    };
    let dial = Dial {
        address: &two.address.to_string(),
        tls: None,
        hello: &hello,
        timeout: std::time::Duration::from_secs(10),
    };
    dial.run().await.map(|_| ()).expect_err("it is refused")
}

#[test]
fn strangers_are_refused_with_the_reason() {
    run(async {
        let (_one, two) = pair();
        let id = |id| NodeId::parse(id).unwrap();
        let cases = [
            (Own { cluster: Some(ClusterId(78)), ..own(1) }, 2, "wrong_cluster", "n2 belongs to"),
            (Own { cluster: None, ..own(1) }, 2, "wrong_cluster", "n1 to none"),
            (own(1), 3, "wrong_node", "node 3 was meant, but n2 (node 2)"),
            (own(4), 2, "unknown_node", "no other node 4"),
            (Own { node_id: id("n7"), ..own(1) }, 2, "unknown_node", "node 1 is n1, not n7"),
            (Own { incarnation: Incarnation(5), ..own(1) }, 2, "other_incarnation", "wiped"),
            (Own { incarnation: Incarnation(5), ..own(2) }, 2, "unknown_node", "same id"),
        ];
        for (stranger, to, code, reason) in cases {
            match dialled(&two, stranger, to).await {
                DialError::Refused(refused) => {
                    assert_eq!(refused.code, code);
                    assert!(refused.reason.contains(reason), "{}", refused.reason);
                }
                other => panic!("{code}: {other}"),
            }
        }
        until(|| two.links.accept_stats().handshakes_failed == 7).await;
        until(|| two.links.accept_stats().connections == 0).await;
    });
}

#[test]
fn a_node_that_is_not_the_one_dialled_gets_no_frame() {
    run(async {
        // Each takes whoever comes; the dialler looks at the answer.
        let cases = [
            Own { incarnation: Incarnation(5), ..own(2) },
            Own { cluster: Some(ClusterId(78)), ..own(2) },
            Own { node_id: NodeId::parse("n7").unwrap(), ..own(2) },
        ];
        for impostor in cases {
            let one = Node::start(own(1));
            let two = Node::start(own(2));
            two.meet(&[(1, one.as_peer())]);
            let others = Node::start(impostor);
            // The impostor admits as node 2 does, but answers as itself.
            *others.host.directory.borrow_mut() = two.host.directory.borrow().clone();
            one.meet(&[(2, Peer { address: others.address.to_string(), ..two.as_peer() })]);
            one.links.send(TWO, Channel::Consensus, frame(1, 10)).unwrap();
            one.host.until_event(Event::Down(TWO, Channel::Consensus, Loss::NotSent)).await;
            assert!(others.host.frames.borrow().is_empty());
            assert_eq!(one.stats(Channel::Consensus).connects, 0);
        }
    });
}

#[test]
fn a_refused_node_is_told_that_it_is_down_and_goes_on_trying() {
    run(async {
        let (one, two) = pair();
        two.meet(&[]);
        one.links.send(TWO, Channel::Requests, frame(1, 10)).unwrap();
        one.host.until_event(Event::Down(TWO, Channel::Requests, Loss::NotSent)).await;
        assert!(one.stats(Channel::Requests).refusals >= 1);
        two.meet(&[(1, one.as_peer())]);
        one.host.until_event(Event::Up(TWO, Channel::Requests)).await;
    });
}

#[test]
fn a_node_that_is_removed_loses_its_connections() {
    run(async {
        let (one, two) = pair();
        one.links.send(TWO, Channel::Requests, frame(1, 10)).unwrap();
        two.host.until(|host| host.numbers(Channel::Requests) == [1]).await;
        two.meet(&[]);
        one.host.until_event(Event::Down(TWO, Channel::Requests, Loss::InDoubt)).await;
    });
}

#[test]
fn a_node_that_is_removed_while_it_is_greeted_loses_its_connection() {
    run(async {
        let (one, two) = pair();
        let links = Rc::clone(&two.links);
        let without = Arc::new(Directory { own: own(2), peers: BTreeMap::new() });
        *two.host.after_admission.borrow_mut() = Some((links, without));
        one.links.send(TWO, Channel::Requests, frame(1, 10)).unwrap();
        one.host.until(|host| host.events.borrow().len() == 2).await;
        assert!(matches!(one.host.events.borrow()[1], Event::Down(TWO, Channel::Requests, _)));
    });
}

#[test]
fn a_node_that_takes_on_another_number_closes_its_links() {
    run(async {
        let (mut one, two) = pair();
        one.links.send(TWO, Channel::Requests, frame(1, 10)).unwrap();
        one.host.until_event(Event::Up(TWO, Channel::Requests)).await;
        one.own = Own { cluster: Some(ClusterId(78)), ..own(1) };
        one.meet(&[(2, two.as_peer())]);
        assert!(matches!(one.host.events.borrow()[1], Event::Down(TWO, Channel::Requests, _)));
        assert!(one.links.link_stats().is_empty());
    });
}

#[test]
fn a_newer_protocol_is_refused_by_its_number() {
    let mut hello = wire::Hello { protocol: 2, ..Default::default() };
    assert_eq!(Hello::from_wire(&hello).unwrap_err().code, "newer_protocol");
    hello.protocol = 1;
    assert_eq!(Hello::from_wire(&hello).unwrap_err().code, "malformed");
}
