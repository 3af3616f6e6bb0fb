//! Nodes that form a cluster, in one thread from a seed: questions and answers are lost, late and out of order, nodes crash
//! and come back with what was durable, and some come back with an empty disk.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ringfort_node::control::formation::{
    Answer, AskId, Formation, FormationConfig, FormationEffect, FormationState, Grant, Question,
    QuestionId, Reply,
};
use ringfort_node::control::{ClusterSettings, FormationRecord, NodeInfo, NodeName, ReadsBy};
use ringfort_placement::{Capacity, ReplicationFactor, Zone};
use ringfort_types::{ClusterId, FeatureLevel, Incarnation, Monotonic, NodeId};

/// The test's own randomness.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// What a run is made of.
pub(super) struct Plan {
    pub(super) seed: u64,
    /// Places of the seeds, of each node.
    pub(super) seeds: Vec<Vec<usize>>,
    pub(super) expect: Vec<u32>,
    /// Percent of messages that get lost while things go wrong.
    pub(super) loss: u64,
    /// Most milliseconds a message takes then.
    pub(super) delay_ms: u64,
    /// Percent of chaos steps that crash, wipe, or send `init`.
    pub(super) crashes: u64,
    pub(super) wipes: u64,
    pub(super) inits: u64,
    /// Most milliseconds between two of these.
    pub(super) harm_every_ms: u64,
    pub(super) chaos_ms: u64,
}

impl Plan {
    /// Nothing goes wrong.
    pub(super) fn quiet(seeds: Vec<Vec<usize>>, expect: Vec<u32>) -> Self {
        let (loss, delay_ms, crashes, wipes, inits) = (0, 5, 0, 0, 0);
        Self {
            seed: 1,
            seeds,
            expect,
            loss,
            delay_ms,
            crashes,
            wipes,
            inits,
            harm_every_ms: 1,
            chaos_ms: 0,
        }
    }

    pub(super) fn random(seed: u64) -> Self {
        let mut random = Random(seed);
        let nodes = 1 + random.below(6) as usize;
        let same = random.chance(75);
        let pick = |random: &mut Random| {
            let count = 1 + random.below(nodes as u64);
            let mut seeds: Vec<_> =
                (0..count).map(|_| random.below(nodes as u64) as usize).collect();
            seeds.sort_unstable();
            seeds.dedup();
            seeds
        };
        let shared = pick(&mut random);
        let mut expects = |_| random.below(nodes as u64 + 1) as u32;
        let expect = (0..nodes).map(&mut expects).collect();
        let seeds =
            (0..nodes).map(|_| if same { shared.clone() } else { pick(&mut random) }).collect();
        Self {
            seed,
            seeds,
            expect,
            loss: [0, 5, 30, 60][random.below(4) as usize],
            delay_ms: [10, 100, 3000][random.below(3) as usize],
            crashes: [0, 10, 30][random.below(3) as usize],
            wipes: [0, 0, 10, 30][random.below(4) as usize],
            inits: [0, 10, 40][random.below(3) as usize],
            harm_every_ms: [50, 200, 1000][random.below(3) as usize],
            chaos_ms: 500 + random.below(15_000),
        }
    }

    fn same_seeds(&self) -> bool {
        self.seeds.iter().all(|seeds| *seeds == self.seeds[0])
    }
}

/// What happened, over all runs.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) clusters: u64,
    pub(super) runs_with_two: u64,
    pub(super) founders: u64,
    pub(super) left_out: u64,
    pub(super) crashes: u64,
    pub(super) harmless_wipes: u64,
    pub(super) harmful_wipes: u64,
    pub(super) gave_way: u64,
    pub(super) grants_taken_back: u64,
    pub(super) grants_refused: u64,
    pub(super) revisions: u64,
    pub(super) had_to_form: u64,
}

