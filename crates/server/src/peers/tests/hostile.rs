//! Whoever connects may say anything.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use ringfort_proto::peer::{self as wire, HelloAnswer, hello_answer::Answer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::*;
use crate::peers::connection::{read_message, write_message};
use crate::peers::*;

/// Says this, and gives all that comes back until the connection ends.
async fn say(node: &Node, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // A reset is an end as well.
    let _ = stream.read_to_end(&mut answer).await;
    answer
}

/// A connection of node 1 that is past its handshake.
async fn greeted(node: &Node) -> TcpStream {
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    let own = own(1);
    let hello = Hello {
        cluster: own.cluster,
        node_id: own.node_id,
        incarnation: own.incarnation,
        boot_id: own.boot_id,
        number: own.number,
        channel: Channel::Requests,
        to: TWO,
        version: own.version,
    };
    write_message(&mut stream, &hello.to_wire().encode_to_vec()).await.unwrap();
    let answer = read_message(&mut stream, 4096).await.unwrap();
    let answer = HelloAnswer::decode(answer).unwrap().answer;
    assert!(matches!(answer, Some(Answer::Accepted(_))), "{answer:?}");
    stream
}

async fn until_ended(mut stream: TcpStream) {
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
}

/// It still talks to those who know how.
async fn is_well(two: &Node) {
    let mut stream = greeted(two).await;
    let before = two.host.frames.borrow().len();
    write_message(&mut stream, &frame(9, 9).encode_to_vec()).await.unwrap();
    two.host.until(|host| host.frames.borrow().len() == before + 1).await;
}

#[test]
fn garbage_instead_of_a_hello_ends_the_connection() {
    run(async {
        // Nothing ends because of the time.
        let patient =
            PeerOptions { handshake_timeout: Duration::from_secs(3600), ..PeerOptions::default() };
        let two = Node::start_with(own(2), None, patient);
        two.meet(&[(1, own_peer())]);
        assert!(say(&two, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.is_empty());
        assert!(say(&two, &[0xff; 100]).await.is_empty());
        // 4,097 bytes are announced, one more than a hello may have.
        assert!(say(&two, &[0, 0, 0x10, 1]).await.is_empty());
        let answer = say(&two, &[0, 0, 0, 3, 0xff, 0xff, 0xff]).await;
        let answer = Bytes::from(answer).slice(4..);
        match HelloAnswer::decode(answer.clone()).unwrap().answer {
            Some(Answer::Refused(refused)) => assert_eq!(refused.code, "malformed"),
            other => panic!("{other:?}"),
        }
        // Who has said more by then still gets the reason.
        let more = [&[0, 0, 0, 3, 0xff, 0xff, 0xff][..], &[0; 20_000]].concat();
        assert_eq!(say(&two, &more).await[4..], answer);
        // No hello at all: every field is missing.
        assert!(!say(&two, &[0, 0, 0, 0]).await.is_empty());
        until(|| two.links.accept_stats().handshakes_failed == 6).await;
        is_well(&two).await;
    });
}

#[test]
fn garbage_instead_of_a_frame_ends_the_connection() {
    run(async {
        let (_one, two) = pair();
        let mut stream = greeted(&two).await;
        write_message(&mut stream, &frame(1, 10).encode_to_vec()).await.unwrap();
        write_message(&mut stream, &[0xff; 10]).await.unwrap();
        until_ended(stream).await;
        assert_eq!(two.host.numbers(Channel::Requests), [1]);
        // Longer than any frame: nobody waits for the rest, or makes room for it.
        let mut stream = greeted(&two).await;
        stream.write_all(&[0x7f, 0xff, 0xff, 0xff, 1, 2, 3]).await.unwrap();
        until_ended(stream).await;
        let mut stream = greeted(&two).await;
        stream.write_all(&((32 << 20) + 1_u32).to_be_bytes()).await.unwrap();
        until_ended(stream).await;
        until(|| two.links.accept_stats().malformed == 3).await;
        until(|| two.links.accept_stats().connections == 0).await;
        is_well(&two).await;
    });
}

#[test]
fn a_frame_that_is_cut_off_is_not_handled() {
    run(async {
        let (_one, two) = pair();
        let mut stream = greeted(&two).await;
        let body = frame(1, 100).encode_to_vec();
        stream.write_all(&u32::try_from(body.len()).unwrap().to_be_bytes()).await.unwrap();
        stream.write_all(&body[..body.len() - 1]).await.unwrap();
        stream.shutdown().await.unwrap();
        until_ended(stream).await;
        assert!(two.host.frames.borrow().is_empty());
    });
}

#[test]
fn whoever_takes_too_long_over_a_handshake_is_cut_off() {
    run(async {
        let quick =
            PeerOptions { handshake_timeout: Duration::from_millis(500), ..PeerOptions::default() };
        let two = Node::start_with(own(2), None, quick);
        two.meet(&[(1, own_peer())]);
        // Nothing, half a length, half a hello.
        let said: [&[u8]; 3] = [&[], &[0, 0], &[0, 0, 0, 100, 8, 1]];
        let (nothing, length, hello) =
            tokio::join!(say(&two, said[0]), say(&two, said[1]), say(&two, said[2]));
        assert!(nothing.is_empty() && length.is_empty() && hello.is_empty());
        until(|| two.links.accept_stats().handshakes_failed == 3).await;
        // Whoever is past it may be silent.
        let stream = greeted(&two).await;
        assert!(
            tokio::time::timeout(Duration::from_millis(600), until_ended(stream)).await.is_err()
        );
    });
}

fn own_peer() -> Peer {
    let own = own(1);
    let address = "127.0.0.1:1".to_owned();
    Peer { recorded: address.clone(), address, node_id: own.node_id, incarnation: own.incarnation }
}

#[test]
fn bytes_in_the_wrong_direction_end_a_link() {
    run(async {
        let one = Node::start(own(1));
        let fake = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let two = own(2);
        let address = fake.local_addr().unwrap().to_string();
        let recorded = address.clone();
        let peer =
            Peer { address, recorded, node_id: two.node_id.clone(), incarnation: two.incarnation };
        one.meet(&[(2, peer)]);
        one.links.send(TWO, Channel::Consensus, frame(1, 10)).unwrap();
        let (mut stream, _) = fake.accept().await.unwrap();
        let hello = read_message(&mut stream, 4096).await.unwrap();
        let hello = wire::Hello::decode(hello).unwrap();
        let answer = wire::Hello {
            node_id: two.node_id.to_string(),
            number: 2,
            incarnation: Bytes::copy_from_slice(&two.incarnation.0.to_be_bytes()),
            ..hello
        };
        let answer = HelloAnswer { answer: Some(Answer::Accepted(answer)) };
        write_message(&mut stream, &answer.encode_to_vec()).await.unwrap();
        one.host.until_event(Event::Up(TWO, Channel::Consensus)).await;
        stream.write_all(&[1]).await.unwrap();
        one.host.until(|host| host.events.borrow().len() == 2).await;
        assert!(matches!(one.host.events.borrow()[1], Event::Down(..)));
    });
}
