//! What bad input gets: a table, line by line what the contract says. Nothing of it may reach the backend.

use ringfort_door::{Hosts, HttpOptions, Surface};
use ringfort_types::request::Limits;

use crate::client::{House, run};

/// Method, target, headers, body; status, code, outcome, and a part of the detail.
type Line = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    u16,
    &'static str,
    &'static str,
    &'static str,
);

const NO: &str = "not_applied";

#[rustfmt::skip]
const LINES: &[Line] = &[
    // Keys.
    ("GET", "/v1/kv/", "", "", 400, "invalid_argument", "-", "key is empty"),
    ("PUT", "/v1/kv/", "", "1", 400, "invalid_argument", NO, "key is empty"),
    ("PUT", "/v1/kv/a%", "", "1", 400, "invalid_argument", NO, "key in the path"),
    ("PUT", "/v1/kv/a%zz", "", "1", 400, "invalid_argument", NO, "1 bytes into it"),
    ("DELETE", "/v1/kv/%4", "", "", 400, "invalid_argument", NO, "%"),
    // Query parameters: unknown, repeated, misplaced, malformed.
    ("PUT", "/v1/kv/a?tll=30s", "", "1", 400, "invalid_argument", NO, "tll"),
    ("PUT", "/v1/kv/a?ttl=30s&ttl=30s", "", "1", 400, "invalid_argument", NO, "ttl is repeated"),
    ("PUT", "/v1/kv/a?TTL=30s", "", "1", 400, "invalid_argument", NO, "TTL"),
    ("PUT", "/v1/kv/a?ttl", "", "1", 400, "invalid_argument", NO, "ttl"),
    ("PUT", "/v1/kv/a?ttl=", "", "1", 400, "invalid_argument", NO, "ttl"),
    ("PUT", "/v1/kv/a?ttl=30", "", "1", 400, "invalid_argument", NO, "ttl"),
    ("PUT", "/v1/kv/a?ttl=0s", "", "1", 400, "invalid_argument", NO, "ttl"),
    ("PUT", "/v1/kv/a?ttl=10001d", "", "1", 400, "invalid_argument", NO, "10000d"),
    ("PUT", "/v1/kv/a?ttl=-1s", "", "1", 400, "invalid_argument", NO, "ttl"),
    ("PUT", "/v1/kv/a?ttl=%ff", "", "1", 400, "invalid_argument", NO, "UTF-8"),
    ("PUT", "/v1/kv/a?ttl=%3", "", "1", 400, "invalid_argument", NO, "ttl"),
    ("PUT", "/v1/kv/a?%zz=1", "", "1", 400, "invalid_argument", NO, "%zz"),
    ("PUT", "/v1/kv/a?ttl=30s&", "", "1", 400, "invalid_argument", NO, "\\\"\\\""),
    ("PUT", "/v1/kv/a?consistency=stale", "", "1", 400, "invalid_argument", NO, "consistency"),
    ("GET", "/v1/kv/a?ttl=30s", "", "", 400, "invalid_argument", "-", "ttl"),
    ("GET", "/v1/kv/a?encoding=base64", "", "", 400, "invalid_argument", "-", "encoding"),
    ("GET", "/v1/kv/a?consistency=fresh", "", "", 400, "invalid_argument", "-", "fresh"),
    ("DELETE", "/v1/kv/a?ttl=30s", "", "", 400, "invalid_argument", NO, "ttl"),
    ("GET", "/v1/kv?limit=0", "", "", 400, "invalid_argument", "-", "limit"),
    ("GET", "/v1/kv?limit=10001", "", "", 400, "invalid_argument", "-", "10000"),
    ("GET", "/v1/kv?limit=+5", "", "", 400, "invalid_argument", "-", "limit"),
    ("GET", "/v1/kv?limit=", "", "", 400, "invalid_argument", "-", "limit"),
    ("GET", "/v1/kv?keys_only=yes", "", "", 400, "invalid_argument", "-", "keys_only"),
    ("GET", "/v1/kv?encoding=hex", "", "", 400, "invalid_argument", "-", "encoding"),
    ("GET", "/v1/kv?cursor=", "", "", 400, "invalid_argument", "-", "cursor"),
    ("GET", "/v1/kv?cursor=abc", "", "", 400, "invalid_argument", "-", "cursor"),
    ("GET", "/livez?verbose", "", "", 400, "invalid_argument", "-", "verbose"),
    ("GET", "/v1/cluster?x=1", "", "", 400, "invalid_argument", "-", "x"),
    ("GET", "/v1/cluster/shards?node=b", "", "", 400, "invalid_argument", "-", "node"),
    ("GET", "/v1/cluster/shards?node=%2F", "", "", 400, "invalid_argument", "-", "node"),
    ("GET", "/v1/cluster/route", "", "", 400, "invalid_argument", "-", "key is missing"),
    ("GET", "/v1/cluster/route?key=", "", "", 400, "invalid_argument", "-", "key is empty"),
    // Headers.
    ("GET", "/v1/kv/a", "Ringfort-Timeout: 1\r\n", "", 400, "invalid_argument", "-", "ringfort-timeout"),
    ("PUT", "/v1/kv/a", "Ringfort-Namespace: x\r\n", "1", 400, "invalid_argument", NO, "ringfort-namespace"),
    ("PUT", "/v1/kv/a", "Ringfort-Ttl-Ms: 5\r\n", "1", 400, "invalid_argument", NO, "ringfort-ttl-ms"),
    ("GET", "/v1/kv/a", "Ringfort-Timeout-Ms: 0\r\n", "", 400, "invalid_argument", "-", "60000"),
    ("GET", "/v1/kv/a", "Ringfort-Timeout-Ms: 60001\r\n", "", 400, "invalid_argument", "-", "60000"),
    ("GET", "/v1/kv/a", "Ringfort-Timeout-Ms: +5\r\n", "", 400, "invalid_argument", "-", "60000"),
    ("GET", "/v1/kv/a", "Ringfort-Timeout-Ms: 5s\r\n", "", 400, "invalid_argument", "-", "60000"),
    ("GET", "/v1/kv/a", "Ringfort-Timeout-Ms: 5\r\nRingfort-Timeout-Ms: 5\r\n", "", 400, "invalid_argument", "-", "repeated"),
    ("GET", "/livez", "Ringfort-Trace: 1\r\n", "", 400, "invalid_argument", "-", "ringfort-trace"),
    ("PUT", "/v1/kv/a", "Idempotency-Key:\r\n", "1", 400, "invalid_argument", NO, "Idempotency-Key"),
    ("PUT", "/v1/kv/a", "Idempotency-Key: a b\r\n", "1", 400, "invalid_argument", NO, "Idempotency-Key"),
    ("PUT", "/v1/kv/a", "Idempotency-Key: \u{e4}\r\n", "1", 400, "invalid_argument", NO, "Idempotency-Key"),
    ("PUT", "/v1/kv/a", "Idempotency-Key: 12345678901234567890123456789012345678901234567890123456789012345\r\n", "1", 400, "invalid_argument", NO, "64"),
    ("PUT", "/v1/kv/a", "Idempotency-Key: a\r\nIdempotency-Key: a\r\n", "1", 400, "invalid_argument", NO, "repeated"),
    ("GET", "/v1/kv/a", "Idempotency-Key: a\r\n", "", 400, "invalid_argument", "-", "Idempotency-Key"),
    ("GET", "/v1/kv", "Idempotency-Key: a\r\n", "", 400, "invalid_argument", "-", "Idempotency-Key"),
    ("PUT", "/v1/kv/a", "If-Match: 17\r\n", "1", 400, "invalid_argument", NO, "If-Match"),
    ("PUT", "/v1/kv/a", "If-Match:\r\n", "1", 400, "invalid_argument", NO, "If-Match"),
    ("PUT", "/v1/kv/a", "If-None-Match: *, \"1\"\r\n", "1", 400, "invalid_argument", NO, "If-None-Match"),
    ("PUT", "/v1/kv/a", "If-Match: *\r\nIf-None-Match: \"1\"\r\n", "1", 400, "invalid_argument", NO, "exclude"),
    ("POST", "/v1/batch", "Content-Type: application/json\r\nIf-Match: *\r\n", "{}", 400, "invalid_argument", NO, "If-Match"),
    ("PUT", "/v1/kv/a", "Content-Range: bytes 0-0/2\r\n", "1", 400, "invalid_argument", NO, "Content-Range"),
    ("PUT", "/v1/kv/a", "Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n", 400, "invalid_argument", NO, "Transfer-Encoding"),
    ("PUT", "/v1/kv/a", "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n", 400, "invalid_argument", NO, "Transfer-Encoding"),
    // Bodies where none belongs.
    ("GET", "/v1/kv/a", "", "1", 400, "invalid_argument", "-", "no body"),
    ("DELETE", "/v1/kv/a", "", "1", 400, "invalid_argument", NO, "no body"),
    ("GET", "/readyz", "", "1", 400, "invalid_argument", "-", "no body"),
    ("DELETE", "/v1/cluster/nodes/a", "", "{}", 400, "invalid_argument", NO, "no body"),
    ("POST", "/v1/cluster/nodes/a/drain", "Content-Type: application/json\r\n", "{\"x\":1}", 400, "invalid_argument", NO, "empty object"),
    ("POST", "/v1/cluster/nodes/a/drain", "Content-Type: application/json\r\n", "[", 400, "invalid_argument", NO, "empty object"),
    ("POST", "/v1/cluster/nodes/-/drain", "Content-Type: application/json\r\n", "", 400, "invalid_argument", NO, "node id"),
    ("DELETE", "/v1/cluster/nodes/%zz", "", "", 400, "invalid_argument", NO, "node id"),
    // Media types.
    ("POST", "/v1/batch", "", "{}", 415, "unsupported_media_type", NO, "application/json"),
    ("POST", "/v1/batch", "Content-Type: text/plain\r\n", "{}", 415, "unsupported_media_type", NO, "application/json"),
    ("POST", "/v1/batch", "Content-Type: application/jsonp\r\n", "{}", 415, "unsupported_media_type", NO, "application/json"),
    ("POST", "/v1/cluster/nodes/a/drain", "", "", 415, "unsupported_media_type", NO, "application/json"),
    ("POST", "/v1/batch", "Content-Type: application/json\r\nContent-Type: text/plain\r\n", "{}", 400, "invalid_argument", NO, "Content-Type"),
    ("PUT", "/v1/kv/a", "Content-Encoding: gzip\r\n", "1", 415, "unsupported_media_type", NO, "Content-Encoding"),
    ("PUT", "/v1/kv/a", "Content-Encoding: identity, br\r\n", "1", 415, "unsupported_media_type", NO, "Content-Encoding"),
    ("PUT", "/v1/kv/a", "Content-Encoding: identity\r\ncontent-encoding: x-gzip\r\n", "1", 415, "unsupported_media_type", NO, "Content-Encoding"),
    ("PUT", "/v1/kv/a", "Content-Encoding: \u{e4}\r\n", "1", 415, "unsupported_media_type", NO, "Content-Encoding"),
    ("PUT", "/v1/kv/a", "Content-Encoding: gzip\r\n", "", 415, "unsupported_media_type", NO, "Content-Encoding"),
    ("POST", "/v1/batch", "Content-Type: application/json\r\nContent-Encoding: gzip\r\n", "{}", 415, "unsupported_media_type", NO, "Content-Encoding"),
    ("POST", "/v1/cluster/nodes/a/drain", "Content-Type: application/json\r\nContent-Encoding: gzip\r\n", "{}", 415, "unsupported_media_type", NO, "Content-Encoding"),
    // Routes and methods.
    ("GET", "/", "", "", 404, "route_not_found", "-", "no route"),
    ("GET", "/v1/kv2", "", "", 404, "route_not_found", "-", "/v1/kv2"),
    ("PUT", "/v1/kvs/a", "", "1", 404, "route_not_found", NO, "no route"),
    ("GET", "/v1/kv%2Fa", "", "", 404, "route_not_found", "-", "no route"),
    ("GET", "/v1/ns/x/kv/a", "", "", 404, "route_not_found", "-", "reserved"),
    ("POST", "/v1/txn", "", "", 404, "route_not_found", NO, "reserved"),
    ("GET", "/v1/watch", "", "", 404, "route_not_found", "-", "reserved"),
    ("GET", "/v1/auth/users", "", "", 404, "route_not_found", "-", "reserved"),
    ("POST", "/v1/backup", "", "", 404, "route_not_found", NO, "reserved"),
    ("OPTIONS", "*", "", "", 404, "route_not_found", "-", "no route"),
    ("CONNECT", "localhost:80", "", "", 404, "route_not_found", NO, "no route"),
    ("POST", "/v1/kv/a", "", "1", 405, "method_not_allowed", NO, "GET, HEAD, PUT, DELETE"),
    ("PATCH", "/v1/kv/a", "", "1", 405, "method_not_allowed", NO, "PATCH"),
    ("OPTIONS", "/v1/kv/a", "", "", 405, "method_not_allowed", "-", "OPTIONS"),
    ("get", "/v1/kv/a", "", "", 405, "method_not_allowed", NO, "get"),
    ("PUT", "/v1/kv", "", "1", 405, "method_not_allowed", NO, "GET, HEAD"),
    ("GET", "/v1/batch", "", "", 405, "method_not_allowed", "-", "POST"),
    ("GET", "/v1/cluster/nodes/a", "", "", 405, "method_not_allowed", "-", "DELETE"),
    ("PUT", "/v1/cluster/nodes/a/drain", "", "", 405, "method_not_allowed", NO, "POST"),
    ("POST", "/livez", "Content-Type: application/json\r\n", "{}", 405, "method_not_allowed", NO, "GET, HEAD"),
];

