//! HTTP/2 with prior knowledge, through hyper's own client.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use ringfort_door::{Hosts, HttpOptions};

use crate::client::{House, run};
use crate::fake::Mood;

#[derive(Clone)]
struct Local;

impl<F: Future + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

async fn connect<B: Body<Data = Bytes, Error = Infallible> + Unpin + 'static>(
    house: &House,
) -> SendRequest<B> {
    let stream = TokioIo::new(house.connect().stream);
    let mut builder = http2::Builder::new(Local);
    let (sender, connection) = builder.timer(TokioTimer::new()).handshake(stream).await.unwrap();
    tokio::task::spawn_local(connection);
    sender
}

fn request(method: &str, target: &str, value: &'static [u8]) -> Request<Full<Bytes>> {
    let uri = format!("http://localhost{target}");
    Request::builder().method(method).uri(uri).body(Full::from(value)).unwrap()
}

async fn read<B: Body<Data = Bytes, Error: std::fmt::Debug>>(
    response: Response<B>,
) -> (u16, Bytes) {
    let status = response.status().as_u16();
    (status, response.into_body().collect().await.unwrap().to_bytes())
}

#[test]
fn the_same_answers_as_over_http_1() {
    run(async {
        let house = House::new();
        let mut client = connect(&house).await;
        let put = client.send_request(request("PUT", "/v1/kv/a?ttl=30s", b"hello")).await.unwrap();
        assert_eq!(put.headers()["etag"], "\"17\"");
        assert_eq!(read(put).await, (200, Bytes::from_static(b"{\"version\":17}")));
        let get = client.send_request(request("GET", "/v1/kv/a", b"")).await.unwrap();
        assert_eq!(get.headers()["ringfort-ttl-ms"], "30000");
        assert_eq!(get.headers()["ringfort-request-id"].len(), 16);
        assert_eq!(read(get).await, (200, Bytes::from_static(b"hello")));
        let head = client.send_request(request("HEAD", "/v1/kv/a", b"")).await.unwrap();
        assert_eq!(head.headers()["content-length"], "5");
        assert_eq!(read(head).await, (200, Bytes::new()));
        let absent = client.send_request(request("GET", "/v1/kv/b", b"")).await.unwrap();
        assert_eq!(absent.headers()["ringfort-code"], "key_not_found");
        assert_eq!(read(absent).await.0, 404);
        let refused = client.send_request(request("PUT", "/v1/kv/a?tll=1s", b"x")).await.unwrap();
        assert_eq!(refused.headers().get("connection"), None);
        assert_eq!(read(refused).await.0, 400);
    });
}

#[test]
fn streams_do_not_wait_for_each_other() {
    run(async {
        let house = House::new();
        let mut client = connect(&house).await;
        house.fake.set_mood(Mood::Delay(Duration::from_secs(2)));
        let slow = client.send_request(request("PUT", "/v1/kv/slow", b"1"));
        let slow = tokio::task::spawn_local(slow);
        while house.fake.writes_begun.get() == 0 {
            tokio::task::yield_now().await;
        }
        house.fake.set_mood(Mood::Serve);
        let quick = client.send_request(request("PUT", "/v1/kv/quick", b"1")).await.unwrap();
        assert_eq!(read(quick).await.0, 200);
        assert!(!slow.is_finished());
        assert_eq!(read(slow.await.unwrap().unwrap()).await.0, 200);
        // A panic on one stream is an answer on that stream.
        house.fake.set_mood(Mood::Panic);
        let failed = client.send_request(request("PUT", "/v1/kv/a", b"1")).await.unwrap();
        assert_eq!(read(failed).await.0, 500);
        house.fake.set_mood(Mood::Serve);
        let large: &'static [u8] = Box::leak(vec![b'x'; 3 << 20].into_boxed_slice());
        let put = client.send_request(request("PUT", "/v1/kv/large", large)).await.unwrap();
        assert_eq!(read(put).await.0, 200);
        let get = client.send_request(request("GET", "/v1/kv/large", b"")).await.unwrap();
        assert_eq!(read(get).await.1.len(), 3 << 20);
    });
}

