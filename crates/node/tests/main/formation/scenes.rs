//! Scenes with one cause each: first whole worlds, then one node whose others are played by hand.

use std::time::Duration;

use ringfort_node::control::formation::{
    Answer, Ask, AskId, Formation, FormationConfig, FormationEffect, FormationState, Grant,
    Introduction, Question, QuestionId, RefusedCode, Reply,
};
use ringfort_node::control::{FormationRecord, NodeInfo, NodeName};
use ringfort_placement::{Capacity, Zone};
use ringfort_types::{ClusterId, Incarnation, Monotonic, NodeId, NodeNumber};

use super::world::{Plan, World, address, settings};

fn quiet(seeds: &[usize], expect: &[u32]) -> World {
    let mut world = World::new(Plan::quiet(vec![seeds.to_vec(); expect.len()], expect.to_vec()));
    for node in 0..expect.len() {
        world.start(node);
    }
    world
}

fn record(world: &World, node: usize) -> Option<&FormationRecord> {
    world.nodes[node].durable.formed.as_ref()
}

fn said(world: &World, node: usize, words: &str) -> bool {
    world.nodes[node].findings.iter().any(|finding| finding.contains(words))
}

#[test]
fn one_node_without_seeds_forms_a_cluster_at_once() {
    let mut world = quiet(&[], &[1]);
    world.run_until(100);
    let record = record(&world, 0).expect("formed");
    let groups = record.groups_of(NodeNumber(0));
    assert_eq!(groups.len(), 9, "the catalog and every shard");
    assert!(groups.iter().all(|group| group.configuration.is_alone(group.replica)));
}

#[test]
fn three_seeds_form_a_cluster_within_a_second_and_number_themselves_by_id() {
    let mut world = quiet(&[0, 1, 2], &[3, 3, 3]);
    world.run_until(1000);
    let first = record(&world, 0).expect("formed").clone();
    assert!((1..3).all(|node| record(&world, node) == Some(&first)));
    for node in 0..3 {
        let number = first.number_of(&world.nodes[node].name);
        assert_eq!(number, Some(NodeNumber(node as u16)));
    }
    assert_eq!(first.catalog_voters().len(), 3);
}

#[test]
fn with_bootstrap_expect_0_nothing_happens_until_an_operator_says_init() {
    let mut world = quiet(&[0, 1], &[0, 0, 0]);
    world.run_until(20_000);
    assert!((0..3).all(|node| world.nodes[node].durable == FormationState::default()));
    assert!(said(&world, 0, "ringfort cluster init"));
    // Sent to a node that is no seed: those that it meets through the seeds come along.
    world.with(2, |formation, now| formation.handle_init(now).unwrap());
    world.run_until(22_000);
    assert!((0..3).all(|node| record(&world, node).is_some_and(|r| r.founders.len() == 3)));
    world.with(1, |formation, now| assert!(formation.handle_init(now).is_err()));
}

#[test]
fn a_wiped_founder_is_refused_with_an_explanation_at_both_ends() {
    let mut world = quiet(&[0, 1, 2], &[3, 3, 3]);
    world.run_until(1000);
    world.crash(1);
    world.wipe(1);
    world.start(1);
    world.run_until(20_000);
    assert_eq!(world.nodes[1].durable, FormationState::default());
    assert!(said(&world, 1, "its disk was wiped"), "{:?}", world.nodes[1].findings);
    assert!(said(&world, 0, "its disk was wiped"), "{:?}", world.nodes[0].findings);
}

#[test]
fn a_node_of_another_cluster_is_refused_with_an_explanation_at_both_ends() {
    let mut world = World::new(Plan::quiet(vec![vec![0], vec![1]], vec![1, 1]));
    world.start(0);
    world.start(1);
    world.run_until(500);
    assert_ne!(record(&world, 0), record(&world, 1));
    // Its configuration names the other one's seed from now on.
    world.set_seeds(1, vec![0]);
    world.crash(1);
    world.start(1);
    world.run_until(2000);
    assert!(said(&world, 0, "belongs to cluster"), "{:?}", world.nodes[0].findings);
    assert!(said(&world, 1, "belongs to cluster"), "{:?}", world.nodes[1].findings);
}

#[test]
fn a_node_that_a_cluster_was_formed_without_waits_and_says_so() {
    let mut world = World::new(Plan::quiet(vec![vec![0]; 2], vec![1, 3]));
    world.start(0);
    world.run_until(500);
    world.start(1);
    world.run_until(5000);
    assert!(record(&world, 0).is_some_and(|record| record.founders.len() == 1));
    assert_eq!(world.nodes[1].durable, FormationState::default());
    assert!(said(&world, 1, "waits to join"), "{:?}", world.nodes[1].findings);
}

