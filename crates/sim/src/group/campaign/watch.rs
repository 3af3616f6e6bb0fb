//! What nodes do for all their groups: one heartbeat between two of them, and waking what sleeps when one is lost.

use ringfort_raft::{Reads, Role};
use ringfort_types::{Monotonic, ReplicaId};

use super::host::Heard;
use super::queue::{Beat, Event, Local, Says};
use super::report::Count;
use super::{Run, Violation};

impl Run {
    /// A node tells all others that it is up, and what it leads.
    pub(super) fn beat(&mut self, id: ReplicaId) -> Result<(), Violation> {
        self.count_step(id.0);
        self.plan_at(id, self.mix.heartbeat(), Local::Beat);
        let said = self.with_group(id, |group, now| {
            let leads = (group.role() == Role::Leader).then(|| group.leader().term);
            Says::Up { leads, sent: now }
        });
        let Some(says) = said else { return Ok(()) };
        for to in self.cluster.ids() {
            if to != id {
                self.say(id, to, says);
            }
        }
        Ok(())
    }

    fn say(&mut self, from: ReplicaId, to: ReplicaId, says: Says) {
        if !self.healed && self.chance(self.mix.loss) {
            return;
        }
        let boot = self.cluster.nodes.get(&from).map_or(0, |node| node.starts);
        let place = self.queue.beats.put(Beat { from, to, boot, says });
        let at = self.now() + self.travel();
        self.queue.push(at, Event::Beat(place));
    }

    pub(super) fn deliver_beat(&mut self, place: usize) -> Result<(), Violation> {
        let Some(beat) = self.queue.beats.get(place).copied() else { return Ok(()) };
        let paused_until = self.hosts.get(&beat.to).map_or(0, |host| host.paused_until);
        if paused_until > self.now() {
            self.queue.push(paused_until, Event::Beat(place));
            return Ok(());
        }
        self.queue.beats.take(place);
        let node = self.cluster.nodes.get(&beat.to).filter(|node| node.group.is_some());
        let Some(boot_here) = node.map(|node| node.starts) else { return Ok(()) };
        if self.links.is_cut(beat.from, beat.to) {
            return Ok(());
        }
        match beat.says {
            Says::Up { leads, sent } => self.hear(beat, leads, sent),
            Says::Covered { term, sent, boot } if boot == boot_here => {
                self.totals.add(Count::PairAcks, 1);
                let from = beat.from;
                self.with_group(beat.to, |group, now| group.handle_pair_ack(now, from, term, sent));
            }
            Says::Covered { .. } => return Ok(()),
        }
        self.happened(beat.to)
    }

    fn hear(&mut self, beat: Beat, leads: Option<ringfort_types::Term>, sent: Monotonic) {
        let Beat { from, to, boot, .. } = beat;
        let settings = self.mix.settings;
        let lease = match settings.reads {
            Reads::Lease => settings.lease,
            Reads::Index => std::time::Duration::ZERO,
        };
        let taken = self.with_group(to, |group, now| {
            let covers =
                leads.map(|term| (term, group.handle_pair_heartbeat(now, from, term, lease)));
            (now, covers)
        });
        let Some((now, covers)) = taken else { return };
        let Some(host) = self.hosts.get_mut(&to) else { return };
        let known = host.heard.iter_mut().find(|heard| heard.id == from);
        let anew = known.as_ref().is_some_and(|heard| heard.boot < boot);
        let heard = match known {
            Some(heard) => heard,
            None => {
                host.heard.push(Heard { id: from, boot, at: now, promised: Monotonic(0) });
                host.heard.last_mut().expect("it was just pushed")
            }
        };
        heard.boot = heard.boot.max(boot);
        heard.at = now;
        if let Some((_, true)) = covers {
            heard.promised = heard.promised.max(now + lease);
        }
        if let Some((term, true)) = covers {
            self.say(to, from, Says::Covered { term, sent, boot });
        }
        if anew {
            let wait = self.random.below(self.mix.heartbeat());
            self.plan_at(to, wait, Local::Wake);
        }
    }

    /// A node that was not heard of for long is lost: groups that it shares are woken.
    pub(super) fn watch(&mut self, id: ReplicaId) -> Result<(), Violation> {
        self.plan_at(id, self.mix.heartbeat(), Local::Watch);
        let patience = self.mix.settings.election_timeout;
        let Some(node) = self.cluster.nodes.get(&id) else { return Ok(()) };
        let Some(group) = node.group.as_ref().filter(|group| group.is_asleep()) else {
            return Ok(());
        };
        let Some(host) = self.hosts.get(&id) else { return Ok(()) };
        let now = node.clock(self.cluster.now);
        let is_lost = |member: &ReplicaId| {
            let heard = host.heard.iter().find(|heard| heard.id == *member);
            *member != id && heard.is_none_or(|heard| now.since(heard.at) >= patience)
        };
        if group.configuration().members().iter().any(is_lost) {
            self.wake(id);
            return self.happened(id);
        }
        Ok(())
    }

    /// Wakes a group that sleeps, and names what was promised to its leader's node meanwhile.
    pub(super) fn wake(&mut self, id: ReplicaId) {
        let Some(host) = self.hosts.get(&id) else { return };
        let heard = &host.heard;
        let node = self.cluster.nodes.get(&id).and_then(|node| node.group.as_ref());
        let Some(group) = node.filter(|group| group.is_asleep()) else { return };
        let leader = group.leader().leader;
        let promised = heard.iter().find(|heard| Some(heard.id) == leader);
        let promised = promised.map_or(Monotonic(0), |heard| heard.promised);
        self.with_group(id, |group, now| group.handle_wake(now, promised));
    }
}
