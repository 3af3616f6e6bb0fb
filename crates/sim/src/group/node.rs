//! One replica under simulation: the group, its disk, its state machine, its clock, and effects that wait.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use ringfort_raft::{
    Config, Configuration, Group, Position, ReadId, ReadReady, SnapshotEffect, SnapshotId,
    SnapshotMeta,
};
use ringfort_types::{Entry, Index, Monotonic};

use super::disk::GroupDisk;

/// How a replica ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process: the page cache stays.
    Process,
    /// Power: of the writes that were not synced, so many are whole, and of the next one so many entries.
    Power {
        /// Whole writes.
        whole: usize,
        /// Entries of the next write.
        torn_entries: usize,
    },
}

/// A state machine that is a hash over everything applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// The last applied position.
    pub applied: Position,
    /// Over all payloads so far, in order.
    pub hash: u64,
}

/// Bytes that a snapshot of a machine has: so that it takes several chunks.
const SNAPSHOT_BYTES: usize = 96;

impl Machine {
    /// Applies one entry.
    ///
    /// # Panics
    /// It does not follow.
    pub fn apply(&mut self, entry: &Entry) {
        assert_eq!(entry.index, self.applied.index.next(), "entries are applied in order");
        self.applied = Position::of(entry);
        for byte in &entry.payload {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.hash = self.hash.rotate_left(7) ^ entry.index.0;
    }

    /// The bytes of its snapshot.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(SNAPSHOT_BYTES);
        while out.len() < SNAPSHOT_BYTES {
            for number in [self.applied.term.0, self.applied.index.0, self.hash] {
                out.extend_from_slice(&number.to_le_bytes());
            }
        }
        out.into()
    }

    /// The machine of a snapshot; `None` if the bytes are not such.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let number = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let machine = Self {
            applied: Position { term: ringfort_types::Term(number(0)?), index: Index(number(8)?) },
            hash: number(16)?,
        };
        (machine.encode() == bytes).then_some(machine)
    }
}

/// A read under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadState {
    /// What was committed anywhere when it began: it must see that.
    pub must_see: Index,
    /// The index that it was confirmed at.
    pub confirmed: Option<Index>,
}

/// One replica.
#[derive(Clone, Debug)]
pub struct Node {
    /// How it is started.
    pub config: Config,
    /// Its disk.
    pub disk: GroupDisk,
    /// The group, while it runs.
    pub group: Option<Group>,
    /// Its state machine, while it runs.
    pub machine: Machine,
    /// Committed, not applied yet.
    pub to_apply: VecDeque<Entry>,
    /// Snapshot effects that wait.
    pub snapshots: VecDeque<SnapshotEffect>,
    /// Snapshots it can send, by name, newest last.
    pub offered: BTreeMap<SnapshotId, (SnapshotMeta, Bytes)>,
    /// Bytes staged of an incoming one.
    pub staged: Vec<u8>,
    /// Reads that it was asked.
    pub reads: BTreeMap<ReadId, ReadState>,
    /// Reads that it said are lost.
    pub reads_lost: Vec<ReadId>,
    /// Its clock is ahead of the simulation's by so many nanoseconds.
    pub clock_ahead: i64,
    /// Starts so far.
    pub starts: u64,
    /// While set, writes stay unsynced.
    pub stalled: bool,
}

impl Node {
    /// A replica that is not running yet.
    #[must_use]
    pub fn new(config: Config, disk: GroupDisk) -> Self {
        Self {
            config,
            disk,
            group: None,
            machine: Machine::default(),
            to_apply: VecDeque::new(),
            snapshots: VecDeque::new(),
            offered: BTreeMap::new(),
            staged: Vec::new(),
            reads: BTreeMap::new(),
            reads_lost: Vec::new(),
            clock_ahead: 0,
            starts: 0,
            stalled: false,
        }
    }

    /// Its clock.
    #[must_use]
    pub fn clock(&self, now: Monotonic) -> Monotonic {
        Monotonic(now.0.saturating_add_signed(self.clock_ahead))
    }

