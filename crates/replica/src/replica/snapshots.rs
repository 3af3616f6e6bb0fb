//! Snapshots between replicas: read from the engine chunk by chunk, gathered whole on the other side.
//!
//! The engine gives a snapshot's stream from its start to its end, once. What a peer has not acknowledged is kept, so that a
//! chunk that was lost goes again; a peer that wants anything else starts anew.

use std::collections::BTreeMap;

use bytes::Bytes;
use ringfort_engine::{EngineError, SnapshotId as EngineSnapshot, StorageEngine};
use ringfort_log::{Base, GroupWrite};
use ringfort_raft::{SnapshotEffect, SnapshotId, SnapshotMeta};
use ringfort_types::{Monotonic, ReplicaId};

use super::Replica;
use super::clock::ShardClock;
use super::log_size::LogSize;
use crate::boundary::{ChunkWanted, Install, Output};
use crate::machine::{Machine, MachineError};

/// Snapshots of one replica, on their way out and in.
#[derive(Debug)]
pub(super) struct Snapshots {
    /// Names of snapshots: random bits of this start above a counter.
    last_id: u64,
    outgoing: BTreeMap<ReplicaId, Outgoing>,
    /// The chunk that a peer gets next.
    wanted: BTreeMap<ReplicaId, Wanted>,
    incoming: Option<Incoming>,
    /// The log is told of an installed snapshot, and has not said that this is durable.
    recording: bool,
}

/// A snapshot that a peer gets.
#[derive(Debug)]
struct Outgoing {
    meta: SnapshotMeta,
    engine: EngineSnapshot,
    /// What was sent last, and where it stands.
    sent: (u64, Bytes),
    /// What comes behind it; `None`: nothing.
    next: Option<Bytes>,
}

/// A chunk that is to be read: of a snapshot, or of a new one.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    snapshot: Option<SnapshotId>,
    offset: u64,
    bytes_max: usize,
}

/// A snapshot that comes from the leader.
#[derive(Debug)]
struct Incoming {
    id: SnapshotId,
    parts: Vec<Bytes>,
    bytes: u64,
}

impl Snapshots {
    pub(super) fn new(seed: u64) -> Self {
        let last_id = seed << 32;
        let (outgoing, wanted) = (BTreeMap::new(), BTreeMap::new());
        Self { last_id, outgoing, wanted, incoming: None, recording: false }
    }

    pub(super) fn is_recording(&self) -> bool {
        self.recording
    }
}

impl Outgoing {
    /// The chunk at an offset, and whether it is the last; `None` if the stream cannot give it any more.
    fn chunk(
        &mut self,
        engine: &mut dyn StorageEngine,
        offset: u64,
        bytes_max: usize,
    ) -> Result<Option<(Bytes, bool)>, EngineError> {
        let behind = self.sent.0 + self.sent.1.len() as u64;
        if offset == behind
            && let Some(next) = self.next.take()
        {
            self.next = engine.read_snapshot(self.engine, bytes_max)?;
            self.sent = (offset, next);
        }
        let found = offset == self.sent.0 && !self.sent.1.is_empty();
        Ok(found.then(|| (self.sent.1.clone(), self.next.is_none())))
    }
}

impl Replica {
    pub(super) fn execute_snapshot(
        &mut self,
        engine: &mut dyn StorageEngine,
        effect: SnapshotEffect,
        out: &mut Output,
    ) {
        match effect {
            SnapshotEffect::Read { to, snapshot, offset, bytes_max } => {
                let wanted = Wanted { snapshot, offset, bytes_max };
                if self.snapshots.wanted.insert(to, wanted).is_none() {
                    let goes_on = snapshot.is_some();
                    out.chunks.push(ChunkWanted { group: self.group, to, goes_on });
                }
            }
            SnapshotEffect::Release { to } => self.release(engine, to),
            SnapshotEffect::Stage { snapshot, offset, data } => {
                self.stage(&snapshot, offset, data);
            }
            SnapshotEffect::Install { snapshot } => self.install(snapshot, out),
            SnapshotEffect::Discard => self.snapshots.incoming = None,
        }
    }

    /// Reads a chunk of [`Output::chunks`] from the store, and has it sent at the next poll. Gives its bytes: none, if by now
    /// nobody waits for it, or if it cannot be had.
    pub fn send_chunk(
        &mut self,
        engine: &mut dyn StorageEngine,
        now: Monotonic,
        to: ReplicaId,
    ) -> usize {
        let now = self.advance(now);
        let Some(wanted) = self.snapshots.wanted.remove(&to) else { return 0 };
        match self.read_chunk(engine, to, wanted) {
            Ok(Some((meta, chunk, last))) => {
                let bytes = chunk.len();
                self.raft.handle_snapshot_chunk(now, to, meta, wanted.offset, chunk, last);
                bytes
            }
            Ok(None) | Err(_) => {
                self.release(engine, to);
                self.raft.handle_snapshot_failed(now, to);
                0
            }
        }
    }

