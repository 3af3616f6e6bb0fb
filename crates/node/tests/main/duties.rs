//! The catalog's leader, step by step: what it proposes and whom it instructs.

use std::time::Duration;

use bytes::Bytes;
use ringfort_node::control::{
    Addresses, Control, ControlEffect, GroupRecord, GroupReport, Held, Instruction, Intent,
    Leading, ProposalId, Proposed, Record, RecordKey, RecordValue, Update, Word,
};
use ringfort_raft::{Change, Configuration, Guards, Learner};
use ringfort_types::{BootId, GroupId, Monotonic, NodeNumber, ReplicaId, Term, Version};

use super::control::formation;

const GROUP: GroupId = GroupId(4);

/// The catalog's leader and the catalog.
struct Stage {
    control: Control,
    now: Monotonic,
    revision: u64,
}

impl Stage {
    fn new() -> Self {
        let control = Control::new(NodeNumber(0), formation(3), None).unwrap();
        let mut stage = Self { control, now: Monotonic(1), revision: 0 };
        stage.control.handle_catalog_role(stage.now, true);
        let (id, updates) = stage.proposals().pop().expect("the first records");
        assert_eq!(updates[0].key, RecordKey::Settings);
        assert!(updates.iter().all(|update| update.version == Version::ABSENT));
        stage.apply(id, updates);
        stage
    }

    fn effects(&mut self) -> Vec<ControlEffect> {
        std::iter::from_fn(|| self.control.poll_effect()).collect()
    }

    fn proposals(&mut self) -> Vec<(ProposalId, Vec<Update>)> {
        let proposal = |effect| match effect {
            ControlEffect::Propose { id, updates } => Some((id, updates)),
            _ => None,
        };
        self.effects().into_iter().filter_map(proposal).collect()
    }

    fn instructions(&mut self) -> Vec<(NodeNumber, Instruction)> {
        let instruction = |effect| match effect {
            ControlEffect::Instruct { to, instruction } => Some((to, instruction)),
            _ => None,
        };
        self.effects().into_iter().filter_map(instruction).collect()
    }

    fn apply(&mut self, id: ProposalId, updates: Vec<Update>) {
        self.write(updates.into_iter().map(|update| (update.key, update.value)).collect());
        self.control.handle_proposed(self.now, id, Proposed::Applied);
    }

    fn write(&mut self, values: Vec<(RecordKey, RecordValue)>) {
        let mut records = Vec::new();
        for (key, value) in values {
            self.revision += 1;
            records.push(Record { key, version: Version(self.revision), value });
        }
        self.control.handle_catalog_records(self.now, records).unwrap();
    }

    fn record(&self) -> GroupRecord {
        self.control.catalog().group(GROUP).unwrap().1.clone()
    }

    fn voters(&self) -> Vec<ReplicaId> {
        self.record().replicas.iter().map(|replica| replica.id).collect()
    }

    /// A leader reports.
    fn report(&mut self, from: u16, term: u64, configuration: &Configuration) {
        let node = NodeNumber(from);
        let replica = configuration.voters().iter().find(|id| id.node() == node);
        let held =
            Held { replica: *replica.unwrap_or(&ReplicaId::new(0, node)), quarantined: false };
        let configuration = configuration.clone();
        let leading = Some(Leading { term: Term(term), configuration });
        let report = GroupReport { group: GROUP, held, leading };
        self.control.handle_report(self.now, node, report);
    }

    /// A node says that a replica is what it has of the shard.
    fn hold(&mut self, from: NodeNumber, replica: ReplicaId, quarantined: bool) {
        let report =
            GroupReport { group: GROUP, held: Held { replica, quarantined }, leading: None };
        self.control.handle_report(self.now, from, report);
    }

    fn is_quarantined(&self, replica: ReplicaId) -> bool {
        let mut replicas = self.record().replicas.into_iter();
        replicas.any(|record| record.id == replica && record.quarantined)
    }

