//! Steps lead to the wish, safely, from wherever a shard stands.

use std::collections::BTreeSet;

use ringfort_placement::{
    MemberState, Outlook, Replica, Role, ShardPlacement, Step, Urgency, Wait, Wish, next_step, plan,
};
use ringfort_types::{ReplicaId, ShardId};

use crate::support::{Random, World, for_seeds, id, members};

/// A replica from a text: `a1` is a voter, `a1x` a damaged one, `d9>` a learner, `d9>3` one that replaces 3.
fn replica(text: &str) -> Replica {
    let (text, quarantined) = text.strip_suffix('x').map_or((text, false), |text| (text, true));
    let (name, replaces) = text.split_once('>').map_or((text, None), |(name, id)| (name, Some(id)));
    let number = |text: &str| ReplicaId(text.parse().unwrap());
    let learner = |id: &str| Role::Learner { replaces: (!id.is_empty()).then(|| number(id)) };
    let role = replaces.map_or(Role::Voter, learner);
    Replica { id: number(&name[1..]), node: id(&name[..1]), role, quarantined }
}

fn shard(replicas: &str, wish: &str) -> ShardPlacement {
    let wish = Wish::new(wish.split_whitespace().map(id));
    ShardPlacement::new(replicas.split_whitespace().map(replica).collect(), wish)
}

fn told(outlook: Outlook) -> String {
    match outlook {
        Outlook::Settled => "settled".to_owned(),
        Outlook::Next(Step::AddLearner { node, replaces: None }) => format!("add {node}"),
        Outlook::Next(Step::AddLearner { node, replaces: Some(id) }) => {
            format!("add {node} for {id}")
        }
        Outlook::Next(Step::Promote { learner }) => format!("promote {learner}"),
        Outlook::Next(Step::Remove { replica }) => format!("remove {replica}"),
        Outlook::Waits(Wait::Quorum) => "waits for a majority".to_owned(),
        Outlook::Waits(Wait::Node(node)) => format!("waits for {node}"),
    }
}

#[test]
fn decisions() {
    let all = "a b c d e";
    for (title, replicas, wish, nodes, expected) in [
        ("nothing to do", "a1 b2 c3", "a b c", all, "settled"),
        ("a move begins with a learner", "a1 b2 c3", "a b d", all, "add d for 3"),
        ("then it is swapped in", "a1 b2 c3 d4>3", "a b d", all, "promote 4"),
        ("and that was it", "a1 b2 d4", "a b d", all, "settled"),
        ("one move after the other", "a1 b2 c3", "a d e", all, "add d for 2"),
        ("a missing voter is one more", "a1 b2", "a b c", all, "add c"),
        ("while all live, more come before one goes", "a1 b2", "a c d", all, "add c"),
        ("but a dead one is swapped first", "a1 b2 c3", "a b d e", "a b d e", "add d for 3"),
        ("too many: one goes", "a1 b2 c3 d4", "a b c", all, "remove 4"),
        ("too many: the dead go first", "a1 b2 c3 d4 e5", "a b c", "a b c d e!", "remove 5"),
        ("too many: damage goes before all", "a1 b2x c3", "a b", all, "remove 2"),
        ("damage is repaired in place", "a1 b2x c3", "a b c", all, "add b for 2"),
        ("and swapped in place", "a1 b2x c3 b4>2", "a b c", all, "promote 4"),
        ("damage before other moves", "a1 b2 c3x", "a c d", all, "add c for 3"),
        ("damage on a node that loses it anyway", "a1 b2x c3", "a c d", all, "add d for 2"),
        ("a damaged learner goes", "a1 b2 c3 d4>3x", "a b d", all, "remove 4"),
        ("a learner whose wish is gone goes", "a1 b2 c3 d4>3", "a b c", all, "remove 4"),
        ("a learner that replaces one who stays goes", "a1 b2 c3 d4>3", "a c d", all, "remove 4"),
        ("a learner on a node that is gone goes", "a1 b2 c3 d4>3", "a b d", "a b c", "remove 4"),
        ("a learner without a voter to replace goes", "a1 b2 d4>3", "a b d", all, "remove 4"),
        ("a learner too many goes", "a1 b2 c3 d4>", "a b d", all, "remove 4"),
        (
            "a learner that is down is waited for",
            "a1 b2 c3 d4>3",
            "a b d",
            "a b c d!",
            "waits for d",
        ),
        ("a node that is down gets nothing", "a1 b2 c3", "a b d", "a b c d!", "waits for d"),
        ("another goes on meanwhile", "a1 b2 c3", "a d e", "a b c d! e", "add e for 2"),
        ("a node that is down keeps its replica", "a1 b2 c3", "a b c", "a b c!", "settled"),
        ("draining", "a1 b2 c3", "a b d", "a b c- d", "add d for 3"),
        ("a draining node still votes", "a1 b2", "b d", "a- b d", "add d for 1"),
        ("no majority, no step", "a1 b2 c3", "a d e", "a d e", "waits for a majority"),
        ("nor with damage", "a1 b2x c3x", "a b c", all, "waits for a majority"),
        ("a group of one stays closed", "a1x", "a", all, "waits for a majority"),
        ("no step that leaves no majority", "a1 b2 c3", "a c", "a b c!", "waits for a majority"),
        ("a group of one moves", "a1", "b", all, "add b for 1"),
        ("and ends there", "a1 b2>1", "b", all, "promote 2"),
    ] {
        let outlook = told(next_step(&shard(replicas, wish), &members(nodes)));
        assert_eq!(outlook, expected, "{title}: {replicas}, wish {wish}, of {nodes}");
    }
}

