//! What requests look like, and how answers are read.

use std::time::Duration;

use bytes::Bytes;
use ringfort_client::{DeleteOptions, ListQuery, PutOptions};
use ringfort_types::request::{Condition, Consistency, Done, Found, Got, Operation};
use ringfort_types::{Code, Key, Outcome, Version};

use crate::fake::{Act, Fake};

fn key(bytes: &'static [u8]) -> Key {
    Key::new(bytes).unwrap()
}

#[tokio::test]
async fn writes_carry_key_condition_and_lifetime() {
    let written = Act::Answer(200, "ringfort-replayed: true\r\n", r#"{"version":2}"#);
    let fake = Fake::start(vec![written; 5]).await;
    let client = fake.client();
    for condition in [
        Condition::Always,
        Condition::Exists,
        Condition::Absent,
        Condition::VersionIn(Box::new([Version(1), Version(2)])),
        Condition::VersionNotIn(Box::new([Version(3)])),
    ] {
        let options =
            PutOptions { ttl: Some(Duration::from_secs(90)), condition, idempotency_key: None };
        let written = client.put(&key(b"a/b ?\xff"), Bytes::from_static(b"v"), &options).await;
        assert!(written.unwrap().replayed);
    }
    let seen = fake.seen();
    assert_eq!(seen[0].line(), "PUT /v1/kv/a/b%20%3F%FF?ttl=90s HTTP/1.1");
    assert_eq!(seen[0].header("host"), Some(&*fake.endpoint.authority()));
    let conditions: Vec<_> =
        seen.iter().map(|seen| (seen.header("if-match"), seen.header("if-none-match"))).collect();
    assert_eq!(
        conditions,
        [
            (None, None),
            (Some("*"), None),
            (None, Some("*")),
            (Some("\"1\", \"2\""), None),
            (None, Some("\"3\"")),
        ]
    );
}

#[tokio::test]
async fn reads_and_deletes_tell_absent_from_there() {
    let fake = Fake::start(vec![
        Act::Answer(200, "etag: \"7\"\r\nringfort-ttl-ms: 1500\r\n", ""),
        Act::Answer(
            404,
            "ringfort-code: key_not_found\r\nringfort-staleness-ms: 3\r\n",
            r#"{"code":"key_not_found"}"#,
        ),
        Act::Answer(200, "", r#"{"deleted":true,"version":8}"#),
        Act::Answer(200, "", r#"{"deleted":false}"#),
    ])
    .await;
    let client = fake.client();
    let found = Found { version: Version(7), value: Bytes::new(), ttl_ms: Some(1500) };
    let there = Got { found: Some(found), staleness_ms: None };
    assert_eq!(client.get(&key(b"a"), Consistency::Linearizable).await.unwrap(), there);
    let absent = Got { found: None, staleness_ms: Some(3) };
    assert_eq!(client.get(&key(b".."), Consistency::Stale).await.unwrap(), absent);
    let options = DeleteOptions::default();
    let deleted = client.delete(&key(b"a"), &options).await.unwrap();
    assert_eq!(deleted.version, Some(Version(8)));
    assert_eq!(client.delete(&key(b"a"), &options).await.unwrap().version, None);
    assert_eq!(fake.seen()[1].line(), "GET /v1/kv/%2E%2E?consistency=stale HTTP/1.1");
}

#[tokio::test]
async fn listings_carry_any_bytes() {
    let page = r#"{"items":[{"key":"a","value":"1","version":1},
        {"key_b64":"/w==","value_b64":"AA==","version":2,"ttl_ms":5}],"next_cursor":"c+/="}"#;
    let fake = Fake::start(vec![
        Act::Answer(200, "", page),
        Act::Answer(200, "", r#"{"items":[],"next_cursor":null}"#),
    ])
    .await;
    let client = fake.client();
    let mut query = ListQuery {
        prefix: Bytes::from_static(b"p&\xff"),
        start: Bytes::from_static(b"s"),
        end: Some(Bytes::from_static(b"e")),
        limit: Some(2),
        keys_only: true,
        ..ListQuery::default()
    };
    let page = client.list(&query).await.unwrap();
    let items: Vec<_> = page
        .items
        .iter()
        .map(|item| (item.key.as_bytes(), &item.value[..], item.version.0, item.ttl_ms))
        .collect();
    assert_eq!(items, [(&b"a"[..], &b"1"[..], 1, None), (b"\xff", b"\0", 2, Some(5))]);
    query.cursor = page.next_cursor;
    assert!(client.list(&query).await.unwrap().next_cursor.is_none());
    let seen = fake.seen();
    let target = "/v1/kv?prefix=p%26%FF&start=s&end=e&limit=2&keys_only=true";
    assert_eq!(seen[0].line(), format!("GET {target} HTTP/1.1"));
    assert_eq!(seen[1].line(), format!("GET {target}&cursor=c%2B%2F%3D HTTP/1.1"));
}

fn operations() -> Vec<Operation> {
    vec![
        Operation::Put {
            key: key(b"a"),
            value: Bytes::from_static(b"\xff"),
            ttl: Some(Duration::from_secs(30)),
            condition: Condition::Absent,
        },
        Operation::Get { key: key(b"b") },
        Operation::Get { key: key(b"c") },
        Operation::Delete { key: key(b"d"), condition: Condition::version(Version(4)) },
        Operation::Delete { key: key(b"e"), condition: Condition::Always },
    ]
}

#[tokio::test]
async fn a_batch_has_a_result_for_each_operation() {
    let results = r#"{"results":[{"status":200,"version":9},{"status":200,"version":3,"value":"x"},
        {"status":404,"code":"key_not_found"},
        {"status":412,"code":"precondition_failed","outcome":"not_applied","current_version":5,"detail":"no"},
        {"status":429,"code":"overloaded","outcome":"not_applied","detail":"busy"}]}"#;
    let fake =
        Fake::start(vec![Act::Answer(200, "", results), Act::Close, Act::Answer(200, "", results)])
            .await;
    let client = fake.client();
    let sure = client.batch(&operations(), false, None).await.unwrap();
    assert_eq!(sure[0], Ok(Done::Put(Version(9))));
    assert!(matches!(&sure[1], Ok(Done::Got(Some(found))) if found.version == Version(3)));
    assert_eq!(sure[2], Ok(Done::Got(None)));
    let refusal = sure[3].as_ref().unwrap_err();
    assert_eq!(
        (refusal.code, refusal.current_version),
        (Code::PreconditionFailed, Some(Version(5)))
    );
    assert_eq!(sure[4].as_ref().unwrap_err().outcome, Some(Outcome::NotApplied));

    let after_doubt = client.batch(&operations(), false, Some("id")).await.unwrap();
    assert_eq!(after_doubt[3].as_ref().unwrap_err().outcome, Some(Outcome::NotApplied));
    assert_eq!(after_doubt[4].as_ref().unwrap_err().outcome, Some(Outcome::Unknown));

    let sent: serde_json::Value = serde_json::from_slice(&fake.seen()[0].body).unwrap();
    let expected = serde_json::json!({"atomic": false, "ops": [
        {"op": "put", "key": "a", "value_b64": "/w==", "ttl": "30s", "if_version": 0},
        {"op": "get", "key": "b"},
        {"op": "get", "key": "c"},
        {"op": "delete", "key": "d", "if_version": 4},
        {"op": "delete", "key": "e"},
    ]});
    assert_eq!(sent, expected);
    assert_eq!(fake.seen()[0].header("content-type"), Some("application/json"));
}

#[tokio::test]
async fn a_batch_that_cannot_be_written_down_is_not_sent() {
    let fake = Fake::start(Vec::new()).await;
    let operation = Operation::Delete { key: key(b"a"), condition: Condition::Exists };
    let error = fake.client().batch(&[operation], false, None).await.unwrap_err();
    assert_eq!((error.outcome(), error.attempts), (Some(Outcome::NotApplied), 0));
    assert!(fake.seen().is_empty());
}

#[tokio::test]
async fn a_node_that_is_not_ready_is_an_answer() {
    let body = r#"{"code":"unavailable","ready":false,"checks":[{"name":"replayed","ok":false,"detail":"3 of 64"}]}"#;
    let fake = Fake::start(vec![
        Act::Answer(503, "", body),
        Act::Answer(200, "", r#"{"ready":true,"checks":[]}"#),
    ])
    .await;
    let client = fake.client();
    let readiness = client.ready().await.unwrap();
    assert!(!readiness.ready);
    assert_eq!(readiness.checks[0].detail, "3 of 64");
    assert!(client.ready().await.unwrap().ready);
}
