//! A node under random load, and the model that says what it may hold.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ringfort_log::LogOptions;
use ringfort_node::control::Founded;
use ringfort_node::host::Settings;
use ringfort_node::{GetAnswer, Replied, Response, WorkerLimits, found_alone};
use ringfort_sim::{Random, SimDisk, SimNode, SimNodeOptions};
use ringfort_types::request::{
    Condition, Consistency, Context, Get, Identity, List, Operation, Page, Principal, Trace, Write,
};
use ringfort_types::{
    FeatureLevel, Key, Levels, Monotonic, NamespaceId, NodeNumber, Refusal, ShardId, shard_of_token,
};

pub(crate) const SHARDS: u32 = 4;

/// Who waits for a listing.
pub(crate) const LISTING: u64 = u64::MAX;

/// A campaign's size: `RINGFORT_SEEDS` seeds, or a short set.
pub(crate) fn seeds(short: u64) -> std::ops::Range<u64> {
    if let Some(seed) = number("RINGFORT_SEED") {
        return seed..seed + 1;
    }
    0..number("RINGFORT_SEEDS").unwrap_or(short)
}

/// A number from the environment.
pub(crate) fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

pub(crate) fn options(founded: Founded) -> SimNodeOptions {
    let log = LogOptions {
        segment_bytes: 256 << 10,
        log_bytes_target: 512 << 10,
        sync_delay_max: Duration::ZERO,
        marker_delay: Duration::from_millis(100),
        ..LogOptions::new(0x5eed)
    };
    SimNodeOptions {
        node: NodeNumber(0),
        founding: Arc::new(found_alone(SHARDS)),
        raft: Settings::default(),
        levels: Levels::active(FeatureLevel::NEWEST),
        limits: WorkerLimits::default(),
        shards: SHARDS,
        log,
        founded,
    }
}

pub(crate) fn key(number: u64) -> Key {
    Key::new(format!("key-{number}")).unwrap()
}

pub(crate) fn shard_of(key: &Key) -> ShardId {
    shard_of_token(key.token(NamespaceId::default()), SHARDS)
}

pub(crate) fn context(now: Monotonic) -> Context {
    Context {
        arrived: now,
        deadline: now + Duration::from_secs(3600),
        principal: Principal::default(),
        trace: Trace::default(),
    }
}

/// What one shard holds: versions and values by key, and its revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    keys: BTreeMap<Key, (u64, Bytes)>,
    revision: u64,
}

impl State {
    fn apply(&mut self, operation: &Operation) {
        let current =
            self.keys.get(operation.key()).map(|(version, _)| ringfort_types::Version(*version));
        match operation {
            Operation::Put { key, value, condition, .. } => {
                if condition.holds(current.unwrap_or_default()) {
                    self.revision += 1;
                    self.keys.insert(key.clone(), (self.revision, value.clone()));
                }
            }
            Operation::Delete { key, .. } => {
                if self.keys.remove(key).is_some() {
                    self.revision += 1;
                }
            }
            Operation::Get { .. } => {}
        }
    }
}

/// What happened to one shard: every write in the order it was handed in. A write is in the log in that order or not at
/// all, so what a start finds is the state after some prefix that holds every acknowledged write.
#[derive(Clone, Debug)]
pub(crate) struct ShardHistory {
    /// What the shard held before: states that cannot be told apart by their keys, only by their revision.
    bases: Vec<State>,
    writes: Vec<(u64, Operation)>,
    acknowledged: usize,
}

impl ShardHistory {
    /// States after each prefix that may stand.
    fn states(&self) -> Vec<State> {
        let mut states = Vec::new();
        for base in &self.bases {
            let mut state = base.clone();
            for (position, (_, operation)) in self.writes.iter().enumerate() {
                if position >= self.acknowledged {
                    states.push(state.clone());
                }
                state.apply(operation);
            }
            states.push(state);
        }
        states
    }
}

impl Default for ShardHistory {
    fn default() -> Self {
        Self { bases: vec![State::default()], writes: Vec::new(), acknowledged: 0 }
    }
}

/// A node and what it has to hold.
pub(crate) struct Driver {
    pub(crate) node: SimNode,
    pub(crate) random: Random,
    pub(crate) histories: BTreeMap<ShardId, ShardHistory>,
    next: u64,
}

