//! A backend in memory, with switches for what can go wrong behind a door.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use ringfort_door::{Backend, MetricsFormat, Observation};
use ringfort_types::request::{
    Answered, Batch, BatchAnswer, ClusterView, Condition, Context, Done, Found, Get, Got, Identity,
    Item, Limits, List, NodeView, Operation, Page, ReadyCheck, ReplicaView, ShardView, Write,
};
use ringfort_types::{
    ClusterId, Code, Epoch, Key, Monotonic, NamespaceId, NodeId, Refusal, ReplicaId, ShardId,
    Version, shard_of_token, token_range_of_shard,
};
use tokio::time::Instant;

pub(crate) const SHARDS: u32 = 4;

/// What the backend does with the next requests instead of serving them.
#[derive(Clone, Debug, Default)]
pub(crate) enum Mood {
    #[default]
    Serve,
    Refuse(Refusal),
    Panic,
    /// Answers after this long.
    Delay(Duration),
}

#[derive(Clone)]
struct Stored {
    version: Version,
    value: Bytes,
    ttl: Option<Duration>,
}

/// An idempotency key and the data key.
type Identified = (Bytes, Vec<u8>);

/// The backend.
pub(crate) struct Fake {
    origin: Instant,
    stored: RefCell<BTreeMap<Vec<u8>, Stored>>,
    revision: Cell<u64>,
    remembered: RefCell<BTreeMap<Identified, Result<Answered, Refusal>>>,
    pub(crate) mood: RefCell<Mood>,
    pub(crate) limits: Cell<Limits>,
    /// Bytes that may be admitted at once.
    pub(crate) room: Cell<usize>,
    pub(crate) admitted: Rc<Cell<usize>>,
    pub(crate) admitted_most: Cell<usize>,
    pub(crate) observed: RefCell<Vec<Observation>>,
    pub(crate) last_context: RefCell<Option<Context>>,
    pub(crate) writes_begun: Cell<u64>,
    pub(crate) ready: Cell<bool>,
    pub(crate) left: RefCell<Vec<String>>,
    /// What becomes of the view of the cluster before it is given.
    pub(crate) seen: Cell<fn(&mut ClusterView)>,
}

impl Fake {
    pub(crate) fn new() -> Self {
        Self {
            origin: Instant::now(),
            stored: RefCell::default(),
            revision: Cell::new(16),
            remembered: RefCell::default(),
            mood: RefCell::default(),
            limits: Cell::new(Limits::default()),
            room: Cell::new(64 << 20),
            admitted: Rc::default(),
            admitted_most: Cell::new(0),
            observed: RefCell::default(),
            last_context: RefCell::default(),
            writes_begun: Cell::new(0),
            ready: Cell::new(true),
            left: RefCell::default(),
            seen: Cell::new(|_| {}),
        }
    }

    pub(crate) fn set_mood(&self, mood: Mood) {
        *self.mood.borrow_mut() = mood;
    }

    pub(crate) fn value(&self, key: &[u8]) -> Option<Bytes> {
        self.stored.borrow().get(key).map(|stored| stored.value.clone())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.stored.borrow().is_empty()
    }

    pub(crate) fn insert(&self, key: &[u8], value: impl Into<Bytes>) {
        let stored = Stored { version: self.next_version(), value: value.into(), ttl: None };
        self.stored.borrow_mut().insert(key.to_vec(), stored);
    }

    fn next_version(&self) -> Version {
        self.revision.set(self.revision.get() + 1);
        Version(self.revision.get())
    }

    async fn begin(&self, context: &Context) -> Result<(), Refusal> {
        *self.last_context.borrow_mut() = Some(context.clone());
        let mood = self.mood.borrow().clone();
        match mood {
            Mood::Serve => Ok(()),
            Mood::Refuse(refusal) => Err(refusal),
            Mood::Panic => panic!("the backend panics on purpose"),
            Mood::Delay(delay) => {
                tokio::time::sleep(delay).await;
                Ok(())
            }
        }
    }

