//! What a target moves when nodes come and go.

use std::collections::BTreeSet;

use ringfort_placement::{Member, MemberState, Wish};
use ringfort_types::NodeId;

use crate::support::{Random, World, for_seeds, id, members};

/// Replicas that move: nodes of new wishes that were not in the old ones, by who loses and who gets.
struct Moves {
    lost: Vec<NodeId>,
    got: Vec<NodeId>,
}

fn moves(before: &[Wish], after: &[Wish]) -> Moves {
    let missing = |from: &[Wish], other: &[Wish]| {
        let pairs = from.iter().zip(other);
        let of = |(from, other): (&Wish, &Wish)| {
            let missing = from.nodes().iter().filter(|node| !other.contains(node)).cloned();
            missing.collect::<Vec<_>>()
        };
        pairs.flat_map(of).collect()
    };
    Moves { lost: missing(before, after), got: missing(after, before) }
}

/// What a series of joins or leaves came to.
#[derive(Default)]
struct Figures {
    events: usize,
    moved: u64,
    ideal: f64,
    /// Moves between nodes that neither came nor went.
    others: usize,
    events_with_others: usize,
    over_bound: usize,
}

impl Figures {
    fn add(&mut self, moved: usize, ideal: u64, others: usize, world: &World) {
        let equal = |member: &Member| (member.zone.clone(), member.capacity);
        let kinds: BTreeSet<_> = world.nodes().iter().map(equal).collect();
        assert!(others == 0 || kinds.len() > 1, "{others} moves between others");
        self.events += 1;
        self.moved += moved as u64;
        self.ideal += ideal as f64 / (1_u64 << 32) as f64;
        self.others += others;
        self.events_with_others += usize::from(others > 0);
        self.over_bound += usize::from(!world.over_bound().is_empty());
    }

    /// Among equal nodes of one zone nothing moves between others ([`Self::add`]). Zones and capacities may force it, as no
    /// node may stay above its bound: seldom.
    fn check(&self, what: &str) {
        println!(
            "{what}: {} events, {} replicas moved, ideal {:.1} ({:.4}); {} between others in {} events; {} with a node \
             above its bound",
            self.events,
            self.moved,
            self.ideal,
            self.moved as f64 / self.ideal,
            self.others,
            self.events_with_others,
            self.over_bound,
        );
        assert_eq!(self.over_bound, 0);
        assert!((0.97..1.02).contains(&(self.moved as f64 / self.ideal)));
        assert!(200 * self.others as u64 <= self.moved + 200, "{} of {}", self.others, self.moved);
    }
}

#[test]
fn a_join_moves_replicas_to_the_newcomer_alone() {
    let mut figures = Figures::default();
    for_seeds(60, |mut random| {
        let mut world = World::random(&mut random, 2048);
        for _ in 0..4 {
            world.settle();
            let before = world.wishes();
            let grows = world.able().len() < world.factor.get();
            let empty: Vec<_> =
                world.counts().into_iter().filter(|(_, count)| *count == 0).collect();
            let newcomer = world.join(&mut random);
            world.check_spread();
            let moves = moves(&before, &world.wishes());
            let share = world.shares()[&newcomer];
            // A node that was there and held nothing is as good as new.
            let is_new =
                |node: &NodeId| *node == newcomer || empty.iter().any(|(id, _)| id == node);
            let others = moves.got.iter().filter(|node| !is_new(node)).count();
            let got = world.counts()[&newcomer];
            assert!(got <= share.bound(), "{got} of {share:?}");
            assert!(grows || moves.lost.len() == moves.got.len());
            figures.add(moves.got.len(), share.mean(), others, &world);
        }
    });
    figures.check("joins");
}

/// One node goes, by draining or at once.
fn leave(random: &mut Random, world: &mut World) -> Member {
    let mut nodes = world.nodes();
    let gone = nodes.remove(random.below(nodes.len()));
    if random.below(2) == 0 {
        nodes.push(Member { state: MemberState::Draining, ..gone.clone() });
    }
    world.set_members(nodes);
    gone
}

#[test]
fn a_leave_moves_what_the_leaver_had_alone() {
    let mut figures = Figures::default();
    for_seeds(60, |mut random| {
        let mut world = World::random(&mut random, 2048);
        for _ in 0..4 {
            if world.able().len() < 2 {
                break;
            }
            world.settle();
            let before = world.wishes();
            // A node that held nothing is welcomed whatever the occasion.
            let empty = world.counts().values().any(|count| *count == 0);
            let leaver = leave(&mut random, &mut world);
            world.check_spread();
            let after = world.wishes();
            assert!(after.iter().all(|wish| !wish.contains(&leaver.id)));
            let moves = moves(&before, &after);
            if empty {
                continue;
            }
            let others = moves.lost.iter().filter(|node| **node != leaver.id).count();
            let had = moves.lost.iter().filter(|node| **node == leaver.id).count() as u64;
            let refilled = if world.able().len() < world.factor.get() { 0 } else { had };
            figures.add(moves.got.len(), refilled << 32, others, &world);
        }
    });
    figures.check("leaves");
}