    fn read_chunk(
        &mut self,
        engine: &mut dyn StorageEngine,
        to: ReplicaId,
        wanted: Wanted,
    ) -> Result<Option<(SnapshotMeta, Bytes, bool)>, EngineError> {
        let Wanted { snapshot, offset, bytes_max } = wanted;
        if snapshot.is_none() {
            self.release(engine, to);
            let outgoing = self.begin_outgoing(engine, bytes_max)?;
            self.snapshots.outgoing.insert(to, outgoing);
        }
        let Some(outgoing) = self.snapshots.outgoing.get_mut(&to) else { return Ok(None) };
        if snapshot.is_some_and(|id| id != outgoing.meta.id) {
            return Ok(None);
        }
        let chunk = outgoing.chunk(engine, offset, bytes_max)?;
        Ok(chunk.map(|(chunk, last)| (outgoing.meta.clone(), chunk, last)))
    }

    fn begin_outgoing(
        &mut self,
        engine: &mut dyn StorageEngine,
        bytes_max: usize,
    ) -> Result<Outgoing, EngineError> {
        let (snapshot, applied) = engine.snapshot(self.group)?;
        let first = match engine.read_snapshot(snapshot, bytes_max) {
            Ok(first) => first,
            Err(error) => {
                engine.release_snapshot(snapshot);
                return Err(error);
            }
        };
        self.snapshots.last_id += 1;
        let meta = SnapshotMeta {
            id: SnapshotId(self.snapshots.last_id),
            position: applied.into(),
            configuration: self.machine.configuration().clone(),
        };
        Ok(Outgoing { meta, engine: snapshot, sent: (0, Bytes::new()), next: first })
    }

    fn release(&mut self, engine: &mut dyn StorageEngine, to: ReplicaId) {
        self.snapshots.wanted.remove(&to);
        if let Some(outgoing) = self.snapshots.outgoing.remove(&to) {
            engine.release_snapshot(outgoing.engine);
        }
    }

    /// Releases every snapshot on its way out: the replica does not lead any more, or stops.
    pub fn release_snapshots(&mut self, engine: &mut dyn StorageEngine) {
        self.snapshots.wanted.clear();
        for (_, outgoing) in std::mem::take(&mut self.snapshots.outgoing) {
            engine.release_snapshot(outgoing.engine);
        }
    }

    fn stage(&mut self, snapshot: &SnapshotMeta, offset: u64, data: Bytes) {
        let id = snapshot.id;
        if offset == 0 {
            self.snapshots.incoming = Some(Incoming { id, parts: Vec::new(), bytes: 0 });
        }
        let incoming = self.snapshots.incoming.as_mut();
        match incoming.filter(|incoming| incoming.id == id && incoming.bytes == offset) {
            Some(incoming) => {
                incoming.bytes += data.len() as u64;
                incoming.parts.push(data);
                self.raft.handle_staged(id);
            }
            None => self.raft.handle_staging_failed(id),
        }
    }

    fn install(&mut self, snapshot: SnapshotMeta, out: &mut Output) {
        match self.snapshots.incoming.take().filter(|incoming| incoming.id == snapshot.id) {
            Some(incoming) => {
                let stream = incoming.parts;
                out.installs.push(Install { group: self.group, snapshot, stream });
            }
            None => self.raft.handle_staging_failed(snapshot.id),
        }
    }

    /// Takes word that a snapshot's stream was refused: the store is as it was.
    pub fn handle_install_failed(&mut self, id: SnapshotId) {
        self.raft.handle_staging_failed(id);
    }

    /// Takes word that the store holds a snapshot's content now, in memory. It is not durable, and nothing is applied to it
    /// before it is.
    ///
    /// # Errors
    /// The store cannot be read, is none of ours, or not at the snapshot's position with its configuration: the replica must
    /// stop, for what it held is gone from memory. A start comes back to it.
    pub fn handle_store_replaced(
        &mut self,
        engine: &dyn StorageEngine,
        snapshot: &SnapshotMeta,
    ) -> Result<(), MachineError> {
        let differs = |holds| MachineError::Snapshot { index: snapshot.position.index, holds };
        if snapshot.position != engine.applied(self.group)?.into() {
            return Err(differs("the state at another entry"));
        }
        let founding = snapshot.configuration.clone();
        self.machine = Machine::open(engine, self.group, founding, self.levels.known, self.seed)?;
        if *self.machine.configuration() != snapshot.configuration {
            return Err(differs("another configuration"));
        }
        self.clock = ShardClock::new(self.machine.time(), self.now);
        Ok(())
    }

    /// The log's record of a snapshot whose content is durable in a generation: what makes it count. Entries that this
    /// replica still had for its log go with that record, so from here on only hard states are written, until
    /// [`Replica::handle_installed`].
    pub fn record_install(&mut self, base: Base) -> GroupWrite {
        self.snapshots.recording = true;
        GroupWrite::Rebase { group: self.group, base }
    }

    /// Takes word that a snapshot's content is durable, and so is the log's record of it.
    ///
    /// # Panics
    /// That snapshot was not to be installed: our bug.
    pub fn handle_installed(&mut self, id: SnapshotId, base: Base) {
        self.snapshots.recording = false;
        self.base = base;
        self.log_size = LogSize::new(base.applied.index, &[]);
        self.raft.handle_installed(id);
        // Meanwhile the clock may have followed stamps of the log that is gone.
        self.clock = ShardClock::new(self.machine.time(), self.now);
    }
}