impl Counts {
    pub(super) fn add(&mut self, other: &Self) {
        self.clusters += other.clusters;
        self.runs_with_two += other.runs_with_two;
        self.founders += other.founders;
        self.left_out += other.left_out;
        self.crashes += other.crashes;
        self.harmless_wipes += other.harmless_wipes;
        self.harmful_wipes += other.harmful_wipes;
        self.gave_way += other.gave_way;
        self.grants_taken_back += other.grants_taken_back;
        self.grants_refused += other.grants_refused;
        self.revisions += other.revisions;
        self.had_to_form += other.had_to_form;
    }

    pub(super) fn all_seen(&self) -> bool {
        let counts = [self.gave_way, self.grants_taken_back, self.grants_refused, self.revisions];
        let more = [self.crashes, self.harmless_wipes, self.harmful_wipes, self.left_out];
        counts.iter().chain(&more).all(|count| *count > 0) && self.had_to_form > 0
    }
}

pub(super) struct Node {
    pub(super) name: NodeName,
    pub(super) durable: FormationState,
    pub(super) up: Option<Formation>,
    run: u64,
    pub(super) findings: Vec<String>,
    decided: bool,
}

enum Event {
    Question { from: usize, run: u64, id: AskId, to: usize, question: Question },
    Answer { to: usize, run: u64, id: AskId, answer: Option<Answer> },
    Durable { node: usize, run: u64, state: FormationState },
}

pub(super) struct World {
    plan: Plan,
    random: Random,
    now: u64,
    harm_at: u64,
    pub(super) nodes: Vec<Node>,
    events: BTreeMap<(u64, u64), Event>,
    sent: u64,
    /// Where answers go.
    asked: BTreeMap<QuestionId, (usize, u64, AskId)>,
    records: BTreeMap<ClusterId, FormationRecord>,
    proposed: BTreeMap<ClusterId, usize>,
    wiped: BTreeSet<usize>,
    pub(super) counts: Counts,
}

pub(super) fn settings() -> ClusterSettings {
    ClusterSettings {
        shards: 8,
        replication_factor: ReplicationFactor::new(3).unwrap(),
        heartbeat: Duration::from_millis(100),
        election_timeout: Duration::from_secs(1),
        reads: ReadsBy::Lease,
        feature_level: FeatureLevel(1),
    }
}

pub(super) fn address(node: usize) -> String {
    format!("n{node}:7401")
}

impl World {
    pub(super) fn new(plan: Plan) -> Self {
        let mut random = Random(plan.seed ^ 0xabcd);
        let nodes = (0..plan.seeds.len()).map(|node| Node {
            name: NodeName {
                id: NodeId::parse(&format!("n{node}")).unwrap(),
                incarnation: Incarnation(u128::from(random.below(u64::MAX))),
            },
            durable: FormationState::default(),
            up: None,
            run: 0,
            findings: Vec::new(),
            decided: false,
        });
        let nodes = nodes.collect();
        Self {
            plan,
            random,
            now: 0,
            harm_at: 0,
            nodes,
            events: BTreeMap::new(),
            sent: 0,
            asked: BTreeMap::new(),
            records: BTreeMap::new(),
            proposed: BTreeMap::new(),
            wiped: BTreeSet::new(),
            counts: Counts::default(),
        }
    }

    pub(super) fn set_seeds(&mut self, node: usize, seeds: Vec<usize>) {
        self.plan.seeds[node] = seeds;
    }

    /// Chaos, then peace: everything is up and the network works.
    pub(super) fn run(&mut self) {
        for node in 0..self.nodes.len() {
            if !self.random.chance(30) || self.plan.chaos_ms == 0 {
                self.start(node);
            }
        }
        while self.now < self.plan.chaos_ms {
            self.step();
            if self.harm_at <= self.now {
                self.harm_at = self.now + 1 + self.random.below(self.plan.harm_every_ms);
                self.harm();
            }
        }
        (self.plan.loss, self.plan.delay_ms) = (0, 5);
        for node in 0..self.nodes.len() {
            if self.nodes[node].up.is_none() {
                self.start(node);
            }
        }
        let end = self.now + 30_000;
        self.run_until(end);
        if self.records.is_empty() && self.plan.same_seeds() {
            // Where nobody may begin by himself, an operator says so.
            self.init_somewhere();
            let end = self.now + 30_000;
            self.run_until(end);
        }
        self.check_end();
    }