    fn found(stored: &Stored) -> Found {
        Found {
            version: stored.version,
            value: stored.value.clone(),
            ttl_ms: stored.ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap()),
        }
    }

    fn execute(&self, operation: &Operation) -> Result<Done, Refusal> {
        let key = operation.key().as_bytes().to_vec();
        let mut all = self.stored.borrow_mut();
        let current = all.get(&key).map_or(Version::ABSENT, |stored| stored.version);
        let check = |condition: &Condition| match condition.holds(current) {
            true => Ok(()),
            false => Err(Refusal::precondition(current)),
        };
        Ok(match operation {
            Operation::Get { .. } => Done::Got(all.get(&key).map(Self::found)),
            Operation::Put { value, ttl, condition, .. } => {
                check(condition)?;
                let version = self.next_version();
                let (value, ttl) = (value.clone(), *ttl);
                let stored = Stored { version, value, ttl };
                all.insert(key, stored);
                Done::Put(version)
            }
            Operation::Delete { condition, .. } => {
                check(condition)?;
                Done::Deleted(all.remove(&key).map(|_| self.next_version()))
            }
        })
    }

    fn execute_once(&self, operation: &Operation, id: Option<Bytes>) -> Result<Answered, Refusal> {
        let Some(id) = id else {
            let done = self.execute(operation)?;
            return Ok(Answered { done, replayed: false });
        };
        let identity = (id, operation.key().as_bytes().to_vec());
        if let Some(first) = self.remembered.borrow().get(&identity).cloned() {
            return match first {
                Ok(answered) => Ok(Answered { replayed: true, ..answered }),
                Err(refusal) => Err(Refusal { replayed: true, ..refusal }),
            };
        }
        let answer = self.execute(operation).map(|done| Answered { done, replayed: false });
        self.remembered.borrow_mut().insert(identity, answer.clone());
        answer
    }
}

/// Room that was reserved.
pub(crate) struct Admission {
    bytes: usize,
    admitted: Rc<Cell<usize>>,
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.admitted.set(self.admitted.get() - self.bytes);
    }
}

fn id_of(identity: &Identity) -> Option<Bytes> {
    match identity {
        Identity::IdempotencyKey(id) => Some(id.clone()),
        _ => None,
    }
}

impl Backend for Fake {
    type Admission = Admission;

    fn now(&self) -> Monotonic {
        Monotonic(u64::try_from(self.origin.elapsed().as_nanos()).unwrap())
    }

    fn limits(&self) -> Limits {
        self.limits.get()
    }

    async fn get(&self, context: &Context, get: Get) -> Result<Got, Refusal> {
        self.begin(context).await?;
        let found = self.stored.borrow().get(get.key.as_bytes()).map(Self::found);
        let stale = get.consistency == ringfort_types::request::Consistency::Stale;
        Ok(Got { found, staleness_ms: stale.then_some(7) })
    }

    async fn write(&self, context: &Context, write: Write) -> Result<Answered, Refusal> {
        self.writes_begun.set(self.writes_begun.get() + 1);
        self.begin(context).await?;
        self.execute_once(&write.operation, id_of(&write.identity))
    }

    async fn batch(&self, context: &Context, batch: Batch) -> Result<BatchAnswer, Refusal> {
        self.begin(context).await?;
        if batch.atomic {
            let before = self.stored.borrow().clone();
            let mut answers = Vec::new();
            for (position, operation) in batch.operations.iter().enumerate() {
                match self.execute(operation) {
                    Ok(done) => answers.push(Ok(Answered { done, replayed: false })),
                    Err(refusal) => {
                        *self.stored.borrow_mut() = before;
                        return Err(Refusal { failed_op: Some(position), ..refusal });
                    }
                }
            }
            return Ok(answers);
        }
        let id = id_of(&batch.identity);
        let answer = |(position, operation)| {
            let id = id
                .as_ref()
                .map(|id| Bytes::from([id, &[u8::try_from(position).unwrap()][..]].concat()));
            self.execute_once(operation, id)
        };
        Ok(batch.operations.iter().enumerate().map(answer).collect())
    }

