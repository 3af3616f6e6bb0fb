//! What a node says about itself, and that `openapi.json` says neither more nor less than what is served.

use std::collections::{BTreeMap, BTreeSet};

use ringfort_door::{BuildInfo, HttpOptions, OPENAPI, ROUTES};
use ringfort_types::{Code, Refusal};
use serde_json::{Value, json};

use crate::client::{Answer, House, run};
use crate::fake::Mood;

#[test]
fn live_ready_metrics_version() {
    run(async {
        let house = House::with(HttpOptions {
            build: BuildInfo {
                version: "0.1.0".to_owned(),
                revision: "abc".to_owned(),
                target: "x86_64-unknown-linux-gnu".to_owned(),
            },
            ..HttpOptions::default()
        });
        assert_eq!(house.get("/livez").await.text(), r#"{"live":true}"#);
        let ready = house.get("/readyz").await;
        assert_eq!((ready.status, &ready.json()["ready"]), (200, &json!(true)));
        house.fake.ready.set(false);
        let not_ready = house.get("/readyz").await;
        assert_eq!((not_ready.status, not_ready.code()), (503, "unavailable"));
        assert_eq!(not_ready.detail(), "not ready: joined");
        assert_eq!(not_ready.header("retry-after"), None);
        assert_eq!(
            not_ready.json()["checks"],
            json!([
                {"name": "replayed", "ok": true, "detail": "replayed is true"},
                {"name": "joined", "ok": false, "detail": "joined is false"},
            ])
        );
        assert_eq!(
            house.get("/version").await.json(),
            json!({"name": "ringfort", "version": "0.1.0", "revision": "abc", "target": "x86_64-unknown-linux-gnu"})
        );
        assert_eq!(house.get("/openapi.json").await.text(), OPENAPI);
        let head = house.ask("HEAD", "/openapi.json", "", b"").await;
        assert_eq!(head.header("content-length"), Some(OPENAPI.len().to_string().as_str()));
    });
}

#[test]
fn metrics_are_prometheus_text_unless_open_metrics_are_asked_for() {
    const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
    const OPEN: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    // What Prometheus 2 and 3 send.
    let prometheus_2 = "application/openmetrics-text;version=1.0.0;q=0.5,\
        application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
        application/openmetrics-text;version=0.0.1;q=0.5,\
        text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    run(async {
        let house = House::new();
        let without = house.get("/metrics").await;
        assert_eq!((without.header("content-type"), without.text()), (Some(TEXT), "text\n"));
        for (accept, media_type, body) in [
            (prometheus_2, OPEN, "open\n"),
            (prometheus_3, OPEN, "open\n"),
            ("text/html, */*", TEXT, "text\n"),
        ] {
            let headers = format!("Accept: {accept}\r\n");
            let answer = house.ask("GET", "/metrics", &headers, b"").await;
            assert_eq!((answer.status, answer.text()), (200, body), "{accept}");
            assert_eq!(answer.header("content-type"), Some(media_type), "{accept}");
            assert_eq!(answer.header("vary"), Some("accept"));
        }
    });
}

#[test]
fn a_node_that_starts_asks_for_patience_and_ends_its_connections() {
    run(async {
        let house = House::with(HttpOptions { starting: true, ..HttpOptions::default() });
        house.fake.set_mood(Mood::Refuse(Refusal::not_applied(Code::Unavailable, "it starts")));
        house.fake.ready.set(false);
        for (method, target, status) in [
            ("GET", "/livez", 200),
            ("GET", "/readyz", 503),
            ("GET", "/v1/kv/a", 503),
            ("PUT", "/v1/kv/a", 503),
            ("GET", "/v1/cluster", 503),
            ("DELETE", "/v1/cluster/nodes/a", 503),
            ("GET", "/nowhere", 404),
        ] {
            let mut client = house.connect();
            let answer = client.ask(method, target, "", b"").await;
            assert_eq!(answer.status, status, "{target}");
            let retry_after = (status == 503).then_some("1");
            assert_eq!(answer.header("retry-after"), retry_after, "{target}");
            assert_eq!(answer.header("connection"), Some("close"), "{target}");
            assert!(client.is_closed().await, "{target}");
        }
    });
}

fn document() -> Value {
    serde_json::from_str(OPENAPI).unwrap()
}

/// What a `$ref` stands for; anything else is itself.
fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(path) => {
            document.pointer(&path[1..]).unwrap_or_else(|| panic!("{path} leads nowhere"))
        }
        None => value,
    }
}