    pub(super) fn run_until(&mut self, end: u64) {
        while self.now < end {
            self.step();
        }
    }

    /// The next event or tick.
    fn step(&mut self) {
        let millis = |at: Monotonic| at.0.div_ceil(1_000_000);
        let tick = |node: &Node| node.up.as_ref().and_then(Formation::next_tick);
        let ticks = self.nodes.iter().map(|node| tick(node).map_or(u64::MAX, millis));
        let (node, tick) = ticks.enumerate().min_by_key(|(_, at)| *at).expect("there are nodes");
        let event = self.events.first_key_value().map_or(u64::MAX, |(key, _)| key.0);
        let next = tick.min(event).min(self.now + 100);
        self.now = self.now.max(next);
        if event <= self.now {
            let (_, event) = self.events.pop_first().unwrap();
            self.deliver(event);
        } else if tick <= self.now {
            self.with(node, Formation::handle_tick);
        }
    }

    fn harm(&mut self) {
        let node = self.random.below(self.nodes.len() as u64) as usize;
        if self.nodes[node].up.is_none() {
            self.start(node);
        } else if self.random.chance(self.plan.crashes) {
            self.crash(node);
        } else if self.random.chance(self.plan.wipes) && self.may_wipe(node) {
            self.crash(node);
            self.wipe(node);
        } else if self.random.chance(self.plan.inits) {
            self.with(node, |formation, now| drop(formation.handle_init(now)));
        }
    }

    /// One disk of the seeds stays: if all go, nobody can know what was.
    fn may_wipe(&self, node: usize) -> bool {
        let mut seeds = self.plan.seeds.iter().flatten();
        !seeds.all(|seed| *seed == node || self.wiped.contains(seed))
            && !(self.plan.seeds[0].iter()).all(|seed| *seed == node || self.wiped.contains(seed))
    }

    pub(super) fn wipe(&mut self, node: usize) {
        let bits = self.random.below(u64::MAX);
        let harmful = self.nodes[node].durable != FormationState::default();
        if harmful {
            self.wiped.insert(node);
            self.counts.harmful_wipes += 1;
        } else {
            self.counts.harmless_wipes += 1;
        }
        let node = &mut self.nodes[node];
        node.durable = FormationState::default();
        node.name.incarnation = Incarnation(u128::from(bits));
    }

    pub(super) fn crash(&mut self, node: usize) {
        self.counts.crashes += 1;
        self.nodes[node].up = None;
        // What was being written may have reached the disk.
        let run = self.nodes[node].run;
        let key = self.events.iter().find_map(|(key, event)| match event {
            Event::Durable { node: of, run: in_run, .. } if (*of, *in_run) == (node, run) => {
                Some(*key)
            }
            _ => None,
        });
        if let Some(Event::Durable { state, .. }) = key.and_then(|key| self.events.remove(&key))
            && self.random.chance(50)
        {
            self.made_durable(node, state);
        }
    }

    pub(super) fn start(&mut self, node: usize) {
        let config = self.config(node);
        let this = &mut self.nodes[node];
        this.run += 1;
        this.decided = false;
        this.up = Some(Formation::new(config, this.durable.clone()));
        self.with(node, Formation::handle_tick);
    }

    fn config(&mut self, node: usize) -> FormationConfig {
        let seed =
            u128::from(self.random.below(u64::MAX)) << 64 | u128::from(self.random.below(u64::MAX));
        FormationConfig {
            me: NodeInfo {
                name: self.nodes[node].name.clone(),
                peer: address(node),
                client: format!("n{node}:7400"),
                zone: Zone::default(),
                capacity: Capacity::ONE,
            },
            seeds: self.plan.seeds[node].iter().map(|seed| address(*seed)).collect(),
            bootstrap_expect: self.plan.expect[node],
            settings: settings(),
            seed,
        }
    }

