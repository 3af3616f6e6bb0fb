//! Listings of a worker: which shards they ask, how long they take, and what else goes on meanwhile.

use std::time::Duration;

use bytes::Bytes;
use ringfort_env::Disk;
use ringfort_node::control::Founded;
use ringfort_node::{Replied, Response};
use ringfort_sim::{SimDisk, SimNode};
use ringfort_types::request::{Condition, Consistency, Identity, List, Operation, Page, Write};
use ringfort_types::{Code, Key, Monotonic, ShardId};

use crate::support::{Driver, LISTING, code, context, list, options, shard_of};

/// More than one turn's work.
const MANY: usize = 5000;
/// As many of them live for a second.
const DUE: usize = 4000;

fn put_of(key: &str, ttl: Option<Duration>) -> Operation {
    Operation::Put {
        key: Key::new(key.to_owned()).unwrap(),
        value: Bytes::from_static(b"v"),
        ttl,
        condition: Condition::Always,
    }
}

fn put(driver: &mut Driver, key: &str) {
    let operation = put_of(key, None);
    let (now, write) = (driver.node.now, Write { operation, identity: Identity::None });
    driver.node.worker().write(now, &context(now), &write, || 1).unwrap();
    driver.node.settle().unwrap();
}

/// A tag of each shard.
fn tag_in(shard: ShardId) -> String {
    let tags = (0..).map(|number| format!("{{tag-{number}}}"));
    tags.into_iter().find(|tag| shard_of(&Key::new(tag.clone()).unwrap()) == shard).unwrap()
}

#[test]
fn a_closed_shard_stops_only_listings_that_it_may_have_keys_of() {
    let mut driver = Driver::new(11);
    let (closed, open) = (tag_in(ShardId(0)), tag_in(ShardId(1)));
    for tag in [&closed, &open] {
        put(&mut driver, &format!("{tag}:a"));
    }
    driver.node.want_flush(&[ShardId(0)]);
    driver.node.settle().unwrap();
    let mut disk = driver.node.disk().clone();
    let files = disk.list().unwrap();
    let (snapshot, len) =
        files.iter().find(|(name, _)| name.as_str().starts_with("snap-")).unwrap();
    assert!(disk.flip_bit(snapshot, len / 2, 0));
    let mut driver = driver.restart(disk, 1);
    let mut listed = |prefix: &str| {
        let page = driver.list(List { prefix: Bytes::from(prefix.to_owned()), ..list() });
        page.map(|page| page.items.len()).map_err(|refusal| refusal.code)
    };
    assert_eq!(listed(&closed), Err(Code::Unavailable));
    assert_eq!(listed(&format!("{closed}:a")), Err(Code::Unavailable));
    assert_eq!(listed(&open), Ok(1));
    assert_eq!(listed(&format!("{open}:a")), Ok(1));
    // No complete tag: such keys may live anywhere.
    for prefix in ["", "{", "{tag-", open.trim_end_matches('}')] {
        assert_eq!(listed(prefix), Err(Code::Unavailable), "{prefix}");
    }
}

/// A node with many keys.
fn many(seed: u64) -> Driver {
    let mut driver = Driver::new(seed);
    for number in 0..MANY {
        let ttl = (number < DUE).then_some(Duration::from_secs(1));
        let operation = Operation::Put {
            key: Key::new(format!("{number:05}")).unwrap(),
            value: Bytes::from_static(b"v"),
            ttl,
            condition: Condition::Always,
        };
        let (now, write) = (driver.node.now, Write { operation, identity: Identity::None });
        driver.node.worker().write(now, &context(now), &write, || 1).unwrap();
    }
    driver.node.settle().unwrap();
    driver.node.answers.clear();
    driver
}

