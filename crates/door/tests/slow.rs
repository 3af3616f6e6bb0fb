//! Clients that are slow: with heads, with bodies, in taking answers, or in doing anything at all.

use std::time::Duration;

use ringfort_door::{ConnectionError, HttpOptions};
use tokio::time::Instant;

use crate::client::{Client, House, request, run};
use crate::fake::Mood;

async fn ends_after(client: Client) -> (Duration, Result<(), ConnectionError>) {
    let begun = Instant::now();
    let _open = client.stream;
    let result = client.serving.await.unwrap();
    (begun.elapsed(), result)
}

fn seconds(range: std::ops::RangeInclusive<u64>) -> std::ops::RangeInclusive<Duration> {
    Duration::from_secs(*range.start())..=Duration::from_secs(*range.end())
}

#[test]
fn a_client_that_says_nothing_or_half_a_head() {
    run(async {
        let house = House::new();
        for beginning in [&b""[..], b"G", b"GET /v1/kv/a HTTP/1.1\r\nHost: a\r\n", b"PRI * HT"] {
            let mut client = house.connect();
            client.send(beginning).await;
            let (elapsed, result) = ends_after(client).await;
            assert!(
                matches!(result, Err(ConnectionError::TooSlow)) || beginning.starts_with(b"PRI")
            );
            let bound = if beginning.starts_with(b"PRI") { 300 } else { 30 };
            assert!(seconds(15..=bound).contains(&elapsed), "{elapsed:?}");
        }
        // Byte after byte is no better.
        let mut client = house.connect();
        client.ask("GET", "/livez", "", b"").await;
        let begun = Instant::now();
        while !client.serving.is_finished() {
            if tokio::io::AsyncWriteExt::write_all(&mut client.stream, b"G").await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert!(seconds(15..=31).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    });
}

#[test]
fn a_body_that_does_not_come_in_time() {
    run(async {
        let house = House::new();
        let cases = [
            ("Content-Length: 10\r\n", "", &b""[..]),
            ("Content-Length: 10\r\n", "", b"half"),
            ("Transfer-Encoding: chunked\r\n", "", b""),
            ("Transfer-Encoding: chunked\r\n", "", b"4\r\nhalf\r\n"),
            ("Content-Length: 10\r\n", "Ringfort-Timeout-Ms: 100\r\n", b"half"),
        ];
        for (length, timeout, beginning) in cases {
            for (method, target) in [("PUT", "/v1/kv/a"), ("POST", "/v1/batch")] {
                let mut client = house.connect();
                let head = format!(
                    "{method} {target} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n{length}{timeout}\r\n"
                );
                let begun = Instant::now();
                client.send(head.as_bytes()).await;
                client.send(beginning).await;
                let answer = client.answer().await;
                assert_eq!((answer.status, answer.code()), (504, "timeout"), "{head}");
                assert_eq!(answer.outcome(), "not_applied");
                assert_eq!(answer.header("connection"), Some("close"));
                let bound = Duration::from_millis(if timeout.is_empty() { 5000 } else { 100 });
                assert!((bound..bound + Duration::from_millis(5)).contains(&begun.elapsed()));
                assert!(client.is_closed().await);
                assert_eq!(house.fake.admitted.get(), 0);
            }
        }
        let mut client = house.connect();
        client
            .send(b"DELETE /v1/kv/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await;
        assert_eq!(client.answer().await.code(), "timeout");
    });
}

#[test]
fn an_answer_that_nobody_takes() {
    run(async {
        let house = House::new();
        house.fake.insert(b"a", vec![b'x'; 1 << 20]);
        let mut client = house.connect_through(1000);
        client.send(&request("GET", "/v1/kv/a", "", b"")).await;
        let (elapsed, result) = ends_after(client).await;
        assert!(matches!(result, Err(ConnectionError::TooSlow)));
        assert!(seconds(15..=45).contains(&elapsed), "{elapsed:?}");
    });
}

#[test]
fn an_answer_that_is_taken_slowly() {
    run(async {
        let house = House::new();
        house.fake.insert(b"a", vec![b'x'; 100_000]);
        let mut client = house.connect_through(1000);
        client.send(&request("GET", "/v1/kv/a", "", b"")).await;
        let mut taken = 0;
        let mut buffer = [0; 1000];
        while taken < 100_000 {
            tokio::time::sleep(Duration::from_secs(5)).await;
            let read =
                tokio::io::AsyncReadExt::read(&mut client.stream, &mut buffer).await.unwrap();
            assert_ne!(read, 0, "cut off after {taken} bytes");
            taken += read;
        }
    });
}

#[test]
fn a_request_may_take_as_long_as_its_own_bound() {
    run(async {
        let house = House::new();
        house.fake.set_mood(Mood::Delay(Duration::from_secs(55)));
        let mut client = house.connect();
        let answer = client.ask("PUT", "/v1/kv/a", "Ringfort-Timeout-Ms: 60000\r\n", b"1").await;
        assert_eq!(answer.status, 200);
    });
}

#[test]
fn an_idle_connection_stays_for_a_while_and_then_closes() {
    run(async {
        let house = House::with(HttpOptions {
            idle_timeout: Duration::from_secs(120),
            ..HttpOptions::default()
        });
        let mut client = house.connect();
        for pause in [0, 50, 100] {
            tokio::time::sleep(Duration::from_secs(pause)).await;
            // A body that comes after its head is none of the next head.
            client.send(b"PUT /v1/kv/a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n").await;
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            client.send(b"1").await;
            assert_eq!(client.answer().await.status, 200, "after {pause} s");
        }
        let (elapsed, result) = ends_after(client).await;
        assert!(result.is_ok());
        assert!(seconds(115..=150).contains(&elapsed), "{elapsed:?}");
    });
}