#[test]
fn a_step_that_was_made_from_another_placement_changes_nothing() {
    for (replicas, step, next) in [
        ("a1 b2 c3", Step::AddLearner { node: id("d"), replaces: Some(ReplicaId(4)) }, 9),
        ("a1 b2 c3", Step::AddLearner { node: id("d"), replaces: None }, 3),
        ("a1 b2 c3 d4>3", Step::AddLearner { node: id("e"), replaces: Some(ReplicaId(3)) }, 9),
        ("a1 b2 c3 d4>3", Step::AddLearner { node: id("e"), replaces: Some(ReplicaId(4)) }, 9),
        ("a1 b2 c3", Step::Promote { learner: ReplicaId(3) }, 9),
        ("a1 b2 d4>3", Step::Promote { learner: ReplicaId(4) }, 9),
        ("a1 b2 c3", Step::Remove { replica: ReplicaId(4) }, 9),
        ("a1 d4>1", Step::Remove { replica: ReplicaId(1) }, 9),
    ] {
        let mut placement = shard(replicas, "a b c");
        let before = placement.clone();
        assert!(placement.apply(&step, ReplicaId(next)).is_err(), "{replicas}: {step:?}");
        assert_eq!(placement, before);
    }
}

#[test]
fn a_plan_puts_repair_first_and_keeps_to_its_bound() {
    let mut world = World::found(members("a b c d"), 3, 4);
    for (number, (replicas, wish)) in [
        ("a1 b2 c3", "a b d"),
        ("b4 c5 d6", "a b d"),
        ("a7 b8x d9", "a b d"),
        ("a10 b11 c12 d13>12", "a b d"),
    ]
    .into_iter()
    .enumerate()
    {
        let shard_id = ShardId(u32::try_from(number).unwrap());
        *world.placement.shard_mut(shard_id).unwrap() = shard(replicas, wish);
    }
    let planned = |moves_max| {
        let steps = plan(&world.placement, &members("a b c- d"), moves_max);
        steps.iter().map(|(shard, _, urgency)| (shard.0, *urgency)).collect::<Vec<_>>()
    };
    let all =
        [(3, Urgency::Finish), (2, Urgency::Repair), (0, Urgency::Drain), (1, Urgency::Drain)];
    assert_eq!(planned(9), all);
    assert_eq!(planned(2), all[..2], "one has begun, so one may begin");
    assert_eq!(planned(0), all[..1], "what has begun goes on");
}

/// Takes a step and checks what must be true of any.
fn take(world: &mut World, shard: ShardId, step: &Step) {
    world.next_id += 1;
    let (factor, next_id) = (world.factor.get(), ReplicaId(world.next_id));
    let alive = |replica: &Replica| {
        let member = world.members.get(&replica.node);
        !replica.quarantined && member.is_some_and(|member| member.state != MemberState::Down)
    };
    let voters = |shard: &ShardPlacement| shard.voters().cloned().collect::<Vec<_>>();
    let before = world.placement.shard(shard).unwrap().clone();
    let mut after = before.clone();
    after.apply(step, next_id).unwrap();
    for shard in [&before, &after] {
        let living = voters(shard).iter().filter(|voter| alive(voter)).count();
        assert!(2 * living > voters(shard).len(), "{step:?} without a majority: {shard:?}");
    }
    let ids =
        |shard: &ShardPlacement| shard.voters().map(|voter| voter.id).collect::<BTreeSet<_>>();
    let (old, new) = (ids(&before), ids(&after));
    assert!(old.difference(&new).count() <= 1 && new.difference(&old).count() <= 1);
    if old.len() > 2 {
        assert!(2 * old.intersection(&new).count() > old.len(), "{before:?} {step:?}");
    }
    assert!(new.len() <= old.len().max(factor));
    assert!(after.replicas().len() <= before.replicas().len().max(factor + 1));
    assert!(after.learners().count() <= 1);
    *world.placement.shard_mut(shard).unwrap() = after;
}

/// Takes up to `steps_max` steps, each of a random shard; gives how many there were and how many copies they made.
fn run(world: &mut World, random: &mut Random, steps_max: usize) -> (usize, usize) {
    let (mut taken, mut copies) = (0, 0);
    loop {
        let moves_max = 1 + random.below(8);
        let steps = plan(&world.placement, &world.members, moves_max);
        if steps.is_empty() || taken >= steps_max {
            return (taken, copies);
        }
        for (shard, step, _) in steps {
            if random.below(3) > 0 {
                take(world, shard, &step);
                taken += 1;
                copies += usize::from(matches!(step, Step::AddLearner { .. }));
            }
        }
    }
}