    pub(super) fn with(&mut self, node: usize, input: impl FnOnce(&mut Formation, Monotonic)) {
        let now = Monotonic(self.now * 1_000_000);
        let Some(formation) = self.nodes[node].up.as_mut() else { return };
        input(formation, now);
        while let Some(effect) = self.nodes[node].up.as_mut().and_then(Formation::poll_effect) {
            self.execute(node, effect);
        }
    }

    fn execute(&mut self, node: usize, effect: FormationEffect) {
        let run = self.nodes[node].run;
        match effect {
            FormationEffect::Ask { id, address: to, question } => {
                self.send(node, run, id, &to, question);
            }
            FormationEffect::Answer { to, answer } => self.send_answer(node, to, answer),
            FormationEffect::Persist(state) => {
                let rest = 1 + self.random.below(20);
                self.after(rest, Event::Durable { node, run, state });
            }
            FormationEffect::Decided(record) => {
                let this = &mut self.nodes[node];
                assert_eq!(this.durable.formed.as_ref(), Some(&record), "durable first");
                assert!(!this.decided, "said once in a run");
                this.decided = true;
            }
            FormationEffect::Finding(finding) => {
                assert!(!self.nodes[node].findings.contains(&finding) || run > 1, "said once");
                self.nodes[node].findings.push(finding);
            }
        }
    }

    fn send(&mut self, from: usize, run: u64, id: AskId, to: &str, question: Question) {
        if let ringfort_node::control::formation::Ask::Propose(record) = &question.ask {
            let count = record.founders.len();
            let before = self.proposed.insert(record.cluster_id, count);
            self.counts.revisions += u64::from(before.is_some_and(|before| before != count));
        }
        let to = (0..self.nodes.len()).find(|node| address(*node) == to);
        let timeout = 1000 + self.random.below(1000);
        self.after(timeout, Event::Answer { to: from, run, id, answer: None });
        let Some(to) = to.filter(|_| !self.random.chance(self.plan.loss)) else { return };
        let rest = 1 + self.random.below(self.plan.delay_ms);
        self.after(rest, Event::Question { from, run, id, to, question });
    }

    fn send_answer(&mut self, node: usize, to: QuestionId, answer: Answer) {
        if let Reply::Granted(cluster_id) = answer.reply {
            let grant = self.nodes[node].durable.grant.as_ref();
            let held = grant.map(|grant| grant.cluster_id);
            assert_eq!(held, Some(cluster_id), "a grant is durable before it is said");
        }
        if let Reply::Refused(refused) = &answer.reply {
            let granted = refused.code == ringfort_node::control::formation::RefusedCode::Granted;
            self.counts.grants_refused += u64::from(granted);
        }
        let (to, run, id) = self.asked.remove(&to).expect("answered once");
        if !self.random.chance(self.plan.loss) {
            let rest = 1 + self.random.below(self.plan.delay_ms);
            self.after(rest, Event::Answer { to, run, id, answer: Some(answer) });
        }
    }

    fn after(&mut self, millis: u64, event: Event) {
        self.sent += 1;
        self.events.insert((self.now + millis, self.sent), event);
    }

    fn deliver(&mut self, event: Event) {
        match event {
            Event::Question { from, run, id, to, question } => {
                if self.nodes[to].up.is_none() {
                    self.after(1, Event::Answer { to: from, run, id, answer: None });
                    return;
                }
                self.sent += 1;
                let question_id = QuestionId(self.sent);
                self.asked.insert(question_id, (from, run, id));
                self.with(to, |formation, now| {
                    formation.handle_question(now, question_id, question);
                });
            }
            Event::Answer { to, run, id, answer } => {
                if self.nodes[to].run == run {
                    self.with(to, |formation, now| formation.handle_answer(now, id, answer));
                }
            }
            Event::Durable { node, run, state } => {
                if self.nodes[node].run == run && self.nodes[node].up.is_some() {
                    self.made_durable(node, state);
                    self.with(node, Formation::handle_durable);
                }
            }
        }
    }

