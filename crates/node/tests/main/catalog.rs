//! The copy of the catalog: deltas and the cache file.

use prost::Message as _;
use ringfort_node::control::{
    CacheError, CatalogCopy, CatalogDelta, Control, ControlEffect, DeltaError, FormationRecord,
    Record, RecordKey, RecordValue, SettingsError, Word,
};
use ringfort_proto::cluster as pb;
use ringfort_types::{
    BootId, Epoch, FeatureLevel, GroupId, Monotonic, NodeNumber, ShardId, Version,
};

use super::control::formation;

fn copy() -> CatalogCopy {
    CatalogCopy::founding(&formation(3))
}

fn of_shard(shard: u32) -> GroupId {
    GroupId::of_shard(ShardId(shard))
}

/// A newer record of a shard.
fn newer(copy: &CatalogCopy, shard: u32, version: u64) -> Record {
    let mut record = copy.group(of_shard(shard)).unwrap().1.clone();
    record.highest.0 = version << 12;
    let (key, value) = (RecordKey::Group(of_shard(shard)), RecordValue::Group(record));
    Record { key, version: Version(version), value }
}

fn delta(since: u64, epoch: u64, records: Vec<Record>) -> CatalogDelta {
    CatalogDelta { since: Epoch(since), epoch: Epoch(epoch), records }
}

#[test]
fn the_copy_of_a_founder_follows_from_the_formation_record_alone() {
    let map = copy().map().unwrap();
    assert_eq!((map.epoch(), map.members().count(), map.shards().len()), (Epoch(1), 3, 12));
    let number = NodeNumber(2);
    let member = map.member(number).unwrap();
    assert_eq!(map.member_by_id(&member.info.name.id), Some(member));
    // Founders found exactly the groups that the map says they hold, and the catalog.
    for founder in 0..3 {
        let groups = formation(3).groups_of(NodeNumber(founder));
        let on_node = |shard: &&ringfort_placement::ShardPlacement| {
            shard.replicas().iter().any(|replica| replica.id.node() == NodeNumber(founder))
        };
        assert_eq!(groups.len(), 1 + map.shards().iter().filter(on_node).count());
    }
}

#[test]
fn the_catalog_has_1_3_or_5_voters() {
    for (founders, voters) in [(1, 1), (2, 1), (3, 3), (4, 3), (5, 5), (6, 5), (9, 5)] {
        assert_eq!(formation(founders).catalog_voters().len(), voters, "{founders} founders");
    }
}

#[test]
fn a_delta_brings_what_is_newer_and_never_what_is_older() {
    let mut copy = copy();
    let (fresh, old) = (newer(&copy, 3, 9), newer(&copy, 3, 5));
    assert!(copy.apply_delta(delta(1, 9, vec![fresh.clone()])).unwrap());
    assert_eq!(copy.epoch(), Epoch(9));
    assert!(!copy.apply_delta(delta(1, 5, vec![old])).unwrap(), "nothing is news");
    assert_eq!(copy.group(of_shard(3)).unwrap().0, Version(9));
    assert_eq!(copy.epoch(), Epoch(9), "an epoch never falls");
    assert_eq!(copy.delta_since(Epoch(8)).records, vec![fresh]);
    assert_eq!(copy.delta_since(Epoch(9)).records, vec![]);
    assert_eq!(copy.delta_since(Epoch(0)).records.len(), 18, "everything");
}

#[test]
fn a_delta_that_begins_beyond_what_is_held_is_refused_and_asked_for_again() {
    let mut held = copy();
    let late = delta(4, 9, vec![newer(&held, 3, 9)]);
    let before = held.clone();
    let error = held.apply_delta(late.clone()).unwrap_err();
    assert_eq!(error, DeltaError::Gap { since: Epoch(4), held: Epoch(1) });
    assert_eq!(held, before);
    let mut control = Control::new(NodeNumber(0), formation(3), None).unwrap();
    while control.poll_effect().is_some() {}
    control.handle_delta(Monotonic(1), NodeNumber(1), late);
    let asks = ControlEffect::Gossip { to: NodeNumber(1), epoch: Epoch(1) };
    assert_eq!(control.poll_effect(), Some(asks));
}

#[test]
fn records_that_make_no_map_change_nothing() {
    let mut copy = copy();
    let before = copy.clone();
    let mut wrong_node = newer(&copy, 3, 9);
    if let RecordValue::Group(record) = &mut wrong_node.value {
        record.wish = vec![NodeNumber(77)];
    }
    let wrong_kind = Record { value: RecordValue::Counter(1), ..newer(&copy, 3, 9) };
    let too_many = Record { key: RecordKey::Group(of_shard(12)), ..newer(&copy, 3, 9) };
    for record in [wrong_node, wrong_kind, too_many] {
        assert!(copy.apply_delta(delta(1, 9, vec![record])).is_err());
        assert_eq!(copy, before);
    }
}

