//! Each shard's replicas, and which of them to ask.

use std::time::Duration;

use ringfort_placement::ShardPlacement;
use ringfort_types::{Epoch, Monotonic, NodeNumber, ReplicaId, ShardId, Term};

use crate::circuit::Circuits;
use crate::random::{PAUSE_MAX, Pauses, Random};

/// Who can serve a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Only the shard's leader.
    Leader,
    /// Any replica: a stale read.
    Any,
}

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// To this replica, on the node that its id names. Whoever asked sends it there.
    Replica(ReplicaId),
    /// Nowhere before this time: no leader is known, and a replica was asked just now; or there is no replica to ask.
    Wait(Monotonic),
}

#[derive(Debug, Default)]
struct Shard {
    /// Those that may be asked: sound voters, where there are any.
    replicas: Vec<ReplicaId>,
    leader: Option<ReplicaId>,
    /// The newest term that somebody was said to lead in.
    term: Term,
    /// Whose turn it is to be asked.
    turn: usize,
    /// While no leader is known, nobody is asked before.
    ask_from: Monotonic,
    pauses: Pauses,
    /// Since when, and when last, a request found no leader that can be reached.
    without: Option<(Monotonic, Monotonic)>,
}

/// A shard of which nothing was asked for longer may have had a leader meanwhile.
const FORGET_AFTER: Duration = Duration::from_secs(2);

/// Where each shard's requests go, as one worker or client believes. A belief may be wrong: then the answer says so.
#[derive(Debug)]
pub struct Routes {
    own: Option<NodeNumber>,
    epoch: Epoch,
    shards: Vec<Shard>,
    circuits: Circuits,
    random: Random,
}

impl Routes {
    /// Routes without a shard. `own` is the node that asks, which is a target only as a shard's leader; `None` for clients.
    /// The seed spreads pauses.
    #[must_use]
    pub fn new(own: Option<NodeNumber>, seed: u64) -> Self {
        Self {
            own,
            epoch: Epoch(0),
            shards: Vec::new(),
            circuits: Circuits::default(),
            random: Random::new(seed),
        }
    }

    /// The node that asks.
    #[must_use]
    pub fn own(&self) -> Option<NodeNumber> {
        self.own
    }

    /// The epoch of the map.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Who is believed to lead a shard.
    #[must_use]
    pub fn leader(&self, shard: ShardId) -> Option<ReplicaId> {
        self.shards.get(shard.0 as usize)?.leader
    }

    /// The newest term of a shard that was heard of; 0: of none.
    #[must_use]
    pub fn term(&self, shard: ShardId) -> Term {
        self.shards.get(shard.0 as usize).map_or(Term(0), |shard| shard.term)
    }

    /// Who is believed to lead a shard, on a node that is not avoided.
    #[must_use]
    pub fn sound_leader(&self, shard: ShardId) -> Option<ReplicaId> {
        self.leader(shard).filter(|leader| !self.circuits.is_open(leader.node()))
    }

    /// Whether another node has a replica of a shard.
    #[must_use]
    pub fn is_elsewhere(&self, shard: ShardId) -> bool {
        let elsewhere = |replica: &ReplicaId| Some(replica.node()) != self.own;
        self.shards.get(shard.0 as usize).is_some_and(|shard| shard.replicas.iter().any(elsewhere))
    }

    /// Takes a map's placements, in the order of shards; false where it is not newer. Beliefs about leaders stay: a group's
    /// own configuration may be ahead of the map.
    pub fn handle_map(&mut self, epoch: Epoch, placements: &[ShardPlacement]) -> bool {
        self.handle_replicas(epoch, placements.iter().map(ShardPlacement::replicas), |replica| {
            (replica.id, replica.is_voter() && !replica.quarantined)
        })
    }

    /// As [`Routes::handle_map`], for those who are told the map in other words: of each shard its replicas, and of each replica
    /// its id and whether it is a sound voter.
    pub fn handle_replicas<'a, R: 'a>(
        &mut self,
        epoch: Epoch,
        shards: impl ExactSizeIterator<Item = &'a [R]>,
        told: impl Fn(&R) -> (ReplicaId, bool),
    ) -> bool {
        if !self.shards.is_empty() && epoch <= self.epoch {
            return false;
        }
        self.epoch = epoch;
        self.shards.resize_with(shards.len(), Shard::default);
        for (shard, replicas) in self.shards.iter_mut().zip(shards) {
            let told = replicas.iter().map(&told);
            let sound = told.clone().filter(|(_, is_sound)| *is_sound);
            shard.replicas = sound.map(|(id, _)| id).collect();
            // Better a replica that cannot lead than nobody: it may know who does.
            if shard.replicas.is_empty() {
                shard.replicas = told.map(|(id, _)| id).collect();
            }
        }
        true
    }