#[test]
fn one_node_id_on_two_nodes_forms_no_cluster_and_is_explained() {
    let mut world = World::new(Plan::quiet(vec![vec![0, 1, 2]; 3], vec![3; 3]));
    world.nodes[2].name.id = world.nodes[1].name.id.clone();
    (0..3).for_each(|node| world.start(node));
    world.run_until(20_000);
    assert!((0..3).all(|node| record(&world, node).is_none()));
    assert!(said(&world, 0, "node id n1 is used at"), "{:?}", world.nodes[0].findings);
    for node in 1..3 {
        assert!(said(&world, node, "node id n1 is used at"), "{:?}", world.nodes[node].findings);
    }
}

#[test]
fn a_seed_that_never_answers_is_named_once() {
    let mut world = World::new(Plan::quiet(vec![vec![0, 1]; 2], vec![2; 2]));
    world.start(0);
    world.run_until(60_000);
    let about = |finding: &&String| finding.starts_with("n1:7401 has not answered");
    assert_eq!(world.nodes[0].findings.iter().filter(about).count(), 1);
}

// From here on one node, n1, and others that are played.

fn info(number: usize) -> NodeInfo {
    NodeInfo {
        name: NodeName {
            id: NodeId::parse(&format!("n{number}")).unwrap(),
            incarnation: Incarnation(number as u128 + 100),
        },
        peer: address(number),
        client: String::new(),
        zone: Zone::default(),
        capacity: Capacity::ONE,
    }
}

fn introduction(number: usize, grant: Option<Grant>) -> Introduction {
    Introduction { node: info(number), grant, cluster_id: None, known: Vec::new() }
}

fn grant(cluster: u128, proposer: usize) -> Grant {
    let NodeInfo { name, peer, .. } = info(proposer);
    Grant { cluster_id: ClusterId(cluster), proposer: name, peer }
}

fn proposal(cluster: u128, founders: &[usize]) -> Ask {
    let founders = founders.iter().map(|number| info(*number)).collect();
    Ask::Propose(FormationRecord::new(ClusterId(cluster), settings(), founders).unwrap())
}

/// The node and what it asked, answered and wants durable.
struct Stage {
    formation: Formation,
    now: Monotonic,
    asked: Vec<(AskId, String, Ask)>,
    answered: Vec<Reply>,
    persist: Option<FormationState>,
    questions: u64,
}

impl Stage {
    fn new(seeds: &[usize]) -> Self {
        let config = FormationConfig {
            me: info(1),
            seeds: seeds.iter().map(|seed| address(*seed)).collect(),
            bootstrap_expect: 1,
            settings: settings(),
            seed: 9,
        };
        let mut stage = Self {
            formation: Formation::new(config, FormationState::default()),
            now: Monotonic(1),
            asked: Vec::new(),
            answered: Vec::new(),
            persist: None,
            questions: 0,
        };
        stage.tick();
        stage
    }

    fn collect(&mut self) {
        while let Some(effect) = self.formation.poll_effect() {
            match effect {
                FormationEffect::Ask { id, address, question } => {
                    self.asked.push((id, address, question.ask));
                }
                FormationEffect::Answer { answer, .. } => self.answered.push(answer.reply),
                FormationEffect::Persist(state) => self.persist = Some(state),
                FormationEffect::Decided(_) | FormationEffect::Finding(_) => {}
            }
        }
    }

    /// A second passes; whatever is due is asked.
    fn tick(&mut self) {
        self.now = self.now + Duration::from_secs(1);
        self.formation.handle_tick(self.now);
        self.collect();
    }

    fn durable(&mut self) -> FormationState {
        let state = self.persist.take().expect("something is to be made durable");
        self.formation.handle_durable(self.now);
        self.collect();
        state
    }

    fn ask(&mut self, from: Introduction, ask: Ask) {
        self.questions += 1;
        let question = Question { asker: from, ask };
        self.formation.handle_question(self.now, QuestionId(self.questions), question);
        self.collect();
    }

    /// Takes the open question to a node.
    fn take(&mut self, number: usize) -> (AskId, Ask) {
        let place = self.asked.iter().position(|(_, to, _)| *to == address(number));
        let (id, _, ask) = self.asked.remove(place.expect("it was asked"));
        (id, ask)
    }

    fn answer(&mut self, id: AskId, from: Introduction, reply: Reply) {
        let answer = Answer { answerer: from, reply };
        self.formation.handle_answer(self.now, id, Some(answer));
        self.collect();
    }

    fn hello(&mut self, number: usize, grant: Option<Grant>) {
        let (id, _) = self.take(number);
        self.answer(id, introduction(number, grant), Reply::Hello);
    }

