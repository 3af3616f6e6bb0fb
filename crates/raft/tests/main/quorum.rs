//! Quorum arithmetic against an oracle that knows nothing but the definition: a set of replicas is a quorum if it holds more
//! than half of each half of the configuration.
//!
//! The oracle looks at every set of members there is. All of it: `RINGFORT_CAMPAIGN=full cargo test --release -p
//! ringfort-raft --test main quorum -- --nocapture`.

use ringfort_raft::{
    Configuration, Election, Guard, Guards, election, majority_value, quorum_value,
};
use ringfort_sim::Random;
use ringfort_types::ReplicaId;

use crate::campaign;

/// Replicas that configurations are drawn from, so that both halves often share some.
const POOL: usize = 9;

/// The configuration and what each replica of the pool has reached and answered, the first replica at place 0.
struct Case {
    voters: u32,
    outgoing: u32,
    values: [u64; POOL],
    answers: [Option<bool>; POOL],
}

fn place(id: ReplicaId) -> usize {
    usize::try_from(id.0).unwrap() - 1
}

fn members(set: u32) -> impl Iterator<Item = usize> {
    (0..POOL).filter(move |at| set & (1 << at) != 0)
}

fn ids(set: u32) -> Vec<ReplicaId> {
    members(set).map(|at| ReplicaId(at as u64 + 1)).collect()
}

impl Case {
    fn draw(random: &mut Random) -> Self {
        let all = (1 << POOL) - 1;
        let mut half = || loop {
            // Sparse and full halves alike.
            let mut set = u32::try_from(random.below(1 << POOL)).unwrap();
            for _ in 0..random.below(3) {
                set &= u32::try_from(random.below(1 << POOL)).unwrap();
            }
            if set != 0 {
                return set & all;
            }
        };
        let (voters, outgoing) = (half(), half());
        let outgoing = if random.one_in(4) { 0 } else { outgoing };
        // Few values, so that many are equal; sometimes any.
        let bound = if random.one_in(8) { u64::MAX } else { 1 + random.below(6) };
        let values = std::array::from_fn(|_| random.below(bound));
        let answers = std::array::from_fn(|_| match random.below(3) {
            0 => None,
            1 => Some(true),
            _ => Some(false),
        });
        Self { voters, outgoing, values, answers }
    }

    fn configuration(&self) -> Configuration {
        let highest = ReplicaId(POOL as u64);
        Configuration::new(ids(self.voters), ids(self.outgoing), Vec::new(), highest).unwrap()
    }

    /// The definition.
    fn is_quorum(&self, set: u32) -> bool {
        let most = |half: u32| half == 0 || (set & half).count_ones() * 2 > half.count_ones();
        most(self.voters) && most(self.outgoing)
    }

    /// The greatest value that all of some quorum have reached.
    fn value(&self) -> Option<u64> {
        let quorums = (1..1 << POOL).filter(|set| self.is_quorum(*set));
        quorums.filter_map(|set| members(set).map(|at| self.values[at]).min()).max()
    }

    fn election(&self) -> Election {
        let all_of = |set: u32, holds: &dyn Fn(Option<bool>) -> bool| {
            members(set).all(|at| holds(self.answers[at]))
        };
        let some_quorum = |holds: &dyn Fn(Option<bool>) -> bool| {
            (1..1 << POOL).any(|set| self.is_quorum(set) && all_of(set, holds))
        };
        if some_quorum(&|answer| answer == Some(true)) {
            Election::Won
        } else if some_quorum(&|answer| answer != Some(false)) {
            Election::Open
        } else {
            Election::Lost
        }
    }

    fn describe(&self) -> String {
        format!("{}, values {:?}, answers {:?}", self.configuration(), self.values, self.answers)
    }
}

/// What the crate says, by guards.
fn answers(case: &Case, guards: Guards) -> (Option<u64>, Election) {
    let configuration = case.configuration();
    let value = quorum_value(&configuration, guards, |id| case.values[place(id)]);
    (value, election(&configuration, guards, |id| case.answers[place(id)]))
}

#[test]
fn quorum_arithmetic_is_the_definition() {
    let mut random = Random::new(1);
    let (mut joint, mut states) = (0, [0; 3]);
    let cases = campaign::size(10_000, 1_000_000);
    for _ in 0..cases {
        let case = Case::draw(&mut random);
        let expected = (case.value(), case.election());
        assert_eq!(answers(&case, Guards::default()), expected, "{}", case.describe());
        let single = Case { outgoing: 0, ..case };
        let value = majority_value(&ids(single.voters), |id| single.values[place(id)]);
        assert_eq!(value, single.value(), "{}", single.describe());
        joint += u32::from(case.outgoing != 0);
        states[expected.1 as usize] += 1;
    }
    println!("quorum arithmetic: {cases} configurations, {joint} joint; elections {states:?}");
    assert!(joint > cases / 2, "most are joint");
    assert!(states.iter().all(|count| *count > cases / 20), "no outcome is rare: {states:?}");
}

#[test]
fn without_the_second_half_the_oracle_disagrees() {
    let mut random = Random::new(1);
    let guards = Guards::without(Guard::BothHalves);
    let wrong = (0..200).filter(|_| {
        let case = Case::draw(&mut random);
        answers(&case, guards) != (case.value(), case.election())
    });
    assert!(wrong.count() > 20);
}

#[test]
fn without_voters_nothing_is_reached_and_nobody_is_elected() {
    let blank = Configuration::default();
    assert_eq!(majority_value(&[], |_| 7), None);
    assert_eq!(quorum_value(&blank, Guards::default(), |_| 7), None);
    assert_eq!(election(&blank, Guards::default(), |_| Some(true)), Election::Lost);
}
