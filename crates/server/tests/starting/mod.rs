//! A node that starts says that it does: it is alive, not ready, and refuses everything else with a true outcome, until
//! it serves.
//!
//! The shim holds every sync. A start needs several, so the node stands still at each of them until the test lets it go on.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ringfort_testkit::http::{HttpClient, Request, Response};
use ringfort_testkit::{Server, ServerOptions, ShimOptions, free_ports, wait_until};

/// Well below what a replay may take, well above what an answer takes.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
const DEADLINE: Duration = Duration::from_secs(60);

/// What is refused while the node starts: method, target, body, and whether it would write. KEY stands for a key that no other
/// request names.
const REFUSED: [(&str, &str, &str, bool); 11] = [
    ("GET", "/v1/kv/stored", "", false),
    ("PUT", "/v1/kv/KEY", "", true),
    ("PUT", "/v1/kv/KEY", "a value", true),
    ("DELETE", "/v1/kv/kept", "", true),
    ("GET", "/v1/kv?prefix=s", "", false),
    ("POST", "/v1/batch", r#"{"ops":[{"op":"put","key":"KEY","value":"1"}]}"#, true),
    ("GET", "/v1/cluster", "", false),
    ("GET", "/v1/cluster/shards", "", false),
    ("GET", "/v1/cluster/route?key=a", "", false),
    ("POST", "/v1/cluster/nodes/a/drain", "{}", true),
    ("DELETE", "/v1/cluster/nodes/a", "", true),
];

fn ask(client: &mut HttpClient, method: &str, target: &str, body: &[u8]) -> Result<Response> {
    let headers: &[_] =
        if method == "POST" { &[("Content-Type", "application/json")] } else { &[] };
    let response = client.send(&Request { method, target, headers, body });
    response.with_context(|| format!("{method} {target}"))
}

fn expect_refusal(response: &Response, writes: bool) -> Result<()> {
    let problem = response.json();
    let outcome = problem["outcome"].as_str();
    ensure!(response.status == 503 && problem["code"] == "unavailable", "{response:?}");
    ensure!(outcome == writes.then_some("not_applied"), "{problem}");
    ensure!(response.header("retry-after") == Some("1"), "{response:?}");
    // So that the next request reaches whoever serves by then.
    ensure!(response.header("connection") == Some("close"), "{response:?}");
    Ok(())
}

/// The names of the checks that have not passed.
fn failed_checks(response: &Response) -> Vec<String> {
    let problem = response.json();
    let checks = problem["checks"].as_array().cloned().unwrap_or_default();
    let failed = checks.iter().filter(|check| check["ok"] == false);
    failed.filter_map(|check| check["name"].as_str().map(str::to_owned)).collect()
}

/// What was refused, and so has not happened.
#[derive(Default)]
struct Refused {
    /// Keys whose writes were refused: they are never there.
    keys: Vec<String>,
    last: u32,
    /// The node served by the time it was asked to delete the key that is kept otherwise: that one was not refused.
    delete_taken: bool,
}

impl Refused {
    fn next_key(&mut self) -> String {
        self.last += 1;
        format!("refused-{}", self.last)
    }
}

/// Asks a node for everything; it is not ready, neither before nor afterwards.
fn expect_starting(client: &mut HttpClient, refused: &mut Refused) -> Result<()> {
    let live = client.get("/livez")?;
    ensure!((live.status, live.text().as_str()) == (200, r#"{"live":true}"#), "{live:?}");
    ensure!(live.header("connection") == Some("close"), "{live:?}");
    ensure!(client.get("/version")?.json()["name"] == "ringfort");
    ensure!(client.get("/openapi.json")?.status == 200);
    let metrics = client.get("/metrics")?;
    ensure!(metrics.status == 200, "{metrics:?}");
    let families = crate::metrics::parse(&metrics.text())?;
    ensure!(families.contains_key("process_resident_memory_bytes"), "{families:?}");
    // Nothing is said that is not known: a count of keys would be taken for a loss.
    ensure!(!families.contains_key("ringfort_keys"), "{families:?}");
    let ready = client.get("/readyz")?;
    expect_refusal(&ready, false)?;
    ensure!(failed_checks(&ready) == ["replayed", "joined", "routes"], "{ready:?}");
    for (method, target, body, writes) in REFUSED {
        let key = refused.next_key();
        let (target, body) = (target.replace("KEY", &key), body.replace("KEY", &key));
        let deletes = target == "/v1/kv/kept";
        refused.delete_taken |= deletes;
        let response = ask(client, method, &target, body.as_bytes())?;
        expect_refusal(&response, writes).with_context(|| format!("{method} {target}"))?;
        refused.delete_taken &= !deletes;
        refused.keys.push(key);
    }
    let key = refused.next_key();
    let large = client.put(&key, &vec![b'x'; 1 << 20])?;
    expect_refusal(&large, true)?;
    refused.keys.push(key);
    ensure!(client.get("/v1/kv/a?x=1")?.status == 400);
    ensure!(client.get("/nowhere")?.status == 404);
    ensure!(client.get("/readyz")?.status == 503, "it became ready meanwhile");
    Ok(())
}

/// Lets the held start go on, sync by sync, and asks for everything between; how often that was.
fn go_on_until_ready(
    server: &Server,
    client: &mut HttpClient,
    refused: &mut Refused,
) -> Result<u32> {
    let mut steps = 0;
    loop {
        let ready = wait_until("a sync that is held, or a node that is ready", DEADLINE, || {
            let ready = client.get("/readyz")?.status == 200;
            Ok((ready || server.let_syncs_go()?).then_some(ready))
        })?;
        if ready {
            return Ok(steps);
        }
        // It may become ready at any moment now: what it says is held to be true of before or afterwards.
        match expect_starting(client, refused) {
            Ok(()) => steps += 1,
            Err(error) => ensure!(client.get("/readyz")?.status == 200, "{error:#}"),
        }
    }
}

/// A connection that is opened while the node starts and says nothing before it serves.
struct Early(TcpStream);

impl Early {
    fn connect(port: u16) -> Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Self(stream))
    }

    fn ask(self, target: &str) -> Result<String> {
        let Self(mut stream) = self;
        write!(stream, "GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

/// Half a request that was sent while the node started: answered, whenever the rest comes.
fn finish(stream: &mut TcpStream) -> Result<String> {
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.write_all(b"Host: localhost\r\n\r\n")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line)
}

#[test]
fn a_node_that_starts_says_so_until_it_serves() -> Result<()> {
    let health = free_ports(1)?[0];
    let options = ServerOptions::new()
        .set("listen.health", &format!("127.0.0.1:{health}"))
        .set("server.workers", "2")
        .shim(ShimOptions::default());
    let mut server = options.start()?;
    for key in ["stored", "kept"] {
        ensure!(server.client().put(key, b"before")?.status == 200);
    }
    server.kill()?;

    server.set_options(|options| {
        options.shim(ShimOptions { hold_syncs: true, ..ShimOptions::default() })
    });
    server.spawn()?;
    let mut client = server.client().with_timeout(ANSWER_TIMEOUT);
    wait_until("an answer of the node that starts", DEADLINE, || {
        Ok(client.get("/livez").is_ok().then_some(()))
    })?;
    // Not one sync was let go: what needs one cannot have happened.
    let mut refused = Refused::default();
    expect_starting(&mut client, &mut refused)?;
    let mut on_health = HttpClient::new(health).with_timeout(ANSWER_TIMEOUT);
    ensure!(on_health.get("/livez")?.status == 200);
    ensure!(failed_checks(&on_health.get("/readyz")?).len() == 3);
    ensure!(on_health.get("/v1/kv/stored")?.status == 404);
    let early = [Early::connect(server.port())?, Early::connect(health)?];
    let mut half = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port()))?;
    half.write_all(b"GET /v1/kv/stored HTTP/1.1\r\n")?;

    let steps = go_on_until_ready(&server, &mut client, &mut refused)?;
    println!("{steps} syncs later it served");
    server.release_syncs()?;
    let [on_client, on_health_port] = early;
    let answer = on_client.ask("/v1/kv/stored")?;
    ensure!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("before"), "{answer}");
    let answer = on_health_port.ask("/readyz")?;
    ensure!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let line = finish(&mut half)?;
    ensure!(line.starts_with("HTTP/1.1 503 ") || line.starts_with("HTTP/1.1 200 "), "{line}");
    // What was refused has not happened.
    ensure!(refused.keys.len() >= 12, "{}", refused.keys.len());
    for key in &refused.keys {
        ensure!(client.get(&format!("/v1/kv/{key}"))?.status == 404, "{key} was refused");
    }
    ensure!(client.get("/v1/kv/stored")?.body == b"before");
    ensure!(refused.delete_taken || client.get("/v1/kv/kept")?.body == b"before");
    ensure!(client.put("stored", b"after")?.status == 200);
    ensure!(server.terminate()?.success());
    Ok(())
}

#[test]
fn a_node_that_starts_stops_at_once_when_it_is_told_to() -> Result<()> {
    let hold = ShimOptions { hold_syncs: true, ..ShimOptions::default() };
    let mut server = ServerOptions::new().shim(hold).prepare()?;
    server.spawn()?;
    let mut client = server.client().with_timeout(ANSWER_TIMEOUT);
    wait_until("an answer of the node that starts", DEADLINE, || {
        Ok(client.get("/livez").is_ok().then_some(()))
    })?;
    let _silent = Early::connect(server.port())?;
    ensure!(server.terminate()?.success());
    Ok(())
}
