//! Requests that follow the cluster's map.

use bytes::Bytes;
use ringfort_client::{Client, Endpoint, Options, PutOptions, random_idempotency_key};
use ringfort_types::Key;
use ringfort_types::request::Consistency;

use crate::fake::{Act, Fake, nobody};

const WRITTEN: Act = Act::Answer(200, "", r#"{"version":17}"#);
const FOUND: Act = Act::Answer(200, "etag: \"5\"\r\n", "value");

fn key() -> Key {
    Key::new("k").unwrap()
}

fn client(endpoints: &[Endpoint]) -> Client {
    let timeout = std::time::Duration::from_secs(5);
    Client::new(endpoints, Options { timeout, route: true, ..Options::default() }).unwrap()
}

fn once() -> PutOptions {
    PutOptions::default()
}

/// A map of one shard on these nodes, n0 and so on; one of them leads, in this term.
fn map(nodes: &[&Endpoint], leader: usize, term: u64) -> Act {
    let node = |(number, endpoint): (usize, &&Endpoint)| {
        format!(r#"{{"id":"n{number}","client":"{}"}}"#, endpoint.authority())
    };
    let replica = |number: usize| {
        let id = 4096 + number;
        format!(r#"{{"id":{id},"node":"n{number}","role":"follower"}}"#)
    };
    let replicas: Vec<_> = (0..nodes.len()).map(replica).collect();
    let nodes: Vec<_> = nodes.iter().enumerate().map(node).collect();
    let body = format!(
        r#"{{"epoch":1,"nodes":[{}],"shards":[{{"shard":0,"leader":"n{leader}","term":{term},"replicas":[{}]}}]}}"#,
        nodes.join(","),
        replicas.join(",")
    );
    Act::Answer(200, "etag: \"77\"\r\n", body.leak())
}

const UNCHANGED: Act = Act::Answer(304, "etag: \"77\"\r\n", "");

/// Time passes until the copy of the map is fetched again.
async fn age() {
    tokio::time::pause();
    tokio::time::advance(std::time::Duration::from_secs(6)).await;
    tokio::time::resume();
}

/// The tags under which the map was asked for.
fn tags(fake: &Fake) -> Vec<Option<String>> {
    let seen = fake.seen();
    let asked = seen.iter().filter(|seen| seen.line().starts_with("GET /v1/cluster/map "));
    asked.map(|seen| seen.header("if-none-match").map(str::to_owned)).collect()
}

fn lines(fake: &Fake) -> Vec<String> {
    fake.seen().iter().map(|seen| seen.line().replace(" HTTP/1.1", "")).collect()
}

#[tokio::test]
async fn a_keys_request_goes_to_the_node_that_leads_its_shard() {
    let leader = Fake::start(vec![WRITTEN, FOUND]).await;
    let other = nobody().await;
    let first = Fake::start(vec![map(&[&other, &leader.endpoint], 1, 3)]).await;
    let client = client(std::slice::from_ref(&first.endpoint));
    client.put(&key(), Bytes::from_static(b"v"), &once()).await.unwrap();
    client.get(&key(), Consistency::Linearizable).await.unwrap();
    assert_eq!(lines(&first), ["GET /v1/cluster/map"]);
    assert_eq!(lines(&leader), ["PUT /v1/kv/k", "GET /v1/kv/k"]);
}

#[tokio::test]
async fn a_map_that_has_not_changed_is_kept() {
    let leader = Fake::start(vec![WRITTEN, WRITTEN, WRITTEN]).await;
    let [first, second] = [map(&[&leader.endpoint], 0, 3), map(&[&leader.endpoint], 0, 4)];
    let first = Fake::start(vec![first, UNCHANGED, second]).await;
    let client = client(std::slice::from_ref(&first.endpoint));
    for _ in 0..3 {
        client.put(&key(), Bytes::from_static(b"v"), &once()).await.unwrap();
        age().await;
    }
    // Whoever answered is asked again, though the leader is known by now, too.
    let tag = Some("\"77\"".to_owned());
    assert_eq!(tags(&first), [None, tag.clone(), tag]);
    assert_eq!(lines(&leader), ["PUT /v1/kv/k"; 3]);
}

/// A node that the others cannot reach may answer for ever that nothing has changed.
#[tokio::test]
async fn another_node_is_asked_for_the_map_once_in_a_while() {
    let writes = std::iter::repeat_n(WRITTEN, 12);
    let leader = Fake::start(writes.chain([UNCHANGED, WRITTEN]).collect()).await;
    let first = map(&[&leader.endpoint], 0, 3);
    let unchanged = std::iter::repeat_n(UNCHANGED, 11);
    let first = Fake::start([first].into_iter().chain(unchanged).collect()).await;
    let client = client(std::slice::from_ref(&first.endpoint));
    for _ in 0..13 {
        client.put(&key(), Bytes::from_static(b"v"), &once()).await.unwrap();
        age().await;
    }
    assert_eq!((tags(&first).len(), tags(&leader).len()), (12, 1));
}

/// The story: a leader that had failed once was forgotten, and an answer that nothing had changed did not bring it back.
#[tokio::test]
async fn after_a_failure_the_map_is_fetched_whole() {
    let refused =
        Act::Answer(503, "retry-after: 0\r\n", r#"{"code":"unavailable","outcome":"not_applied"}"#);
    let leader = Fake::start(vec![WRITTEN, refused, WRITTEN]).await;
    let nodes = [&leader.endpoint];
    let first = Fake::start(vec![map(&nodes, 0, 3), map(&nodes, 0, 3), WRITTEN, WRITTEN]).await;
    let client = client(std::slice::from_ref(&first.endpoint));
    for _ in 0..2 {
        client.put(&key(), Bytes::from_static(b"v"), &once()).await.unwrap();
    }
    age().await;
    drop(client.put(&key(), Bytes::from_static(b"v"), &once()).await);
    assert_eq!(tags(&first).iter().chain(&tags(&leader)).flatten().count(), 0, "a tag was kept");
}

/// Nobody was asked for it under a tag: there is no map to keep.
#[tokio::test]
async fn an_answer_that_nothing_has_changed_is_no_map() {
    let first = Fake::start(vec![UNCHANGED, WRITTEN]).await;
    let client = client(std::slice::from_ref(&first.endpoint));
    client.put(&key(), Bytes::from_static(b"v"), &once()).await.unwrap();
    assert_eq!(lines(&first), ["GET /v1/cluster/map", "PUT /v1/kv/k"]);
}

#[tokio::test]
async fn without_a_map_the_endpoints_answer() {
    let first = Fake::start(vec![Act::Answer(404, "", "{}"), WRITTEN]).await;
    let client = client(std::slice::from_ref(&first.endpoint));
    client.put(&key(), Bytes::from_static(b"v"), &once()).await.unwrap();
    assert_eq!(lines(&first), ["GET /v1/cluster/map", "PUT /v1/kv/k"]);
}

#[tokio::test]
async fn a_leader_that_cannot_be_reached_is_passed_over_by_way_of_an_endpoint() {
    let gone = nobody().await;
    let first = Fake::start(vec![map(&[&gone], 0, 3), WRITTEN]).await;
    let client = client(std::slice::from_ref(&first.endpoint));
    let written = client.put(&key(), Bytes::from_static(b"v"), &once()).await;
    written.unwrap();
    assert_eq!(lines(&first), ["GET /v1/cluster/map", "PUT /v1/kv/k"]);
}

#[tokio::test]
async fn a_lost_write_is_repeated_elsewhere_under_its_identity_and_the_map_fetched_again() {
    let follower = Fake::start(vec![WRITTEN]).await;
    let leader = Fake::start(vec![Act::Close]).await;
    let nodes = [&leader.endpoint, &follower.endpoint];
    let first = Fake::start(vec![map(&nodes, 0, 3)]).await;
    let client = client(std::slice::from_ref(&first.endpoint));
    let identified =
        PutOptions { idempotency_key: random_idempotency_key(), ..PutOptions::default() };
    client.put(&key(), Bytes::from_static(b"v"), &identified).await.unwrap();
    let key_of = |fake: &Fake| {
        let seen = fake.seen().into_iter().find(|seen| seen.line().starts_with("PUT"));
        seen.unwrap().header("idempotency-key").map(str::to_owned)
    };
    assert!(key_of(&leader).is_some());
    assert_eq!(key_of(&leader), key_of(&follower));
}

#[tokio::test]
async fn a_newer_leader_is_followed_once_the_old_one_has_failed() {
    let new = Fake::start(vec![WRITTEN, WRITTEN]).await;
    // It says that it leads no longer; whoever is asked for the map afterwards knows the new leader.
    let refused =
        Act::Answer(503, "retry-after: 1\r\n", r#"{"code":"unavailable","outcome":"not_applied"}"#);
    let old = Fake::start(vec![refused]).await;
    let nodes = [&old.endpoint, &new.endpoint];
    let first = Fake::start(vec![map(&nodes, 0, 3), map(&nodes, 1, 4)]).await;
    let client = client(std::slice::from_ref(&first.endpoint));
    for _ in 0..2 {
        client.put(&key(), Bytes::from_static(b"v"), &once()).await.unwrap();
    }
    let puts = |fake: &Fake| lines(fake).iter().filter(|line| line.starts_with("PUT")).count();
    assert_eq!((puts(&old), puts(&new), puts(&first)), (1, 2, 0));
}

#[tokio::test]
async fn a_batch_of_one_shard_follows_its_key_and_any_other_goes_to_an_endpoint() {
    use ringfort_types::request::{Condition, Operation};
    let batch = Act::Answer(200, "", r#"{"results":[{"status":200,"version":3}]}"#);
    let leader = Fake::start(vec![batch.clone()]).await;
    let first = Fake::start(vec![map(&[&leader.endpoint], 0, 3), batch]).await;
    let client = client(std::slice::from_ref(&first.endpoint));
    let value = Bytes::from_static(b"v");
    let put = [Operation::Put { key: key(), value, ttl: None, condition: Condition::Always }];
    client.batch(&put, true, None).await.unwrap();
    client.batch(&put, false, None).await.unwrap();
    assert_eq!(lines(&leader), ["POST /v1/batch"]);
    assert_eq!(lines(&first), ["GET /v1/cluster/map", "POST /v1/batch"]);
}
