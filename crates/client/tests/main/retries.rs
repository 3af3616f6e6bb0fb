//! What is tried again, where, and what the client says about the outcome.

use bytes::Bytes;
use ringfort_client::{Failure, PutOptions, random_idempotency_key};
use ringfort_types::request::Consistency;
use ringfort_types::{Code, Key, Outcome, Version};

use crate::fake::{Act, Fake, client, nobody};

const WRITTEN: Act = Act::Answer(200, "", r#"{"version":17}"#);
const OVERLOADED: Act = Act::Answer(
    429,
    "retry-after: 0\r\n",
    r#"{"code":"overloaded","detail":"busy","outcome":"not_applied"}"#,
);
const IN_DOUBT: Act =
    Act::Answer(503, "retry-after: 0\r\n", r#"{"code":"unavailable","outcome":"unknown"}"#);
const CONDITION: Act = Act::Answer(
    412,
    "",
    r#"{"code":"precondition_failed","outcome":"not_applied","current_version":3}"#,
);

fn key() -> Key {
    Key::new("k").unwrap()
}

fn once() -> PutOptions {
    PutOptions::default()
}

fn identified() -> PutOptions {
    PutOptions { idempotency_key: random_idempotency_key(), ..PutOptions::default() }
}

/// Puts over one endpoint with a script; the version, or outcome, code and attempts.
async fn put(
    acts: &[Act],
    options: PutOptions,
) -> Result<Version, (Option<Outcome>, Option<Code>, u32)> {
    let fake = Fake::start(acts.to_vec()).await;
    let written = fake.client().put(&key(), Bytes::from_static(b"v"), &options).await;
    written
        .map(|written| written.version)
        .map_err(|error| (error.outcome(), error.code(), error.attempts))
}

#[tokio::test]
async fn a_write_without_identity_is_never_sent_twice() {
    let unknown = Some(Outcome::Unknown);
    assert_eq!(put(&[Act::Close, WRITTEN], once()).await, Err((unknown, None, 1)));
    let refused = put(&[IN_DOUBT, WRITTEN], once()).await;
    assert_eq!(refused, Err((unknown, Some(Code::Unavailable), 1)));
    assert_eq!(put(&[OVERLOADED, WRITTEN], once()).await, Ok(Version(17)));
}

#[tokio::test]
async fn a_write_with_identity_is_repeated_under_the_same_one() {
    let fake = Fake::start(vec![Act::Close, WRITTEN]).await;
    let written = fake.client().put(&key(), Bytes::from_static(b"v"), &identified()).await;
    assert_eq!(written.unwrap().version, Version(17));
    let seen = fake.seen();
    let keys: Vec<_> = seen.iter().map(|seen| seen.header("idempotency-key")).collect();
    assert!(keys[0].is_some_and(|key| key.len() == 32), "{keys:?}");
    assert_eq!(keys[0], keys[1]);
    assert_eq!(seen[1].body, b"v");
    assert_eq!(put(&[IN_DOUBT, WRITTEN], identified()).await, Ok(Version(17)));
}

#[tokio::test]
async fn one_attempt_in_doubt_leaves_the_call_in_doubt() {
    let refused = put(&[Act::Close, OVERLOADED], identified()).await;
    assert_eq!(refused, Err((Some(Outcome::Unknown), Some(Code::Overloaded), 2)));
    let refused = put(&[OVERLOADED, OVERLOADED], identified()).await;
    assert_eq!(refused, Err((Some(Outcome::NotApplied), Some(Code::Overloaded), 2)));
    let refused = put(&[Act::Close, CONDITION], identified()).await;
    assert_eq!(refused, Err((Some(Outcome::NotApplied), Some(Code::PreconditionFailed), 2)));
}

#[tokio::test]
async fn nobody_there_is_not_applied() {
    let endpoints = [nobody().await, nobody().await];
    let error = client(&endpoints).put(&key(), Bytes::new(), &once()).await.unwrap_err();
    assert!(matches!(error.failure, Failure::NotSent(_)), "{error}");
    assert_eq!(error.outcome(), Some(Outcome::NotApplied));
    assert_eq!(error.attempts, 4);
    assert!(error.to_string().contains("cannot connect: "), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn another_endpoint_takes_over_where_that_is_safe() {
    let first = Fake::start(vec![Act::Close]).await;
    let second = Fake::start(vec![Act::Answer(200, "etag: \"5\"\r\n", "value")]).await;
    let client = client(&[nobody().await, first.endpoint.clone(), second.endpoint.clone()]);
    let found = client.get(&key(), Consistency::Linearizable).await.unwrap().found.unwrap();
    assert_eq!((found.version, &found.value[..]), (Version(5), &b"value"[..]));
    assert_eq!((first.seen().len(), second.seen().len()), (1, 1));

    let first = Fake::start(vec![Act::Close]).await;
    let second = Fake::start(vec![WRITTEN]).await;
    let client = crate::fake::client(&[first.endpoint.clone(), second.endpoint.clone()]);
    let error = client.put(&key(), Bytes::new(), &once()).await.unwrap_err();
    assert_eq!(error.outcome(), Some(Outcome::Unknown));
    assert_eq!(error.endpoint, Some(first.endpoint));
    assert!(second.seen().is_empty());
}

#[tokio::test]
async fn a_call_ends_soon_after_its_bound() {
    let fake = Fake::start(vec![Act::Hang]).await;
    let begin = std::time::Instant::now();
    let error = fake.client().put(&key(), Bytes::new(), &identified()).await.unwrap_err();
    assert!(matches!(error.failure, Failure::TimedOut { sent: true, .. }), "{error}");
    assert_eq!(error.outcome(), Some(Outcome::Unknown));
    assert!(begin.elapsed() >= std::time::Duration::from_millis(1500));
    let told: u64 = fake.seen()[0].header("ringfort-timeout-ms").unwrap().parse().unwrap();
    assert!((1..=1500).contains(&told), "{told}");
}

#[tokio::test]
async fn connections_are_kept_and_replaced() {
    let closing = Act::Answer(200, "connection: close\r\n", r#"{"version":18}"#);
    let fake = Fake::start(vec![WRITTEN, closing, WRITTEN]).await;
    let client = fake.client();
    for _ in 0..3 {
        client.put(&key(), Bytes::new(), &once()).await.unwrap();
    }
    let connections: Vec<_> = fake.seen().iter().map(|seen| seen.connection).collect();
    assert_eq!(connections, [0, 0, 1]);
}

#[tokio::test]
async fn an_answer_that_does_not_wait_for_the_body_arrives() {
    let refusal = r#"{"code":"too_large","detail":"at most 8 MiB","outcome":"not_applied"}"#;
    let fake = Fake::start(vec![Act::AnswerEarly(413, refusal)]).await;
    let value = Bytes::from(vec![0; 12 << 20]);
    let error = fake.client().put(&key(), value, &once()).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::TooLarge), "{error}");
    assert_eq!(error.outcome(), Some(Outcome::NotApplied));
}

#[tokio::test]
async fn another_program_is_not_understood() {
    for answer in [Act::Answer(200, "", "<html>"), Act::Answer(204, "", "")] {
        let fake = Fake::start(vec![answer]).await;
        let error = fake.client().put(&key(), Bytes::new(), &identified()).await.unwrap_err();
        assert!(matches!(error.failure, Failure::Malformed(_)), "{error}");
        assert_eq!(error.outcome(), Some(Outcome::Unknown));
        assert_eq!(error.endpoint, Some(fake.endpoint));
    }
    let fake = Fake::start(vec![Act::Answer(404, "", "not found")]).await;
    let error = fake.client().get(&key(), Consistency::Linearizable).await.unwrap_err();
    assert!(error.to_string().contains("is this a Ringfort server?"), "{error}");
}
