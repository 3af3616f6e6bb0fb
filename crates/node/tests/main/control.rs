//! Members of a cluster: copies of the catalog come to agree, and damaged replicas are replaced, whoever leads and whatever
//! gets lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ringfort_node::control::{
    Addresses, CatalogCopy, CatalogDelta, ClusterSettings, Control, ControlEffect, FormationRecord,
    GroupReport, Held, Instruction, Leading, MOVES_MAX, NodeInfo, NodeName, ProposalId, Proposed,
    RawRecord, ReadsBy, Record, Update, Word,
};
use ringfort_placement::{Capacity, ReplicationFactor, ShardPlacement, Zone};
use ringfort_raft::{Change, Configuration, Guards};
use ringfort_types::{
    BootId, ClusterId, Epoch, FeatureLevel, GroupId, Incarnation, Monotonic, NodeId, NodeNumber,
    ReplicaId, Term, Version,
};

pub(super) const SHARDS: u32 = 12;
/// The place of the catalog's group.
const CATALOG: usize = 0;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

pub(super) fn formation(nodes: u16) -> FormationRecord {
    let founder = |number: u16| NodeInfo {
        name: NodeName {
            id: NodeId::parse(&format!("n{number}")).unwrap(),
            incarnation: Incarnation(u128::from(number) + 1),
        },
        peer: format!("n{number}:7401"),
        client: format!("n{number}:7400"),
        zone: Zone::default(),
        capacity: Capacity::ONE,
    };
    let settings = ClusterSettings {
        shards: SHARDS,
        replication_factor: ReplicationFactor::new(3).unwrap(),
        heartbeat: Duration::from_millis(100),
        election_timeout: Duration::from_secs(1),
        reads: ReadsBy::Lease,
        feature_level: FeatureLevel(1),
    };
    FormationRecord::new(ClusterId(7), settings, (0..nodes).map(founder).collect()).unwrap()
}

/// A group, as far as it matters here.
struct Group {
    configuration: Configuration,
    term: Term,
    leader: ReplicaId,
    damaged: BTreeSet<ReplicaId>,
    /// What nodes have of it.
    held: BTreeMap<NodeNumber, ReplicaId>,
    /// So many voters.
    size: usize,
}

impl Group {
    fn sound(&self) -> Vec<ReplicaId> {
        let voters = self.configuration.voters().iter().copied();
        voters.filter(|voter| !self.damaged.contains(voter)).collect()
    }

    fn has(&self, replica: ReplicaId) -> bool {
        self.held.get(&replica.node()) == Some(&replica)
    }
}

struct Node {
    control: Control,
    boot: BootId,
    /// Where its configuration says that it is.
    addresses: Addresses,
    /// How much of the catalog its replica has applied; none where it has no replica.
    applied: Option<usize>,
}

enum Message {
    Gossip(Epoch, BootId, Addresses),
    Delta(CatalogDelta),
    Report(GroupReport),
    Instruct(Instruction),
    Proposed(ProposalId, Proposed),
    Recorded(NodeNumber, String, Option<BootId>),
}

fn place(host: &str) -> Addresses {
    Addresses { peer: format!("{host}:7401"), client: format!("{host}:7400") }
}

