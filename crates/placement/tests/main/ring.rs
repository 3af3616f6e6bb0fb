//! The ring is frozen: golden values.

use ringfort_placement::{Capacity, Members, Ring, point};
use ringfort_types::Token;

use crate::support::{id, member, members};

/// Never to be regenerated: other versions of the server place nodes by the same values. They were computed with another
/// implementation of XXH3 (Python's xxhash), as were the preferences below.
#[test]
fn points_are_frozen() {
    for (node, number, token) in [
        ("a", 0, 361_531_978_745_151_270_u64),
        ("a", 1, 16_244_442_666_200_875_875),
        ("a", 4095, 12_091_626_964_246_573_431),
        ("b", 0, 5_574_749_123_825_190_682),
        ("node-1.example_x", 63, 1_431_404_013_289_958_541),
    ] {
        assert_eq!(point(&id(node), number), Token(token), "{node} {number}");
    }
}

/// Never to be regenerated.
#[test]
fn preferences_are_frozen() {
    let members = members("a b c*200 d e*25 f");
    let ring = Ring::new(&members);
    for (token, expected) in [
        (0_u64, "f d a c b e"),
        (1 << 62, "f c d a e b"),
        (1 << 63, "a d c f b e"),
        (u64::MAX, "f d a c b e"),
    ] {
        let order: Vec<_> =
            ring.preferences(Token(token)).iter().map(|node| node.as_str()).collect();
        assert_eq!(order.join(" "), expected, "from {token}");
    }
}

#[test]
fn a_point_at_the_token_itself_is_met_first_and_the_last_is_followed_by_the_first() {
    let members = members("a b c");
    let ring = Ring::new(&members);
    let of = |node: &'static str| (0..64).map(move |n| (point(&id(node), n), node));
    let mut points: Vec<_> = ["a", "b", "c"].into_iter().flat_map(of).collect();
    points.sort_unstable();
    let first = |token: Token| ring.preferences(token)[0].as_str();
    let (token, node) = points[17];
    assert_eq!(first(token), node);
    assert_eq!(first(Token(token.0 + 1)), points[18].1);
    assert_eq!(first(Token(points[191].0.0 + 1)), points[0].1);
}

#[test]
fn a_node_that_comes_leaves_the_order_of_the_others() {
    let few = members("a b c d");
    let mut more = few.as_slice().to_vec();
    more.push(member("e*1000"));
    let more = Members::new(more).unwrap();
    let (few, more) = (Ring::new(&few), Ring::new(&more));
    for step in 0..1000 {
        let token = Token(step * (u64::MAX / 1000));
        let mut order = more.preferences(token);
        order.retain(|node| node.as_str() != "e");
        assert_eq!(order, few.preferences(token));
    }
}

#[test]
fn a_node_of_twice_the_capacity_is_preferred_about_twice_as_often() {
    let members = members("a b c*200 d*400");
    let ring = Ring::new(&members);
    let mut first = std::collections::BTreeMap::new();
    for step in 0..8000 {
        let token = Token(step * (u64::MAX / 8000));
        *first.entry(ring.preferences(token)[0].as_str()).or_insert(0) += 1;
    }
    for (node, fair) in [("a", 1000), ("b", 1000), ("c", 2000), ("d", 4000)] {
        assert!((fair * 7 / 10..=fair * 13 / 10).contains(&first[node]), "{first:?}");
    }
    assert_eq!(Capacity::ONE.hundredths(), 100);
}