    /// The one record that is proposed for the shard.
    fn proposed(&mut self) -> (ProposalId, Vec<Update>, GroupRecord) {
        let (id, updates) = self.proposals().pop().expect("a proposal");
        let RecordValue::Group(record) = &updates.last().unwrap().value else { panic!() };
        (id, updates.clone(), record.clone())
    }
}

/// The configuration that a change leads to.
fn after(configuration: &Configuration, change: Change) -> Configuration {
    configuration.begin(&[change], Guards::default()).unwrap().leave()
}

#[test]
fn a_damaged_replica_is_replaced_in_place_step_by_step() {
    let mut stage = Stage::new();
    let voters = stage.voters();
    let founding = Configuration::founding(voters.clone());
    let lost = voters[1];
    stage.hold(lost.node(), lost, true);
    let (id, updates, record) = stage.proposed();
    assert!(record.replicas[1].quarantined && record.intent.is_none(), "first the truth");
    stage.apply(id, updates);
    stage.report(0, 1, &founding);
    let (id, updates, record) = stage.proposed();
    let intent = Intent { id: ReplicaId::new(2, lost.node()), replaces: Some(lost) };
    assert_eq!(record.intent, Some(intent), "then the id, before anybody is asked");
    let next =
        Update { key: RecordKey::Counter, value: RecordValue::Counter(3), ..updates[0].clone() };
    assert_eq!(updates[0], next, "from the counter, in the same command");
    stage.apply(id, updates);
    let learner = Learner { id: intent.id, replaces: intent.replaces };
    let change = Change::AddLearner(learner);
    let instruction = Instruction { group: GROUP, configuration: founding.clone(), change };
    assert_eq!(stage.instructions(), [(NodeNumber(0), instruction)]);

    let with_learner = after(&founding, change);
    stage.report(0, 1, &with_learner);
    let (id, updates, record) = stage.proposed();
    assert_eq!((record.intent, record.highest), (None, intent.id));
    stage.apply(id, updates);
    let change = Change::Promote(intent.id);
    let promote = Instruction { group: GROUP, configuration: with_learner, change };
    assert_eq!(stage.instructions(), [(NodeNumber(0), promote.clone())]);
    stage.control.handle_tick(stage.now);
    assert_eq!(stage.instructions(), [], "again after a while only");
    stage.now = Monotonic(1_000_000_000);
    stage.control.handle_tick(stage.now);
    assert_eq!(stage.instructions(), [(NodeNumber(0), promote)]);
}

#[test]
fn the_leader_of_the_newest_term_is_instructed() {
    let mut stage = Stage::new();
    let voters = stage.voters();
    let founding = Configuration::founding(voters.clone());
    stage.hold(voters[2].node(), voters[2], true);
    stage.report(1, 5, &founding);
    stage.report(0, 4, &founding);
    for _ in 0..2 {
        let (id, updates, _) = stage.proposed();
        stage.apply(id, updates);
        stage.control.handle_tick(stage.now);
    }
    // The last effects were taken with the proposals; it goes again after a while.
    stage.now = Monotonic(1_000_000_000);
    stage.control.handle_tick(stage.now);
    let instructions = stage.instructions();
    assert!(!instructions.is_empty());
    assert!(instructions.iter().all(|(to, _)| *to == NodeNumber(1)), "{instructions:?}");
}

#[test]
fn only_who_has_a_replica_says_that_it_is_damaged() {
    let mut stage = Stage::new();
    let lost = stage.voters()[1];
    stage.hold(NodeNumber(0), lost, true);
    assert_eq!(stage.proposals(), []);
    stage.hold(lost.node(), lost, true);
    assert_eq!(stage.proposals().len(), 1);
}

