//! The second phase: nothing fails any more, and the group must make progress.

use ringfort_raft::{Configuration, Lost, Position, Priority, ReadId, Role, Sending, Settings};
use ringfort_types::ReplicaId;

use super::report::Count;
use super::{Run, Violation};

/// Election timeouts within which a healed group must have done all that is asked of it.
const ELECTIONS_MAX: u64 = 60;

/// What is asked of a healed group.
#[derive(Debug, Default)]
struct Asked {
    proposal: Option<Position>,
    read: Option<ReadId>,
}

impl Run {
    pub(super) fn heal(&mut self) -> Result<(), Violation> {
        self.healed = true;
        self.links.heal_all();
        let now = self.now();
        for host in self.hosts.values_mut() {
            host.paused_until = now;
            host.stalled_until = now;
        }
        self.leave_one_down();
        for id in self.cluster.ids() {
            self.set_priority(id, Priority::Normal);
            if !self.hosts.get(&id).is_some_and(|host| host.wiped || host.left) {
                self.restart(id)?;
            }
        }
        let quiet = u64::try_from(self.mix.settings.lease_max.as_nanos()).unwrap_or(0);
        let late = 2 * self.mix.late_max.max(self.mix.election());
        let deadline = now + ELECTIONS_MAX * self.mix.election() + quiet + late + self.backlog();
        let mut asked = Asked::default();
        let mut look = now;
        loop {
            self.step()?;
            if self.now() >= look {
                look = self.now() + self.mix.heartbeat() / 2;
                if self.ask(&mut asked)? {
                    let took = (self.now() - now) * 100 / self.mix.election();
                    self.totals.add(Count::HealedPercent, took);
                    self.totals.highest(Count::HealedPercentMax, took);
                    return Ok(());
                }
            }
            if self.now() > deadline {
                return Err(self.stuck(&asked));
            }
        }
    }

    /// A quorum is enough: where it is safe, a member is left dead, the leader if there is one.
    fn leave_one_down(&mut self) {
        let leader = self.cluster.leader().filter(|id| self.may_damage(*id));
        if let Some(id) = leader.filter(|_| self.random.one_in(2)) {
            self.struck(id, "is left dead");
            self.end(id, false);
            if let Some(host) = self.hosts.get_mut(&id) {
                host.left = true;
            }
        }
    }

    /// How long it takes at the most until everybody has what somebody has, entry by entry and chunk by chunk.
    fn backlog(&self) -> u64 {
        let groups = self.cluster.nodes.values().filter_map(|node| node.group.as_ref());
        let (mut first, mut last) = (u64::MAX, 0);
        for group in groups {
            (first, last) = (first.min(group.applied().0), last.max(group.last().index.0));
        }
        // With few writes in flight an entry's waits for the one before it.
        let few = self.mix.settings.writes_in_flight_max < Settings::default().writes_in_flight_max;
        let writes = if few { 2 } else { 1 };
        let each = 2 * self.mix.latency + writes * self.mix.disk + self.mix.apply;
        (last.saturating_sub(first) + 50) * 4 * each
    }

    /// Asks for what is still to be done. Whether all is done.
    fn ask(&mut self, asked: &mut Asked) -> Result<bool, Violation> {
        let Some(leader) = self.cluster.leader() else { return Ok(false) };
        let Some(configuration) = self.led_configuration(leader) else { return Ok(false) };
        let repairs = self.repair(&configuration);
        self.propose_changes(leader, &repairs)?;
        if let Some(proposal) = asked.proposal
            && self.is_done(leader, &configuration, proposal)
            && self.answered >= asked.read
            && asked.read.is_some()
        {
            return Ok(repairs.is_empty());
        }
        let term = self.with_group(leader, |group, _| group.leader().term);
        // What was lost at an end that was never committed is back once others stand there.
        let short = asked.proposal.is_some_and(|proposal| {
            let commit = self.cluster.commit(leader);
            let lacks = |lost| matches!(lost, Lost::Entries(through) if through > commit);
            proposal.index <= commit
                && self.cluster.nodes.values().any(|node| lacks(node.disk.lost))
        });
        if short || asked.proposal.is_none_or(|proposal| Some(proposal.term) != term) {
            let payload = self.payload();
            asked.proposal = self.cluster.propose(leader, payload).and_then(Result::ok);
            self.happened(leader)?;
        }
        if self.answered < asked.read || asked.read.is_none() {
            let read = self.cluster.read(leader).and_then(Result::ok);
            asked.read = asked.read.or(read);
            self.happened(leader)?;
        }
        Ok(false)
    }

    /// Whether a proposal is applied by every member of the group as it should be, and nothing is under way.
    fn is_done(
        &self,
        leader: ReplicaId,
        configuration: &Configuration,
        proposal: Position,
    ) -> bool {
        let committed = self.cluster.checks.configuration();
        let has_it = |id: &ReplicaId| {
            let left = self.hosts.get(id).is_some_and(|host| host.left);
            let node = self.cluster.nodes.get(id);
            let applied = node.is_some_and(|node| node.machine.applied.index >= proposal.index);
            left || (applied && !self.is_damaged(*id))
        };
        let sends_snapshot = self.cluster.nodes.get(&leader).is_some_and(|node| {
            let peers = node.group.as_ref().map(|group| group.status().peers).unwrap_or_default();
            let left = |id| self.hosts.get(&id).is_some_and(|host| host.left);
            let sends = |sending: &Sending| matches!(sending, Sending::Snapshot { .. });
            peers.iter().any(|peer| sends(&peer.sending) && !left(peer.id))
        });
        configuration == committed
            && !committed.is_joint()
            && !sends_snapshot
            && committed.members().iter().all(has_it)
    }

    fn stuck(&self, asked: &Asked) -> Violation {
        let state = |id: &ReplicaId| {
            let node = self.cluster.nodes.get(id)?;
            let Some(group) = &node.group else { return Some(format!("{id} is down")) };
            let status = group.status();
            let peers = status.peers.iter().map(|peer| format!(" {}:{:?}", peer.id, peer.sending));
            let peers = if status.role == Role::Leader { peers.collect() } else { String::new() };
            let (role, term, last) = (status.role, status.term, group.last());
            let (commit, applied) = (status.commit, status.applied);
            let lost = if status.lost { ", lost" } else { "" };
            let asleep = if status.asleep { ", asleep" } else { "" };
            Some(format!(
                "{id} {role:?} term {term} last {last} commit {commit} applied {applied} {}{lost}{asleep}{peers}",
                status.configuration
            ))
        };
        let states: Vec<_> = self.cluster.ids().iter().filter_map(state).collect();
        let done = self.answered;
        Violation {
            name: "liveness",
            what: format!("{asked:?}, answered {done:?}; {}", states.join("; ")),
        }
    }
}