#[test]
fn a_node_that_joins_and_leaves_at_once_moves_nothing() {
    let (mut in_all, mut shards) = (0, 0);
    for_seeds(60, |mut random| {
        let mut world = World::random(&mut random, 512);
        let (nodes, before) = (world.nodes(), world.wishes());
        world.join(&mut random);
        world.set_members(nodes);
        // Where the bound forced moves between others, they may stay.
        let moves = moves(&before, &world.wishes()).got.len();
        assert!(moves <= before.len() / 50 + 1, "{moves}");
        in_all += moves;
        shards += before.len();
    });
    println!("{in_all} replicas moved of {shards} shards");
    assert!(1000 * in_all <= shards);
}

#[test]
fn a_node_that_is_drained_and_taken_back_at_once_keeps_most_of_what_it_has() {
    let (mut moved, mut held) = (0, 0);
    for_seeds(60, |mut random| {
        let mut world = World::random(&mut random, 512);
        let (mut nodes, before) = (world.nodes(), world.wishes());
        let drained = random.below(nodes.len());
        let name = nodes[drained].id.clone();
        let had = world.counts()[&name];
        nodes[drained].state = MemberState::Draining;
        world.set_members(nodes.clone());
        nodes[drained].state = MemberState::Active;
        world.set_members(nodes);
        let got = moves(&before, &world.wishes()).got;
        (moved, held) = (moved + got.len() as u64, held + had);
    });
    println!("{moved} replicas moved of {held}");
    assert!(10 * moved <= held);
}

#[test]
fn a_node_that_is_down_keeps_what_it_has_and_gets_nothing() {
    for_seeds(60, |mut random| {
        let mut world = World::random(&mut random, 512);
        let mut nodes = world.nodes();
        if nodes.len() < 3 {
            return;
        }
        let before = world.wishes();
        nodes[0].state = MemberState::Down;
        let down = nodes[0].id.clone();
        world.set_members(nodes.clone());
        assert_eq!(world.wishes(), before, "nothing moves because a node is down");
        nodes.remove(1);
        world.set_members(nodes);
        for (old, new) in before.iter().zip(world.wishes()) {
            assert!(old.contains(&down) || !new.contains(&down));
        }
    });
}

/// z gives shards 0 and 1 to the newcomer where they come first, which leaves y above its bound with nothing that the
/// newcomer has not. e has room; but z can take one back.
#[test]
fn a_newcomer_takes_rather_than_one_that_was_there() {
    let shards = ["y z", "y z", "e z", "e z"];
    for newcomer in 0..60 {
        let mut world = World::found(members("e*300 y z"), 2, 1);
        world.set_replicas(&shards);
        let before = world.wishes();
        let newcomer = format!("n{newcomer}");
        world.set_members(members(&format!("e*300 {newcomer}*900 y z")).as_slice().to_vec());
        assert_eq!(world.over_bound(), []);
        let got = moves(&before, &world.wishes()).got;
        assert!(got.iter().all(|node| node.as_str() == newcomer), "{got:?}");
    }
}

#[test]
fn a_draining_node_keeps_what_nobody_else_can_take_yet() {
    let mut world = World::found(members("a b c"), 3, 8);
    let before = world.wishes();
    world.set_members(members("a b c- d!").as_slice().to_vec());
    assert_eq!(world.wishes(), before, "d will take it once it is up");
    world.set_members(members("a b c- d").as_slice().to_vec());
    assert!(world.wishes().iter().all(|wish| wish.contains(&id("d")) && !wish.contains(&id("c"))));
    world.set_members(members("a b c-").as_slice().to_vec());
    assert!(
        world.wishes().iter().all(|wish| wish.nodes().len() == 2),
        "three nodes, one to be emptied"
    );
}

#[test]
fn a_new_zone_is_used_and_its_node_takes_what_it_must() {
    let mut world = World::found(members("a/x b/x c/y d/y"), 3, 64);
    world.set_members(members("a/x b/x c/y d/y e/z").as_slice().to_vec());
    world.check_spread();
    assert_eq!(world.counts().values().copied().collect::<Vec<_>>()[4], 64);
}