impl Driver {
    /// A new node on an empty disk, its founding durable.
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let disk = SimDisk::new(random.next_u64());
        let mut node = SimNode::start(disk, options(Founded::Nothing), Monotonic(1)).unwrap();
        node.settle().unwrap();
        assert!(node.founded());
        let histories =
            (0..SHARDS).map(|shard| (ShardId(shard), ShardHistory::default())).collect();
        Self { node, random, histories, next: 1 }
    }

    /// The node that a disk gives at a start, with what it has to hold.
    pub(crate) fn restart(&self, disk: SimDisk, seed: u64) -> Self {
        let now = self.node.now + Duration::from_secs(1);
        let mut node = SimNode::start(disk, options(Founded::Everything), now).unwrap();
        node.settle().unwrap();
        Self { node, random: Random::new(seed), histories: self.histories.clone(), next: self.next }
    }

    /// Hands in one random write.
    pub(crate) fn write(&mut self) {
        let key = key(self.random.below(12));
        let id = self.next;
        self.next += 1;
        let condition = match self.random.below(8) {
            0 => Condition::Absent,
            1 => Condition::Exists,
            _ => Condition::Always,
        };
        let operation = if self.random.one_in(5) {
            Operation::Delete { key: key.clone(), condition: Condition::Always }
        } else {
            let len = if self.random.one_in(10) { 20_000 } else { self.random.index(600) };
            let mut value = id.to_le_bytes().to_vec();
            value.resize(8 + len, id as u8);
            Operation::Put { key: key.clone(), value: value.into(), ttl: None, condition }
        };
        let history = self.histories.get_mut(&shard_of(&key)).unwrap();
        history.writes.push((id, operation.clone()));
        let (now, write) = (self.node.now, Write { operation, identity: Identity::None });
        self.node.worker().write(now, &context(now), &write, || id).unwrap();
    }

    /// Takes the answers given so far: every answered write, failed conditions included, is acknowledged.
    pub(crate) fn collect(&mut self) {
        for (id, _) in std::mem::take(&mut self.node.answers) {
            for history in self.histories.values_mut() {
                if let Ok(position) = history.writes.binary_search_by_key(&id, |(id, _)| *id) {
                    assert_eq!(
                        position, history.acknowledged,
                        "answers come in the order of the log"
                    );
                    history.acknowledged = position + 1;
                }
            }
        }
    }

    /// Every shard holds the state after a prefix of its writes with all acknowledged ones in it; from here on that is
    /// what it holds.
    pub(crate) fn check(&mut self, story: &str) {
        self.collect();
        for shard in (0..SHARDS).map(ShardId) {
            let found =
                self.state(shard).unwrap_or_else(|why| panic!("{story}: shard {shard}: {why}"));
            self.settle_on(shard, &found, story);
        }
    }

    /// The same for one shard.
    pub(crate) fn settle_on(
        &mut self,
        shard: ShardId,
        found: &BTreeMap<Key, (u64, Bytes)>,
        story: &str,
    ) {
        let history = self.histories.get_mut(&shard).unwrap();
        let states = history.states();
        let mut bases: Vec<_> =
            states.iter().filter(|state| state.keys == *found).cloned().collect();
        bases.dedup();
        if bases.is_empty() {
            let short = |state: &BTreeMap<Key, (u64, Bytes)>| {
                let entry = |(key, (version, value)): (&Key, &(u64, Bytes))| {
                    format!("{key:?} at {version} by {}", value[0])
                };
                state.iter().map(entry).collect::<Vec<_>>().join(", ")
            };
            let (acknowledged, writes) = (history.acknowledged, history.writes.len());
            let last = short(&states[states.len() - 1].keys);
            let first = short(&states[0].keys);
            let found = short(found);
            panic!(
                "{story}: {shard} holds no state after {acknowledged} to {writes} of its writes:\n{found}\nnot {first}\n... {last}"
            );
        }
        *history = ShardHistory { bases, ..ShardHistory::default() };
    }

    /// What a shard holds, by listing it; an error if it is closed. Point reads must agree.
    pub(crate) fn state(&mut self, shard: ShardId) -> Result<BTreeMap<Key, (u64, Bytes)>, String> {
        let mut keys = BTreeMap::new();
        let now = self.node.now;
        for number in 0..12 {
            let key = key(number);
            if shard_of(&key) != shard {
                continue;
            }
            let get = Get { key: key.clone(), consistency: Consistency::Linearizable };
            match self.node.worker().get(now, &context(now), &get, || 0) {
                GetAnswer::Now(Ok(got)) => {
                    keys.extend(got.found.map(|found| (key, (found.version.0, found.value))));
                }
                GetAnswer::Now(Err(refusal)) => return Err(refusal.to_string()),
                GetAnswer::Later => return Err("a read had to wait".to_owned()),
            }
        }
        Ok(keys)
    }

    /// All keys of an open node, by listing.
    pub(crate) fn listing(&mut self) -> BTreeMap<Key, (u64, Bytes)> {
        let page = self.list(list()).unwrap();
        page.items.into_iter().map(|item| (item.key, (item.version.0, item.value))).collect()
    }

    /// One page.
    pub(crate) fn list(&mut self, list: List) -> Result<Page, Refusal> {
        let now = self.node.now;
        self.node.worker().list(now, &context(now), list, || LISTING)?;
        self.node.settle().unwrap();
        let answers = &mut self.node.answers;
        let position = answers.iter().position(|(waiter, _)| *waiter == LISTING).unwrap();
        match answers.remove(position).1? {
            Replied::Page(page) => Ok(page),
            other => panic!("{other:?}"),
        }
    }

    /// A step of the node, chosen by the seed: writes, disk operations, flushes, time.
    pub(crate) fn act(&mut self) {
        match self.random.below(16) {
            0..7 => self.write(),
            7..13 => drop(self.node.step().unwrap()),
            13 => {
                let shard = ShardId(self.random.below(u64::from(SHARDS)) as u32);
                self.node.want_flush(&[shard]);
            }
            14 => self.node.pass(Duration::from_millis(self.random.below(150))).unwrap(),
            _ => self.collect(),
        }
    }
}

/// A listing of everything on one page.
pub(crate) fn list() -> List {
    List {
        prefix: Bytes::new(),
        start: Bytes::new(),
        end: None,
        after: None,
        limit: 10_000,
        bytes_max: 1 << 30,
        keys_only: false,
        consistency: Consistency::Linearizable,
    }
}

/// What a response says, in short.
pub(crate) fn code(response: &Response) -> Option<&'static str> {
    response.as_ref().err().map(|refusal| refusal.code.as_str())
}
