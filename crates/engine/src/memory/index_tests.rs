use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::store::STORED_KEY_BYTES_MAX;

fn all(index: &OrderedIndex) -> Vec<Vec<u8>> {
    index.range(Bound::Unbounded).map(<[u8]>::to_vec).collect()
}

#[test]
fn keys_in_order_fill_their_blocks() {
    let mut index = OrderedIndex::default();
    for number in 0..20_000_u32 {
        index.insert(format!("user:{number:08}").as_bytes());
    }
    index.check();
    let bytes = 20_000 * 13;
    assert!(index.allocated() < bytes * 13 / 10, "{}", index.allocated());
}

#[test]
fn keys_in_any_order_cost_little_more_than_their_bytes() {
    let mut index = OrderedIndex::default();
    for number in 0..20_000_u64 {
        let scattered = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        index.insert(format!("ns00:{scattered:016x}").as_bytes());
    }
    index.check();
    let bytes = 20_000 * 21;
    assert!(index.allocated() < bytes * 13 / 10, "{}", index.allocated());
}

#[test]
fn built_from_sorted_keys_it_is_the_same_index() {
    let keys: Vec<_> = (0..9000_u32).map(|n| format!("{n:09}").into_bytes()).collect();
    let mut builder = IndexBuilder::default();
    for key in &keys {
        builder.push(key);
    }
    let mut index = builder.finish();
    index.check();
    assert_eq!(all(&index), keys);
    index.insert(b"0");
    for key in &keys {
        index.remove(key);
    }
    index.check();
    assert_eq!(all(&index), [b"0".to_vec()]);
    assert!(IndexBuilder::default().finish().blocks.is_empty());
}

#[test]
fn the_longest_keys_stand_alone() {
    let mut index = OrderedIndex::default();
    let keys: Vec<_> = [3, 1, 2, 5, 4].map(|byte| vec![byte; STORED_KEY_BYTES_MAX]).into();
    for key in &keys {
        index.insert(key);
        index.insert(&key[..2]);
        index.check();
    }
    for key in &keys {
        index.remove(key);
        index.check();
    }
    assert_eq!(all(&index).len(), 5);
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    // Few distinct bytes, so that keys repeat and share prefixes; some long ones, so that blocks split and merge.
    prop_oneof![
        8 => prop::collection::vec(0_u8..4, 1..6),
        2 => prop::collection::vec(0_u8..4, 200..700),
        1 => prop::collection::vec(0_u8..4, 4000..5000),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(80) })]

    #[test]
    fn it_agrees_with_a_btree_set(operations in prop::collection::vec((key(), 0_u8..3), 1..300)) {
        let mut index = OrderedIndex::default();
        let mut model = BTreeSet::new();
        for (key, kind) in &operations {
            if *kind < 2 {
                if model.insert(key.clone()) {
                    index.insert(key);
                }
            } else if let Some(present) = model.range(key.clone()..).next().cloned() {
                model.remove(&present);
                index.remove(&present);
            }
        }
        index.check();
        prop_assert!(index.range(Bound::Unbounded).eq(model.iter().map(Vec::as_slice)));
        for (key, _) in &operations {
            let included: Vec<_> = index.range(Bound::Included(key)).take(3).map(<[u8]>::to_vec).collect();
            let expected: Vec<_> = model.range(key.clone()..).take(3).cloned().collect();
            prop_assert_eq!(included, expected);
            let excluded = index.range(Bound::Excluded(key)).next();
            let after = model.range((Bound::Excluded(key.clone()), Bound::Unbounded)).next();
            prop_assert_eq!(excluded, after.map(Vec::as_slice));
        }
        for key in &model {
            index.remove(key);
        }
        prop_assert!(index.blocks.is_empty());
    }
}
