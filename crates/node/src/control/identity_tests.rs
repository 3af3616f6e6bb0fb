//! Identities of all formats, and flipped bits in them.

use std::time::Duration;

use super::*;

const FORMAT_1: &str = r#"{
  "format": 1,
  "node_id": "n0",
  "cluster_id": "45953bb1efb9b48622325cb59c97918a",
  "shards": 64,
  "replication_factor": 1,
  "log_salt": "84cc8625a7f3a274",
  "formed": true
}
"#;

const FORMAT_2: &str = r#"{
  "format": 2,
  "node_id": "n0",
  "cluster_id": "45953bb1efb9b48622325cb59c97918a",
  "shards": 64,
  "replication_factor": 1,
  "log_salt": "84cc8625a7f3a274",
  "formed": true,
  "checksum": "8e57950c"
}
"#;

const FORMAT_3: &str = include_str!("../../fixtures/identity-v3.json");

fn name() -> NodeName {
    NodeName { id: NodeId::parse("n0").unwrap(), incarnation: Incarnation(0xabc) }
}

fn me() -> NodeInfo {
    NodeInfo {
        name: name(),
        peer: "127.0.0.1:7401".into(),
        client: "127.0.0.1:7400".into(),
        zone: Zone("rack-1".into()),
        capacity: Capacity::ONE,
    }
}

fn settings() -> ClusterSettings {
    ClusterSettings {
        shards: 1,
        replication_factor: ReplicationFactor::new(3).unwrap(),
        heartbeat: Duration::from_millis(100),
        election_timeout: Duration::from_secs(1),
        reads: ReadsBy::Lease,
        feature_level: FeatureLevel(1),
    }
}

fn content() -> IdentityContent {
    let cluster_id = ClusterId(0x4595_3bb1);
    let grant = Grant { cluster_id, proposer: name(), peer: me().peer };
    let record = FormationRecord::new(cluster_id, settings(), vec![me()]).unwrap();
    let formation = FormationState { grant: Some(grant), formed: Some(record) };
    IdentityContent { formation, founded: Founded::Everything, ..IdentityContent::new(name(), 7) }
}

#[test]
fn format_3_is_frozen() {
    assert_eq!(String::from_utf8(content().encode()).unwrap(), FORMAT_3);
    let Identity::Current(read) = Identity::decode(FORMAT_3.as_bytes()).unwrap() else { panic!() };
    assert_eq!(read, content());
    let new = IdentityContent::new(name(), 7);
    let Identity::Current(read) = Identity::decode(&new.encode()).unwrap() else { panic!() };
    assert_eq!(read, new);
}

#[test]
fn formats_1_and_2_go_on_as_a_cluster_of_one_founder() {
    for (format, text) in [(1, FORMAT_1), (2, FORMAT_2)] {
        let Identity::Earlier(node) = Identity::decode(text.as_bytes()).unwrap() else { panic!() };
        assert_eq!((node.format, node.shards, node.formed), (format, 64, true));
        let content = node.upgrade(me(), settings());
        assert_eq!((content.log_salt, content.founded), (0x84cc_8625_a7f3_a274, Founded::Shards));
        let record = content.formation.formed.clone().unwrap();
        record.check().unwrap();
        assert_eq!((record.settings.shards, record.settings.replication_factor.get()), (64, 1));
        let groups = record.groups_of(ringfort_types::NodeNumber(0));
        // Replicas of the shards keep their ids; the catalog's is new.
        let ids: Vec<_> = groups.iter().map(|group| group.replica.0).collect();
        assert_eq!((ids.len(), ids[0], ids[1], ids[64]), (65, 4096, 1, 64));
        let Identity::Current(read) = Identity::decode(&content.encode()).unwrap() else {
            panic!()
        };
        assert_eq!(read, content);
    }
}

#[test]
fn a_flipped_bit_is_never_taken_for_an_identity() {
    for text in [FORMAT_2, FORMAT_3] {
        let whole = Identity::decode(text.as_bytes()).unwrap();
        for position in 0..text.len() {
            for bit in 0..8 {
                let mut bytes = text.as_bytes().to_vec();
                bytes[position] ^= 1 << bit;
                // White space between members may be other white space.
                if let Ok(found) = Identity::decode(&bytes) {
                    assert_eq!(found, whole, "bit {bit} of byte {position}");
                }
            }
        }
    }
}

#[test]
fn a_newer_format_is_told_from_damage() {
    let error = Identity::decode(br#"{"format": 4, "what": "ever"}"#).unwrap_err();
    assert!(matches!(error, IdentityError::Newer(4)), "{error}");
}