#[test]
fn the_document_has_the_routes_methods_and_parameters_that_are_served() {
    let document = document();
    let mut described = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let queries = operation["parameters"].as_array().unwrap().iter();
            let queries = queries.map(|parameter| resolve(&document, parameter));
            let queries: BTreeSet<_> = queries
                .filter(|parameter| parameter["in"] == "query")
                .map(|parameter| parameter["name"].as_str().unwrap().to_owned())
                .collect();
            described.insert((path.clone(), method.to_uppercase(), queries));
        }
    }
    let mut served = BTreeSet::new();
    for route in ROUTES {
        let methods: Vec<_> = route.methods.iter().map(|(method, _)| *method).collect();
        assert_eq!(route.allow, methods.join(", "));
        for (method, queries) in route.methods {
            let queries = queries.iter().map(|&query| query.to_owned()).collect();
            served.insert((route.path.to_owned(), (*method).to_owned(), queries));
        }
    }
    assert_eq!(described, served);
}

#[test]
fn the_document_has_every_code_and_every_reference_leads_somewhere() {
    let document = document();
    let codes: Vec<_> = Code::ALL.iter().map(|code| json!(code.as_str())).collect();
    assert_eq!(document["components"]["schemas"]["Code"]["enum"], json!(codes));
    let mut used = BTreeSet::new();
    let mut rest = vec![&document];
    while let Some(value) = rest.pop() {
        if let Some(path) = value["$ref"].as_str() {
            resolve(&document, value);
            used.insert(path.to_owned());
        }
        match value {
            Value::Object(members) => rest.extend(members.values()),
            Value::Array(items) => rest.extend(items),
            _ => {}
        }
    }
    for (kind, all) in document["components"].as_object().unwrap() {
        for name in all.as_object().unwrap().keys() {
            assert!(
                used.contains(&format!("#/components/{kind}/{name}")),
                "{kind}/{name} is unused"
            );
        }
    }
}

/// Requests that lead to every status that a route and method can answer with, besides what the backend refuses.
const ASKED: &[(&str, &str, &str, &str, &str)] = &[
    ("/v1/kv/{key}", "GET", "/v1/kv/a?consistency=stale", "", ""),
    ("/v1/kv/{key}", "GET", "/v1/kv/a?consistency=stale", "If-None-Match: *\r\n", ""),
    ("/v1/kv/{key}", "GET", "/v1/kv/a?consistency=stale", "If-Match: \"1\"\r\n", ""),
    ("/v1/kv/{key}", "GET", "/v1/kv/absent?consistency=stale", "", ""),
    ("/v1/kv/{key}", "GET", "/v1/kv/LONG", "", ""),
    ("/v1/kv/{key}", "PUT", "/v1/kv/a", "", "1"),
    ("/v1/kv/{key}", "PUT", "/v1/kv/LONG", "", "1"),
    ("/v1/kv/{key}", "PUT", "/v1/kv/a", "Content-Encoding: gzip\r\n", "1"),
    ("/v1/kv/{key}", "DELETE", "/v1/kv/a", "", ""),
    ("/v1/kv/{key}", "DELETE", "/v1/kv/LONG", "", ""),
    ("/v1/kv", "GET", "/v1/kv?keys_only=true&consistency=stale", "", ""),
    ("/v1/kv", "GET", "/v1/kv?prefix=LONG", "", ""),
    (
        "/v1/batch",
        "POST",
        "/v1/batch",
        "Content-Type: application/json\r\n",
        "{\"ops\":[{\"op\":\"get\",\"key\":\"a\"}]}",
    ),
    (
        "/v1/batch",
        "POST",
        "/v1/batch",
        "Content-Type: application/json\r\n",
        "{\"ops\":[{\"op\":\"get\",\"key\":\"LONG\"}]}",
    ),
    ("/v1/batch", "POST", "/v1/batch", "", "{}"),
    ("/v1/cluster", "GET", "/v1/cluster", "", ""),
    ("/v1/cluster/nodes", "GET", "/v1/cluster/nodes", "", ""),
    ("/v1/cluster/shards", "GET", "/v1/cluster/shards", "", ""),
    ("/v1/cluster/shards", "GET", "/v1/cluster/shards", "If-None-Match: *\r\n", ""),
    ("/v1/cluster/map", "GET", "/v1/cluster/map", "", ""),
    ("/v1/cluster/map", "GET", "/v1/cluster/map", "If-None-Match: *\r\n", ""),
    ("/v1/cluster/route", "GET", "/v1/cluster/route?key=a", "", ""),
    ("/v1/cluster/route", "GET", "/v1/cluster/route?key=LONG", "", ""),
    ("/v1/cluster/nodes/{id}", "DELETE", "/v1/cluster/nodes/a", "", ""),
    (
        "/v1/cluster/nodes/{id}/drain",
        "POST",
        "/v1/cluster/nodes/a/drain",
        "Content-Type: application/json\r\n",
        "",
    ),
    (
        "/v1/cluster/nodes/{id}/drain",
        "POST",
        "/v1/cluster/nodes/a/drain",
        "Content-Type: application/json\r\n",
        "LONG",
    ),
    ("/v1/cluster/nodes/{id}/drain", "POST", "/v1/cluster/nodes/a/drain", "", ""),
    ("/v1/cluster/init", "POST", "/v1/cluster/init", "Content-Type: application/json\r\n", ""),
    ("/v1/cluster/init", "POST", "/v1/cluster/init", "Content-Type: application/json\r\n", "LONG"),
    ("/v1/cluster/init", "POST", "/v1/cluster/init", "", ""),
    ("/livez", "GET", "/livez", "", ""),
    ("/readyz", "GET", "/readyz", "", ""),
    ("/metrics", "GET", "/metrics", "", ""),
    ("/metrics", "GET", "/metrics", "Accept: application/openmetrics-text\r\n", ""),
    ("/openapi.json", "GET", "/openapi.json", "", ""),
    ("/version", "GET", "/version", "", ""),
];