/// A start could not read the replica, and the next one could, before its successor was made.
#[test]
fn a_replica_that_is_well_again_is_not_replaced() {
    let mut stage = Stage::new();
    let voters = stage.voters();
    let founding = Configuration::founding(voters.clone());
    let lost = voters[1];
    stage.report(0, 1, &founding);
    stage.hold(lost.node(), lost, true);
    for _ in 0..2 {
        let (id, updates, _) = stage.proposed();
        stage.apply(id, updates);
        stage.control.handle_tick(stage.now);
    }
    let intent = stage.record().intent.expect("an id for the new one");
    let learner = Learner { id: intent.id, replaces: intent.replaces };
    let change = Change::AddLearner(learner);
    let with_learner = after(&founding, change);
    stage.report(0, 1, &with_learner);
    let (id, updates, _) = stage.proposed();
    stage.apply(id, updates);
    stage.effects();

    stage.hold(lost.node(), lost, false);
    let (id, updates, _) = stage.proposed();
    stage.apply(id, updates);
    assert!(!stage.is_quarantined(lost));
    let change = Change::Remove(intent.id);
    let configuration = with_learner.clone();
    let remove = Instruction { group: GROUP, configuration, change };
    assert_eq!(stage.instructions(), [(NodeNumber(0), remove)]);

    // That word was an old one: the new one is made, and so the old one is gone.
    stage.hold(lost.node(), intent.id, false);
    let (id, updates, _) = stage.proposed();
    stage.apply(id, updates);
    assert!(stage.is_quarantined(lost) && !stage.is_quarantined(intent.id));
    let promote = Instruction {
        group: GROUP,
        configuration: with_learner,
        change: Change::Promote(intent.id),
    };
    assert_eq!(stage.instructions(), [(NodeNumber(0), promote)]);
}

/// Another leader began it, and it is of no use by now.
#[test]
fn an_intent_that_is_no_longer_wanted_is_dropped() {
    let mut stage = Stage::new();
    let intent = Some(Intent { id: ReplicaId::new(9, NodeNumber(1)), replaces: None });
    let record = GroupRecord { intent, ..stage.record() };
    let founding = Configuration::founding(stage.voters());
    stage.write(vec![(RecordKey::Group(GROUP), RecordValue::Group(record))]);
    stage.report(0, 1, &founding);
    let (_, _, record) = stage.proposed();
    assert_eq!(record.intent, None);
}

#[test]
fn a_configuration_older_than_the_record_or_of_unknown_nodes_changes_nothing() {
    let mut stage = Stage::new();
    let record = GroupRecord { highest: ReplicaId::new(9, NodeNumber(0)), ..stage.record() };
    stage.write(vec![(RecordKey::Group(GROUP), RecordValue::Group(record))]);
    let fewer = Configuration::founding(stage.voters().into_iter().take(2));
    stage.report(0, 1, &fewer);
    assert_eq!(stage.proposals(), []);
    let foreign = Configuration::founding([ReplicaId::new(10, NodeNumber(50))]);
    stage.report(0, 1, &foreign);
    assert_eq!(stage.proposals(), []);
    let report = ringfort_proto::cluster::GroupReport {
        term: 1,
        configuration: Bytes::from_static(b"none"),
        ..Default::default()
    };
    assert!(GroupReport::try_from(report).is_err());
}

fn peer_of(control: &Control, node: u16) -> String {
    control.map().member(NodeNumber(node)).unwrap().info.peer.clone()
}

fn at(host: &str) -> Addresses {
    Addresses::parse(format!("{host}:7401"), format!("{host}:7400")).expect("addresses")
}

/// The start of node 2 that speaks.
const SPEAKS: BootId = BootId(5);

impl Stage {
    fn hear(&mut self, host: &str) {
        let epoch = self.control.catalog().epoch();
        let (addresses, version) = (Some(at(host)), String::new());
        let word = Word { epoch, boot: SPEAKS, addresses, version };
        self.control.handle_gossip(self.now, NodeNumber(2), word);
    }

