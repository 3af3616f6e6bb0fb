//! Replication: what a leader sends, what a follower makes of it, what comes back.
//!
//! ```text
//!   leader     1  1  2  2  2  4               append after 5@2: 6@4
//!   follower   1  1  2  3  3                  does not hold 5@2. May agree: 3@2, the last of no later term
//!   leader     from 3@2 on: 4@2 5@2 6@4       4@3 and 5@3 are replaced
//! ```
//!
//! A follower acknowledges what is durable, in the term of its leader, and only as far as it knows that its log is the
//! leader's: the acknowledgement is made of its state when it is sent, never kept from before.

use ringfort_types::{Entry, Index, ReplicaId};

use super::{Group, State};
use crate::configuration::Configuration;
use crate::effects::SnapshotEffect;
use crate::guard::Guard;
use crate::log::entry_bytes;
use crate::message::{Body, LostCopy, Message};
use crate::position::Position;
use crate::progress::Sending;

impl Group {
    // --- leader ---

    /// Sends each peer what it may be sent.
    pub(super) fn send_appends(&mut self) {
        let State::Leader(leader) = &mut self.state else { return };
        let (base, last) = (self.log.base().index, self.log.last().index);
        let settings = &self.config.settings;
        for peer in &mut leader.peers {
            while peer.may_append(settings) {
                let probes = matches!(peer.sending, Sending::Probe { .. });
                if !probes && peer.next > last {
                    break;
                }
                let before = Index(peer.next.0 - 1);
                let Some(term) = self.log.term_at(before) else {
                    if !peer.answers(self.now, settings.election_timeout) {
                        peer.ask_from(base.next());
                        continue;
                    }
                    peer.become_snapshot(self.now, true);
                    self.counters.snapshots_begun += 1;
                    self.snapshots.push(SnapshotEffect::Read {
                        to: peer.id,
                        snapshot: None,
                        offset: 0,
                        bytes_max: settings.snapshot_chunk_bytes,
                    });
                    break;
                };
                let entries_max = peer.entries_max(settings);
                let bytes_max = settings.append_bytes_max;
                let entries = self.log.range(peer.next, last, bytes_max, entries_max);
                let bytes = entries.iter().map(entry_bytes).sum();
                let sent = entries.last().map_or(before, |entry| entry.index);
                peer.sent(sent, bytes, self.now);
                let previous = Position { term, index: before };
                self.outbox.push(Message {
                    from: self.config.replica,
                    to: peer.id,
                    term: self.term,
                    body: Body::Append { previous, entries, commit: self.commit },
                });
            }
            let held = peer.sending == Sending::Replicate && peer.next <= last;
            self.counters.appends_held += u64::from(held && !peer.may_append(settings));
        }
    }

    pub(super) fn handle_append_ack(&mut self, from: ReplicaId, index: Index) {
        let (now, last, base) = (self.now, self.log.last().index, self.log.base().index);
        let trailing = self.config.settings.trailing_bytes;
        let Some(peer) = self.heard_peer(from) else { return };
        if index > last {
            self.counters.dropped_impossible += 1;
            return;
        }
        match peer.sending {
            // Whoever acknowledges is not blank: the refusal was of before it knew its group.
            Sending::Refused => {
                peer.become_probe(index.next());
                peer.acknowledge(index, now);
            }
            Sending::Snapshot { .. } if index >= base => {
                // It holds enough, whichever way it got there.
                peer.become_probe(index.next());
                peer.catching_up = true;
                peer.acknowledge(index, now);
                self.snapshots.push(SnapshotEffect::Release { to: from });
            }
            Sending::Snapshot { .. } => {
                if peer.acknowledge(index, now) {
                    // It installed what was sent, and the log has moved on from there: it needs a newer one.
                    self.snapshots.push(SnapshotEffect::Release { to: from });
                    self.begin_snapshot(from);
                }
            }
            _ => {
                peer.acknowledge(index, now);
                if peer.ends_catching_up(last, trailing) {
                    self.forget();
                }
            }
        }
        self.advance_commit();
        self.proceed_transfer(from);
    }

