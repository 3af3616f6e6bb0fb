//! Nodes that prove with certificates who they are: they form a cluster and live through the loss of one, and whoever proves
//! nothing, or something else, is told so and gets nothing.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use prost::Message;
use ringfort_proto::peer::{Channel, Hello, HelloAnswer, Refused, hello_answer};
use ringfort_proto::{PROTOCOL, id_to_wire};
use ringfort_testkit::certificates::{Authority, CertificateFiles};
use ringfort_testkit::{Cluster, ServerOptions, node_id, wait_until};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::misuse::{await_said, is_ready};

const PATIENCE: Duration = Duration::from_secs(60);
/// Longest wait for an answer, or for the end of a connection.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest message that is read: a refusal has a sentence.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Of eight shards, 24 keys miss none.
const KEYS: usize = 24;

/// Three nodes, each with its certificate.
fn three(authority: &Authority) -> Result<Cluster> {
    let files: Result<Vec<_>> = (0..3).map(|node| authority.sign_node(&node_id(node))).collect();
    let files = files?;
    let cluster = Cluster::start(3, 3, |node, options| files[node].apply(options))?;
    cluster.await_agreement()?;
    Ok(cluster)
}

/// Puts every key through one node until it is acknowledged.
fn fill(cluster: &Cluster, node: usize, word: &str) -> Result<()> {
    let mut http = cluster.node(node).client();
    for number in 0..KEYS {
        let value = format!("{word}-{number}");
        wait_until("a write to be acknowledged", PATIENCE, || {
            let response = http.put(&format!("key-{number}"), value.as_bytes())?;
            let refused = matches!(response.status, 503 | 504);
            ensure!(response.status == 200 || refused, "{}", response.text());
            Ok((!refused).then_some(()))
        })?;
    }
    Ok(())
}

/// Every key has the value that was acknowledged last, through every node that runs.
fn holds(cluster: &Cluster, word: &str) -> Result<()> {
    for node in cluster.live() {
        let mut http = cluster.node(node).client();
        for number in 0..KEYS {
            let response = http.get(&format!("/v1/kv/key-{number}"))?;
            let (status, text) = (response.status, response.text());
            ensure!(status == 200 && text == format!("{word}-{number}"), "{status} {text}");
        }
    }
    Ok(())
}

#[test]
fn three_nodes_with_certificates_lose_one_and_nothing_else() -> Result<()> {
    let authority = Authority::new()?;
    let mut cluster = three(&authority)?;
    for node in 0..3 {
        let word = format!("by-{node}");
        fill(&cluster, node, &word)?;
        holds(&cluster, &word)?;
    }
    let killed = cluster.leads_most()?;
    cluster.kill(killed)?;
    // Acknowledged before the loss, read after it.
    let survivor = cluster.live()[0];
    cluster.await_agreement()?;
    holds(&cluster, "by-2")?;
    fill(&cluster, survivor, "without")?;
    cluster.start_all()?;
    cluster.await_agreement()?;
    holds(&cluster, "without")?;
    // Its own copies have what it missed.
    let mut http = cluster.node(killed).client();
    for number in 0..KEYS {
        wait_until("a copy to catch up", PATIENCE, || {
            let response = http.get(&format!("/v1/kv/key-{number}?consistency=stale"))?;
            Ok((response.text() == format!("without-{number}")).then_some(()))
        })?;
    }
    Ok(())
}

/// Each of these comes to another node: about strangers a node says one line in a while.
#[test]
fn whoever_proves_nothing_or_something_else_is_refused() -> Result<()> {
    let (authority, foreign) = (Authority::new()?, Authority::new()?);
    let cluster = three(&authority)?;
    let place = |node| format!("127.0.0.1:{}", cluster.node(node).peer_port());
    let newcomer = |seeds: &str| {
        ServerOptions::new()
            .set("node.id", "n3")
            .set("cluster.seeds", seeds)
            .set("cluster.bootstrap_expect", "0")
    };

    let mut stranger = foreign.sign_node("n3")?.apply(newcomer(&place(0))).prepare()?;
    stranger.spawn()?;
    await_said(cluster.node(0), &["a connection to listen.peer was closed", "TLS failed"])?;
    ensure!(!is_ready(&stranger), "a node with a certificate of another authority is ready");
    stranger.kill()?;

    // A node does not even start with the certificate of another one,
    let others = authority.sign_node("n9")?;
    let mut misnamed = others.apply(newcomer(&place(0))).prepare()?;
    misnamed.spawn()?;
    let status = misnamed.wait()?;
    ensure!(status.code() == Some(2), "it ended with {status}");
    await_said(&misnamed, &["does not name this node", "DNS:n3"])?;
    // and whoever says with it that it is one of the cluster's nodes is not believed.
    let refused = impostor(&place(1), &others, "n2")?;
    ensure!(refused.code == "wrong_certificate", "{refused:?}");
    await_said(cluster.node(1), &["n2 was refused", "wrong_certificate", "does not name n2"])?;

    let refused = plain(&place(2), "n0")?;
    ensure!(refused.code == "tls_required", "{refused:?}");
    await_said(cluster.node(2), &["n0 was refused", "tls_required", "security.peer_ca"])?;

    fill(&cluster, 0, "after")?;
    holds(&cluster, "after")
}

/// Says hello as a node of the cluster that has the answer to a question, over TLS.
fn impostor(address: &str, files: &CertificateFiles, as_node: &str) -> Result<Refused> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&files.ca)?)?;
    let chain = vec![CertificateDer::from_pem_file(&files.cert)?];
    let key = PrivateKeyDer::from_pem_file(&files.key)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    // The one that is dialled proves that it is n1.
    let connection = ClientConnection::new(Arc::new(config), ServerName::try_from("n1")?)?;
    greet(StreamOwned::new(connection, connect(address)?), as_node)
}

/// The same, without TLS.
fn plain(address: &str, as_node: &str) -> Result<Refused> {
    greet(connect(address)?, as_node)
}

fn connect(address: &str) -> Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    Ok(stream)
}

/// Says hello and has the answer, which is a refusal, and the end of the connection.
fn greet(mut stream: impl Read + Write, as_node: &str) -> Result<Refused> {
    // A question of formation, which is answered to whoever proves a name, member or not.
    let hello = Hello {
        protocol: PROTOCOL,
        node_id: as_node.to_owned(),
        incarnation: id_to_wire(1),
        boot_id: id_to_wire(2),
        channel: Channel::Formation.into(),
        version: "0.0.0".to_owned(),
        ..Hello::default()
    };
    let hello = hello.encode_to_vec();
    let mut message = u32::try_from(hello.len())?.to_be_bytes().to_vec();
    message.extend(hello);
    stream.write_all(&message)?;
    stream.flush()?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_be_bytes(length))?;
    ensure!(length <= ANSWER_BYTES_MAX, "an answer of {length} bytes");
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer)?;
    let answer = HelloAnswer::decode(&*answer)?.answer;
    let Some(hello_answer::Answer::Refused(refused)) = answer else {
        anyhow::bail!("{as_node} is not refused: {answer:?}");
    };
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).context("the connection stays open")?;
    ensure!(rest.is_empty(), "{} bytes behind the answer", rest.len());
    Ok(refused)
}