#[test]
fn the_authority_is_checked_like_a_host() {
    run(async {
        let hosts = Hosts::Loopback(Vec::new());
        let house = House::with(HttpOptions { hosts, ..HttpOptions::default() });
        let mut client = connect(&house).await;
        let fine = client.send_request(request("GET", "/livez", b"")).await.unwrap();
        assert_eq!(fine.status(), 200);
        let mut foreign = request("GET", "/livez", b"");
        *foreign.uri_mut() = "http://evil.example/livez".parse().unwrap();
        let refused = client.send_request(foreign).await.unwrap();
        assert_eq!(refused.status(), 421);
    });
}

/// A body that gives one piece and then never ends.
struct Endless(Option<Bytes>);

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.0.take() {
            Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            None => Poll::Pending,
        }
    }
}

#[test]
fn a_body_that_does_not_come_in_time_costs_its_stream_only() {
    run(async {
        let house = House::new();
        let mut client = connect(&house).await;
        let request = |target: &str| {
            let uri = format!("http://localhost{target}");
            let piece = Bytes::from_static(b"beginning");
            Request::builder().method("PUT").uri(uri).body(Endless(Some(piece))).unwrap()
        };
        let late = client.send_request(request("/v1/kv/a")).await.unwrap();
        assert_eq!(late.headers()["ringfort-code"], "timeout");
        assert_eq!(read(late).await.0, 504);
        let other = client.send_request(request("/v1/kv/a?x=1")).await.unwrap();
        assert_eq!(read(other).await.0, 400);
        assert_eq!(house.fake.admitted.get(), 0);
        assert!(house.fake.is_empty());
    });
}

#[test]
fn a_refusal_reaches_a_client_that_sends_its_whole_body_first() {
    run(async {
        let house = House::new();
        let mut client = connect(&house).await;
        let large: &'static [u8] = Box::leak(vec![b'x'; 9 << 20].into_boxed_slice());
        for _ in 0..2 {
            let refused = client.send_request(request("PUT", "/v1/kv/a", large)).await.unwrap();
            assert_eq!(refused.headers()["ringfort-code"], "too_large");
            assert_eq!(read(refused).await.0, 413);
        }
        let put = client.send_request(request("PUT", "/v1/kv/a", b"1")).await.unwrap();
        assert_eq!(read(put).await.0, 200);
    });
}

#[test]
fn shutdown_lets_streams_end() {
    run(async {
        let house = House::new();
        house.fake.set_mood(Mood::Delay(Duration::from_secs(2)));
        let connection = house.connect();
        let stream = TokioIo::new(connection.stream);
        let builder = http2::Builder::new(Local);
        let (mut client, driver) = builder.handshake(stream).await.unwrap();
        let driver = tokio::task::spawn_local(driver);
        let put = tokio::task::spawn_local(client.send_request(request("PUT", "/v1/kv/a", b"1")));
        while house.fake.writes_begun.get() == 0 {
            tokio::task::yield_now().await;
        }
        connection.shutdown.unwrap().send(()).unwrap();
        assert_eq!(read(put.await.unwrap().unwrap()).await.0, 200);
        assert!(connection.serving.await.unwrap().is_ok());
        drop(driver.await.unwrap());
        let ready = poll_fn(|cx| client.poll_ready(cx)).await;
        assert!(ready.is_err(), "no further request");
    });
}

#[test]
fn a_node_that_starts_ends_its_connections() {
    run(async {
        let house = House::with(HttpOptions { starting: true, ..HttpOptions::default() });
        let connection = house.connect();
        let stream = TokioIo::new(connection.stream);
        let builder = http2::Builder::new(Local);
        let (mut client, driver) = builder.handshake(stream).await.unwrap();
        let driver = tokio::task::spawn_local(driver);
        let live = client.send_request(request("GET", "/livez", b"")).await.unwrap();
        assert_eq!(read(live).await.0, 200);
        let ended = tokio::time::timeout(Duration::from_secs(1), connection.serving).await;
        // The client may close before our last frame is out: that is no fault.
        drop(ended.expect("the connection ends"));
        drop(driver.await.unwrap());
        assert!(poll_fn(|cx| client.poll_ready(cx)).await.is_err(), "no further request");
    });
}