    fn begin_snapshot(&mut self, to: ReplicaId) {
        let (now, bytes_max) = (self.now, self.config.settings.snapshot_chunk_bytes);
        let State::Leader(leader) = &mut self.state else { return };
        if let Some(peer) = leader.peers.iter_mut().find(|peer| peer.id == to) {
            peer.become_snapshot(now, true);
            self.counters.snapshots_begun += 1;
            let read = SnapshotEffect::Read { to, snapshot: None, offset: 0, bytes_max };
            self.snapshots.push(read);
        }
    }

    pub(super) fn handle_append_reject(
        &mut self,
        from: ReplicaId,
        previous: Index,
        hint: Position,
        lost: LostCopy,
    ) {
        let is_voter = self.configuration().is_voter(from);
        let refuse = is_voter && self.has(Guard::BlankRefused);
        let agreed = self.log.may_agree(hint.index, hint.term);
        // The base stands for what is forgotten before it: if it does not agree, what does is there.
        let agreed = if agreed.term > hint.term {
            Index(agreed.index.0 - 1)
        } else {
            agreed.index.min(hint.index)
        };
        let Some(peer) = self.heard_peer(from) else { return };
        match lost {
            LostCopy::Blank if refuse => {
                if matches!(peer.sending, Sending::Snapshot { .. }) {
                    self.snapshots.push(SnapshotEffect::Release { to: from });
                }
                return self.refuse_peer(from);
            }
            LostCopy::Blank if previous >= peer.matched => {
                // It needs to be told who its group is, and no entry says that who stands behind the founding.
                peer.forget_match();
                if !matches!(peer.sending, Sending::Snapshot { .. }) {
                    self.begin_snapshot(from);
                }
                return;
            }
            LostCopy::Entries => peer.forget_match(),
            LostCopy::No | LostCopy::Blank => {}
        }
        let answers = match peer.sending {
            Sending::Probe { .. } => previous.next() == peer.next,
            Sending::Replicate => previous > peer.matched,
            Sending::Snapshot { .. } | Sending::Refused => false,
        };
        if answers {
            peer.become_probe(agreed.next());
        } else {
            self.counters.dropped_stale += 1;
        }
    }

    fn refuse_peer(&mut self, id: ReplicaId) {
        if let State::Leader(leader) = &mut self.state
            && let Some(peer) = leader.peers.iter_mut().find(|peer| peer.id == id)
        {
            peer.become_refused();
        }
    }

    /// Takes word that what was sent to a peer may not have arrived.
    ///
    /// A follower whose leader that is asks for votes sooner.
    pub fn handle_unreachable(&mut self, peer: ReplicaId) {
        let State::Leader(leader) = &mut self.state else {
            if self.leader == Some(peer) {
                self.hasten_election();
            }
            return;
        };
        if let Some(peer) = leader.peers.iter_mut().find(|known| known.id == peer)
            && peer.sending == Sending::Replicate
        {
            peer.become_probe(peer.matched.next());
        }
    }

    // --- follower ---

    /// Whether an append or a chunk of a snapshot may be looked at. A blank replica needs a snapshot first: it says who is in
    /// the group, which is not in the log from the founding on. And it gets one as a learner, not as a voter: a voter has been
    /// told who its group is before it became one, so it has lost its disk, and with it votes that it gave.
    pub(super) fn accept_content(
        &mut self,
        from: ReplicaId,
        previous: Position,
        fed: bool,
    ) -> bool {
        if self.is_installing() {
            if self.configuration().is_blank() {
                // It answers nothing else, and its leader would give it up.
                self.reject_append(from, previous);
            }
            return false;
        }
        if self.configuration().is_blank() && !fed && self.has(Guard::BlankRefused) {
            self.reject_append(from, previous);
            return false;
        }
        true
    }

