//! One replica of a test cluster: its engine, what of its log is durable, and what is on its way there.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use ringfort_engine::{MemoryEngine, StorageEngine};
use ringfort_log::{Base, GroupWrite, LogStore, MemoryLog, SourceId, Submission, SubmissionId};
use ringfort_raft::{Configuration, Guards, Lost, Message, PersistId, Settings, SnapshotMeta};
use ringfort_replica::{Install, Output, Replica, ReplicaConfig};
use ringfort_types::{FeatureLevel, Levels, Monotonic, ReplicaId};

use crate::support::{GROUP, engine};

/// What every replica of a cluster is started with.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) founding: Configuration,
    pub(crate) settings: Settings,
}

/// What follows when a write is durable.
enum Then {
    Nothing,
    Rebased(Base, u64),
    Installed(SnapshotMeta, Base),
}

/// A write on its way to the disk.
struct Pending {
    writes: Vec<GroupWrite>,
    persists: Vec<PersistId>,
    then: Then,
}

/// One replica, running or not.
pub(crate) struct Node {
    pub(crate) id: ReplicaId,
    pub(crate) replica: Option<Replica>,
    pub(crate) engine: MemoryEngine,
    /// Its disk writes nothing while this is set.
    pub(crate) stalled: bool,
    setup: Setup,
    starts: u64,
    log: MemoryLog,
    pending: VecDeque<Pending>,
    /// What each generation holds.
    files: BTreeMap<u64, Vec<Bytes>>,
    generation: u64,
    /// A snapshot that is in the store and not durable.
    installing: Option<SnapshotMeta>,
    pub(crate) installed: u64,
}

impl Node {
    /// A replica that was just founded, or joins where the setup names no founding configuration.
    pub(crate) fn new(id: ReplicaId, setup: Setup) -> Self {
        let mut log = MemoryLog::new();
        submit(&mut log, vec![GroupWrite::Create { group: GROUP, replica: id }]);
        Self {
            id,
            replica: None,
            engine: engine(),
            stalled: false,
            setup,
            starts: 0,
            log,
            pending: VecDeque::new(),
            files: BTreeMap::new(),
            generation: 0,
            installing: None,
            installed: 0,
        }
    }

    /// Starts it from what is durable.
    pub(crate) fn start(&mut self, now: Monotonic) {
        self.starts += 1;
        let recovered = self.log.recovered().groups.remove(&GROUP).unwrap();
        self.engine = engine();
        if recovered.base.generation > 0 {
            let file = self.files[&recovered.base.generation].clone();
            let applied = self.engine.install(GROUP, &mut file.into_iter()).unwrap().unwrap();
            assert_eq!(applied, recovered.base.applied, "a base is what its generation holds");
        }
        let config = ReplicaConfig {
            group: GROUP,
            replica: self.id,
            hard_state: recovered.hard_state,
            base: recovered.base,
            entries: recovered.entries,
            lost: Lost::Nothing,
            founding: self.setup.founding.clone(),
            settings: self.setup.settings,
            seed: self.id.0 << 8 | self.starts,
            levels: Levels::active(FeatureLevel::NEWEST),
            guards: Guards::default(),
            payload_bytes_target: 1 << 10,
            expire_keys_max: 256,
        };
        self.replica = Some(Replica::new(config, &self.engine, now).unwrap());
    }

    /// Ends it. So many of its writes were durable, though it never heard of it.
    pub(crate) fn crash(&mut self, durable: usize) {
        for pending in self.pending.drain(..).take(durable) {
            submit(&mut self.log, pending.writes);
        }
        self.replica = None;
        self.installing = None;
    }

    pub(crate) fn writes_pending(&self) -> usize {
        self.pending.len()
    }

