//! Snapshots: for a peer that needs entries which the log has forgotten.
//!
//! ```text
//!   leader                                        follower
//!   Read(offset 0) ─▶ host ─▶ chunk ── Snapshot(0) ──▶ Stage(0) ─▶ host
//!   Read(offset n) ◀───────────────── SnapshotAck(n) ◀── staged
//!        ...
//!                                 Snapshot(m, last) ──▶ Stage(m) ─▶ Install ─▶ host
//!   appends behind it ◀───────────── AppendAck(index) ◀── installed, durably
//! ```
//!
//! One chunk is under way at a time. Whatever is lost is sent again after a while; the follower answers what it waits for,
//! so that a transfer goes on where it stopped, across lost messages, cut connections and elections that the same leader
//! wins.

use bytes::Bytes;
use ringfort_types::{Index, Monotonic, ReplicaId};

use super::{Group, State};
use crate::effects::SnapshotEffect;
use crate::guard::Guard;
use crate::message::{Body, SnapshotId, SnapshotMeta};
use crate::progress::Sending;

/// A chunk goes so many times, an election timeout apart, to a peer that says nothing.
pub(super) const SENT_MAX: u32 = 5;

/// A snapshot on its way in.
#[derive(Clone, Debug, Hash)]
pub(super) struct Incoming {
    from: ReplicaId,
    snapshot: SnapshotMeta,
    /// Bytes staged.
    staged: u64,
    /// Bytes there will be once the host has staged what it was given, and whether that is all.
    staging: Option<(u64, bool)>,
    installing: bool,
}

impl Incoming {
    pub(super) fn staged(&self) -> u64 {
        self.staged
    }
}

impl Group {
    // --- leader ---

    /// Takes a chunk that [`SnapshotEffect::Read`] asked for, of a snapshot whose configuration is that of its position.
    /// Chunks that nobody waits for any more are dropped.
    pub fn handle_snapshot_chunk(
        &mut self,
        now: Monotonic,
        to: ReplicaId,
        snapshot: SnapshotMeta,
        at: u64,
        data: Bytes,
        last: bool,
    ) {
        self.advance(now);
        let (base, commit, now) = (self.log.base().index, self.commit, self.now);
        assert!(snapshot.position.index <= commit, "raft: a snapshot holds what is committed");
        let State::Leader(leader) = &mut self.state else { return };
        let Some(peer) = leader.peers.iter_mut().find(|peer| peer.id == to) else { return };
        let Sending::Snapshot { id, offset, owed, sent, since } = &mut peer.sending else { return };
        if *offset != at || id.is_some_and(|id| id != snapshot.id) {
            return;
        }
        (*owed, *since) = (false, now);
        if snapshot.position.index == Index(0) {
            // Nothing is applied yet. It is asked for again after a while.
            return;
        }
        if at == 0 && snapshot.position.index < base {
            // The log does not reach back to it: it would help nobody.
            (*id, *owed) = (None, true);
            let bytes_max = self.config.settings.snapshot_chunk_bytes;
            let read = SnapshotEffect::Read { to, snapshot: None, offset: 0, bytes_max };
            return self.snapshots.push(read);
        }
        *id = Some(snapshot.id);
        *sent = sent.saturating_add(1);
        let to_learner = !self.configuration().is_voter(to);
        self.send(to, Body::Snapshot { snapshot, offset: at, data, last, to_learner });
    }

    /// Takes word that what [`SnapshotEffect::Read`] asked for cannot be had. It is asked for anew, later.
    pub fn handle_snapshot_failed(&mut self, now: Monotonic, to: ReplicaId) {
        self.advance(now);
        let now = self.now;
        let State::Leader(leader) = &mut self.state else { return };
        let peer = leader.peers.iter_mut().find(|peer| peer.id == to);
        if let Some(peer) = peer
            && matches!(peer.sending, Sending::Snapshot { .. })
        {
            peer.become_snapshot(now, false);
        }
    }

    pub(super) fn handle_snapshot_ack(&mut self, from: ReplicaId, id: SnapshotId, wanted: u64) {
        let now = self.now;
        let bytes_max = self.config.settings.snapshot_chunk_bytes;
        let Some(peer) = self.heard_peer(from) else { return };
        match &mut peer.sending {
            Sending::Snapshot { id: known, offset, owed, sent, since }
                if *known == Some(id) && *offset != wanted =>
            {
                (*offset, *owed, *sent, *since) = (wanted, true, 0, now);
            }
            _ => {
                self.counters.dropped_stale += 1;
                return;
            }
        }
        let read = SnapshotEffect::Read { to: from, snapshot: Some(id), offset: wanted, bytes_max };
        self.snapshots.push(read);
    }

    /// Asks for chunks again that were not acknowledged for a while, and lets probes go again. A peer that is silent for longer
    /// gets another snapshot once it answers: meanwhile the log would grow behind this one. What the host owes is waited for.
    pub(super) fn retry_lost(&mut self) {
        let settings = self.config.settings;
        let base = self.log.base().index;
        let mut given_up = false;
        let State::Leader(leader) = &mut self.state else { return };
        for peer in &mut leader.peers {
            let to = peer.id;
            peer.retry_probe(self.now, settings.election_timeout);
            let heard = peer.answers(self.now, SENT_MAX * settings.election_timeout);
            let Sending::Snapshot { id, offset, owed, sent, since } = &mut peer.sending else {
                continue;
            };
            if *owed || self.now.since(*since) < settings.election_timeout {
                continue;
            }
            if !heard && *sent >= SENT_MAX {
                peer.ask_from(base.next());
                self.snapshots.push(SnapshotEffect::Release { to });
                given_up = true;
                continue;
            }
            *owed = true;
            self.counters.snapshots_resumed += u64::from(*offset > 0);
            self.snapshots.push(SnapshotEffect::Read {
                to,
                snapshot: *id,
                offset: *offset,
                bytes_max: settings.snapshot_chunk_bytes,
            });
        }
        if given_up {
            self.forget();
        }
    }

