//! What clients and an administrator do.

use bytes::Bytes;
use ringfort_raft::{Change, Configuration, Learner, Priority, Role};
use ringfort_types::ReplicaId;

use super::faults::IDS_MAX;
use super::report::Count;
use super::{Run, Violation};
use crate::group::GroupDisk;
use ringfort_raft::Lost;

/// Replicas of a group at most, those that are on their way in or out included.
const REPLICAS_MAX: usize = 10;

impl Run {
    /// Whoever leads; now and then somebody who does not know that he leads no more, or anybody.
    fn addressee(&mut self) -> Option<ReplicaId> {
        let newest = self.cluster.leader();
        let deposed = |id: &ReplicaId| {
            let group = self.cluster.nodes.get(id).and_then(|node| node.group.as_ref());
            group.is_some_and(|group| group.role() == Role::Leader) && Some(*id) != newest
        };
        let deposed = self.cluster.nodes.keys().copied().find(deposed);
        match self.random.below(8) {
            0 => {
                let ids = self.cluster.ids();
                let place = self.random.index(ids.len().max(1));
                ids.get(place).copied()
            }
            1..4 => deposed.or(newest),
            _ => newest,
        }
    }

    fn is_paused(&self, id: ReplicaId) -> bool {
        self.hosts.get(&id).is_some_and(|host| host.paused_until > self.now())
    }

    pub(super) fn propose(&mut self) -> Result<(), Violation> {
        let Some(id) = self.addressee().filter(|id| !self.is_paused(*id)) else { return Ok(()) };
        // Now and then, several at once.
        let count = if self.chance(256) { self.random.between(2, 12) } else { 1 };
        for _ in 0..count {
            let payload = self.payload();
            if let Some(Ok(position)) = self.cluster.propose(id, payload) {
                self.weigh(position.index.0);
                self.totals.add(Count::Proposals, 1);
            }
        }
        self.happened(id)
    }

    pub(super) fn payload(&mut self) -> Bytes {
        let mut payload =
            vec![1; 1 + self.random.index(usize::try_from(self.mix.payload_max).unwrap_or(1))];
        payload.extend_from_slice(&self.random.next_u64().to_le_bytes());
        payload.into()
    }

    pub(super) fn read(&mut self) -> Result<(), Violation> {
        let Some(id) = self.addressee().filter(|id| !self.is_paused(*id)) else { return Ok(()) };
        let asked = self.cluster.read(id);
        if let Some(Ok(_)) = asked {
            self.totals.add(Count::Reads, 1);
        }
        self.happened(id)
    }

    pub(super) fn transfer(&mut self) -> Result<(), Violation> {
        let Some(id) = self.cluster.leader().filter(|id| !self.is_paused(*id)) else {
            return Ok(());
        };
        let voters = self.cluster.checks.configuration().voters().to_vec();
        let Some(to) = voters.get(self.random.index(voters.len().max(1))).copied() else {
            return Ok(());
        };
        let done = self.with_group(id, |group, now| group.transfer(now, to).is_ok());
        if self.options.trace {
            self.tell(id, &format!("transfers to {to}: {done:?}"));
        }
        self.happened(id)
    }

    pub(super) fn compact(&mut self) -> Result<(), Violation> {
        let ids = self.cluster.ids();
        let id = ids[self.random.index(ids.len())];
        let forgets = self.chance(256);
        let done = self.cluster.with(id, |node, _| {
            if forgets {
                // Snapshots are not kept for ever.
                node.offered.clear();
            }
            node.compact()
        });
        if done == Some(true) {
            if self.options.trace {
                self.tell(id, "compacts");
            }
            return self.happened(id);
        }
        Ok(())
    }

    pub(super) fn prioritize(&mut self) -> Result<(), Violation> {
        let ids = self.cluster.ids();
        let id = ids[self.random.index(ids.len())];
        let priority = [Priority::Never, Priority::Low, Priority::Normal][self.random.index(3)];
        self.set_priority(id, priority);
        self.happened(id)
    }

    pub(super) fn set_priority(&mut self, id: ReplicaId, priority: Priority) {
        self.cluster.with(id, |node, _| {
            node.config.priority = priority;
            if let Some(group) = &mut node.group {
                group.set_priority(priority);
            }
        });
    }

    /// The administrator changes the members: repairs come first.
    pub(super) fn change(&mut self) -> Result<(), Violation> {
        let Some(id) = self.addressee().filter(|id| !self.is_paused(*id)) else { return Ok(()) };
        let Some(configuration) = self.led_configuration(id) else { return Ok(()) };
        let damaged = configuration.members().iter().any(|id| self.is_damaged(*id));
        let changes =
            if damaged { self.repair(&configuration) } else { self.choose_changes(&configuration) };
        self.propose_changes(id, &changes)
    }

