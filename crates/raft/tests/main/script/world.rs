//! A cluster under a script: every input is followed by a look at what the replica wants, and each effect is told in a line.

use std::collections::{BTreeMap, BTreeSet};

use ringfort_raft::{Body, Configuration, Counters, Effects, Message, Position, Role, Sending};
use ringfort_sim::group::{Cluster, ClusterOptions, InFlight};
use ringfort_types::{Entry, Index, Monotonic, ReplicaId, Term};

use super::Storage;
use super::args::Failure;
use super::filter::Filter;
use super::show;
use super::votes::Votes;

/// A cluster, its network's rules, and what was told so far.
pub(super) struct World {
    pub(super) cluster: Cluster,
    pub(super) storage: Storage,
    /// Whether effects are told, or only what a script asks for.
    loud: bool,
    out: Vec<String>,
    /// Links that lose everything: from, to.
    pub(super) cut: BTreeSet<(ReplicaId, ReplicaId)>,
    pub(super) holds: Vec<Filter>,
    pub(super) held: Vec<InFlight>,
    /// Every message ever sent, lost ones too.
    pub(super) history: Vec<Message>,
    seen: BTreeMap<ReplicaId, Seen>,
    pub(super) votes: BTreeMap<ReplicaId, Votes>,
    /// Why a vote is refused: by voter and asker.
    reasons: BTreeMap<(ReplicaId, ReplicaId), String>,
    pub(super) began: Monotonic,
}

/// What was last told of a replica.
#[derive(Clone)]
pub(super) struct Seen {
    pub(super) role: Role,
    pub(super) term: Term,
    pub(super) leader: Option<ReplicaId>,
    commit: Index,
    last: Index,
    asleep: bool,
    configuration: Configuration,
    sending: BTreeMap<ReplicaId, Sending>,
    counters: Counters,
}

impl World {
    pub(super) fn new(
        options: ClusterOptions,
        storage: Storage,
        loud: bool,
    ) -> Result<Self, Failure> {
        let cluster = Cluster::new(options);
        let mut world = Self {
            began: cluster.now,
            cluster,
            storage,
            loud,
            out: Vec::new(),
            cut: BTreeSet::new(),
            holds: Vec::new(),
            held: Vec::new(),
            history: Vec::new(),
            seen: BTreeMap::new(),
            votes: BTreeMap::new(),
            reasons: BTreeMap::new(),
        };
        for id in world.cluster.ids() {
            world.note_start(id);
            world.after(id)?;
        }
        Ok(world)
    }

    // --- output ---

    /// Something that a script asked for.
    pub(super) fn say(&mut self, line: impl Into<String>) {
        self.out.push(line.into());
    }

    /// Something that happened.
    pub(super) fn tell(&mut self, line: impl Into<String>) {
        if self.loud {
            self.out.push(line.into());
        }
    }

    /// Whether storage is driven by the script, so that what it does is worth a line.
    pub(super) fn is_manual(&self) -> bool {
        self.storage == Storage::Async
    }

    /// What was said since the last time.
    pub(super) fn take_output(&mut self) -> String {
        std::mem::take(&mut self.out).into_iter().map(|line| line + "\n").collect()
    }

    // --- steps ---

    /// A replica was started: what is known of it is what it starts with.
    pub(super) fn note_start(&mut self, id: ReplicaId) {
        let now = self.clock(id);
        let lease_max = self.cluster.settings().lease_max;
        self.votes.insert(id, Votes { heard: None, promised: now + lease_max });
        match self.look(id) {
            Some(seen) => self.seen.insert(id, seen),
            None => self.seen.remove(&id),
        };
    }

    /// After an input: what the replica wants; and all of it done, where storage is synchronous.
    pub(super) fn after(&mut self, id: ReplicaId) -> Result<(), Failure> {
        self.poll(id, None)?;
        if self.storage == Storage::Sync { self.host(id) } else { Ok(()) }
    }

    /// Everything that a replica's host has to do for it.
    pub(super) fn host(&mut self, id: ReplicaId) -> Result<(), Failure> {
        loop {
            let mut busy = self.snapshot_one(id);
            while self.cluster.sync(id) || self.cluster.report(id) {
                busy = true;
            }
            busy |= self.apply(id, u64::MAX) > 0;
            if !busy {
                return Ok(());
            }
            self.poll(id, None)?;
        }
    }

