//! The routes of one key, as the contract has them.

use std::time::Duration;

use ringfort_door::OperationKind;
use ringfort_types::{Code, Outcome, Refusal};

use crate::client::{House, run};
use crate::fake::Mood;

#[test]
fn put_get_head_delete() {
    run(async {
        let house = House::new();
        let mut client = house.connect();
        let put = client.ask("PUT", "/v1/kv/a", "", b"hello").await;
        assert_eq!((put.status, put.text()), (200, r#"{"version":17}"#));
        assert_eq!(put.header("etag"), Some("\"17\""));
        assert_eq!(put.header("content-type"), Some("application/json"));

        let get = client.ask("GET", "/v1/kv/a", "", b"").await;
        assert_eq!((get.status, get.text()), (200, "hello"));
        assert_eq!(get.header("etag"), Some("\"17\""));
        assert_eq!(get.header("content-type"), Some("application/octet-stream"));
        assert_eq!(get.header("ringfort-ttl-ms"), None);

        let head = client.ask("HEAD", "/v1/kv/a", "", b"").await;
        assert_eq!(head.status, 200);
        assert_eq!(head.header("etag"), Some("\"17\""));
        assert_eq!(head.header("content-length"), Some("5"));

        let delete = client.ask("DELETE", "/v1/kv/a", "", b"").await;
        assert_eq!((delete.status, delete.text()), (200, r#"{"deleted":true,"version":18}"#));
        let again = client.ask("DELETE", "/v1/kv/a", "", b"").await;
        assert_eq!((again.status, again.text()), (200, r#"{"deleted":false}"#));

        let gone = client.ask("GET", "/v1/kv/a", "", b"").await;
        assert_eq!((gone.status, gone.code()), (404, "key_not_found"));
        assert_eq!(gone.outcome(), "-");
        let gone = client.ask("HEAD", "/v1/kv/a", "", b"").await;
        assert_eq!((gone.status, gone.code()), (404, "key_not_found"));
    });
}

#[test]
fn the_path_is_the_key_decoded_once() {
    run(async {
        let house = House::new();
        for (path, key) in [
            ("a/b//c/", &b"a/b//c/"[..]),
            ("a%2Fb", b"a/b"),
            ("a+b", b"a+b"),
            ("%2541", b"%41"),
            ("a/../b/./c", b"a/../b/./c"),
            ("%00%ff", b"\x00\xff"),
            ("{user42}:cart", b"{user42}:cart"),
            ("..", b".."),
            ("a;b=c,d@e!$&'()*~", b"a;b=c,d@e!$&'()*~"),
        ] {
            let put = house.put(&format!("/v1/kv/{path}"), path.as_bytes()).await;
            assert_eq!(put.status, 200, "{path}: {put:?}");
            assert_eq!(house.fake.value(key).as_deref(), Some(path.as_bytes()), "{path}");
            assert_eq!(house.get(&format!("/v1/kv/{path}")).await.text(), path);
        }
    });
}

#[test]
fn values_of_any_bytes_and_sizes() {
    run(async {
        let house = House::new();
        let mut client = house.connect();
        for size in [0, 1, 100, 8192, 70_000, 1 << 20, 8 << 20] {
            let value: Vec<u8> = (0..=250).cycle().take(size).collect();
            // Through a pipe smaller than the value, so both ends work at the same time.
            let put = client.ask("PUT", "/v1/kv/a", "", &value).await;
            assert_eq!(put.status, 200, "{size}");
            let get = client.ask("GET", "/v1/kv/a", "", b"").await;
            assert!(get.body == value, "{size}");
            assert_eq!(get.header("content-length"), Some(size.to_string().as_str()));
        }
        assert_eq!(house.fake.admitted.get(), 0, "all room is given back");
    });
}

#[test]
fn conditions_hold_or_say_what_stands() {
    run(async {
        let house = House::new();
        house.put("/v1/kv/a", b"1").await;
        for (method, key, header, status, current) in [
            ("PUT", "a", "If-Match: \"17\"", 200, 0),
            ("PUT", "a", "If-Match: \"17\"", 412, 18),
            ("PUT", "a", "If-Match: \"1\", \"18\"", 200, 0),
            ("PUT", "a", "If-Match: \"1\"\r\nIf-Match: \"19\"", 200, 0),
            ("PUT", "a", "If-Match: W/\"20\"", 412, 20),
            ("PUT", "a", "If-Match: *", 200, 0),
            ("PUT", "b", "If-Match: *", 412, 0),
            ("PUT", "b", "If-Match: \"0\"", 412, 0),
            ("PUT", "a", "If-None-Match: *", 412, 21),
            ("PUT", "b", "If-None-Match: *", 200, 0),
            ("PUT", "a", "If-None-Match: \"21\"", 412, 21),
            ("PUT", "a", "If-None-Match: W/\"21\"", 200, 0),
            ("DELETE", "a", "If-Match: \"1\"", 412, 23),
            ("DELETE", "a", "If-Match: \"23\"", 200, 0),
            ("DELETE", "a", "If-Match: *", 412, 0),
        ] {
            let headers = format!("{header}\r\n");
            let answer = house.ask(method, &format!("/v1/kv/{key}"), &headers, b"").await;
            assert_eq!(answer.status, status, "{method} {key} {header}: {answer:?}");
            if status == 412 {
                let problem = answer.json();
                assert_eq!(problem["code"], "precondition_failed");
                assert_eq!(problem["current_version"], current, "{header}");
                assert_eq!(problem["outcome"], "not_applied");
            }
        }
    });
}

#[test]
fn conditions_on_reads() {
    run(async {
        let house = House::new();
        house.put("/v1/kv/a", b"value").await;
        for (header, status) in [
            ("If-None-Match: \"17\"", 304),
            ("If-None-Match: \"1\", \"17\"", 304),
            ("If-None-Match: *", 304),
            ("If-None-Match: \"18\"", 200),
            ("If-None-Match: W/\"17\"", 200),
            ("If-Match: \"17\"", 200),
            ("If-Match: *", 200),
            ("If-Match: \"18\"", 412),
        ] {
            for method in ["GET", "HEAD"] {
                let answer = house.ask(method, "/v1/kv/a", &format!("{header}\r\n"), b"").await;
                assert_eq!(answer.status, status, "{method} {header}");
                if status != 412 {
                    assert_eq!(answer.header("etag"), Some("\"17\""));
                }
            }
        }
        let absent = house.ask("GET", "/v1/kv/b", "If-None-Match: *\r\n", b"").await;
        assert_eq!(absent.status, 404);
    });
}

#[test]
fn time_to_live_and_staleness() {
    run(async {
        let house = House::new();
        house.put("/v1/kv/a?ttl=30s", b"1").await;
        assert_eq!(house.get("/v1/kv/a").await.header("ringfort-ttl-ms"), Some("30000"));
        house.put("/v1/kv/a", b"1").await;
        assert_eq!(house.get("/v1/kv/a").await.header("ringfort-ttl-ms"), None);
        let stale = house.get("/v1/kv/a?consistency=stale").await;
        assert_eq!(stale.header("ringfort-staleness-ms"), Some("7"));
        // Absence and conditions are answers like any other.
        for (path, headers, status) in [
            ("/v1/kv/absent", "", 404),
            ("/v1/kv/a", "If-None-Match: *\r\n", 304),
            ("/v1/kv/a", "If-Match: \"1\"\r\n", 412),
        ] {
            for method in ["GET", "HEAD"] {
                let path = format!("{path}?consistency=stale");
                let stale = house.ask(method, &path, headers, b"").await;
                let bound = stale.header("ringfort-staleness-ms");
                assert_eq!((stale.status, bound), (status, Some("7")), "{method} {path}");
            }
        }
        let fresh = house.get("/v1/kv/a?consistency=linearizable").await;
        assert_eq!(fresh.header("ringfort-staleness-ms"), None);
    });
}

#[test]
fn a_repetition_gets_the_first_answer() {
    run(async {
        let house = House::new();
        let id = "Idempotency-Key: order-1\r\n";
        let first = house.ask("PUT", "/v1/kv/a", id, b"1").await;
        assert_eq!(first.header("ringfort-replayed"), None);
        let again = house.ask("PUT", "/v1/kv/a", id, b"1").await;
        assert_eq!(again.header("ringfort-replayed"), Some("true"));
        assert_eq!(again.body, first.body);
        let failed = format!("{id}If-Match: \"1\"\r\n");
        let first = house.ask("PUT", "/v1/kv/b", &failed, b"1").await;
        let again = house.ask("PUT", "/v1/kv/b", &failed, b"1").await;
        assert_eq!((first.status, again.status), (412, 412));
        assert_eq!(again.header("ringfort-replayed"), Some("true"));
    });
}

#[test]
fn the_deadline_is_the_clients() {
    run(async {
        let house = House::new();
        for (header, bound) in [("", 5000), ("Ringfort-Timeout-Ms: 60000\r\n", 60_000)] {
            house.ask("GET", "/v1/kv/a", header, b"").await;
            let context = house.fake.last_context.borrow().clone().unwrap();
            assert_eq!(context.deadline.since(context.arrived), Duration::from_millis(bound));
            assert_eq!(context.principal.as_str(), "");
        }
    });
}

/// A trace is nobody's business but the tracer's: one that is none is no error.
#[test]
fn the_trace_is_the_clients() {
    run(async {
        let house = House::new();
        let one = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let nobody = "00-00000000000000000000000000000000-00f067aa0ba902b7-01";
        let upper = one.to_uppercase();
        let twice = format!("{one}\r\ntraceparent: {one}");
        for (header, trace) in [
            ("Accept: */*".to_owned(), ""),
            (format!("traceparent: {one}"), one),
            (format!("TraceParent: {one}"), one),
            (format!("traceparent: {upper}"), ""),
            (format!("traceparent: {nobody}"), ""),
            (format!("traceparent: {one}-more"), ""),
            (format!("traceparent: {}", &one[..54]), ""),
            (format!("traceparent: {twice}"), ""),
        ] {
            house.ask("GET", "/v1/kv/a", &format!("{header}\r\n"), b"").await;
            let context = house.fake.last_context.borrow().clone().unwrap();
            assert_eq!(context.trace.0, trace.as_bytes(), "{header}");
        }
    });
}

#[test]
fn what_the_backend_refuses_is_told_as_it_is() {
    run(async {
        let house = House::new();
        for code in Code::ALL {
            house.fake.set_mood(Mood::Refuse(Refusal::unknown(code, "told \"so\"\n")));
            let put = house.put("/v1/kv/a", b"1").await;
            assert_eq!((put.status, put.code()), (code.status(), code.as_str()));
            assert_eq!(
                (put.detail().as_str(), put.outcome().as_str()),
                ("told \"so\"\n", "unknown")
            );
            house.fake.set_mood(Mood::Refuse(Refusal::new(code, "unsaid")));
            let get = house.get("/v1/kv/a").await;
            assert_eq!((get.status, get.outcome().as_str()), (code.status(), "-"));
            // An outcome that the backend left open is never claimed to be harmless where it may not be.
            let in_doubt = [Code::Internal, Code::Unavailable, Code::Timeout, Code::Conflict];
            let expected =
                if in_doubt.contains(&code) { Outcome::Unknown } else { Outcome::NotApplied };
            let delete = house.ask("DELETE", "/v1/kv/a", "", b"").await;
            assert_eq!(delete.outcome(), expected.as_str(), "{code}");
        }
    });
}

#[test]
fn a_panic_is_an_answer_and_the_connection_goes_on() {
    run(async {
        let house = House::new();
        let mut client = house.connect();
        house.fake.set_mood(Mood::Panic);
        let put = client.ask("PUT", "/v1/kv/a", "", b"1").await;
        assert_eq!((put.status, put.code(), put.outcome().as_str()), (500, "internal", "unknown"));
        let get = client.ask("GET", "/v1/kv/a", "", b"").await;
        assert_eq!((get.status, get.outcome().as_str()), (500, "-"));
        house.fake.set_mood(Mood::Serve);
        let put = client.ask("PUT", "/v1/kv/a", "", b"1").await;
        assert_eq!(put.status, 200);
    });
}

#[test]
fn every_answer_is_observed_once() {
    run(async {
        let house = House::new();
        house.fake.set_mood(Mood::Delay(Duration::from_millis(250)));
        house.put("/v1/kv/a", b"1").await;
        house.fake.set_mood(Mood::Serve);
        house.get("/v1/kv/a").await;
        house.ask("DELETE", "/v1/kv/b", "", b"").await;
        house.get("/v1/kv").await;
        house.post("/v1/batch", "{}").await;
        house.get("/livez").await;
        house.get("/nowhere").await;
        let observed = house.fake.observed.borrow();
        let seen: Vec<_> = observed.iter().map(|one| (one.kind, one.status)).collect();
        assert_eq!(
            seen,
            [
                (OperationKind::Put, 200),
                (OperationKind::Get, 200),
                (OperationKind::Delete, 200),
                (OperationKind::List, 200),
                (OperationKind::Batch, 400),
                (OperationKind::Other, 200),
                (OperationKind::Other, 404),
            ]
        );
        assert_eq!(observed[0].elapsed, Duration::from_millis(250));
    });
}

#[test]
fn an_identity_coding_is_none() {
    run(async {
        let house = House::new();
        for coding in ["identity", "Identity, identity", " , identity", ""] {
            let headers = format!("Content-Encoding: {coding}\r\n");
            let put = house.ask("PUT", "/v1/kv/a", &headers, b"1").await;
            assert_eq!(put.status, 200, "{coding:?}: {put:?}");
        }
        // What has no body has no coding either.
        let get = house.ask("GET", "/v1/kv/a", "Content-Encoding: gzip\r\n", b"").await;
        assert_eq!((get.status, get.header("content-encoding")), (200, None));
    });
}