    /// The configuration of a replica that leads.
    pub(super) fn led_configuration(&self, id: ReplicaId) -> Option<Configuration> {
        let group = self.cluster.nodes.get(&id)?.group.as_ref()?;
        (group.role() == Role::Leader).then(|| group.configuration().clone())
    }

    pub(super) fn propose_changes(
        &mut self,
        id: ReplicaId,
        changes: &[Change],
    ) -> Result<(), Violation> {
        if changes.is_empty() {
            return Ok(());
        }
        let members = self.led_configuration(id).map(|led| led.members()).unwrap_or_default();
        let repairs = members.iter().any(|id| self.is_damaged(*id));
        let done = self.cluster.change(id, changes);
        if self.options.trace {
            self.tell(id, &format!("is asked for {changes:?}: {done:?}"));
        }
        if let Some(Ok(_)) = done {
            for change in changes {
                match change {
                    Change::AddLearner(learner) => {
                        self.last_id = learner.id.0;
                        self.cluster.add(learner.id, GroupDisk::default());
                        self.adopt(learner.id);
                    }
                    Change::Promote(_) => {
                        let promoted =
                            if repairs { Count::Replacements } else { Count::Promotions };
                        self.totals.add(promoted, 1);
                    }
                    Change::Remove(_) => {}
                }
            }
        }
        self.happened(id)
    }

    fn choose_changes(&mut self, configuration: &Configuration) -> Vec<Change> {
        let count = if self.chance(192) { 2 } else { 1 };
        let changes = (0..count).filter_map(|nth| self.choose_change(configuration, nth));
        changes.collect()
    }

    fn choose_change(&mut self, configuration: &Configuration, nth: u64) -> Option<Change> {
        let (voters, learners) = (configuration.voters(), configuration.learners());
        let learner = (!learners.is_empty()).then(|| learners[self.random.index(learners.len())]);
        let voter = voters[self.random.index(voters.len())];
        let room = self.cluster.nodes.len() < REPLICAS_MAX && self.last_id + 1 + nth < IDS_MAX - 12;
        match (learner, self.random.below(8)) {
            (Some(learner), 0..=5) => Some(Change::Promote(learner.id)),
            (Some(learner), 6) => Some(Change::Remove(learner.id)),
            (None, 0..=4) if room => {
                let replaces = Some(voter).filter(|_| self.chance(600));
                let id = ReplicaId(self.last_id + 1 + nth);
                Some(Change::AddLearner(Learner { id, replaces }))
            }
            (None, 5) | (_, 7) if voters.len() > 1 => Some(Change::Remove(voter)),
            (None, 6) if voters.len() > 3 => Some(Change::Remove(voter)),
            _ => None,
        }
    }

    /// The next step towards a group in which nobody is damaged for good.
    pub(super) fn repair(&mut self, configuration: &Configuration) -> Vec<Change> {
        let for_good = |id: &ReplicaId| {
            let wiped = self.hosts.get(id).is_some_and(|host| host.wiped);
            let node = self.cluster.nodes.get(id);
            wiped || node.is_none_or(|node| node.disk.lost == Lost::HardState)
        };
        let learners = configuration.learners().iter().map(|learner| learner.id);
        if let Some(gone) = learners.into_iter().find(for_good) {
            return vec![Change::Remove(gone)];
        }
        let Some(gone) = configuration.members().into_iter().find(for_good) else {
            return Vec::new();
        };
        let replaces = |learner: &&Learner| learner.replaces == Some(gone);
        if let Some(learner) = configuration.learners().iter().find(replaces) {
            return vec![Change::Promote(learner.id)];
        }
        if self.last_id + 1 >= IDS_MAX {
            return Vec::new();
        }
        let id = ReplicaId(self.last_id + 1);
        vec![Change::AddLearner(Learner { id, replaces: Some(gone) })]
    }

    /// Replicas that a committed configuration knows as gone are deleted.
    pub(super) fn clean(&mut self) {
        let configuration = self.cluster.checks.configuration();
        let gone = |id: &ReplicaId| {
            *id <= configuration.highest()
                && !configuration.is_joint()
                && !configuration.contains(*id)
        };
        let gone: Vec<_> = self.cluster.ids().into_iter().filter(gone).collect();
        for id in gone {
            if self.cluster.nodes.len() >= REPLICAS_MAX || self.chance(512) {
                self.gather(id);
                let was_damaged = self.is_damaged(id);
                self.totals.add(Count::Replaced, u64::from(was_damaged));
                self.cluster.nodes.remove(&id);
                self.cluster.checks.forget(id);
                self.hosts.remove(&id);
            }
        }
    }
}