/// What a backend may refuse, by what it is asked.
fn refusals(path: &str, method: &str) -> Vec<Code> {
    let mut codes = match path {
        "/livez" | "/readyz" | "/metrics" | "/openapi.json" | "/version" => return Vec::new(),
        _ => vec![Code::Internal, Code::Unavailable, Code::Timeout, Code::InvalidArgument],
    };
    if !path.contains("cluster") {
        codes.push(Code::Overloaded);
        if !matches!(method, "GET" | "HEAD") {
            codes.extend([Code::PreconditionFailed, Code::IdempotencyMismatch, Code::StorageFull]);
        }
    }
    codes
}

type Seen = BTreeMap<(String, String), BTreeSet<String>>;

fn note(seen: &mut Seen, path: &str, method: &str, answer: &Answer, document: &Value) {
    let status = answer.status.to_string();
    let pointer =
        format!("/paths/{}/{}/responses/{status}", path.replace('/', "~1"), method.to_lowercase());
    let described =
        document.pointer(&pointer).unwrap_or_else(|| panic!("{pointer} is not described"));
    let described = resolve(document, described);
    let own = |name: &str| {
        name.starts_with("ringfort-") || matches!(name, "etag" | "location" | "retry-after")
    };
    let described_headers = described["headers"].as_object().unwrap();
    for (name, _) in answer.headers.iter().filter(|(name, _)| own(name)) {
        let known = described_headers.keys().any(|known| known.eq_ignore_ascii_case(name));
        assert!(known, "{pointer}: {name} is not described");
    }
    if let (Some(media_type), true) = (answer.header("content-type"), method != "HEAD") {
        let essence = media_type.split(';').next().unwrap();
        assert!(
            described["content"].get(essence).is_some(),
            "{pointer}: {media_type} is not described"
        );
    }
    seen.entry((path.to_owned(), method.to_owned())).or_default().insert(status);
}

#[test]
fn the_document_has_the_statuses_that_are_served() {
    run(async {
        let document = document();
        let mut seen = Seen::new();
        for (path, method, target, headers, body) in ASKED {
            let long = "k".repeat(5000);
            let (target, body) = (target.replace("LONG", &long), body.replace("LONG", &long));
            let methods: &[&str] = if *method == "GET" { &["GET", "HEAD"] } else { &[method] };
            for method in methods {
                let house = House::new();
                house.put("/v1/kv/a?ttl=1h", b"1").await;
                let mut answers = Vec::new();
                for more in ["", "Ringfort-X: 1\r\n"] {
                    let headers = format!("{headers}{more}");
                    answers.push(house.ask(method, &target, &headers, body.as_bytes()).await);
                }
                for code in refusals(path, method) {
                    let replayed = code == Code::PreconditionFailed;
                    let refusal = Refusal { replayed, ..Refusal::new(code, "") };
                    house.fake.set_mood(Mood::Refuse(refusal));
                    answers.push(house.ask(method, &target, headers, body.as_bytes()).await);
                }
                answers.push(special(&house, path, method, &target, headers).await);
                for answer in
                    answers.iter().filter(|answer| answer.status != 404 || *path == "/v1/kv/{key}")
                {
                    note(&mut seen, path, method, answer, &document);
                }
            }
        }
        // What depends on the listener or on time, and is the same for every route: 421, 500 by a panic, 504 by a slow body.
        for ((path, method), statuses) in &seen {
            let pointer =
                format!("/paths/{}/{}/responses", path.replace('/', "~1"), method.to_lowercase());
            let described = document.pointer(&pointer).unwrap().as_object().unwrap();
            let everywhere = ["421", "500", "504"].map(str::to_owned);
            let expected: BTreeSet<_> = statuses.iter().cloned().chain(everywhere).collect();
            let described: BTreeSet<_> = described.keys().cloned().collect();
            assert_eq!(described, expected, "{method} {path}");
        }
        let operations: usize = ROUTES.iter().map(|route| route.methods.len()).sum();
        assert_eq!(seen.len(), operations);
    });
}

/// What needs another state of the house: no room, not ready.
async fn special(house: &House, path: &str, method: &str, target: &str, headers: &str) -> Answer {
    house.fake.set_mood(Mood::Serve);
    house.fake.ready.set(path != "/readyz");
    house.fake.room.set(0);
    let body: &[u8] = if method == "POST" { b"{}" } else { b"" };
    house.ask(method, target, headers, body).await
}