    /// Somebody says who leads a shard in which term. True where this is a newer term than known.
    pub fn handle_leader(&mut self, shard: ShardId, leader: ReplicaId, term: Term) -> bool {
        let Some(shard) = self.shards.get_mut(shard.0 as usize) else { return false };
        let newer = term > shard.term;
        // In a term known already, the hint may come from one who has not heard that the leader gave up: it is good enough to
        // be tried, and no reason for haste.
        if newer || (term == shard.term && shard.leader.is_none()) {
            shard.leader = Some(leader);
            shard.term = term;
        }
        if newer {
            shard.pauses = Pauses::default();
            shard.ask_from = Monotonic::default();
            shard.without = None;
        }
        newer
    }

    /// A replica was asked and says that it does not lead, and perhaps who does. True where that is news: a newer term's
    /// leader, who can be asked at once.
    pub fn handle_not_leader(
        &mut self,
        shard: ShardId,
        from: ReplicaId,
        hint: Option<(ReplicaId, Term)>,
    ) -> bool {
        if let Some(shard) = self.shards.get_mut(shard.0 as usize)
            && shard.leader == Some(from)
        {
            shard.leader = None;
        }
        match hint {
            Some((leader, term)) if leader != from => self.handle_leader(shard, leader, term),
            _ => false,
        }
    }

    /// A replica served what only a leader does. True where another one or none was believed to lead and cannot be asked.
    pub fn handle_served(&mut self, shard: ShardId, by: ReplicaId) -> bool {
        let circuits = &self.circuits;
        let Some(shard) = self.shards.get_mut(shard.0 as usize) else { return false };
        shard.without = None;
        let gone = |leader: ReplicaId| leader != by && circuits.is_open(leader.node());
        let news = shard.leader.is_none_or(gone);
        if news {
            shard.leader = Some(by);
            shard.pauses = Pauses::default();
        }
        news
    }

    /// For how long requests have found no leader of a shard that can be reached.
    #[must_use]
    pub fn leaderless(&self, now: Monotonic, shard: ShardId) -> Duration {
        let without = self.shards.get(shard.0 as usize).and_then(|shard| shard.without);
        let lasts = |(_, last): &(Monotonic, Monotonic)| now.since(*last) < FORGET_AFTER;
        match without.filter(lasts) {
            Some((since, _)) if self.sound_leader(shard).is_none() => now.since(since),
            _ => Duration::ZERO,
        }
    }

    /// A connection to the node failed, or could not be made.
    pub fn handle_unreachable(&mut self, now: Monotonic, node: NodeNumber) {
        self.circuits.handle_unreachable(now, node);
    }

    /// The node let a request's time pass. After [`crate::TIMEOUTS_MAX`] without an answer in between, it is avoided.
    pub fn handle_timeout(&mut self, now: Monotonic, node: NodeNumber) {
        self.circuits.handle_timeout(now, node);
    }

    /// The node answered, or a connection to it was made.
    pub fn handle_reachable(&mut self, node: NodeNumber) {
        self.circuits.handle_reachable(node);
    }

    /// Where a request for a shard goes now: to the leader where one is known and not avoided, else to the next replica in
    /// turn. The own node is a target only where it leads.
    pub fn target(&mut self, now: Monotonic, shard: ShardId, want: Want) -> Target {
        let nobody = Target::Wait(now + PAUSE_MAX);
        let Some(shard) = self.shards.get_mut(shard.0 as usize) else { return nobody };
        let circuits = &self.circuits;
        let is_sound = shard.leader.is_some_and(|leader| !circuits.is_open(leader.node()));
        shard.look(now, is_sound);
        if let Some(leader) = shard.leader
            && (Some(leader.node()) == self.own || self.circuits.admit(now, leader.node()))
        {
            return Target::Replica(leader);
        }
        if want == Want::Leader && now < shard.ask_from {
            return Target::Wait(shard.ask_from);
        }
        let Some(replica) = shard.next(now, self.own, &mut self.circuits) else { return nobody };
        if want == Want::Leader {
            shard.ask_from = now + shard.pauses.next(&mut self.random);
        }
        Target::Replica(replica)
    }
}

impl Shard {
    /// A request finds a leader that can be reached, or none.
    fn look(&mut self, now: Monotonic, is_sound: bool) {
        let lasts = |(_, last): &(Monotonic, Monotonic)| now.since(*last) < FORGET_AFTER;
        let since = self.without.filter(lasts).map_or(now, |(since, _)| since);
        self.without = (!is_sound).then_some((since, now));
    }

    /// The next replica in turn that is not avoided; the very next one where all are.
    fn next(
        &mut self,
        now: Monotonic,
        own: Option<NodeNumber>,
        circuits: &mut Circuits,
    ) -> Option<ReplicaId> {
        let count = self.replicas.len();
        let others = |turn: &usize| Some(self.replicas[turn % count].node()) != own;
        let mut turns = (self.turn..self.turn + count).filter(others);
        let first = turns.next()?;
        let admitted = |turn: &usize| circuits.admit(now, self.replicas[turn % count].node());
        let turn = std::iter::once(first).chain(turns).find(admitted).unwrap_or(first);
        self.turn = (turn + 1) % count;
        Some(self.replicas[turn % count])
    }
}
