//! Listings of a worker: which shards they ask.

use bytes::Bytes;
use ringfort_env::Disk;
use ringfort_types::request::{Condition, Identity, List, Operation, Write};
use ringfort_types::{Code, Key, ShardId};

use crate::support::{Driver, context, list, shard_of};

fn put(driver: &mut Driver, key: &str) {
    let operation = Operation::Put {
        key: Key::new(key.to_owned()).unwrap(),
        value: Bytes::from_static(b"v"),
        ttl: None,
        condition: Condition::Always,
    };
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
