//! Formation: never two clusters from one set of seeds, whatever the network, crashes and operators do; and one in the end.

mod scenes;
mod world;

use world::{Counts, Plan, World};

/// Random interleavings. `RINGFORT_SEEDS` says how many, `RINGFORT_SEED` replays one.
#[test]
fn random_interleavings_form_at_most_one_cluster_and_one_in_the_end() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("RINGFORT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("RINGFORT_SEEDS").unwrap_or(300),
    };
    let mut counts = Counts::default();
    for seed in seeds.clone() {
        let mut world = World::new(Plan::random(seed));
        world.run();
        counts.add(&world.counts);
    }
    println!("{} seeds: {counts:?}", seeds.end - seeds.start);
    if seeds.end - seeds.start >= 1000 {
        assert!(counts.all_seen(), "something never happened: {counts:?}");
    }
}
