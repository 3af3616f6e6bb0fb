//! Memory: a body is admitted before it is buffered, and a long answer is written while it is sent.

use ringfort_types::request::Limits;

use crate::client::{House, run};

#[test]
fn what_is_not_admitted_is_not_buffered() {
    run(async {
        let house = House::new();
        house.fake.room.set(1000);
        let mut client = house.connect();
        assert_eq!(client.ask("PUT", "/v1/kv/a", "", &[b'x'; 1000]).await.status, 200);
        let refused = client.ask("PUT", "/v1/kv/b", "", &[b'x'; 1001]).await;
        assert_eq!((refused.status, refused.code()), (429, "overloaded"));
        assert_eq!(refused.outcome(), "not_applied");
        assert_eq!(refused.header("retry-after"), Some("1"));
        assert_eq!(client.ask("GET", "/v1/kv/b", "", b"").await.status, 404);
        // Others wait for their room as long as it is held, whatever they send of their bodies.
        let mut slow = house.connect();
        slow.send(b"PUT /v1/kv/c HTTP/1.1\r\nHost: a\r\nContent-Length: 800\r\n\r\nxx").await;
        while house.fake.admitted.get() < 800 {
            tokio::task::yield_now().await;
        }
        assert_eq!(client.ask("PUT", "/v1/kv/b", "", &[b'x'; 300]).await.status, 429);
        drop(slow);
        while house.fake.admitted.get() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(client.ask("PUT", "/v1/kv/b", "", &[b'x'; 300]).await.status, 200);
    });
}

#[test]
fn a_body_of_unknown_length_is_admitted_step_by_step_and_counted() {
    run(async {
        let house = House::new();
        house.fake.limits.set(Limits { value_bytes_max: 300_000, request_bytes_max: 300_000 });
        let chunk = [b"2710\r\n", &[b'x'; 10_000][..], b"\r\n"].concat();
        for (chunks, status, admitted) in [(1, 200, 65_536), (30, 200, 300_000), (31, 413, 300_000)]
        {
            house.fake.admitted_most.set(0);
            let mut client = house.connect();
            let head = b"PUT /v1/kv/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
            client.send(head).await;
            for _ in 0..chunks {
                client.send(&chunk).await;
            }
            client.send(b"0\r\nTrailer: dropped\r\n\r\n").await;
            let answer = client.answer().await;
            assert_eq!(answer.status, status, "{chunks}");
            assert_eq!(house.fake.admitted_most.get(), admitted, "{chunks}");
        }
        house.fake.room.set(200_000);
        let mut client = house.connect();
        client
            .send(b"PUT /v1/kv/b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await;
        for _ in 0..30 {
            client.send(&chunk).await;
        }
        let refused = client.answer().await;
        assert_eq!((refused.status, refused.outcome().as_str()), (429, "not_applied"));
        while house.fake.admitted.get() > 0 {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn an_empty_body_of_unknown_length_is_no_body() {
    run(async {
        let house = House::new();
        let mut client = house.connect();
        for method in ["GET", "DELETE", "PUT"] {
            let head = format!(
                "{method} /v1/kv/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            );
            client.send(head.as_bytes()).await;
            client.send(b"0\r\n\r\n").await;
            assert_ne!(client.answer().await.status, 400, "{method}");
        }
        client
            .send(b"DELETE /v1/kv/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await;
        client.send(b"1\r\nx\r\n0\r\n\r\n").await;
        assert_eq!(client.answer().await.status, 400);
        assert_eq!(house.fake.value(b"a").as_deref(), Some(&b""[..]));
    });
}

#[test]
fn a_long_answer_is_sent_in_pieces() {
    run(async {
        let house = House::new();
        let value = "\"\u{1}ä".repeat(200_000);
        let binary: Vec<u8> = (0..=255).rev().cycle().take(1_000_000).collect();
        house.fake.insert(b"binary", binary.clone());
        house.fake.insert(b"text", value.clone());
        let ops: Vec<_> = ["binary", "text", "absent", "text"]
            .iter()
            .map(|key| format!(r#"{{"op":"get","key":"{key}"}}"#))
            .collect();
        let answer = house.post("/v1/batch", &format!(r#"{{"ops":[{}]}}"#, ops.join(","))).await;
        assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
        let answer = answer.json();
        let results = answer["results"].as_array().unwrap();
        assert_eq!(results[0]["value_b64"].as_str().unwrap().len(), 1_333_336);
        assert_eq!(results[1]["value"], value);
        assert_eq!(results[2]["status"], 404);
        assert_eq!(results[3]["value"], value);

        let page = house.get("/v1/kv").await;
        assert_eq!(page.header("transfer-encoding"), Some("chunked"));
        assert_eq!(page.json()["items"][1]["value"], value);
        let head = house.ask("HEAD", "/v1/kv", "", b"").await;
        assert_eq!((head.status, head.header("content-length")), (200, None));
    });
}