    /// Takes a turn; what is left of its output is the cluster's.
    pub(crate) fn turn(&mut self, now: Monotonic) -> Output {
        let mut out = Output::default();
        let Some(replica) = &mut self.replica else { return out };
        replica.poll(&mut self.engine, now, &mut out).unwrap();
        while let Some(chunk) = out.chunks.pop() {
            replica.send_chunk(&mut self.engine, now, chunk.to);
            replica.poll(&mut self.engine, now, &mut out).unwrap();
        }
        let persists: Vec<_> = out.persists.drain(..).map(|(_, id)| id).collect();
        let writes = std::mem::take(&mut out.writes);
        if !writes.is_empty() {
            self.pending.push_back(Pending { writes, persists, then: Then::Nothing });
        }
        for install in std::mem::take(&mut out.installs) {
            self.begin_install(install);
        }
        out
    }

    fn begin_install(&mut self, install: Install) {
        let Install { snapshot, stream, .. } = install;
        let replica = self.replica.as_mut().unwrap();
        let applied = self.engine.install(GROUP, &mut stream.into_iter()).unwrap().unwrap();
        assert_eq!(applied, snapshot.position.into());
        replica.handle_store_replaced(&self.engine, &snapshot).unwrap();
        assert!(self.installing.replace(snapshot).is_none());
    }

    /// Makes the store durable as a new generation, and has the log take note: of a snapshot that was installed, or of
    /// what is applied, where that is durable in the log.
    pub(crate) fn flush(&mut self) {
        let Some(replica) = &mut self.replica else { return };
        let rebases = |pending: &Pending| matches!(pending.then, Then::Rebased(..));
        let applied = replica.applied();
        if self.installing.is_none()
            && (applied > replica.durable()
                || applied <= replica.status().base.applied.index
                || self.pending.iter().any(rebases))
        {
            return;
        }
        let applied = self.engine.applied(GROUP).unwrap();
        self.generation += 1;
        let generation = self.generation;
        self.files.insert(generation, stream_of(&mut self.engine));
        let base = Base { applied, generation };
        let (write, then) = match self.installing.take() {
            Some(snapshot) => (replica.record_install(base), Then::Installed(snapshot, base)),
            None => {
                let bytes = replica.applied_log_bytes();
                (GroupWrite::Rebase { group: GROUP, base }, Then::Rebased(base, bytes))
            }
        };
        self.pending.push_back(Pending { writes: vec![write], persists: Vec::new(), then });
    }

    /// Makes the oldest write durable and reports it. Gives whether there was one.
    pub(crate) fn sync(&mut self) -> bool {
        if self.stalled {
            return false;
        }
        let Some(pending) = self.pending.pop_front() else { return false };
        submit(&mut self.log, pending.writes);
        let replica = self.replica.as_mut().unwrap();
        for id in pending.persists {
            replica.handle_persisted(id);
        }
        match pending.then {
            Then::Nothing => {}
            Then::Rebased(base, bytes) => replica.handle_rebased(base, bytes),
            Then::Installed(snapshot, base) => {
                replica.handle_installed(snapshot.id, base);
                self.installed += 1;
            }
        }
        true
    }

    pub(crate) fn receive(&mut self, now: Monotonic, message: Message) {
        if let Some(replica) = &mut self.replica {
            replica.handle_message(now, message);
        }
    }

    /// Bytes of the entries that the log would give back, as the replica counts them.
    pub(crate) fn durable_log_bytes(&self) -> u64 {
        let recovered = self.log.recovered().groups.remove(&GROUP).unwrap();
        recovered.entries.iter().map(|entry| entry.payload.len() as u64 + 64).sum()
    }

    pub(crate) fn is_installing(&self) -> bool {
        self.installing.is_some()
    }

    pub(crate) fn hash(&self) -> u128 {
        self.replica.as_ref().unwrap().state_hash(&self.engine).unwrap()
    }
}

fn submit(log: &mut MemoryLog, writes: Vec<GroupWrite>) {
    let submission = Submission { source: SourceId(0), id: SubmissionId(1), writes, operations: 0 };
    log.submit(Monotonic(0), submission);
    while log.poll_event().is_some() {}
}

fn stream_of(engine: &mut MemoryEngine) -> Vec<Bytes> {
    let (snapshot, _) = engine.snapshot(GROUP).unwrap();
    let mut parts = Vec::new();
    while let Some(part) = engine.read_snapshot(snapshot, 1 << 10).unwrap() {
        parts.push(part);
    }
    engine.release_snapshot(snapshot);
    parts
}
