//! The bytes of configurations: those of docs/formats/configuration.md, and any others.

use ringfort_raft::{CONFIGURATION_MARK, Change, Configuration, Guards, Learner, MEMBERS_MAX};
use ringfort_sim::Random;
use ringfort_types::ReplicaId;

use crate::campaign::size;

const FIXTURE: &[u8] = include_bytes!("../fixtures/configuration-v1.bin");

fn ids(ids: &[u64]) -> Vec<ReplicaId> {
    ids.iter().copied().map(ReplicaId).collect()
}

fn learner(id: u64, replaces: u64) -> Learner {
    let replaces = Some(ReplicaId(replaces)).filter(|id| *id != ReplicaId(0));
    Learner { id: ReplicaId(id), replaces }
}

#[test]
fn the_fixture_is_read_and_written() {
    let learners = vec![learner(7, 0), learner(9, 2)];
    let known = Configuration::new(ids(&[1, 2, 5]), ids(&[1, 2, 3]), learners, ReplicaId(11));
    assert_eq!(Configuration::decode(FIXTURE), known);
    assert_eq!(known.unwrap().encode(), FIXTURE);
}

#[test]
fn bytes_that_break_a_rule_are_refused() {
    let decode = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = FIXTURE.to_vec();
        change(&mut bytes);
        Configuration::decode(&bytes)
    };
    assert!(decode(&|_| {}).is_ok());
    for (what, change) in [
        ("another mark", &(|bytes: &mut Vec<u8>| bytes[0] = 1) as &dyn Fn(&mut Vec<u8>)),
        ("another format", &|bytes| bytes[1] = 2),
        ("an id above the greatest", &|bytes| bytes[2] = 8),
        ("no voter", &|bytes| bytes[10] = 0),
        ("more voters than there are", &|bytes| bytes[10] = 255),
        ("fewer learners than there are", &|bytes| bytes[12] = 1),
        ("an id that is 0", &|bytes| bytes[13] = 0),
        ("ids that fall", &|bytes| bytes[13] = 3),
        ("an id twice", &|bytes| bytes[13] = 2),
        ("a learner that votes", &|bytes| bytes[61] = 5),
        ("a learner on its way out", &|bytes| bytes[61] = 3),
        ("an id to be replaced that never was", &|bytes| bytes[85] = 12),
        ("something behind the end", &|bytes| bytes.push(0)),
        ("nothing", &Vec::clear),
    ] {
        assert!(decode(change).is_err(), "{what}");
    }
    for end in 0..FIXTURE.len() {
        assert!(Configuration::decode(&FIXTURE[..end]).is_err(), "cut off after {end} bytes");
    }
    let many = (1..=MEMBERS_MAX as u64 + 1).map(ReplicaId).collect();
    let highest = ReplicaId(MEMBERS_MAX as u64 + 1);
    assert!(Configuration::new(many, Vec::new(), Vec::new(), highest).is_err());
}

/// Whatever bytes are accepted are those of the configuration they give: there is one encoding.
#[test]
fn any_bytes_are_refused_or_written_the_same() {
    let mut random = Random::new(1);
    let mut accepted = 0;
    for _ in 0..size(100_000, 10_000_000) {
        let mut bytes = FIXTURE.to_vec();
        if random.one_in(8) {
            bytes = vec![0; random.index(120)];
            random.fill(&mut bytes);
        }
        for _ in 0..random.below(4) {
            if !bytes.is_empty() {
                let place = random.index(bytes.len());
                let any = random.next_u64().to_le_bytes()[0];
                let near = bytes[place].wrapping_add(any % 3).wrapping_sub(1);
                bytes[place] = if random.one_in(2) { near } else { any };
            }
        }
        if random.one_in(8) {
            bytes.truncate(random.index(bytes.len() + 1));
        }
        if let Ok(configuration) = Configuration::decode(&bytes) {
            accepted += 1;
            assert_eq!(configuration.encode(), bytes, "{configuration}");
            assert!(configuration.members().len() <= MEMBERS_MAX);
        }
    }
    assert!(accepted > 1000, "{accepted}");
}

/// Every configuration that changes lead to has bytes, and comes back from them.
#[test]
fn what_changes_lead_to_comes_back_from_its_bytes() {
    let mut random = Random::new(2);
    let mut changed = 0;
    for _ in 0..size(300, 30_000) {
        let voters = random.between(1, 7);
        let mut configuration = Configuration::founding((1..=voters).map(ReplicaId));
        for _ in 0..60 {
            let any = ReplicaId(random.between(0, configuration.highest().0 + 1));
            let next = ReplicaId(configuration.highest().0 + random.between(1, 3));
            let replaces = Some(any).filter(|_| random.one_in(2));
            let changes = [
                Change::AddLearner(Learner { id: next, replaces }),
                Change::Promote(any),
                Change::Remove(any),
                Change::AddLearner(Learner { id: ReplicaId(next.0 + 1), replaces: None }),
            ];
            let from = random.index(changes.len());
            let to = from + 1 + random.index(changes.len() - from);
            let Ok(joint) = configuration.begin(&changes[from..to], Guards::default()) else {
                continue;
            };
            changed += 1;
            for each in [joint.clone(), joint.leave()] {
                assert_eq!(each.encode()[0], CONFIGURATION_MARK);
                assert_eq!(Configuration::decode(&each.encode()).as_ref(), Ok(&each), "{each}");
                configuration = each;
            }
        }
    }
    assert!(changed > 1000, "{changed}");
}

/// Whichever replica looks, and wherever its log begins: a later configuration is older than none before it, nor equal.
#[test]
fn every_change_makes_a_group_older() {
    let mut taken = 0;
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let mut now = Configuration::founding(ids(&[1, 2, 3]));
        let mut next_id = 4;
        for _ in 0..40 {
            let some = |random: &mut Random, from: &[ReplicaId]| from[random.index(from.len())];
            let learners: Vec<_> = now.learners().iter().map(|learner| learner.id).collect();
            let mut change = || match random.index(3) {
                0 => {
                    next_id += 1 + random.below(3);
                    let replaces = random.one_in(2).then(|| some(&mut random, now.voters()));
                    Change::AddLearner(Learner { id: ReplicaId(next_id), replaces })
                }
                1 if !learners.is_empty() => Change::Promote(some(&mut random, &learners)),
                _ => Change::Remove(some(&mut random, &now.members())),
            };
            let changes: Vec<_> = (0..1 + taken % 2).map(|_| change()).collect();
            let Ok(joint) = now.begin(&changes, Guards::default()) else { continue };
            let next = joint.leave();
            assert!(next.age() > now.age(), "seed {seed}: {now}, then {next}");
            assert_eq!(joint.age(), next.age(), "seed {seed}");
            now = next;
            taken += 1;
        }
    }
    assert!(taken > 1000, "{taken} changes were taken");
}
