//! Bytes on the wire: fragments, pipelines, what is no HTTP, bodies that nobody waits for, and how connections end.

use std::time::Duration;

use ringfort_door::HttpOptions;
use ringfort_types::request::Limits;

use crate::client::{House, request, run};
use crate::fake::Mood;

#[test]
fn a_request_in_fragments_of_any_size() {
    run(async {
        let house = House::new();
        let mut client = house.connect();
        let bytes = request("PUT", "/v1/kv/a?ttl=30s", "If-None-Match: *\r\n", b"hello");
        for byte in &bytes {
            client.send(&[*byte]).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(client.answer().await.text(), r#"{"version":17}"#);
        for size in [2, 3, 7, 64] {
            for piece in request("PUT", "/v1/kv/a", "", b"hello").chunks(size) {
                client.send(piece).await;
                tokio::task::yield_now().await;
            }
            assert_eq!(client.answer().await.status, 200);
        }
    });
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    run(async {
        let house = House::new();
        let mut client = house.connect();
        let mut all = Vec::new();
        for number in 0..50 {
            all.extend(request(
                "PUT",
                &format!("/v1/kv/{number}"),
                "",
                number.to_string().as_bytes(),
            ));
            all.extend(request("GET", &format!("/v1/kv/{number}"), "", b""));
        }
        // Half a request more: the answers to the others do not wait for it.
        let last = request("GET", "/v1/kv/7", "", b"");
        all.extend(&last[..20]);
        client.send(&all).await;
        for number in 0..50 {
            assert_eq!(client.answer().await.status, 200);
            assert_eq!(client.answer().await.text(), number.to_string());
        }
        client.send(&last[20..]).await;
        assert_eq!(client.answer().await.text(), "7");
    });
}

#[test]
fn answers_to_a_pipeline_are_not_heaped_up_for_a_client_that_does_not_read() {
    run(async {
        let house = House::new();
        house.fake.insert(b"a", vec![b'x'; 1 << 20]);
        let mut client = house.connect_through(32 << 10);
        let all = request("GET", "/v1/kv/a", "", b"").repeat(200);
        client.send(&all).await;
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        let begun = house.fake.observed.borrow().len();
        assert!(begun <= 2, "{begun} answers were made before the first was read");
        for _ in 0..200 {
            assert_eq!(client.answer().await.body.len(), 1 << 20);
        }
    });
}

#[test]
fn what_is_no_http_is_told_so_and_the_connection_ends() {
    let long = |part: &str, size: usize| part.repeat(size);
    let many_headers: String = (0..200).map(|n| format!("X-{n}: 1\r\n")).collect();
    let cases = [
        (b"hello\r\n\r\n".to_vec(), 400, "HTTP/1.1"),
        (b"GET\r\n\r\n".to_vec(), 400, "HTTP/1.1"),
        (b"GET /v1/kv/a HTTP/9.9\r\n\r\n".to_vec(), 400, "HTTP/1.1"),
        (b"GET /v1/kv/a b HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), 400, "HTTP/1.1"),
        (b"GET /v1/kv/a HTTP/1.1\r\nHost : a\r\n\r\n".to_vec(), 400, "HTTP/1.1"),
        (b"GET /v1/kv/a HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n".to_vec(), 400, "HTTP/1.1"),
        (
            b"PUT /v1/kv/a HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n".to_vec(),
            400,
            "HTTP/1.1",
        ),
        (
            b"PUT /v1/kv/a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"
                .to_vec(),
            400,
            "HTTP/1.1",
        ),
        (
            b"PUT /v1/kv/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n".to_vec(),
            400,
            "HTTP/1.1",
        ),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(), 400, "HTTP/1.1"),
        (b"GET /v1/kv/\xff HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), 400, "HTTP/1.1"),
        (request("GET", &format!("/v1/kv/{}", long("a", 70_000)), "", b""), 413, "65534"),
        (request("GET", "/v1/kv/a", &many_headers, b""), 400, "100 headers"),
        (request("GET", "/v1/kv/a", &format!("X: {}\r\n", long("a", 300_000)), b""), 400, "98304"),
    ];
    run(async {
        for (bytes, status, detail) in cases {
            for before in [0, 2] {
                let house = House::new();
                let mut client = house.connect();
                client.send(&request("PUT", "/v1/kv/b", "", b"1").repeat(before)).await;
                client.send(&bytes).await;
                for _ in 0..before {
                    assert_eq!(client.answer().await.status, 200);
                }
                let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
                let answer = client.answer().await;
                assert_eq!(answer.status, status, "{shown}: {answer:?}");
                assert!(answer.detail().contains(detail), "{shown}: {answer:?}");
                assert_eq!(answer.outcome(), "not_applied");
                assert_eq!(answer.header("connection"), Some("close"));
                assert!(client.is_closed().await, "{shown}");
            }
        }
    });
}

#[test]
fn a_value_that_looks_like_an_answer_of_hypers_is_a_value() {
    run(async {
        let house = House::new();
        let value = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\
                      date: Mon, 23 Nov 2026 15:20:39 GMT\r\n\r\n";
        let begun = tokio::time::Instant::now();
        // Through pipes of any width, so that the value begins a write at times.
        for width in 100..300 {
            for header in ["", "Connection: close\r\n"] {
                let mut client = house.connect_through(width);
                client.ask("PUT", "/v1/kv/a", "", value).await;
                let get = client.ask("GET", "/v1/kv/a", header, b"").await;
                assert_eq!(get.body, value, "{width}");
            }
        }
        assert_eq!(begun.elapsed(), Duration::ZERO, "nothing waited for an alarm");
    });
}

#[test]
fn expect_continue_is_answered_only_where_the_body_is_wanted() {
    run(async {
        let house = House::new();
        house.fake.limits.set(Limits { value_bytes_max: 100, request_bytes_max: 100 });
        let head = |target: &str, length: usize| {
            format!(
                "PUT {target} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
            )
        };
        let mut client = house.connect();
        client.send(head("/v1/kv/a", 5).as_bytes()).await;
        assert_eq!(client.read_answer("PUT").await.unwrap().status, 100);
        client.send(b"hello").await;
        assert_eq!(client.read_answer("PUT").await.unwrap().status, 200);
        for (target, length, status) in [
            ("/v1/kv/a", 101, 413),
            ("/v1/kv/a?tll=30s", 5, 400),
            ("/v1/kv/", 5, 400),
            ("/nowhere", 5, 404),
        ] {
            let mut client = house.connect();
            client.send(head(target, length).as_bytes()).await;
            let first = client.read_answer("PUT").await.unwrap();
            assert_eq!(first.status, status, "no 100 before it");
            assert_eq!(first.header("connection"), Some("close"));
        }
    });
}

#[test]
fn a_refusal_reaches_a_client_that_is_still_sending() {
    run(async {
        let house = House::new();
        house.fake.limits.set(Limits { value_bytes_max: 100, request_bytes_max: 100 });
        // The whole of a large body goes through a narrow pipe before the client looks for an answer.
        let mut client = house.connect_through(1000);
        let answer = client.ask("PUT", "/v1/kv/a", "", &[b'x'; 1 << 20]).await;
        assert_eq!((answer.status, answer.code()), (413, "too_large"));
        assert!(client.is_closed().await);
    });
}

#[test]
fn a_malformed_or_short_body_is_never_written() {
    run(async {
        let house = House::new();
        let mut client = house.connect();
        client
            .send(b"PUT /v1/kv/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
            .await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.outcome().as_str()), (400, "not_applied"));
        let client = house.connect();
        let mut client = client;
        client.send(b"PUT /v1/kv/a HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf").await;
        drop(client.stream);
        assert!(client.serving.await.is_ok(), "no panic");
        assert!(house.fake.is_empty());
        assert_eq!(house.fake.admitted.get(), 0);
    });
}

#[test]
fn a_client_that_sends_no_more_is_still_answered() {
    run(async {
        let house = House::new();
        house.fake.set_mood(Mood::Delay(Duration::from_secs(1)));
        let mut client = house.connect();
        client.send(&request("PUT", "/v1/kv/a", "", b"1")).await;
        tokio::io::AsyncWriteExt::shutdown(&mut client.stream).await.unwrap();
        assert_eq!(client.answer().await.status, 200);
        assert!(client.is_closed().await);
    });
}

#[test]
fn a_write_whose_client_is_gone_still_completes() {
    run(async {
        let house = House::new();
        house.fake.set_mood(Mood::Delay(Duration::from_secs(1)));
        let mut client = house.connect();
        client.send(&request("PUT", "/v1/kv/a", "", b"1")).await;
        while house.fake.writes_begun.get() == 0 {
            tokio::task::yield_now().await;
        }
        drop(client.stream);
        drop(client.serving.await.unwrap());
        assert_eq!(house.fake.value(b"a").as_deref(), Some(&b"1"[..]));
    });
}

#[test]
fn shutdown_answers_what_is_under_way_and_then_closes() {
    run(async {
        let house = House::new();
        house.fake.set_mood(Mood::Delay(Duration::from_secs(3)));
        let mut idle = house.connect();
        let mut busy = house.connect();
        busy.send(&request("PUT", "/v1/kv/a", "", b"1")).await;
        while house.fake.writes_begun.get() == 0 {
            tokio::task::yield_now().await;
        }
        for client in [&mut idle, &mut busy] {
            client.shutdown.take().unwrap().send(()).unwrap();
        }
        assert!(idle.is_closed().await);
        assert!(idle.serving.await.unwrap().is_ok());
        let answer = busy.answer().await;
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
        assert!(busy.is_closed().await);
        assert!(busy.serving.await.unwrap().is_ok());
    });
}

#[test]
fn http_1_0_closes_after_its_answer() {
    run(async {
        let house = House::with(HttpOptions::default());
        let mut client = house.connect();
        client.send(b"GET /livez HTTP/1.0\r\nHost: a\r\n\r\n").await;
        assert_eq!(client.answer().await.status, 200);
        assert!(client.is_closed().await);
    });
}

#[test]
fn a_raw_number_sign_in_a_target_is_refused_and_nothing_is_written() {
    run(async {
        let house = House::new();
        for (target, part) in [
            ("/v1/kv/a#b", "the path"),
            ("/v1/kv/#", "the path"),
            ("http://localhost/v1/kv/a#b?ttl=30s", "the path"),
            ("/v1/kv/a?ttl=30s#", "the query"),
            ("/livez#x", "the path"),
        ] {
            let mut client = house.connect();
            // Neither a # in a value nor one in a header is one in a target.
            let fine = client.ask("PUT", "/v1/kv/fine", "X-Note: a #b\r\n", b"PUT /a#b HTTP/1.1");
            assert_eq!(fine.await.status, 200);
            let sent = request("PUT", target, "", b"value");
            let behind = request("PUT", "/v1/kv/behind", "", b"value");
            client.send(&[sent, behind].concat()).await;
            let answer = client.answer().await;
            assert_eq!((answer.status, answer.code()), (400, "invalid_argument"), "{target}");
            assert_eq!(answer.outcome(), "not_applied", "{target}");
            let detail = answer.detail();
            assert!(detail.contains(part) && detail.contains("%23"), "{target}: {detail}");
            assert_eq!(answer.header("connection"), Some("close"), "{target}");
            assert!(client.is_closed().await, "{target}");
        }
        assert_eq!(house.fake.writes_begun.get(), 5, "those that are fine, nothing else");
        assert_eq!(house.put("/v1/kv/a%23b", b"1").await.status, 200);
        assert_eq!(house.fake.value(b"a#b").as_deref(), Some(&b"1"[..]));
    });
}

#[test]
fn number_signs_are_found_whatever_the_fragments_and_bodies() {
    run(async {
        let house = House::new();
        let chunked = b"PUT /v1/kv/c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                        9;x=#\r\nA /# H\r\n\n\r\n000\r\nX: #\r\n\r\n";
        let refused = request("PUT", "/v1/kv/a#b", "content-length:  1 \r\n", b"");
        let refused = [&refused[..], b"x"].concat();
        let all = [
            request("PUT", "/v1/kv/p", "", b"\r\n\r\nGET /v1/kv/a#b HTTP/1.1\r\n\r\n"),
            chunked.to_vec(),
            b"\r\n\r\n".to_vec(),
            request("GET", "/v1/kv/c", "Referer: /x #y\r\n", b""),
            refused,
        ]
        .concat();
        for size in [1, 2, 3, 7, 50, all.len()] {
            let mut client = house.connect();
            for piece in all.chunks(size) {
                client.send(piece).await;
                tokio::task::yield_now().await;
            }
            for _ in 0..3 {
                assert_eq!(client.answer().await.status, 200, "pieces of {size}");
            }
            let refused = client.answer().await;
            assert_eq!(refused.status, 400, "pieces of {size}");
            assert!(refused.detail().contains("%23"), "{refused:?}");
            assert!(client.is_closed().await);
            assert_eq!(house.fake.value(b"a"), None);
        }
    });
}
