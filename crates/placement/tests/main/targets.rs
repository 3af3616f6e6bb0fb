//! What a target is at formation, and that it stays.

use ringfort_placement::{Members, Placement, target};
use ringfort_types::ReplicaId;

use crate::support::{World, factor, for_seeds, id, members};

#[test]
fn a_new_cluster_is_balanced_and_spread_over_zones() {
    let (mut worlds, mut fullest, mut emptiest) = (0, 0.0_f64, 1.0_f64);
    for_seeds(60, |mut random| {
        let world = World::random(&mut random, 4096);
        world.check_spread();
        assert_eq!(world.over_bound(), []);
        let shares = world.shares();
        for (node, count) in world.counts() {
            let mean = shares[&node].mean() as f64 / (1_u64 << 32) as f64;
            if mean >= 20.0 {
                fullest = fullest.max(count as f64 / mean);
                emptiest = emptiest.min(count as f64 / mean);
            }
        }
        worlds += 1;
    });
    println!(
        "{worlds} clusters; nodes with a mean of 20 or more hold {emptiest:.3} to {fullest:.3} of it"
    );
}

/// Every small cluster: all numbers of nodes, all ways to put them into up to four zones, all small numbers of shards.
#[test]
fn every_small_cluster_is_balanced_and_spread() {
    let mut clusters = 0;
    for nodes in 1..=6_usize {
        for sizes in compositions(nodes, 4) {
            for shards in [1, 2, 3, 5, 8, 13] {
                for copies in 1..=5 {
                    let zone = |n: usize| {
                        let ends = sizes.iter().scan(0, |end, size| {
                            *end += size;
                            Some(*end)
                        });
                        ends.take_while(|end| *end <= n).count()
                    };
                    let text: Vec<_> = (0..nodes).map(|n| format!("n{n}/z{}", zone(n))).collect();
                    let world = World::found(members(&text.join(" ")), copies, shards);
                    world.check_spread();
                    assert_eq!(world.over_bound(), [], "{sizes:?} × {copies}, {shards} shards");
                    clusters += 1;
                }
            }
        }
    }
    println!("{clusters} clusters");
}

/// Sizes of up to `parts` zones that sum to `total`, largest first.
fn compositions(total: usize, parts: usize) -> Vec<Vec<usize>> {
    fn extend(
        left: usize,
        parts: usize,
        most: usize,
        sizes: &mut Vec<usize>,
        out: &mut Vec<Vec<usize>>,
    ) {
        if left == 0 {
            out.push(sizes.clone());
        } else if parts > 0 {
            for size in 1..=left.min(most) {
                sizes.push(size);
                extend(left - size, parts - 1, size, sizes, out);
                sizes.pop();
            }
        }
    }
    let mut out = Vec::new();
    extend(total, parts, total, &mut Vec::new(), &mut out);
    out
}

#[test]
fn a_target_stays_and_does_not_depend_on_the_order_of_members() {
    for_seeds(100, |mut random| {
        let mut world = World::random(&mut random, 512);
        world.join(&mut random);
        let wishes = world.wishes();
        let mut reversed = world.nodes();
        reversed.reverse();
        let reversed = Members::new(reversed).unwrap();
        assert_eq!(target(&world.placement, &reversed, world.factor), wishes);
        for copies in [world.factor.get(), random.pick(&[1, 2, 5])] {
            world.factor = factor(copies);
            world.placement.retarget(&world.members, world.factor);
            let again = world.placement.retarget(&reversed, world.factor);
            assert_eq!(again, [], "{copies} copies");
        }
    });
}

/// The story of a seed: d may take nothing from a, whose shards all have a replica in d's zone, and c has no more than its
/// share. Then c relieves a, and has one to give.
#[test]
fn a_target_is_made_to_the_end() {
    let mut world = World::found(members("a/y*190 c/y*105 p/x*300 q/z*105"), 2, 4);
    world.set_replicas(&["a p", "a p", "a p", "c q"]);
    world.set_members(members("a/y*190 c/y*105 d/x p/x*300 q/z*105").as_slice().to_vec());
    assert_eq!(world.counts()[&id("d")], 1);
    assert_eq!(world.placement.retarget(&world.members, world.factor), []);
}

#[test]
fn capacities_weigh() {
    for text in ["a b c*200 d*400", "a/x b/x c/x*300 d/y e/y*200", "a b*50 c*50 d*50 e*50"] {
        let world = World::found(members(text), 2, 4096);
        let shares = world.shares();
        for (node, count) in world.counts() {
            let (floor, bound) = (shares[&node].floor(), shares[&node].bound());
            let low = floor * 97 / 100;
            assert!((low..=bound).contains(&count), "{node}: {count} of {floor} to {bound}");
        }
    }
}

#[test]
fn fewer_nodes_than_the_replication_factor_hold_everything() {
    let mut world = World::found(members("a b"), 3, 16);
    assert!(world.wishes().iter().all(|wish| wish.nodes().len() == 2));
    world.set_members(members("a b c").as_slice().to_vec());
    assert!(world.wishes().iter().all(|wish| wish.nodes().len() == 3));
}

#[test]
fn nothing_is_founded_without_an_active_node_and_nothing_is_lost_without_one() {
    let next = |_: &ringfort_types::NodeId| ReplicaId(1);
    assert!(Placement::found(4, &members(""), factor(3), next).is_err());
    assert!(Placement::found(4, &members("a- b!"), factor(3), next).is_err());
    let mut world = World::found(members("a b c"), 3, 4);
    let before = world.wishes();
    for gone in ["a- b- c-", "a! b- c!", ""] {
        world.set_members(members(gone).as_slice().to_vec());
        assert_eq!(world.wishes(), before, "{gone:?}");
    }
}

#[test]
fn the_replication_factor_may_change() {
    let (mut moved, mut held) = (0, 0);
    for_seeds(60, |mut random| {
        let mut world = World::random(&mut random, 256);
        for copies in [1, 4, 2, 9, 3] {
            world.settle();
            let before = world.wishes();
            let grows = copies > world.factor.get();
            world.factor = factor(copies);
            world.placement.retarget(&world.members, world.factor);
            world.check_spread();
            assert_eq!(world.over_bound(), []);
            for (old, new) in before.iter().zip(world.wishes()) {
                let (few, many) = if grows { (old, &new) } else { (&new, old) };
                held += few.nodes().len();
                moved += few.nodes().iter().filter(|node| !many.contains(node)).count();
            }
        }
    });
    // Only bounds, of few replicas or unequal nodes, make replicas move that could stay.
    println!("{moved} replicas moved of {held}");
    assert!(20 * moved <= held);
}
