//! The cluster's feature level: from the catalog to what leaders stamp, and what a node does that does not know it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ringfort_node::control::{
    CatalogCopy, CatalogDelta, ClusterMap, Control, ControlEffect, DeltaError, Founded, Record,
    RecordKey, RecordValue, SettingsError,
};
use ringfort_placement::{ShardPlacement, Wish};
use ringfort_sim::{SimDisk, SimNode, SimNodeOptions};
use ringfort_types::request::{Condition, Identity, Operation, Write};
use ringfort_types::{Epoch, FeatureLevel, Levels, Monotonic, NodeNumber, ShardId, Version};

use super::control::formation;
use crate::support::{SHARDS, context, key, options, shard_of};

pub(crate) const OLD: FeatureLevel = FeatureLevel(1);
/// One that the nodes of these tests may know, and this executable does not.
pub(crate) const NEW: FeatureLevel = FeatureLevel(2);

/// A map that says nothing but the level.
pub(crate) fn map(epoch: u64, level: FeatureLevel) -> Arc<ClusterMap> {
    let record = formation(1);
    let mut settings = record.settings;
    (settings.shards, settings.feature_level) = (SHARDS, level);
    let nowhere = || ShardPlacement::new(Vec::new(), Wish::default());
    let shards = (0..SHARDS).map(|_| nowhere()).collect();
    let (epoch, members) = (Epoch(epoch), Vec::new());
    let map = ClusterMap::new(epoch, record.cluster_id, settings, members, nowhere(), shards);
    Arc::new(map.unwrap())
}

fn start(disk: SimDisk, founded: Founded, known: FeatureLevel) -> SimNode {
    let levels = Levels { active: OLD, known };
    let options = SimNodeOptions { levels, ..options(founded) };
    let mut node = SimNode::start(disk, options, Monotonic(1_000_000)).unwrap();
    node.settle().unwrap();
    node
}

fn write(node: &mut SimNode, waiter: u64, number: u64) {
    let (key, value) = (key(number), Bytes::from_static(b"v"));
    let operation = Operation::Put { key, value, ttl: None, condition: Condition::Always };
    let (now, write) = (node.now, Write { operation, identity: Identity::None });
    node.worker().write(now, &context(now), &write, || waiter).unwrap();
    node.settle().unwrap();
    assert!(node.answers.iter().any(|(who, answer)| *who == waiter && answer.is_ok()));
}

/// Why a shard is closed on this node.
fn closed(node: &SimNode, shard: ShardId) -> Option<String> {
    let found = node.look().shards().into_iter().find(|summary| summary.shard == shard);
    found.unwrap().closed
}

#[test]
fn leaders_stamp_the_level_of_the_newest_map_and_who_does_not_know_it_stops() {
    let mut node = start(SimDisk::new(1), Founded::Nothing, NEW);
    write(&mut node, 1, 0);
    let elsewhere = (1..).find(|number| shard_of(&key(*number)) != shard_of(&key(0))).unwrap();
    write(&mut node, 2, elsewhere);
    // As long as nothing has the new level, an executable that does not know it goes on.
    let mut node = start(node.into_disk(), Founded::Everything, OLD);
    write(&mut node, 3, 0);
    let mut node = start(node.into_disk(), Founded::Everything, NEW);
    node.worker().handle_map(&map(2, NEW));
    // One that was on its way.
    node.worker().handle_map(&map(1, OLD));
    write(&mut node, 4, 0);
    let node = start(node.into_disk(), Founded::Everything, OLD);
    let why = closed(&node, shard_of(&key(0))).expect("the shard has an entry of the new level");
    assert!(why.contains("feature level 2") && why.contains("levels up to 1"), "{why}");
    assert_eq!(closed(&node, shard_of(&key(elsewhere))), None, "nothing there is newer");
    let mut node = start(node.into_disk(), Founded::Everything, NEW);
    assert_eq!(closed(&node, shard_of(&key(0))), None);
    write(&mut node, 5, 0);
}

/// A change of the settings alone.
fn settings(copy: &CatalogCopy, version: u64, level: FeatureLevel) -> Record {
    let Some((_, RecordValue::Settings(mut settings))) =
        copy.get(RecordKey::Settings).map(|(version, value)| (version, value.clone()))
    else {
        panic!("a catalog has settings")
    };
    settings.feature_level = level;
    settings.heartbeat = Duration::from_millis(100 + version);
    let (key, value) = (RecordKey::Settings, RecordValue::Settings(settings));
    Record { key, version: Version(version), value }
}

#[test]
fn a_changed_record_of_settings_is_in_the_next_map_and_one_of_an_unknown_level_in_none() {
    let now = Monotonic(1);
    let mut control = Control::new(NodeNumber(0), formation(3), None).unwrap();
    while control.poll_effect().is_some() {}
    let changed = settings(control.catalog(), 2, FeatureLevel::NEWEST);
    control.handle_catalog_records(now, vec![changed.clone()]).unwrap();
    let maps = std::iter::from_fn(|| control.poll_effect()).filter_map(|effect| match effect {
        ControlEffect::Map(map) => Some(map),
        _ => None,
    });
    let map = maps.last().expect("workers get a map");
    assert_eq!(changed.value, RecordValue::Settings(*map.settings()));

    let unknown = FeatureLevel(FeatureLevel::NEWEST.0 + 1);
    let newer = settings(control.catalog(), 3, unknown);
    // By another node: said to a person, and not taken.
    let delta = CatalogDelta { since: Epoch(2), epoch: Epoch(3), records: vec![newer.clone()] };
    control.handle_delta(now, NodeNumber(1), delta);
    let findings = std::iter::from_fn(|| control.poll_effect()).filter_map(|effect| match effect {
        ControlEffect::Finding(finding) => Some(finding),
        _ => None,
    });
    let findings = findings.collect::<Vec<_>>().join("\n");
    assert!(findings.contains("feature level 2 is none that this executable knows"), "{findings}");
    assert!(findings.contains("start a newer ringfort"), "{findings}");
    // By its own replica of the catalog, which stops for it.
    let error = control.handle_catalog_records(now, vec![newer]).unwrap_err();
    assert_eq!(error, DeltaError::Settings(SettingsError::FeatureLevel(unknown)));
    assert_eq!(control.map().epoch(), Epoch(2));
}