    /// Starts it from its disk.
    pub fn start(&mut self, now: Monotonic) {
        self.starts += 1;
        let mut config = self.config;
        config.seed = config.seed.wrapping_add(self.starts.wrapping_mul(0x9e37_79b9));
        self.machine = self.disk.machine;
        self.group = Some(Group::new(config, self.disk.restore(), self.clock(now)));
    }

    /// Ends it.
    pub fn crash(&mut self, crash: Crash) {
        self.group = None;
        self.to_apply.clear();
        self.snapshots.clear();
        self.offered.clear();
        self.staged.clear();
        self.reads.clear();
        self.reads_lost.clear();
        match crash {
            Crash::Process => self.disk.process_crash(),
            Crash::Power { whole, torn_entries } => self.disk.power_loss(whole, torn_entries),
        }
    }

    /// Takes word of confirmed reads.
    pub(super) fn confirm(&mut self, ready: ReadReady) {
        if let Some(read) = self.reads.get_mut(&ready.id) {
            read.confirmed = Some(ready.index);
        }
    }

    /// Applies the next committed entry.
    pub fn apply_one(&mut self) -> bool {
        let (Some(group), Some(entry)) = (&mut self.group, self.to_apply.pop_front()) else {
            return false;
        };
        self.machine.apply(&entry);
        group.handle_applied(entry.index);
        true
    }

    /// Makes the state durable as it is applied, as far as the log behind it is durable, and lets the log forget.
    pub fn compact(&mut self) -> bool {
        let Some(group) = &mut self.group else { return false };
        let applied = self.machine.applied.index;
        if applied > group.durable() || applied <= self.disk.machine.applied.index {
            return false;
        }
        let configuration = group.configuration_at(applied).clone();
        self.disk.rebase(self.machine, configuration, true);
        group.compact(applied);
        true
    }

    /// Executes the next snapshot effect. Gives whether there was one.
    pub fn snapshot_one(&mut self, now: Monotonic) -> bool {
        let now = self.clock(now);
        let Some(effect) = self.snapshots.pop_front() else { return false };
        let Some(group) = &mut self.group else { return false };
        match effect {
            SnapshotEffect::Read { to, snapshot, offset, bytes_max } => {
                let id = snapshot.unwrap_or_else(|| {
                    let id = SnapshotId(
                        self.config.replica.0 << 40
                            | self.starts << 24
                            | self.machine.applied.index.0,
                    );
                    let meta = SnapshotMeta {
                        id,
                        position: self.machine.applied,
                        configuration: group.configuration_at(self.machine.applied.index).clone(),
                    };
                    self.offered.insert(id, (meta, self.machine.encode()));
                    id
                });
                match self.offered.get(&id) {
                    Some((meta, bytes)) => {
                        let at = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                        let end = at.saturating_add(bytes_max).min(bytes.len());
                        let last = end == bytes.len();
                        let (meta, data) = (meta.clone(), bytes.slice(at..end));
                        group.handle_snapshot_chunk(now, to, meta, offset, data, last);
                    }
                    None => group.handle_snapshot_failed(now, to),
                }
            }
            SnapshotEffect::Release { .. } => {}
            SnapshotEffect::Stage { snapshot, offset, data } => {
                self.staged.truncate(usize::try_from(offset).unwrap_or(usize::MAX));
                self.staged.extend_from_slice(&data);
                group.handle_staged(snapshot.id);
            }
            SnapshotEffect::Install { snapshot } => {
                let machine = Machine::decode(&self.staged);
                let machine = machine.filter(|machine| machine.applied == snapshot.position);
                self.staged.clear();
                match machine {
                    Some(machine) => self.install(machine, &snapshot.configuration, snapshot.id),
                    None => group.handle_staging_failed(snapshot.id),
                }
            }
            SnapshotEffect::Discard => self.staged.clear(),
        }
        true
    }

    fn install(&mut self, machine: Machine, configuration: &Configuration, id: SnapshotId) {
        // The commit point is a record of the log: whatever was written before it is durable with it.
        while self.disk.sync_one() {}
        let keeps = self.disk.holds(machine.applied)
            && machine.applied.index > self.disk.machine.applied.index;
        self.disk.rebase(machine, configuration.clone(), keeps);
        self.machine = machine;
        self.to_apply.clear();
        if let Some(group) = &mut self.group {
            group.handle_installed(id);
        }
    }
}
