//! Heartbeats for sleeping groups: sets are made, promises given, leases renewed, and groups woken.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use ringfort_proto::peer::{self, Channel};
use ringfort_types::{BootId, GroupId, Monotonic, NodeNumber, ReplicaId, Term};

use super::{Slot, Worker, open_group, open_group_mut};
use crate::pairs::Led;

impl<W> Worker<W> {
    /// Does what is due between nodes.
    pub(super) fn tick_pairs(&mut self, now: Monotonic) {
        let timeout = self.making.settings.election_timeout;
        let silent = self.pairs.silent_leaders(now, timeout);
        self.pairs.to_wake.extend(silent);
        if now >= self.pairs.due {
            self.pairs.due = now + self.making.settings.heartbeat;
            self.send_pair_heartbeats(now);
        }
        for told in self.pairs.told.values_mut() {
            self.pairs.to_wake.extend(told.silent(now, timeout));
        }
        for _ in 0..self.config.limits.wakes_per_tick {
            let Some(group) = self.pairs.to_wake.pop_front() else { return };
            self.wake_group(now, group);
        }
        self.stats.wakes_put_off += u64::from(!self.pairs.to_wake.is_empty());
    }

    fn wake_group(&mut self, now: Monotonic, group: GroupId) {
        if let Ok(open) = open_group_mut(&mut self.slots, group) {
            open.replica.handle_wake(now);
            self.mark_dirty(group);
        }
    }

    /// The sleeping groups that this worker leads, by the other nodes that have a member.
    fn sleeping_sets(&self) -> BTreeMap<NodeNumber, Vec<Led>> {
        let mut sets: BTreeMap<NodeNumber, Vec<Led>> = BTreeMap::new();
        for group in &self.mine {
            let Ok(open) = open_group(&self.slots, *group) else { continue };
            let replica = &open.replica;
            if !replica.is_asleep() || !replica.leads() {
                continue;
            }
            let (leader, term) = (replica.id(), replica.leader().term);
            for member in replica.configuration().members() {
                if member != leader {
                    let led = Led { group: *group, leader, term, member };
                    sets.entry(member.node()).or_default().push(led);
                }
            }
        }
        sets
    }

    fn send_pair_heartbeats(&mut self, now: Monotonic) {
        let mut sets = self.sleeping_sets();
        for node in self.pairs.told.keys() {
            sets.entry(*node).or_default();
        }
        for (node, set) in sets {
            let told = self.pairs.told.entry(node).or_default();
            let Some((round, set_version, set)) = told.begin(now, set) else { continue };
            let led =
                |led: &Led| peer::Led { group: led.group.0, from: led.leader.0, term: led.term.0 };
            let heartbeat = peer::PairHeartbeat {
                round,
                set_version,
                led: set.iter().map(led).collect(),
                lease_us: microseconds(self.making.settings.lease),
                boot_id: boot_bytes(self.config.boot),
                worker: self.config.source.0.into(),
            };
            self.outbox.frame(node, Channel::Consensus).heartbeat = Some(heartbeat);
        }
    }

    /// Takes a heartbeat for groups that sleep. Those of other workers are passed over.
    pub(super) fn handle_pair_heartbeat(
        &mut self,
        now: Monotonic,
        from: NodeNumber,
        heartbeat: &peer::PairHeartbeat,
    ) {
        let Some(boot) = boot_of(&heartbeat.boot_id) else {
            self.stats.frames_malformed += 1;
            return;
        };
        let slots = &self.slots;
        let is_mine = |led: &peer::Led| {
            let slot = slots.get(led.group as usize);
            matches!(slot, Some(Some(Slot::Open(_)))) && ReplicaId(led.from).node() == from
        };
        let mine = heartbeat.led.iter().filter(|led| is_mine(led));
        let mine = mine.map(|led| (GroupId(led.group), ReplicaId(led.from), Term(led.term)));
        let set = (!heartbeat.led.is_empty()).then(|| mine.collect());
        let (round, set_version) = (heartbeat.round, heartbeat.set_version);
        let pair = (from, heartbeat.worker);
        let (known, orphans) = self.pairs.hear(now, pair, boot, set_version, set);
        let unknown_set = known.is_none();
        let lease = Duration::from_micros(heartbeat.lease_us);
        let mut exceptions = Vec::new();
        for (group, leader, term) in known.unwrap_or_default() {
            let follows = open_group_mut(&mut self.slots, *group)
                .is_ok_and(|open| open.replica.handle_pair_heartbeat(now, *leader, *term, lease));
            if !follows {
                exceptions.push(group.0);
            }
        }
        self.pairs.to_wake.extend(orphans);
        self.outbox.frame(from, Channel::Consensus).heartbeat_acks.push(peer::PairHeartbeatAck {
            round,
            set_version,
            unknown_set,
            exceptions,
            boot_id: boot_bytes(self.config.boot),
            worker: heartbeat.worker,
            by: self.config.source.0.into(),
            of: self.config.workers.into(),
        });
    }

    /// Takes the acknowledgement of a heartbeat of this worker.
    pub(super) fn handle_pair_ack(
        &mut self,
        now: Monotonic,
        from: NodeNumber,
        ack: &peer::PairHeartbeatAck,
    ) {
        let Some(told) = self.pairs.told.get_mut(&from) else { return };
        if ack.unknown_set {
            return told.forgotten(ack.by);
        }
        let by = (ack.by, ack.of);
        let Some((sent, set)) = told.acknowledged(now, ack.round, ack.set_version, by) else {
            return;
        };
        for Led { group, term, member, .. } in set {
            if ack.exceptions.contains(&group.0) {
                // It does not follow, or not any more: they have to talk.
                self.wake_group(now, group);
            } else if let Ok(open) = open_group_mut(&mut self.slots, group) {
                open.replica.handle_pair_ack(now, member, term, sent);
            }
        }
    }
}

/// Rounded up: a promise that ended too early would be broken.
fn microseconds(lease: Duration) -> u64 {
    u64::try_from(lease.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX)
}

fn boot_bytes(boot: BootId) -> Bytes {
    Bytes::copy_from_slice(&boot.0.to_be_bytes())
}

fn boot_of(bytes: &[u8]) -> Option<BootId> {
    bytes.try_into().ok().map(|bytes| BootId(u128::from_be_bytes(bytes)))
}