    fn made_durable(&mut self, node: usize, state: FormationState) {
        let this = &self.nodes[node];
        let mine =
            |state: &FormationState| state.grant.as_ref().map(|grant| grant.proposer == this.name);
        match (mine(&this.durable), mine(&state)) {
            (Some(true), Some(false)) => self.counts.gave_way += 1,
            (Some(false), None) => {
                self.counts.grants_taken_back += 1;
                self.check_given_up(this.durable.grant.as_ref().expect("it had one"));
            }
            _ => {}
        }
        if let Some(record) = &state.formed {
            assert!(
                record.number_of(&this.name).is_some(),
                "{} is not in its record",
                this.name.id
            );
            self.check_record(node, record);
        }
        self.nodes[node].durable = state;
    }

    /// Whoever may still decide a formation keeps the grants for it.
    fn check_given_up(&self, grant: &Grant) {
        let proposer = self.nodes.iter().find(|node| node.name == grant.proposer);
        let held = proposer.and_then(|node| node.durable.grant.as_ref());
        let holds = held.is_some_and(|held| held.cluster_id == grant.cluster_id);
        assert!(!holds, "seed {}: a grant was taken back that counts", self.plan.seed);
    }

    /// Never two clusters with one founder, and never two from one set of seeds.
    fn check_record(&mut self, node: usize, record: &FormationRecord) {
        let seed = self.plan.seed;
        record.check().unwrap();
        if let Some(known) = self.records.get(&record.cluster_id) {
            assert_eq!(known, record, "seed {seed}: one cluster, one record");
            return;
        }
        for other in self.records.values() {
            let shared =
                record.founders.iter().find(|founder| other.number_of(&founder.name).is_some());
            assert!(shared.is_none(), "seed {seed}: two clusters share {shared:?}");
            assert!(!self.plan.same_seeds(), "seed {seed}: two clusters from one set of seeds");
            self.counts.runs_with_two += 1;
        }
        for place in &self.plan.seeds[node] {
            let id = &self.nodes[*place].name.id;
            assert!(record.founder(id).is_some(), "seed {seed}: founded without seed {id}");
        }
        self.counts.clusters += 1;
        self.counts.founders += record.founders.len() as u64;
        self.records.insert(record.cluster_id, record.clone());
    }

    fn init_somewhere(&mut self) {
        for node in 0..self.nodes.len() {
            let mut accepted = false;
            self.with(node, |formation, now| accepted = formation.handle_init(now).is_ok());
            if accepted {
                return;
            }
        }
    }

    fn check_end(&mut self) {
        let (seed, seeds) = (self.plan.seed, &self.plan.seeds[0]);
        let lowest = seeds.iter().min().expect("there are seeds");
        let enough = self.plan.expect[*lowest] as usize <= self.nodes.len();
        if !self.plan.same_seeds() || !self.wiped.is_empty() || !enough {
            return;
        }
        self.counts.had_to_form += 1;
        let waits = |node: &Node| {
            let waits = node.up.as_ref().map(Formation::waits_for);
            format!("{}: {waits:?} {:?}", node.name.id, node.durable.grant)
        };
        let states: Vec<_> = self.nodes.iter().map(waits).collect();
        assert_eq!(self.records.len(), 1, "seed {seed}: no cluster; {states:#?}");
        let record = self.records.values().next().expect("one");
        for node in &self.nodes {
            let named = record.number_of(&node.name).is_some();
            assert_eq!(node.durable.formed.is_some(), named, "seed {seed}: {states:#?}");
            self.counts.left_out += u64::from(!named);
        }
    }
}