    // --- follower ---

    pub(super) fn is_installing(&self) -> bool {
        self.incoming.as_ref().is_some_and(|incoming| incoming.installing)
    }

    pub(super) fn handle_snapshot(
        &mut self,
        from: ReplicaId,
        snapshot: SnapshotMeta,
        offset: u64,
        data: Bytes,
        last: bool,
    ) {
        if self.is_superfluous(&snapshot) {
            return;
        }
        let id = snapshot.id;
        let goes_on = |known: &Incoming| known.from == from && known.snapshot.id == id;
        if !self.incoming.as_deref().is_some_and(goes_on) {
            if self.incoming.is_some() {
                self.snapshots.push(SnapshotEffect::Discard);
            }
            let staging = None;
            let fresh = Incoming { from, snapshot, staged: 0, staging, installing: false };
            self.incoming = Some(Box::new(fresh));
        }
        let Some(incoming) = &mut self.incoming else { return };
        if incoming.staging.is_some() {
            return;
        }
        if incoming.staged != offset {
            let offset = incoming.staged;
            return self.send(from, Body::SnapshotAck { id, offset });
        }
        incoming.staging = Some((offset + data.len() as u64, last));
        let snapshot = incoming.snapshot.clone();
        self.snapshots.push(SnapshotEffect::Stage { snapshot, offset, data });
    }

    /// Whether a snapshot says nothing new: all of it is committed here, or the log holds its position. It is as good as
    /// acknowledged then.
    fn is_superfluous(&mut self, snapshot: &SnapshotMeta) -> bool {
        let index = snapshot.position.index;
        let committed = index <= self.commit && self.has(Guard::OldSnapshotRefused);
        let held = self.log.holds(snapshot.position) && self.has(Guard::SnapshotAtTipKept);
        if !committed && !held {
            return false;
        }
        if self.incoming.take().is_some() {
            self.snapshots.push(SnapshotEffect::Discard);
        }
        let commit = self.commit.max(index);
        if let State::Follower(follower) = &mut self.state {
            follower.matched = follower.matched.max(commit);
            follower.ack_due = true;
        }
        self.set_commit(commit);
        true
    }

    /// Takes word that the chunk of a [`SnapshotEffect::Stage`] is staged.
    pub fn handle_staged(&mut self, id: SnapshotId) {
        let Some(incoming) = self.incoming.as_mut().filter(|incoming| incoming.snapshot.id == id)
        else {
            return;
        };
        let Some((staged, last)) = incoming.staging.take() else { return };
        incoming.staged = staged;
        let from = incoming.from;
        if last {
            self.install_or_discard();
        } else if self.leader == Some(from) {
            self.send(from, Body::SnapshotAck { id, offset: staged });
        }
    }

    /// Installs what is complete, unless this replica has found another way meanwhile: it leads or asks for votes with the log
    /// it has, or that log has caught up. A snapshot that contradicts what is settled was a lie.
    fn install_or_discard(&mut self) {
        let Some(mut incoming) = self.incoming.take() else { return };
        let position = incoming.snapshot.position;
        let follows = matches!(self.state, State::Follower(_));
        if !follows || position.index <= self.settled() || self.log.holds(position) {
            return self.snapshots.push(SnapshotEffect::Discard);
        }
        let snapshot = incoming.snapshot.clone();
        incoming.installing = true;
        self.incoming = Some(incoming);
        self.snapshots.push(SnapshotEffect::Install { snapshot });
    }

    /// Takes word that staging or installing failed in a way that leaves the state as it was.
    pub fn handle_staging_failed(&mut self, id: SnapshotId) {
        if self.incoming.as_ref().is_some_and(|incoming| incoming.snapshot.id == id) {
            self.incoming = None;
            self.snapshots.push(SnapshotEffect::Discard);
        }
    }

    /// Takes word that a snapshot has become the state of the group, durably.
    ///
    /// # Panics
    /// It was not to be installed: our host's bug.
    pub fn handle_installed(&mut self, id: SnapshotId) {
        let incoming = self.incoming.take().filter(|incoming| incoming.installing);
        let incoming = incoming.expect("raft: only what was to be installed is installed");
        assert_eq!(incoming.snapshot.id, id, "raft: only what was to be installed is installed");
        let SnapshotMeta { position, configuration, .. } = incoming.snapshot;
        self.counters.snapshots_installed += 1;
        self.log.reset(position, configuration);
        self.persisting.note_installed(position.index);
        self.commit = position.index;
        self.applied = position.index;
        self.apply_handed = position.index;
        if let State::Follower(follower) = &mut self.state {
            // It is committed, so it is in the log of every leader there is or will be.
            follower.matched = position.index;
            follower.ack_due = true;
        }
    }
}
