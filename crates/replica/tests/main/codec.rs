//! Commands survive their bytes, and bytes that are none are refused.

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use ringfort_replica::command::{
    Action, Command, CommandIdentity, DecodeError, PayloadBuilder, PayloadReader,
};
use ringfort_types::request::{Condition, Operation};
use ringfort_types::{FeatureLevel, Key, NamespaceId, SessionId, ShardTime, Version};

const NEWEST: FeatureLevel = FeatureLevel::NEWEST;

fn bytes(max: usize) -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), 0..max).prop_map(Bytes::from)
}

fn key() -> impl Strategy<Value = Key> {
    proptest::collection::vec(any::<u8>(), 1..300).prop_map(|bytes| Key::new(bytes).unwrap())
}

fn condition() -> impl Strategy<Value = Condition> {
    let versions = || {
        proptest::collection::vec(any::<u64>().prop_map(Version), 0..4)
            .prop_map(Vec::into_boxed_slice)
    };
    prop_oneof![
        Just(Condition::Always),
        Just(Condition::Exists),
        Just(Condition::Absent),
        versions().prop_map(Condition::VersionIn),
        versions().prop_map(Condition::VersionNotIn),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    let ttl = proptest::option::of((1..u64::MAX / 2).prop_map(Duration::from_millis));
    prop_oneof![
        key().prop_map(|key| Operation::Get { key }),
        (key(), bytes(500), ttl, condition()).prop_map(|(key, value, ttl, condition)| {
            Operation::Put { key, value, ttl, condition }
        }),
        (key(), condition()).prop_map(|(key, condition)| Operation::Delete { key, condition }),
    ]
}

fn identity() -> impl Strategy<Value = CommandIdentity> {
    prop_oneof![
        Just(CommandIdentity::None),
        (bytes(40), bytes(65), any::<u16>()).prop_map(|(principal, key, position)| {
            CommandIdentity::Key { principal, key, position }
        }),
        (any::<u64>(), any::<u64>(), any::<u64>()).prop_map(|(session, sequence, lowest_open)| {
            CommandIdentity::Session { session: SessionId(session), sequence, lowest_open }
        }),
    ]
}

proptest! {
    #[test]
    fn what_is_built_is_read(
        commands in proptest::collection::vec((identity(), proptest::collection::vec(operation(), 1..4)), 1..5),
        stamp in any::<u64>(),
    ) {
        let mut builder = PayloadBuilder::new();
        for (identity, operations) in &commands {
            builder.operations(NamespaceId(3), identity, operations.len() > 1, operations);
        }
        let mut reader = PayloadReader::new(builder.finish(ShardTime(stamp), NEWEST), NEWEST).unwrap();
        prop_assert_eq!(reader.stamp, ShardTime(stamp));
        for (identity, operations) in &commands {
            let Some(Command::Operations(read)) = reader.command().unwrap() else { panic!() };
            prop_assert_eq!(&read.identity, identity);
            prop_assert_eq!(read.atomic, operations.len() > 1);
            for (read, built) in read.operations.iter().zip(operations) {
                prop_assert_eq!(&read.data_key[..5], [1, 0, 0, 0, 3]);
                prop_assert_eq!(&read.data_key[5..], built.key().as_bytes());
                match (built, &read.action) {
                    (Operation::Get { .. }, Action::Get) | (Operation::Delete { .. }, Action::Delete) => {}
                    (Operation::Put { value, ttl, condition, .. }, Action::Put { ttl_ms, value: read_value }) => {
                        prop_assert_eq!(value, read_value);
                        prop_assert_eq!(ttl.map(|ttl| ttl.as_millis()), ttl_ms.map(u128::from));
                        prop_assert_eq!(condition, &read.condition);
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        prop_assert_eq!(reader.command().unwrap(), None);
    }

    #[test]
    fn any_bytes_are_read_or_refused(mut garbage in proptest::collection::vec(any::<u8>(), 0..400), headed in any::<bool>()) {
        if headed && garbage.len() >= 2 {
            garbage[0] = 1;
            garbage[1] = 1;
        }
        if let Ok(mut reader) = PayloadReader::new(garbage.into(), NEWEST) {
            while let Ok(Some(_)) = reader.command() {}
        }
    }

    #[test]
    fn a_cut_payload_is_refused(identity in identity(), operation in operation(), cut in any::<prop::sample::Index>()) {
        let mut builder = PayloadBuilder::new();
        builder.operations(NamespaceId(0), &identity, false, &[operation]);
        let whole = builder.finish(ShardTime(1), NEWEST);
        let cut = cut.index(whole.len() - 11) + 11;
        let mut reader = PayloadReader::new(whole.slice(..cut), NEWEST).unwrap();
        prop_assert!(matches!(reader.command(), Err(DecodeError::Malformed(_))));
    }
}

#[test]
fn a_newer_format_or_level_stops_the_replica() {
    for (format, level, known) in [(2, 1, 1), (1, 2, 1), (1, 3, 2)] {
        let mut payload = vec![0; 10];
        (payload[0], payload[1]) = (format, level);
        let (level, known) = (FeatureLevel(level), FeatureLevel(known));
        assert_eq!(
            PayloadReader::new(payload.into(), known).unwrap_err(),
            DecodeError::Newer { format, level, known }
        );
    }
}