    /// n1 knows itself and its fellow seeds, and proposes.
    fn proposing(others: &[usize]) -> (Self, Grant) {
        let seeds: Vec<_> = [1].into_iter().chain(others.iter().copied()).collect();
        let mut stage = Self::new(&seeds);
        stage.hello(1, None);
        others.iter().for_each(|other| stage.hello(*other, None));
        let grant = stage.durable().grant.expect("its own");
        (stage, grant)
    }

    /// n0 asks for n1's grant and gets it, then gives its formation up.
    fn gives_way_and_is_released(&mut self) {
        self.ask(introduction(0, Some(grant(70, 0))), proposal(70, &[0, 1]));
        assert_eq!(self.durable().grant, Some(grant(70, 0)));
        assert_eq!(self.answered.pop(), Some(Reply::Granted(ClusterId(70))));
        self.tick();
        self.hello(0, None);
        assert_eq!(self.durable(), FormationState::default());
    }
}

#[test]
fn nothing_is_proposed_before_it_is_durable() {
    let mut stage = Stage::new(&[1, 2]);
    stage.hello(1, None);
    stage.hello(2, None);
    assert!(stage.persist.is_some());
    stage.tick();
    assert!(stage.asked.iter().all(|(_, _, ask)| *ask == Ask::Hello), "{:?}", stage.asked);
    let (id, _) = stage.take(2);
    stage.durable();
    stage.answer(id, introduction(2, None), Reply::Hello);
    stage.tick();
    assert!(matches!(stage.take(2).1, Ask::Propose(_)));
}

#[test]
fn a_proposer_gives_way_to_a_lower_id_only() {
    let (mut stage, _) = Stage::proposing(&[2]);
    stage.ask(introduction(2, Some(grant(80, 2))), proposal(80, &[1, 2]));
    assert!(stage.persist.is_none());
    let Some(Reply::Refused(refused)) = stage.answered.pop() else { panic!("no refusal") };
    assert_eq!(refused.code, RefusedCode::Granted);
    stage.ask(introduction(0, Some(grant(70, 0))), proposal(70, &[0, 1]));
    assert!(stage.answered.is_empty(), "said once it is durable");
    assert_eq!(stage.durable().grant, Some(grant(70, 0)));
    assert_eq!(stage.answered.pop(), Some(Reply::Granted(ClusterId(70))));
}

/// Who granted the formation before last has not granted this one: it may have been released by then.
#[test]
fn grants_for_a_formation_that_was_given_up_do_not_count_for_the_next() {
    let (mut stage, first) = Stage::proposing(&[2, 3]);
    stage.tick();
    let (id, _) = stage.take(2);
    stage.answer(id, introduction(2, Some(first.clone())), Reply::Granted(first.cluster_id));
    stage.gives_way_and_is_released();
    assert_eq!(stage.persist, None, "n2 is still bound");
    stage.hello(2, None);
    let again = stage.durable().grant.expect("it proposes again");
    assert_ne!(again.cluster_id, first.cluster_id, "never the same formation again");
    stage.tick();
    let (id, _) = stage.take(0);
    stage.answer(id, introduction(0, Some(again.clone())), Reply::Granted(again.cluster_id));
    let (id, _) = stage.take(3);
    stage.answer(id, introduction(3, Some(again.clone())), Reply::Granted(again.cluster_id));
    assert_eq!(stage.persist, None, "n2 has not granted it");
}

#[test]
fn a_late_grant_for_a_formation_that_was_given_up_does_not_count() {
    let (mut stage, first) = Stage::proposing(&[2]);
    stage.tick();
    let (late, _) = stage.take(2);
    stage.gives_way_and_is_released();
    let again = stage.durable().grant.expect("it proposes again");
    stage.tick();
    let (id, _) = stage.take(0);
    stage.answer(id, introduction(0, Some(again.clone())), Reply::Granted(again.cluster_id));
    stage.answer(late, introduction(2, Some(first.clone())), Reply::Granted(first.cluster_id));
    assert_eq!(stage.persist, None, "that was another formation");
    stage.tick();
    let (id, _) = stage.take(2);
    stage.answer(id, introduction(2, Some(again.clone())), Reply::Granted(again.cluster_id));
    let decided = stage.durable().formed.expect("all have granted it");
    assert_eq!(decided.cluster_id, again.cluster_id);
}

/// The answer was under way when the proposer began: it says nothing of now.
#[test]
fn an_answer_from_before_the_grant_releases_nobody() {
    let mut stage = Stage::new(&[0, 1]);
    let (early, _) = stage.take(0);
    stage.ask(introduction(0, Some(grant(70, 0))), proposal(70, &[0, 1]));
    stage.durable();
    stage.answer(early, introduction(0, None), Reply::Hello);
    assert_eq!(stage.persist, None);
    stage.tick();
    stage.hello(0, None);
    assert_eq!(stage.durable(), FormationState::default(), "n0 itself says so, now");
}
