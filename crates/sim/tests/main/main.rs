//! The simulator on itself, groups and whole nodes under it.

use std::hash::{BuildHasher, Hasher};

mod groups;
mod nodes;

/// The first of some seeds that nobody has chosen, or `RINGFORT_SEED`.
fn first_seed() -> u64 {
    let given = std::env::var("RINGFORT_SEED")
        .ok()
        .map(|text| text.parse().expect("RINGFORT_SEED is a number"));
    // The standard library's hash maps have random keys from the system.
    let drawn = || std::collections::hash_map::RandomState::new().build_hasher().finish() >> 1;
    given.unwrap_or_else(drawn)
}