    /// So many seconds pass, in each of which node 2 is asked at the address of its record.
    fn answers_at(&mut self, address: &str, seconds: u64, answers: Option<BootId>) {
        let asked = ControlEffect::AskRecorded { node: NodeNumber(2), address: address.to_owned() };
        for _ in 0..seconds {
            self.control.handle_tick(self.now);
            let effects = self.effects();
            assert_eq!(effects.iter().filter(|effect| **effect == asked).count(), 1, "{effects:?}");
            let proposes = |effect: &ControlEffect| matches!(effect, ControlEffect::Propose { .. });
            assert!(!effects.iter().any(proposes), "{effects:?}");
            self.control.handle_recorded(self.now, NodeNumber(2), address, answers);
            self.now = self.now + Duration::from_secs(1);
        }
    }
}

#[test]
fn a_node_that_moved_is_dialled_there_at_once_and_gets_a_record_that_says_so() {
    let mut stage = Stage::new();
    stage.effects();
    stage.hear("n2");
    assert_eq!(stage.effects(), [], "no news");
    stage.hear("elsewhere");
    assert_eq!(peer_of(&stage.control, 2), "elsewhere:7401");
    // Whoever was killed has time to come back to where its record says.
    stage.answers_at("n2:7401", 10, None);
    stage.control.handle_recorded(stage.now, NodeNumber(2), "n2:7401", None);
    let (id, updates) = stage.proposals().pop().expect("the node's record");
    assert_eq!(updates[0].key, RecordKey::Node(NodeNumber(2)));
    assert_eq!(updates[0].version, stage.control.catalog().get(updates[0].key).unwrap().0);
    stage.apply(id, updates.clone());
    let record = stage.control.catalog().get(RecordKey::Node(NodeNumber(2))).unwrap().1;
    assert_eq!(*record, updates[0].value);
    stage.control.handle_tick(stage.now);
    assert_eq!(stage.proposals(), []);
    // What it said before another leader wrote a newer record gives way to that.
    stage.control.handle_catalog_role(stage.now, false);
    stage.hear("on-the-way");
    assert_eq!(peer_of(&stage.control, 2), "on-the-way:7401");
    assert_eq!(stage.proposals(), []);
    stage.write(vec![(RecordKey::Node(NodeNumber(2)), updates[0].value.clone())]);
    assert_eq!(peer_of(&stage.control, 2), "elsewhere:7401");
    // Its own word stands, whatever records say.
    stage.control.handle_own_addresses(stage.now, BootId(1), at("here"));
    assert_eq!(peer_of(&stage.control, 0), "here:7401");
    let other = stage.control.catalog().get(RecordKey::Node(NodeNumber(0))).unwrap().1.clone();
    stage.write(vec![(RecordKey::Node(NodeNumber(0)), other)]);
    assert_eq!(peer_of(&stage.control, 0), "here:7401");
}

#[test]
fn a_start_elsewhere_gets_no_record_while_another_is_where_the_record_says() {
    let mut stage = Stage::new();
    stage.hear("copy");
    stage.answers_at("n2:7401", 30, Some(BootId(9)));
    // It is killed, and started again in time.
    stage.answers_at("n2:7401", 9, None);
    stage.answers_at("n2:7401", 1, Some(BootId(10)));
    stage.answers_at("n2:7401", 9, None);
    // What was found before another node led says nothing.
    stage.control.handle_catalog_role(stage.now, false);
    stage.control.handle_catalog_role(stage.now, true);
    stage.answers_at("n2:7401", 9, None);
    // An answer of an address that is not the record's says nothing either.
    stage.control.handle_recorded(stage.now, NodeNumber(2), "copy:7401", Some(SPEAKS));
    assert_eq!(stage.proposals(), []);
    // The same start is reached at both: it is no copy.
    stage.control.handle_recorded(stage.now, NodeNumber(2), "n2:7401", Some(SPEAKS));
    assert_eq!(stage.proposals().len(), 1);
}

#[test]
fn addresses_that_no_record_may_hold_are_not_heard() {
    let long = "x".repeat(513);
    for (peer, client) in [("", "n2:7400"), (&*long, ""), ("n2:7401", &*long)] {
        assert_eq!(Addresses::parse(peer.to_owned(), client.to_owned()), None);
    }
}