    pub(super) fn snapshot_one(&mut self, id: ReplicaId) -> bool {
        self.cluster.with(id, ringfort_sim::group::Node::snapshot_one).unwrap_or(false)
    }

    /// Applies committed entries; gives how many there were.
    pub(super) fn apply(&mut self, id: ReplicaId, count: u64) -> u64 {
        let first = self.applied(id).next();
        let done = (0..count).take_while(|_| self.cluster.apply(id)).count() as u64;
        let last = self.applied(id);
        match done {
            0 => {}
            1 => self.tell(format!("{id} applies {last}")),
            _ => self.tell(format!("{id} applies {first}..{last}")),
        }
        done
    }

    fn applied(&self, id: ReplicaId) -> Index {
        self.cluster.nodes.get(&id).map_or(Index(0), |node| node.machine.applied.index)
    }

    /// At the end of a verb: what lazy storage had left, and what must always hold.
    pub(super) fn end_verb(&mut self) -> Result<(), Failure> {
        for id in self.cluster.ids() {
            if self.storage == Storage::Lazy {
                self.host(id)?;
            }
            self.cluster.check(id)?;
        }
        Ok(())
    }

    /// Gives a message to its receiver.
    pub(super) fn receive(&mut self, message: &Message) -> Result<(), Failure> {
        let to = message.to;
        let runs = self.cluster.nodes.get(&to).is_some_and(|node| node.group.is_some());
        if !runs {
            let line = self.show_message(message);
            self.tell(format!("{to} is down: lost {line}"));
            return Ok(());
        }
        if matches!(message.body, Body::PreVote { .. } | Body::Vote { .. }) {
            let reason = self.why_not(message);
            self.reasons.insert((to, message.from), reason);
        }
        self.cluster.receive(message.clone());
        self.note_leader(message);
        self.poll(to, Some(message))?;
        if self.storage == Storage::Sync { self.host(to) } else { Ok(()) }
    }

    /// Takes a replica's effects and tells them. `input` is the message that they answer.
    fn poll(&mut self, id: ReplicaId, input: Option<&Message>) -> Result<(), Failure> {
        let effects = self.cluster.poll(id)?;
        let Some(now) = self.look(id) else { return Ok(()) };
        let before = self.seen.insert(id, now.clone()).unwrap_or_else(|| now.clone());
        self.tell_drops(id, &before, &now, input);
        self.tell_role(id, &before, &now);
        self.tell_effects(id, &before, &now, &effects);
        for (peer, sending) in &now.sending {
            let known = before.sending.get(peer).map(show::sending);
            let new = show::sending(sending);
            if let Some(known) = known.filter(|known| *known != new) {
                self.tell(format!("{id} sends to {peer}: {known}→{new}"));
            }
        }
        self.send(&effects, now.term);
        Ok(())
    }

    pub(super) fn look(&self, id: ReplicaId) -> Option<Seen> {
        let status = self.cluster.nodes.get(&id)?.group.as_ref()?.status();
        let sending = status.peers.iter().map(|peer| (peer.id, peer.sending.clone()));
        Some(Seen {
            role: status.role,
            term: status.term,
            leader: status.leader,
            commit: status.commit,
            last: status.last,
            asleep: status.asleep,
            sending: sending.collect(),
            configuration: status.configuration,
            counters: status.counters,
        })
    }

    /// Puts new messages where the network's rules want them.
    fn send(&mut self, effects: &Effects, term: Term) {
        for message in &effects.messages {
            self.history.push(message.clone());
            let reason = self.reasons.get(&(message.from, message.to)).cloned();
            let line = show::message(message, term, reason.as_deref());
            if self.cut.contains(&(message.from, message.to)) {
                self.tell(format!("{line} (lost: cut)"));
            } else if self.holds.iter().any(|filter| filter.fits(message)) {
                self.tell(format!("{line} (held)"));
            } else {
                self.tell(line);
            }
        }
        let first = self.cluster.network.len().saturating_sub(effects.messages.len());
        for flight in self.cluster.network.split_off(first) {
            let message = &flight.message;
            if self.holds.iter().any(|filter| filter.fits(message)) {
                self.held.push(flight);
            } else if !self.cut.contains(&(message.from, message.to)) {
                self.cluster.network.push(flight);
            }
        }
    }

    // --- what is told ---