    async fn list(&self, context: &Context, list: List) -> Result<Page, Refusal> {
        self.begin(context).await?;
        let stored = self.stored.borrow();
        let matches = |key: &[u8]| {
            key.starts_with(&list.prefix)
                && key >= &list.start[..]
                && list.end.as_ref().is_none_or(|end| key < &end[..])
                && list.after.as_ref().is_none_or(|after| key > after.as_bytes())
        };
        let stale = list.consistency == ringfort_types::request::Consistency::Stale;
        let mut page = Page { staleness_ms: stale.then_some(8), ..Page::default() };
        let mut bytes = 0;
        for (key, stored) in stored.iter().filter(|(key, _)| matches(key)) {
            if page.items.len() == list.limit || bytes >= list.bytes_max {
                page.more = true;
                break;
            }
            let value = if list.keys_only { Bytes::new() } else { stored.value.clone() };
            bytes += key.len() + value.len();
            page.items.push(Item {
                key: Key::new(key.clone()).unwrap(),
                version: stored.version,
                value,
                ttl_ms: Self::found(stored).ttl_ms,
            });
        }
        Ok(page)
    }

    async fn cluster(&self, context: &Context) -> Result<ClusterView, Refusal> {
        self.begin(context).await?;
        let id = NodeId::parse("a").unwrap();
        let shard = |number| ShardView {
            shard: ShardId(number),
            tokens: token_range_of_shard(ShardId(number), SHARDS),
            state: "serving",
            reason: String::new(),
            replicas: vec![ReplicaView {
                id: ReplicaId(1),
                node: NodeId::parse("a").unwrap(),
                role: "leader",
                reason: String::new(),
                commit_lag: None,
                apply_lag: None,
            }],
            leader: Some(NodeId::parse("a").unwrap()),
            term: None,
            keys: 0,
            bytes: 0,
        };
        let mut view = ClusterView {
            cluster_id: ClusterId(0xabc),
            epoch: Epoch(3),
            replication_factor: 3,
            answered_by: id.clone(),
            quorum: None,
            nodes: vec![NodeView {
                id,
                state: "active",
                client: "127.0.0.1:7400".to_owned(),
                peer: "127.0.0.1:7401".to_owned(),
                zone: "rack-1".to_owned(),
                capacity: 1.0,
                version: "0.1.0".to_owned(),
                heard_ms: None,
                epoch: None,
            }],
            shards: (0..SHARDS).map(shard).collect(),
            warnings: vec!["fewer nodes than the replication factor".to_owned()],
        };
        self.seen.get()(&mut view);
        Ok(view)
    }

    async fn drain_node(&self, context: &Context, node: &str) -> Result<(), Refusal> {
        self.begin(context).await?;
        self.left.borrow_mut().push(format!("drain {node}"));
        Ok(())
    }

    async fn remove_node(&self, context: &Context, node: &str) -> Result<(), Refusal> {
        self.begin(context).await?;
        self.left.borrow_mut().push(format!("remove {node}"));
        Ok(())
    }

    async fn init_cluster(&self, context: &Context) -> Result<ClusterId, Refusal> {
        self.begin(context).await?;
        self.left.borrow_mut().push("init".to_owned());
        Ok(ClusterId(0xabc))
    }

    async fn readiness(&self) -> Vec<ReadyCheck> {
        let check = |name, ok| ReadyCheck { name, ok, detail: format!("{name} is {ok}") };
        vec![check("replayed", true), check("joined", self.ready.get())]
    }

    async fn metrics(&self, format: MetricsFormat) -> String {
        match format {
            MetricsFormat::Prometheus => "text\n".to_owned(),
            MetricsFormat::OpenMetrics => "open\n".to_owned(),
        }
    }

    fn admit(&self, bytes: usize) -> Result<Admission, Refusal> {
        let admitted = self.admitted.get() + bytes;
        if admitted > self.room.get() {
            return Err(Refusal::not_applied(Code::Overloaded, "no room for the body now"));
        }
        self.admitted.set(admitted);
        self.admitted_most.set(self.admitted_most.get().max(admitted));
        let admitted = self.admitted.clone();
        Ok(Admission { bytes, admitted })
    }

    fn observe(&self, observation: Observation) {
        self.observed.borrow_mut().push(observation);
    }

    fn shard_of(&self, key: &Key) -> ShardId {
        shard_of_token(key.token(NamespaceId(0)), SHARDS)
    }
}