#[test]
fn every_line_of_the_table() {
    run(async {
        let house = House::new();
        for line in LINES {
            let (method, target, headers, body, status, code, outcome, detail) = *line;
            let answer = house.ask(method, target, headers, body.as_bytes()).await;
            assert_eq!((answer.status, answer.code()), (status, code), "{line:?}: {answer:?}");
            assert_eq!(answer.outcome(), outcome, "{line:?}");
            let text = answer.text();
            assert!(text.contains(detail), "{line:?}: {text}");
            assert_eq!(answer.header("allow").is_some(), status == 405, "{line:?}");
            let asked = house.fake.last_context.borrow_mut().take().is_some();
            let by_backend = target.ends_with("node=b");
            assert_eq!(asked, by_backend, "{line:?}");
        }
        assert_eq!(house.fake.writes_begun.get(), 0);
        assert!(house.fake.is_empty() && house.fake.left.borrow().is_empty());
    });
}

#[test]
fn a_refused_request_with_a_short_body_does_not_cost_the_connection() {
    run(async {
        let house = House::new();
        let mut client = house.connect();
        for _ in 0..3 {
            let refused = client.ask("PUT", "/v1/kv/a?tll=30s", "", b"some value").await;
            assert_eq!(refused.status, 400);
            assert_eq!(refused.header("connection"), None);
        }
        assert_eq!(client.ask("PUT", "/v1/kv/a", "", b"1").await.status, 200);
    });
}