struct World {
    seed: u64,
    random: Random,
    now: Monotonic,
    formation: FormationRecord,
    nodes: Vec<Node>,
    /// By group, the catalog's first.
    groups: Vec<Group>,
    /// The catalog: what each applied command changed, and where it stands.
    history: Vec<Vec<RawRecord>>,
    catalog: BTreeMap<Bytes, Version>,
    revision: u64,
    messages: Vec<(usize, usize, Message)>,
    loss: u64,
    delay: u64,
    ids: BTreeSet<ReplicaId>,
    replaced: u64,
    moves: u64,
    learners_damaged: u64,
    healed: u64,
    removed: u64,
    conflicts: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let formation = formation(3 + random.below(4) as u16);
        let voters = formation.catalog_voters();
        let node = |number: usize| Node {
            control: Control::new(NodeNumber(number as u16), formation.clone(), None).unwrap(),
            boot: BootId(number as u128),
            addresses: place(&format!("n{number}")),
            applied: voters.iter().any(|voter| usize::from(voter.node().0) == number).then_some(0),
        };
        let nodes = (0..formation.founders.len()).map(node).collect();
        let placement = formation.placement();
        let group = |voters: Vec<ReplicaId>| {
            let configuration = Configuration::founding(voters);
            let leader = configuration.voters()[0];
            let term = Term(1);
            let held = configuration.voters().iter().map(|id| (id.node(), *id)).collect();
            let size = configuration.voters().len();
            Group { configuration, term, leader, damaged: BTreeSet::new(), held, size }
        };
        let of_shard = |shard: &ShardPlacement| shard.voters().map(|voter| voter.id).collect();
        let of_shards = placement.shards().iter().map(of_shard);
        let groups = std::iter::once(voters.clone()).chain(of_shards).map(group).collect();
        Self {
            seed,
            random,
            now: Monotonic(1),
            formation,
            nodes,
            groups,
            history: Vec::new(),
            catalog: BTreeMap::new(),
            revision: 0,
            messages: Vec::new(),
            loss: 20,
            delay: 20,
            ids: BTreeSet::new(),
            replaced: 0,
            moves: 0,
            learners_damaged: 0,
            healed: 0,
            removed: 0,
            conflicts: 0,
        }
    }

    fn run(&mut self) {
        self.elect(CATALOG);
        for _ in 0..600 {
            self.step();
            if self.random.chance(30) {
                self.harm();
            }
        }
        (self.loss, self.delay) = (0, 0);
        for _ in 0..1500 {
            self.step();
        }
        self.check_end();
    }

    fn step(&mut self) {
        self.now = self.now + Duration::from_millis(20);
        for node in 0..self.nodes.len() {
            if self.random.chance(50) {
                self.apply_some(node);
            }
            self.make_learners(node);
            self.report(node);
            let now = self.now;
            self.nodes[node].control.handle_tick(now);
            self.drain(node);
        }
        for _ in 0..self.messages.len() {
            let next = self.random.below(self.messages.len() as u64) as usize;
            let (from, to, message) = self.messages.swap_remove(next);
            let own = matches!(message, Message::Proposed(..));
            if self.random.chance(self.delay) {
                self.messages.push((from, to, message));
            } else if own || !self.random.chance(self.loss) {
                self.deliver(from, to, message);
            }
        }
        let shards = self.groups.iter().skip(1);
        let moving = shards.filter(|group| !group.configuration.learners().is_empty());
        // Where a replica is well again, a learner that its group was asked to add may still come, and goes.
        let strays = self.healed as usize;
        assert!(moving.count() <= MOVES_MAX + strays, "seed {}", self.seed);
    }

    fn harm(&mut self) {
        let group = match self.random.below(4) {
            0 => CATALOG,
            _ => self.random.below(u64::from(SHARDS) + 1) as usize,
        };
        match self.random.below(12) {
            0..3 => self.damage(group),
            3 => self.damage_learner(group),
            10.. => self.heal(group),
            4..8 => self.elect(group),
            _ => {
                let node = self.random.below(self.nodes.len() as u64) as usize;
                self.restart(node);
            }
        }
    }

    /// A minority of voters cannot read its disk.
    fn damage(&mut self, at: usize) {
        let pick = self.random.below(9) as usize;
        let group = &mut self.groups[at];
        let sound = group.sound();
        if 2 * (sound.len() - 1) > group.configuration.voters().len() {
            let lost = sound[pick % sound.len()];
            group.damaged.insert(lost);
            if group.leader == lost {
                self.elect(at);
            }
        }
    }

    /// A replica that is to take a damaged one's place is damaged itself before it has.
    fn damage_learner(&mut self, at: usize) {
        let group = &mut self.groups[at];
        let learners = group.configuration.learners().iter().map(|learner| learner.id);
        let made: Vec<_> = learners.filter(|id| group.has(*id)).collect();
        let before = group.damaged.len();
        group.damaged.extend(made);
        self.learners_damaged += (group.damaged.len() - before) as u64;
    }

    /// A start can read what one before it could not.
    fn heal(&mut self, at: usize) {
        let group = &mut self.groups[at];
        let healed = group.damaged.iter().copied().find(|id| group.has(*id));
        if let Some(id) = healed {
            group.damaged.remove(&id);
            self.healed += 1;
        }
    }

    /// What a node's worker does about its map.
    fn make_learners(&mut self, node: usize) {
        let node = NodeNumber(node as u16);
        let map = Arc::clone(self.nodes[usize::from(node.0)].control.map());
        for (at, placement) in map.groups() {
            let group = &mut self.groups[at.0 as usize];
            let learner = placement.learners().find(|learner| learner.id.node() == node);
            let held = group.held.get(&node).copied().unwrap_or_default();
            let Some(learner) = learner.filter(|learner| learner.id > held) else { continue };
            let is_removed = placement.replicas().iter().all(|replica| replica.id != held);
            if !is_removed && !group.damaged.contains(&held) {
                continue;
            }
            if is_removed {
                let is_member = group.configuration.members().contains(&held);
                assert!(!is_member, "seed {}: {held} has to stay", self.seed);
                self.removed += u64::from(held > ReplicaId(0));
            }
            if self.random.chance(30) {
                group.held.insert(node, learner.id);
                if at == GroupId::CATALOG {
                    self.nodes[usize::from(node.0)].applied = Some(0);
                }
            }
        }
    }

    fn elect(&mut self, at: usize) {
        let pick = self.random.below(9) as usize;
        let before = self.catalog_leader();
        let group = &mut self.groups[at];
        let sound = group.sound();
        group.leader = sound[pick % sound.len()];
        group.term.0 += 1;
        if at == CATALOG {
            let (now, leader) = (self.now, self.catalog_leader());
            self.nodes[before].control.handle_catalog_role(now, false);
            while self.apply_some(leader) {}
            self.nodes[leader].control.handle_catalog_role(now, true);
            self.drain(leader);
        }
    }

    fn catalog_leader(&self) -> usize {
        usize::from(self.groups[CATALOG].leader.node().0)
    }

    /// A node starts anew, with its cache or without.
    fn restart(&mut self, node: usize) {
        let this = &mut self.nodes[node];
        let bytes = this.control.catalog().encode();
        let cached = self.random.chance(50).then(|| CatalogCopy::decode(&bytes).unwrap());
        let number = NodeNumber(node as u16);
        this.control = Control::new(number, self.formation.clone(), cached).unwrap();
        this.boot.0 += 1 << 64;
        if self.random.chance(30) {
            this.addresses = place(&format!("place-{}", self.random.below(100)));
            self.moves += 1;
        }
        this.control.handle_own_addresses(self.now, this.boot, this.addresses.clone());
        if let Some(applied) = this.applied.as_mut() {
            *applied = 0;
        }
        if self.catalog_leader() == node {
            self.elect(CATALOG);
        }
    }

    fn apply_some(&mut self, node: usize) -> bool {
        let catalog = &self.groups[CATALOG];
        let held = catalog.held.get(&NodeNumber(node as u16));
        if held.is_none_or(|held| catalog.damaged.contains(held)) {
            return false;
        }
        let this = &mut self.nodes[node];
        let Some(applied) = this.applied.as_mut().filter(|applied| **applied < self.history.len())
        else {
            return false;
        };
        let records = self.history[*applied].iter().cloned();
        let records = records.map(|raw| Record::try_from(raw).unwrap()).collect();
        *applied += 1;
        this.control.handle_catalog_records(self.now, records).unwrap();
        true
    }

    fn report(&mut self, node: usize) {
        for (at, group) in (0..).map(GroupId).zip(&self.groups) {
            let report = group.held.get(&NodeNumber(node as u16)).map(|replica| {
                let held = Held { replica: *replica, quarantined: group.damaged.contains(replica) };
                let leading = (group.leader == *replica).then(|| Leading {
                    term: group.term,
                    configuration: group.configuration.clone(),
                });
                GroupReport { group: at, held, leading }
            });
            self.nodes[node].control.handle_local(self.now, at, report);
        }
    }

    fn drain(&mut self, from: usize) {
        while let Some(effect) = self.nodes[from].control.poll_effect() {
            let (to, message) = match effect {
                ControlEffect::Gossip { to, epoch } => {
                    let node = &self.nodes[from];
                    (to, Message::Gossip(epoch, node.boot, node.addresses.clone()))
                }
                ControlEffect::Delta { to, delta } => {
                    let sent = ringfort_proto::peer::CatalogDelta::from(&delta);
                    (to, Message::Delta(sent.try_into().unwrap()))
                }
                ControlEffect::Report { to, report } => {
                    let sent = ringfort_proto::cluster::GroupReport::from(&report);
                    (to, Message::Report(sent.try_into().unwrap()))
                }
                ControlEffect::Instruct { to, instruction } => {
                    let sent = ringfort_proto::cluster::Instruction::from(&instruction);
                    (to, Message::Instruct(sent.try_into().unwrap()))
                }
                ControlEffect::Propose { id, updates } => {
                    let how = self.propose(from, &updates);
                    (NodeNumber(from as u16), Message::Proposed(id, how))
                }
                ControlEffect::AskRecorded { node, address } => {
                    let asked = &self.nodes[usize::from(node.0)];
                    let answers = (asked.addresses.peer == address).then_some(asked.boot);
                    (NodeNumber(from as u16), Message::Recorded(node, address, answers))
                }
                ControlEffect::Finding(finding) => panic!("seed {}: {finding}", self.seed),
                ControlEffect::Map(map) => {
                    assert!(map.epoch() <= self.nodes[from].control.map().epoch());
                    continue;
                }
                ControlEffect::SaveCatalog | ControlEffect::Restarted(_) => continue,
            };
            self.messages.push((from, usize::from(to.0), message));
        }
    }

    fn propose(&mut self, from: usize, updates: &[Update]) -> Proposed {
        if from != self.catalog_leader() || self.random.chance(10) {
            return Proposed::Unknown;
        }
        let stands = |update: &Update| {
            let key = Bytes::from(update.key.to_string());
            self.catalog.get(&key).copied().unwrap_or_default() == update.version
        };
        if !updates.iter().all(stands) {
            self.conflicts += 1;
            return Proposed::Conflict;
        }
        let mut changed = Vec::new();
        for update in updates {
            self.revision += 1;
            let (key, version) = (Bytes::from(update.key.to_string()), Version(self.revision));
            self.catalog.insert(key.clone(), version);
            changed.push(RawRecord { key, version, value: update.value.encode() });
        }
        self.history.push(changed);
        if self.random.chance(10) { Proposed::Unknown } else { Proposed::Applied }
    }

    fn deliver(&mut self, from: usize, to: usize, message: Message) {
        let (now, sender) = (self.now, NodeNumber(from as u16));
        let control = &mut self.nodes[to].control;
        match message {
            Message::Gossip(epoch, boot, addresses) => {
                let addresses = Some(addresses);
                let word = Word { epoch, boot, addresses, version: String::new() };
                control.handle_gossip(now, sender, word);
            }
            Message::Delta(delta) => control.handle_delta(now, sender, delta),
            Message::Report(report) => control.handle_report(now, sender, report),
            Message::Proposed(id, how) => control.handle_proposed(now, id, how),
            Message::Recorded(node, address, answers) => {
                control.handle_recorded(now, node, &address, answers);
            }
            Message::Instruct(instruction) => self.instruct(to, &instruction),
        }
        self.drain(to);
    }

    fn instruct(&mut self, to: usize, instruction: &Instruction) {
        let group = &mut self.groups[instruction.group.0 as usize];
        let leads = usize::from(group.leader.node().0) == to;
        if !leads || group.configuration != instruction.configuration {
            return;
        }
        if matches!(instruction.change, Change::Promote(_)) && self.random.chance(70) {
            return; // It has not caught up.
        }
        let Ok(joint) = group.configuration.begin(&[instruction.change], Guards::default()) else {
            return;
        };
        match instruction.change {
            Change::AddLearner(learner) => {
                assert!(self.ids.insert(learner.id), "seed {}: an id was given twice", self.seed);
            }
            // One that is damaged, or was never made, does not catch up.
            Change::Promote(id) if group.damaged.contains(&id) || !group.has(id) => return,
            Change::Promote(_) => self.replaced += 1,
            Change::Remove(_) => {}
        }
        group.configuration = joint.leave();
        assert!(group.configuration.voters().len() <= group.size, "seed {}: it widened", self.seed);
        let members = group.configuration.members();
        group.damaged.retain(|id| members.contains(id));
        if !members.contains(&group.leader) {
            self.elect(instruction.group.0 as usize);
        }
    }

    fn check_end(&self) {
        let seed = self.seed;
        let newest = self.nodes[self.catalog_leader()].control.catalog();
        for node in &self.nodes {
            assert_eq!(node.control.catalog(), newest, "seed {seed}: copies differ");
            for (number, other) in (0..).map(NodeNumber).zip(&self.nodes) {
                let known = &node.control.map().member(number).unwrap().info;
                assert_eq!(
                    known.addresses(),
                    other.addresses,
                    "seed {seed}: where node {number} is"
                );
            }
        }
        let map = newest.map().unwrap();
        assert_eq!(
            map.members().collect::<Vec<_>>(),
            self.nodes[0].control.map().members().collect::<Vec<_>>()
        );
        for (at, group) in (0..).map(GroupId).zip(&self.groups) {
            assert!(group.damaged.is_empty(), "seed {seed}: group {at} is still damaged");
            let record = newest.group(at).unwrap().1;
            let ids: BTreeSet<_> = record.replicas.iter().map(|replica| replica.id).collect();
            let members: BTreeSet<_> = group.configuration.members().into_iter().collect();
            assert_eq!(ids, members, "seed {seed}: the record of group {at} is not true");
            assert_eq!((record.intent, record.age()), (None, group.configuration.age()));
            assert!(record.replicas.iter().all(|replica| !replica.quarantined));
            assert!(members.iter().all(|id| group.has(*id)), "seed {seed}: group {at}");
        }
    }
}

/// `RINGFORT_SEEDS` says how many, `RINGFORT_SEED` replays one.
#[test]
fn damaged_replicas_are_replaced_and_copies_agree_whoever_leads() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("RINGFORT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("RINGFORT_SEEDS").unwrap_or(10),
    };
    let (mut replaced, mut conflicts, mut moves, mut learners) = (0, 0, 0, 0);
    let (mut healed, mut removed) = (0, 0);
    for seed in seeds.clone() {
        let mut world = World::new(seed);
        world.run();
        replaced += world.replaced;
        conflicts += world.conflicts;
        moves += world.moves;
        learners += world.learners_damaged;
        healed += world.healed;
        removed += world.removed;
    }
    let count = seeds.end - seeds.start;
    println!(
        "{count} seeds: {replaced} replaced, {learners} damaged on the way, {healed} well again, {removed} removed, \
         {conflicts} conflicts, {moves} moves of a node"
    );
    assert!(count < 10 || (replaced > 0 && conflicts > 0 && moves > 0 && learners > 0));
    assert!(count < 10 || (healed > 0 && removed > 0));
}