fn page(response: Response) -> Page {
    match response.unwrap() {
        Replied::Page(page) => page,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_large_page_takes_turns_and_others_go_on_between_them() {
    let mut driver = many(12);
    let now = driver.node.now;
    let worker = driver.node.worker();
    worker.list(now, &context(now), list(), || LISTING).unwrap();
    let other = Write { operation: put_of("other", None), identity: Identity::None };
    worker.write(now, &context(now), &other, || 2).unwrap();
    worker.poll(now);
    assert!(worker.poll_submission().is_some(), "the write is on its way after one turn");
    let mut turns = 1;
    let answer = loop {
        match worker.poll_response() {
            Some(answer) => break answer,
            None => assert!(worker.has_work(), "the page is got on with"),
        }
        worker.poll(now);
        turns += 1;
    };
    assert_eq!(answer.0, LISTING);
    assert_eq!(page(answer.1).items.len(), MANY);
    assert!(turns >= 2 * MANY / 1024, "{turns} turns for {MANY} keys that are looked at twice");
}

/// A key that lives for ten milliseconds, which have passed without a tick.
fn with_a_due_key(seed: u64) -> Driver {
    let mut driver = Driver::new(seed);
    let operation = put_of("a", Some(Duration::from_millis(10)));
    let (now, write) = (driver.node.now, Write { operation, identity: Identity::None });
    driver.node.worker().write(now, &context(now), &write, || 1).unwrap();
    driver.node.settle().unwrap();
    driver.node.answers.clear();
    driver.node.now = now + Duration::from_millis(20);
    driver
}

/// What its shards have applied, all together.
fn applied(driver: &mut Driver) -> u64 {
    let shards = driver.node.worker().shards().into_iter();
    shards.map(|shard| shard.status.unwrap().raft.applied.0).sum()
}

#[test]
fn a_page_leaves_a_due_key_out_once_its_expiry_is_applied() {
    let mut driver = with_a_due_key(17);
    let (now, before) = (driver.node.now, applied(&mut driver));
    let worker = driver.node.worker();
    worker.list(now, &context(now), list(), || LISTING).unwrap();
    while worker.has_work() {
        worker.poll(now);
        let answer = worker.poll_response();
        assert!(answer.is_none(), "the entry that removes the key is not durable: {answer:?}");
    }
    driver.node.settle().unwrap();
    let (_, response) = driver.node.answers.pop().unwrap();
    assert_eq!(page(response), Page::default());
    assert_eq!(applied(&mut driver), before + 1);
}

#[test]
fn a_stale_page_shows_a_due_key_until_its_expiry_is_applied() {
    let mut driver = with_a_due_key(18);
    let before = applied(&mut driver);
    let stale = List { consistency: Consistency::Stale, ..list() };
    let shown = driver.list(stale.clone()).unwrap().items;
    assert_eq!(shown.iter().map(|item| item.ttl_ms).collect::<Vec<_>>(), [Some(0)]);
    assert_eq!(applied(&mut driver), before, "it has nothing expired");
    driver.node.pass(Duration::ZERO).unwrap();
    driver.node.settle().unwrap();
    assert_eq!(driver.list(stale).unwrap().items, []);
}

#[test]
fn a_page_has_many_due_keys_expired_in_bounded_entries() {
    let mut driver = many(13);
    driver.node.now = driver.node.now + Duration::from_secs(3600);
    let (now, before) = (driver.node.now, applied(&mut driver));
    // One after the other: the second finds the entries of the first under way.
    for waiter in [LISTING, 1] {
        let first = List { limit: 1, ..list() };
        driver.node.worker().list(now, &context(now), first, || waiter).unwrap();
    }
    driver.node.settle().unwrap();
    assert_eq!(driver.node.answers.len(), 2);
    for (_, response) in std::mem::take(&mut driver.node.answers) {
        assert_eq!(page(response).items[0].key.as_bytes(), b"04000");
    }
    // No more than 256 keys to an entry, and those of each shard one behind the other.
    let entries = applied(&mut driver) - before;
    let most = DUE / 256 + 4;
    assert!((DUE / 256..=most).contains(&(entries as usize)), "{entries} entries");
}

#[test]
fn a_listing_ends_with_its_time() {
    let mut driver = many(14);
    let now = driver.node.now;
    let mut context = context(now);
    context.deadline = now + Duration::from_millis(5);
    let worker = driver.node.worker();
    worker.list(now, &context, list(), || LISTING).unwrap();
    worker.poll(now);
    assert!(worker.poll_response().is_none());
    worker.handle_tick(context.deadline);
    let (waiter, response) = worker.poll_response().unwrap();
    assert_eq!((waiter, code(&response)), (LISTING, Some("timeout")));
    assert_eq!(response.unwrap_err().outcome, None);
    driver.node.settle().unwrap();
    assert!(driver.node.answers.is_empty(), "nobody is answered twice");
    let worker = driver.node.worker();
    let late = worker.list(context.deadline, &context, list(), || LISTING).unwrap_err();
    assert_eq!(late.code, Code::Timeout);
}

#[test]
fn a_listing_waits_for_its_shards_and_a_stale_one_for_a_bound() {
    let mut node =
        SimNode::start(SimDisk::new(15), options(Founded::Nothing), Monotonic(1)).unwrap();
    let now = node.now;
    // Each group elects its leader, whose first entry is not yet durable then.
    while !node.worker().shards().iter().all(|shard| shard.leads) {
        assert!(node.step().unwrap());
    }
    assert!(!node.worker().is_ready(now));
    let stale = List { consistency: Consistency::Stale, ..list() };
    node.worker().list(now, &context(now), stale.clone(), || 1).unwrap();
    let mut late = context(now);
    late.deadline = now + Duration::from_millis(1);
    node.worker().list(now, &late, list(), || 2).unwrap();
    node.worker().list(now, &context(now), list(), || 3).unwrap();
    node.worker().poll(now);
    assert!(node.worker().poll_response().is_none());
    node.worker().handle_tick(late.deadline);
    let (waiter, response) = node.worker().poll_response().unwrap();
    assert_eq!((waiter, code(&response)), (2, Some("timeout")));
    node.settle().unwrap();
    let mut bounds: Vec<_> = node.answers.drain(..).collect();
    bounds.sort_unstable_by_key(|(waiter, _)| *waiter);
    let bounds: Vec<_> = bounds
        .into_iter()
        .map(|(waiter, response)| (waiter, page(response).staleness_ms))
        .collect();
    assert_eq!(bounds, [(1, Some(0)), (3, None)]);
    // A leader's own state is as old as the look at it.
    node.worker().list(now, &context(now), stale, || 4).unwrap();
    node.settle().unwrap();
    assert_eq!(page(node.answers.pop().unwrap().1).staleness_ms, Some(0));
}

#[test]
fn a_stale_page_is_as_old_as_the_first_look_for_it() {
    let mut driver = many(16);
    let mut now = driver.node.now;
    let stale = List { consistency: Consistency::Stale, ..list() };
    let worker = driver.node.worker();
    worker.list(now, &context(now), stale, || LISTING).unwrap();
    let begun = now;
    let answer = loop {
        worker.poll(now);
        if let Some((_, answer)) = worker.poll_response() {
            break page(answer);
        }
        now = now + Duration::from_micros(2001);
    };
    let age = now.since(begun).as_micros().div_ceil(1000);
    assert_eq!(answer.staleness_ms, Some(u64::try_from(age).unwrap()));
    assert!(age > 2);
}