fn check_settled(world: &mut World) {
    for (number, shard) in world.placement.shards().iter().enumerate() {
        let outlook = next_step(shard, &world.members);
        assert_eq!(outlook, Outlook::Settled, "shard {number}: {shard:?}");
        let held = Wish::new(shard.replicas().iter().map(|replica| replica.node.clone()));
        assert_eq!(held, *shard.wish());
        assert_eq!(held.nodes().len(), shard.replicas().len());
        assert!(shard.replicas().iter().all(|replica| replica.is_voter() && !replica.quarantined));
    }
    world.check_spread();
    assert_eq!(world.placement.retarget(&world.members, world.factor), []);
}

#[test]
fn steps_end_at_the_target_whatever_their_order() {
    let (mut moved, mut steps) = (0, 0);
    for_seeds(60, |mut random| {
        let mut world = World::random(&mut random, 128);
        let before = world.wishes();
        world.join(&mut random);
        let target = world.wishes();
        let new = before
            .iter()
            .zip(&target)
            .map(|(old, new)| new.nodes().iter().filter(|node| !old.contains(node)).count());
        let new = new.sum::<usize>();
        let (taken, copies) = run(&mut world, &mut random, usize::MAX);
        assert_eq!(copies, new, "each replica is copied once");
        assert_eq!(world.wishes(), target);
        check_settled(&mut world);
        (moved, steps) = (moved + new, steps + taken);
    });
    println!("{moved} replicas moved by {steps} steps");
}

/// Whether every shard has a majority of voters that are sound, on members other than this one.
fn can_lose(world: &World, lost: usize, number: Option<usize>) -> bool {
    let gone = &world.members.as_slice()[lost].id;
    let only = |place: usize| number.is_none_or(|number| number == place);
    world.placement.shards().iter().enumerate().filter(|(place, _)| only(*place)).all(
        |(_, shard)| {
            let sound = |voter: &&Replica| {
                !voter.quarantined
                    && voter.node != *gone
                    && world.members.get(&voter.node).is_some()
            };
            2 * shard.voters().filter(sound).count() > shard.voters().count()
        },
    )
}

/// One thing that may happen to a cluster.
fn disturb(world: &mut World, random: &mut Random) -> &'static str {
    let mut nodes = world.nodes();
    let chosen = random.below(nodes.len());
    match random.below(8) {
        0 | 1 => {
            world.join(random);
            return "join";
        }
        2 if nodes.len() > 1 && can_lose(world, chosen, None) => {
            nodes.remove(chosen);
            world.set_members(nodes);
            return "loss";
        }
        3 if nodes.len() > 1 => nodes[chosen].state = MemberState::Draining,
        4 => nodes[chosen].state = MemberState::Down,
        5 => nodes.iter_mut().for_each(|node| node.state = MemberState::Active),
        6 => {
            world.factor = crate::support::factor(random.pick(&[1, 2, 3, 5]));
            world.set_members(nodes);
            return "replication factor";
        }
        _ => {
            let number = random.below(world.placement.shards().len());
            let voters: Vec<_> = world.placement.shards()[number].replicas().to_vec();
            let replica = random.pick(&voters);
            let holder = nodes.iter().position(|node| node.id == replica.node);
            if holder.is_none_or(|holder| !can_lose(world, holder, Some(number))) {
                return "nothing";
            }
            let shard = ShardId(u32::try_from(number).unwrap());
            world.placement.shard_mut(shard).unwrap().quarantine(replica.id);
            return "damage";
        }
    }
    world.set_members(nodes);
    "state"
}

#[test]
fn steps_end_from_any_state_that_changes_of_members_leave() {
    let mut happened = std::collections::BTreeMap::new();
    let mut half_done = 0;
    for_seeds(300, |mut random| {
        let mut world = World::random(&mut random, 48);
        for _ in 0..12 {
            *happened.entry(disturb(&mut world, &mut random)).or_insert(0) += 1;
            let steps = random.below(40);
            run(&mut world, &mut random, steps);
            let moving = |shard: &&ShardPlacement| shard.learners().next().is_some();
            half_done += world.placement.shards().iter().filter(moving).count();
        }
        let mut nodes = world.nodes();
        nodes
            .iter_mut()
            .filter(|node| node.state == MemberState::Down)
            .for_each(|node| node.state = MemberState::Active);
        if nodes.iter().all(|node| node.state == MemberState::Draining) {
            nodes[0].state = MemberState::Active;
        }
        world.set_members(nodes);
        let most = world.placement.shards().len() * 4 * (9 + 5);
        let (taken, _) = run(&mut world, &mut random, most);
        assert!(taken < most, "{taken} steps and no end");
        check_settled(&mut world);
        assert_eq!(world.over_bound(), []);
    });
    println!("{happened:?}; {half_done} moves were half done when something happened");
}