#[test]
fn keys_over_the_limit() {
    run(async {
        let house = House::new();
        for (key, status) in [
            ("a".repeat(4096), 200),
            ("a".repeat(4097), 413),
            ("%41".repeat(4096), 200),
            ("%41".repeat(4097), 413),
            ("a".repeat(60_000), 413),
        ] {
            let answer = house.put(&format!("/v1/kv/{key}"), b"1").await;
            assert_eq!(answer.status, status, "{}", key.len());
            if status == 413 {
                assert_eq!((answer.code(), answer.outcome().as_str()), ("too_large", NO));
                assert!(answer.detail().contains("4096"), "{answer:?}");
            }
        }
        for name in ["prefix", "start", "end"] {
            let answer = house.get(&format!("/v1/kv?{name}={}", "a".repeat(4097))).await;
            assert_eq!((answer.status, answer.code()), (413, "too_large"));
            assert!(answer.detail().contains(name));
        }
        let answer = house.get(&format!("/v1/cluster/route?key={}", "a".repeat(4097))).await;
        assert_eq!(answer.status, 413);
    });
}

#[test]
fn values_and_bodies_over_the_limit_are_refused_by_their_announced_length() {
    run(async {
        let house = House::new();
        house.fake.limits.set(Limits { value_bytes_max: 1000, request_bytes_max: 2000 });
        assert_eq!(house.put("/v1/kv/a", &[b'x'; 1000]).await.status, 200);
        let refused = house.put("/v1/kv/a", &[b'x'; 1001]).await;
        assert_eq!(
            (refused.status, refused.code(), refused.outcome().as_str()),
            (413, "too_large", NO)
        );
        let detail = refused.detail();
        assert!(detail.contains("1001") && detail.contains("limits.max_value_bytes"), "{detail}");
        let refused = house.post("/v1/batch", &" ".repeat(2001)).await;
        assert_eq!((refused.status, refused.code()), (413, "too_large"));
        assert!(refused.detail().contains("limits.max_request_bytes"));
        assert_eq!(house.fake.admitted_most.get(), 1000, "nothing else was ever admitted");

        // Refused before a byte of it is sent, and whatever nonsense the length is.
        for length in ["1001", "9223372036854775807", "18446744073709551613"] {
            let mut client = house.connect();
            let head =
                format!("PUT /v1/kv/a HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
            client.send(head.as_bytes()).await;
            let refused = client.answer().await;
            assert_eq!(
                (refused.status, refused.header("connection")),
                (413, Some("close")),
                "{length}"
            );
        }
    });
}

#[test]
fn a_loopback_listener_answers_to_its_own_names_only() {
    run(async {
        let hosts = Hosts::Loopback(vec!["ringfort.test".to_owned()]);
        let house = House::with(HttpOptions { hosts, ..HttpOptions::default() });
        for (host, status) in [
            ("Host: localhost:7400", 200),
            ("Host: 127.0.0.1", 200),
            ("Host: [::1]:7400", 200),
            ("Host: RINGFORT.test", 200),
            ("Host: evil.example", 421),
            ("Host: localhost.evil.example", 421),
            ("Host:", 421),
            ("Host: localhost\r\nHost: localhost", 400),
            ("X-Host: localhost", 400),
        ] {
            let mut client = house.connect();
            let head = format!("PUT /v1/kv/a HTTP/1.1\r\n{host}\r\nContent-Length: 1\r\n\r\n1");
            client.send(head.as_bytes()).await;
            let answer = client.answer().await;
            assert_eq!(answer.status, status, "{host}: {answer:?}");
            if status == 421 {
                assert_eq!((answer.code(), answer.outcome().as_str()), ("misdirected", NO));
            }
        }
        // The absolute form names the host in its target, and there it counts as well.
        for (target, status) in
            [("http://localhost/v1/kv/a", 200), ("http://evil.example/v1/kv/a", 421)]
        {
            assert_eq!(house.put(target, b"1").await.status, status, "{target}");
        }
    });
}

#[test]
fn a_listener_off_loopback_answers_to_any_name() {
    run(async {
        let house = House::new();
        let mut client = house.connect();
        client.send(b"GET /livez HTTP/1.1\r\nHost: db.example:7400\r\n\r\n").await;
        assert_eq!(client.answer().await.status, 200);
        client.send(b"GET /livez HTTP/1.0\r\n\r\n").await;
        assert_eq!(client.answer().await.status, 200, "HTTP/1.0 knows no Host");
        let mut client = house.connect();
        client.send(b"GET /livez HTTP/1.1\r\n\r\n").await;
        assert_eq!(client.answer().await.code(), "invalid_argument");
    });
}

#[test]
fn a_health_listener_serves_nothing_else() {
    run(async {
        let surface = Surface::Health;
        let house = House::with(HttpOptions { surface, ..HttpOptions::default() });
        for (target, status) in [
            ("/livez", 200),
            ("/readyz", 200),
            ("/metrics", 200),
            ("/version", 404),
            ("/openapi.json", 404),
            ("/v1/kv/a", 404),
            ("/v1/cluster", 404),
        ] {
            assert_eq!(house.get(target).await.status, status, "{target}");
        }
        assert_eq!(house.put("/v1/kv/a", b"1").await.code(), "route_not_found");
        assert!(house.fake.is_empty());
    });
}