    fn tell_drops(&mut self, id: ReplicaId, before: &Seen, now: &Seen, input: Option<&Message>) {
        let Some(input) = input else { return };
        // Answers that come after the election are late, not news.
        if matches!(input.body, Body::PreVoteAnswer { .. } | Body::VoteAnswer { .. }) {
            return;
        }
        let (old, new) = (&before.counters, &now.counters);
        let reasons = [
            (new.dropped_stale > old.dropped_stale, "stale"),
            (new.dropped_impossible > old.dropped_impossible, "impossible"),
            (new.dropped_unknown > old.dropped_unknown, "from nobody of the group"),
            (new.dropped_misaddressed > old.dropped_misaddressed, "for somebody else"),
        ];
        for (_, reason) in reasons.iter().filter(|(dropped, _)| *dropped) {
            let line = self.show_message(input);
            self.tell(format!("{id} drops {line}: {reason}"));
        }
    }

    fn tell_role(&mut self, id: ReplicaId, before: &Seen, now: &Seen) {
        let mut line = show::role(now.role).to_owned();
        if before.role != now.role {
            line = format!("{}→{line}", show::role(before.role));
        }
        if before.term != now.term {
            line += &format!(", term {}→{}", before.term, now.term);
        }
        let leader = now.leader.filter(|leader| *leader != id);
        if before.leader != now.leader
            && let Some(leader) = leader
        {
            line += &format!(", follows {leader}");
        }
        let (old, new) = (&before.counters, &now.counters);
        let reasons = [
            (new.lost_quorum > old.lost_quorum, " (hears no quorum)"),
            (new.stalls > old.stalls, " (its disk stalls)"),
            (new.removals > old.removals, " (the group has no place for it)"),
        ];
        reasons.iter().filter(|(holds, _)| *holds).for_each(|(_, reason)| line += reason);
        if line != show::role(now.role) {
            self.tell(format!("{id} {line}"));
        }
        match (before.asleep, now.asleep) {
            (false, true) => self.tell(format!("{id} falls asleep")),
            (true, false) => self.tell(format!("{id} wakes")),
            _ => {}
        }
    }

    fn tell_effects(&mut self, id: ReplicaId, before: &Seen, now: &Seen, effects: &Effects) {
        if let Some(persist) = &effects.persist {
            let first = persist.entries.first().map(|entry| entry.index);
            if let Some(first) = first.filter(|first| *first <= before.last) {
                self.tell(format!("{id} replaces its log from {first} on"));
            }
            let name =
                if self.is_manual() { format!(" (write {})", persist.id.0) } else { String::new() };
            self.tell(format!("{id} writes {}{name}", show::persist(persist)));
        }
        if before.configuration != now.configuration {
            self.tell(format!("{id} is in {}", now.configuration));
        }
        if before.commit != now.commit {
            self.tell(format!("{id} commit {}", now.commit));
        }
        for effect in &effects.snapshots {
            self.tell(show::snapshot(id, effect));
        }
        if self.is_manual()
            && let [first, .., last] | [first @ last] = effects.apply.as_slice()
        {
            let (first, last): (&Entry, &Entry) = (first, last);
            self.tell(format!("{id} is to apply {}..{}", first.index, last.index));
        }
        for ready in &effects.reads {
            self.tell(format!("{id} read {} confirmed at {}", ready.id.0, ready.index));
        }
        for lost in &effects.reads_lost {
            self.tell(format!("{id} read {} lost", lost.0));
        }
    }

    /// A message as a line, as its sender stands now.
    pub(super) fn show_message(&self, message: &Message) -> String {
        let group = self.cluster.nodes.get(&message.from).and_then(|node| node.group.as_ref());
        let term = group.map_or(message.term, |group| group.leader().term);
        let reason = self.reasons.get(&(message.from, message.to));
        show::message(message, term, reason.map(String::as_str))
    }

    /// The end of a replica's log.
    pub(super) fn last(&self, id: ReplicaId) -> Position {
        let group = self.cluster.nodes.get(&id).and_then(|node| node.group.as_ref());
        group.map_or_else(Position::default, |group| {
            let index = group.status().last;
            Position { term: group.term_at(index).unwrap_or_default(), index }
        })
    }

    pub(super) fn clock(&self, id: ReplicaId) -> Monotonic {
        let now = self.cluster.now;
        self.cluster.nodes.get(&id).map_or(now, |node| node.clock(now))
    }
}