/// Node 0, whose copy has come to epoch 9.
fn with_news() -> Control {
    let mut control = Control::new(NodeNumber(0), formation(3), None).unwrap();
    let record = newer(control.catalog(), 3, 9);
    control.handle_delta(Monotonic(1), NodeNumber(1), delta(1, 9, vec![record]));
    while control.poll_effect().is_some() {}
    control
}

#[test]
fn whoever_lags_gets_a_delta_once_and_again_only_after_a_while() {
    let mut control = with_news();
    let mut deltas = |now: u64| {
        let (addresses, version) = (None, String::new());
        let word = Word { epoch: Epoch(1), boot: BootId(5), addresses, version };
        control.handle_gossip(Monotonic(now), NodeNumber(2), word);
        std::iter::from_fn(|| control.poll_effect()).count()
    };
    assert_eq!(deltas(1_000_000), 1);
    assert_eq!(deltas(500_000_000), 0);
    assert_eq!(deltas(2_000_000_000), 1);
}

/// Requests show epochs too, as many as clients like.
#[test]
fn a_burst_of_requests_by_another_map_is_answered_once() {
    let mut control = with_news();
    let mut said = |from: u16, epoch: u64| {
        for now in 0..1000 {
            control.handle_epoch(Monotonic(1_000_000 + now), NodeNumber(from), Epoch(epoch));
        }
        std::iter::from_fn(|| control.poll_effect()).collect::<Vec<_>>()
    };
    let lacks = said(2, 1);
    assert!(
        matches!(&lacks[..], [ControlEffect::Delta { to: NodeNumber(2), delta }] if delta.epoch == Epoch(9)),
        "{lacks:?}"
    );
    let asked = ControlEffect::Gossip { to: NodeNumber(1), epoch: Epoch(9) };
    assert_eq!(said(1, 10), [asked]);
    assert_eq!(said(2, 9), []);
    assert_eq!(said(0, 1), [], "itself");
    assert_eq!(said(77, 1), [], "no member");
}

#[test]
fn the_cache_file_is_taken_whole_or_not_at_all() {
    let mut copy = copy();
    copy.apply_delta(delta(1, 9, vec![newer(&copy, 3, 9)])).unwrap();
    let bytes = copy.encode();
    assert_eq!(CatalogCopy::decode(&bytes).unwrap(), copy);
    for position in 0..bytes.len() {
        let mut flipped = bytes.to_vec();
        flipped[position] ^= 1 << (position % 8);
        assert_eq!(CatalogCopy::decode(&flipped).unwrap_err(), CacheError::Damaged);
        assert_eq!(CatalogCopy::decode(&bytes[..position]).unwrap_err(), CacheError::Damaged);
    }
}

/// A newer executable wrote it, and it holds records that this one cannot read: the level is what is said of it.
#[test]
fn a_cache_file_of_an_unknown_level_is_one_whatever_else_it_holds() {
    let bytes = copy().encode();
    let mut body = pb::CatalogFile::decode(&bytes[16..bytes.len() - 4]).unwrap();
    let known = body.records.iter_mut().find(|record| record.key == "settings").unwrap();
    let mut settings = pb::Settings::decode(&*known.value).unwrap();
    settings.feature_level = 300;
    known.value = settings.encode_to_vec().into();
    let unknown = pb::Record { key: "a kind that comes later".into(), version: 1, ..known.clone() };
    body.records.insert(0, unknown);
    let body = body.encode_to_vec();
    let mut file = bytes[..12].to_vec();
    file.extend(u32::try_from(body.len()).unwrap().to_le_bytes());
    file.extend(body);
    file.extend(crc32c::crc32c(&file).to_le_bytes());
    let error = CatalogCopy::decode(&file).unwrap_err();
    let level = SettingsError::FeatureLevel(FeatureLevel(u8::MAX));
    assert_eq!(error, CacheError::Records(DeltaError::Settings(level)));
}

/// What earlier builds wrote. Version 1 knew nothing of the catalog's own group: a copy without it is none.
#[test]
fn the_cache_file_is_frozen() {
    let fixture: &[u8] = include_bytes!("../../fixtures/catalog-v2.bin");
    assert_eq!(CatalogCopy::decode(fixture).unwrap(), copy());
    let older: &[u8] = include_bytes!("../../fixtures/catalog-v1.bin");
    assert_eq!(CatalogCopy::decode(older).unwrap_err(), CacheError::Version(1));
}

#[test]
fn a_cache_of_another_cluster_does_not_count() {
    let other = FormationRecord { cluster_id: ringfort_types::ClusterId(99), ..formation(4) };
    let cached = CatalogCopy::founding(&other);
    let control = Control::new(NodeNumber(0), formation(3), Some(cached)).unwrap();
    assert_eq!(control.catalog(), &copy());
}
