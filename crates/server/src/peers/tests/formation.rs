//! Questions of formation, between nodes without a cluster.

use super::support::*;
use crate::peers::*;

#[test]
fn a_question_is_answered_without_a_cluster() {
    run(async {
        let one = Node::start(Own { cluster: None, ..own(1) });
        let two = Node::start(Own { cluster: None, ..own(2) });
        let answered = one.links.ask(&two.address.to_string(), b"who are you").await.unwrap();
        assert_eq!(answered.message.as_ref(), b"n1 asked who are you");
        assert_eq!((answered.from.node_id, answered.from.cluster), (two.own.node_id.clone(), None));
        // And where one has a cluster: who that is, is for the answer to say.
        let three = Node::start(own(3));
        let answered = three.links.ask(&two.address.to_string(), b"?").await.unwrap();
        assert_eq!(answered.message.as_ref(), b"n3 asked ?");
    });
}

#[test]
fn a_question_without_an_answer_ends_with_an_error() {
    run(async {
        let mut two = Node::start(Own { cluster: None, ..own(2) });
        let one = Node::start(Own { cluster: None, ..own(1) });
        let address = two.address.to_string();
        let error = one.links.ask(&address, b"silence").await.unwrap_err();
        assert!(matches!(error, DialError::Protocol(_)), "{error}");
        two.stop_listening().await;
        let error = one.links.ask(&address, b"?").await.unwrap_err();
        assert!(matches!(error, DialError::Connect(_)), "{error}");
        let error = one.links.ask("no port", b"?").await.unwrap_err();
        assert!(matches!(error, DialError::Connect(_)), "{error}");
    });
}

#[test]
fn a_node_that_takes_the_connection_and_says_nothing_is_given_up() {
    run(async {
        let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let quick = PeerOptions {
            dial_timeout: std::time::Duration::from_millis(100),
            ..PeerOptions::default()
        };
        let one = Node::start_with(own(1), None, quick);
        let address = mute.local_addr().unwrap().to_string();
        let error = one.links.ask(&address, b"?").await.unwrap_err();
        assert!(matches!(error, DialError::TimedOut(_)), "{error}");
        let two = own(2);
        let recorded = address.clone();
        let peer = Peer { address, recorded, node_id: two.node_id, incarnation: two.incarnation };
        one.meet(&[(2, peer)]);
        one.links.send(TWO, Channel::Consensus, frame(1, 1)).unwrap();
        let down = Event::Down(TWO, Channel::Consensus, Loss::NotSent);
        // Long before the dial of default options would end.
        let told = one.host.until_event(down);
        tokio::time::timeout(std::time::Duration::from_secs(4), told).await.unwrap();
    });
}
