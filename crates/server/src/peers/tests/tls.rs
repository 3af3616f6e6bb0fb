//! Nodes with certificates.

use std::path::Path;

use rcgen::{KeyPair, date_time_ymd};
use ringfort_testkit::certificates::{Authority, CertificateFiles, CertificateParams, SanType};
use ringfort_types::{NodeId, NodeNumber};

use super::support::*;
use crate::peers::*;

/// A certificate with these names.
fn sign(
    authority: &Authority,
    names: Vec<SanType>,
    change: impl FnOnce(&mut CertificateParams),
) -> PeerTlsFiles {
    let CertificateFiles { ca, cert, key } = authority.sign(names, change).unwrap();
    PeerTlsFiles { ca, cert, key }
}

fn tls_of(authority: &Authority, name: &str) -> PeerTls {
    PeerTls::load(sign(authority, vec![dns(name)], |_| {}), id(name)).unwrap()
}

fn id(text: &str) -> NodeId {
    NodeId::parse(text).unwrap()
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

fn uri(name: &str) -> SanType {
    SanType::URI(format!("ringfort://node/{name}").try_into().unwrap())
}

fn secure(number: u16, tls: PeerTls) -> Node {
    Node::start_with(own(number), Some(tls), PeerOptions::default())
}

#[test]
fn nodes_of_one_authority_talk() {
    run(async {
        let authority = Authority::new().unwrap();
        let (one, two) =
            introduced(secure(1, tls_of(&authority, "n1")), secure(2, tls_of(&authority, "n2")));
        for number in 0..100 {
            one.links.send(TWO, Channel::Consensus, frame(number, 100)).unwrap();
        }
        one.links.send(TWO, Channel::Snapshots, frame(1, 16 << 20)).unwrap();
        two.host.until(|host| host.frames.borrow().len() == 101).await;
        assert_eq!(two.host.numbers(Channel::Consensus), (0..100).collect::<Vec<_>>());
        let answered = one.links.ask(&two.address.to_string(), b"?").await.unwrap();
        assert_eq!(answered.message.as_ref(), b"n1 asked ?");
    });
}

#[test]
fn a_certificate_of_another_authority_is_refused_on_both_sides() {
    run(async {
        let (ours, theirs) = (Authority::new().unwrap(), Authority::new().unwrap());
        let one = secure(1, tls_of(&ours, "n1"));
        let two = secure(2, tls_of(&theirs, "n2"));
        let error = one.links.ask(&two.address.to_string(), b"?").await.unwrap_err();
        assert!(error.to_string().contains("certificate is not accepted"), "{error}");
        // Whoever trusts both still is not trusted by the other side, and gets to know.
        let files = sign(&ours, vec![dns("n3")], |_| {});
        std::fs::write(&files.ca, ours.pem() + &theirs.pem()).unwrap();
        let three = secure(3, PeerTls::load(files, id("n3")).unwrap());
        let error = three.links.ask(&two.address.to_string(), b"?").await.unwrap_err();
        assert!(error.to_string().contains("does not accept this node's certificate"), "{error}");
        until(|| two.links.accept_stats().handshakes_failed == 2).await;
    });
}

#[test]
fn a_certificate_counts_for_the_node_that_it_names() {
    let authority = Authority::new().unwrap();
    let names = |names: Vec<SanType>, node: &str| {
        PeerTls::load(sign(&authority, names, |_| {}), id(node)).is_ok()
    };
    assert!(names(vec![dns("other"), dns("n1")], "n1"));
    assert!(names(vec![dns("n1.example.org")], "n1.example.org"));
    assert!(names(vec![uri("db_1")], "db_1"));
    assert!(!names(vec![dns("n2")], "n1"));
    assert!(!names(vec![dns("*.example.org")], "n1.example.org"));
    assert!(!names(vec![uri("n11")], "n1"));
    assert!(!names(vec![SanType::URI("https://node/n1".try_into().unwrap())], "n1"));
    assert!(!names(vec![SanType::IpAddress([127, 0, 0, 1].into())], "127.0.0.1"));
    assert!(!names(vec![], "n1"));
}

#[test]
fn a_node_with_the_certificate_of_another_is_refused_on_both_sides() {
    run(async {
        let authority = Authority::new().unwrap();
        let two = secure(2, tls_of(&authority, "n2"));
        // It says that it is n1.
        let one = secure(1, tls_of(&authority, "n3"));
        let (one, two) = introduced(one, two);
        let error = one.links.ask(&two.address.to_string(), b"?").await.unwrap_err();
        assert!(
            matches!(&error, DialError::Refused(why) if why.code == "wrong_certificate"),
            "{error}"
        );
        one.links.send(TWO, Channel::Consensus, frame(1, 10)).unwrap();
        one.host.until_event(Event::Down(TWO, Channel::Consensus, Loss::NotSent)).await;
        assert!(one.stats(Channel::Consensus).refusals > 0);
        // Whoever dials it finds the same.
        let error = two.links.ask(&one.address.to_string(), b"?").await.unwrap_err();
        assert!(
            matches!(&error, DialError::Unexpected(why) if why.code == "wrong_certificate"),
            "{error}"
        );
        two.links.send(NodeNumber(1), Channel::Consensus, frame(1, 10)).unwrap();
        let down = Event::Down(NodeNumber(1), Channel::Consensus, Loss::NotSent);
        two.host.until_event(down).await;
        assert!(one.host.frames.borrow().is_empty() && two.host.frames.borrow().is_empty());
    });
}

#[test]
fn an_expired_certificate_is_refused_on_both_sides() {
    run(async {
        let authority = Authority::new().unwrap();
        let expired = sign(&authority, vec![dns("n1")], |params| {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        });
        let one = secure(1, PeerTls::load(expired, id("n1")).unwrap());
        let two = secure(2, tls_of(&authority, "n2"));
        let error = one.links.ask(&two.address.to_string(), b"?").await.unwrap_err();
        assert!(error.to_string().contains("CertificateExpired"), "{error}");
        let error = two.links.ask(&one.address.to_string(), b"?").await.unwrap_err();
        assert!(error.to_string().contains("expired"), "{error}");
    });
}

#[test]
fn plain_and_tls_end_with_an_explanation() {
    run(async {
        let authority = Authority::new().unwrap();
        let plain = Node::start(own(1));
        let two = secure(2, tls_of(&authority, "n2"));
        let error = plain.links.ask(&two.address.to_string(), b"?").await.unwrap_err();
        assert!(matches!(&error, DialError::Refused(why) if why.code == "tls_required"), "{error}");
        let error = two.links.ask(&plain.address.to_string(), b"?").await.unwrap_err();
        assert!(error.to_string().contains("does not speak TLS"), "{error}");
        until(|| plain.links.accept_stats().handshakes_failed == 1).await;
        until(|| two.links.accept_stats().handshakes_failed == 1).await;
    });
}

#[test]
fn certificates_are_read_again() {
    run(async {
        let (old, new) = (Authority::new().unwrap(), Authority::new().unwrap());
        let files = sign(&old, vec![dns("n1")], |_| {});
        let tls = std::sync::Arc::new(PeerTls::load(files.clone(), id("n1")).unwrap());
        let one = Node::start_shared(own(1), std::sync::Arc::clone(&tls));
        let two = secure(2, tls_of(&new, "n2"));
        let address = two.address.to_string();
        assert!(one.links.ask(&address, b"?").await.is_err());
        // What cannot be used leaves things as they are.
        std::fs::write(&files.key, "nonsense").unwrap();
        assert!(matches!(tls.reload(), Err(TlsError::File { path, .. }) if path == files.key));
        let renewed = sign(&new, vec![dns("n1")], |_| {});
        for (from, to) in
            [(&renewed.ca, &files.ca), (&renewed.cert, &files.cert), (&renewed.key, &files.key)]
        {
            std::fs::copy(from, to).unwrap();
        }
        assert!(one.links.ask(&address, b"?").await.is_err());
        tls.reload().unwrap();
        one.links.ask(&address, b"?").await.unwrap();
    });
}

#[test]
fn files_that_do_not_fit_are_named() {
    let authority = Authority::new().unwrap();
    let files = sign(&authority, vec![dns("n1")], |_| {});
    let load = |files: PeerTlsFiles| PeerTls::load(files, id("n1")).unwrap_err().to_string();
    let missing = Path::new("/no/such/file").to_owned();
    let error = load(PeerTlsFiles { ca: missing.clone(), ..files.clone() });
    assert!(error.starts_with("/no/such/file cannot be used"), "{error}");
    let error = load(PeerTlsFiles { key: files.cert.clone(), ..files.clone() });
    assert!(error.starts_with(&format!("{} cannot be used", files.cert.display())), "{error}");
    let error = load(PeerTlsFiles { ca: files.key.clone(), ..files.clone() });
    assert!(error.contains("it holds no certificate"), "{error}");
    // The key of another certificate.
    let key = files.key.with_file_name("other.pem");
    std::fs::write(&key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let error = load(PeerTlsFiles { key, ..files });
    assert!(error.contains("KeyMismatch"), "{error}");
}