    pub(super) fn handle_append(
        &mut self,
        from: ReplicaId,
        previous: Position,
        mut entries: Vec<Entry>,
        commit: Index,
    ) {
        if self.contradicts(previous, &entries) {
            self.counters.dropped_impossible += 1;
            return;
        }
        let previous = self.skip_committed(previous, &mut entries);
        if !self.log.holds(previous) {
            return self.reject_append(from, previous);
        }
        let end = entries.last().map_or(previous.index, |entry| entry.index);
        let news = self.take_entries(entries);
        let State::Follower(follower) = &mut self.state else { return };
        follower.matched = follower.matched.max(end);
        // New entries are acknowledged once they are durable; what was there already, at once.
        follower.ack_due |= !news;
        self.follow_commit(commit);
    }

    /// Up to here no leader says otherwise than this log: what is committed, and what this term's leader has said before.
    pub(super) fn settled(&self) -> Index {
        match &self.state {
            State::Follower(follower) => self.commit.max(follower.matched),
            _ => self.commit,
        }
    }

    /// Whether an append says otherwise than what is settled.
    fn contradicts(&self, previous: Position, entries: &[Entry]) -> bool {
        let settled = self.settled();
        let said = std::iter::once(previous).chain(entries.iter().map(Position::of));
        said.take_while(|position| position.index <= settled).any(|position| {
            self.log.term_at(position.index).is_some_and(|term| term != position.term)
        })
    }

    /// What is committed here is in every leader's log: the part of an append that repeats it says nothing.
    fn skip_committed(&self, previous: Position, entries: &mut Vec<Entry>) -> Position {
        if previous.index >= self.commit {
            return previous;
        }
        let known = entries.iter().take_while(|entry| entry.index <= self.commit).count();
        entries.drain(..known);
        let term = self.log.term_at(self.commit).expect("raft: the committed entry is kept");
        Position { term, index: self.commit }
    }

    /// Appends what the log does not hold yet, in place of what contradicts it. Whether there was something.
    fn take_entries(&mut self, entries: Vec<Entry>) -> bool {
        let held = entries.iter().take_while(|entry| self.log.holds(Position::of(entry))).count();
        let mut news = entries.into_iter().skip(held).peekable();
        let Some(first) = news.peek().map(|entry| entry.index) else { return false };
        if first <= self.log.last().index {
            assert!(first > self.commit, "raft: no committed entry is replaced");
            self.counters.truncations += 1;
            self.log.truncate(first, !self.has(Guard::ConfigurationRolledBack));
            self.persisting.note_truncated(first, self.config.guards);
            if let State::Follower(follower) = &mut self.state {
                follower.acknowledged = follower.acknowledged.min(Index(first.0 - 1));
            }
        }
        for entry in news {
            let configuration =
                Configuration::of_entry(&entry).expect("raft: entries were checked on arrival");
            self.log.push(entry, configuration);
        }
        true
    }

    fn reject_append(&mut self, from: ReplicaId, previous: Position) {
        let at = previous.index.min(self.log.last().index);
        let hint = self.log.may_agree(at, previous.term);
        let lost = match (self.configuration().is_blank(), self.has_lost()) {
            (true, _) => LostCopy::Blank,
            (false, true) => LostCopy::Entries,
            (false, false) => LostCopy::No,
        };
        self.send(from, Body::AppendReject { previous: previous.index, hint, lost });
    }

    /// Commits what the leader has, as far as this log is known to be the leader's.
    pub(super) fn follow_commit(&mut self, commit: Index) {
        let State::Follower(follower) = &self.state else { return };
        let known = commit.min(follower.matched);
        if known > self.commit {
            self.set_commit(known);
        }
    }

    /// Acknowledges what is durable, if that is news or owed.
    pub(super) fn send_append_ack(&mut self) {
        let State::Follower(follower) = &mut self.state else { return };
        let Some(leader) = self.leader else { return };
        let guards = self.config.guards;
        let index = if guards.has(Guard::AckDurable) {
            if !self.persisting.hard_state_durable() {
                return;
            }
            follower.matched.min(self.persisting.durable())
        } else {
            follower.matched
        };
        if follower.ack_due || index > follower.acknowledged {
            follower.ack_due = false;
            follower.acknowledged = follower.acknowledged.max(index);
            self.send(leader, Body::AppendAck { index });
        }
    }
}
