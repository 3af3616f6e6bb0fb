//! What the nodes' maps say, and whether it is so: who holds a shard is told by the newest map and by the replicas' own
//! configurations, and in the end these agree on every node.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ringfort_node::control::{ClusterMap, Held};
use ringfort_placement::{Replica, ShardPlacement};
use ringfort_types::{GroupId, ReplicaId};

use super::Run;
use super::report::Count;

/// The newest map that any node had.
#[derive(Debug, Default)]
pub(super) struct Newest(Option<Arc<ClusterMap>>);

impl Run {
    /// Looks at every node's map, and counts what the newest says that is new.
    pub(super) fn look_at_maps(&mut self) {
        let maps: Vec<_> = self.maps().map(|(_, map)| Arc::clone(map)).collect();
        if maps.windows(2).any(|pair| pair[0].epoch() != pair[1].epoch()) {
            self.totals.add(Count::EpochsDiffered, 1);
        }
        let Some(newest) = maps.into_iter().max_by_key(|map| map.epoch()) else { return };
        let Newest(known) = &self.newest;
        if known.as_ref().is_some_and(|known| known.epoch() >= newest.epoch()) {
            return;
        }
        if let Some(known) = known {
            for ((_, before), (_, after)) in known.groups().zip(newest.groups()) {
                let (held, holds) = (voters(before), voters(after));
                self.totals.add(Count::Promoted, holds.difference(&held).count() as u64);
                self.totals.add(Count::Replaced, held.difference(&holds).count() as u64);
                let is_well = |replica: &&Replica| {
                    let now = after.replica(replica.id);
                    replica.quarantined && now.is_some_and(|now| !now.quarantined)
                };
                let well = before.replicas().iter().filter(is_well).count();
                self.totals.add(Count::WellAgain, well as u64);
            }
        }
        // Each record that is applied makes one epoch.
        self.totals.set(Count::CatalogRecords, newest.epoch().0);
        self.newest = Newest(Some(newest));
    }

    fn maps(&self) -> impl Iterator<Item = (usize, &Arc<ClusterMap>)> {
        let processes = self.machines.iter().map(|machine| machine.process.as_ref());
        processes.enumerate().filter_map(|(node, process)| Some((node, process?.map())))
    }

    /// Whether a node that was damaged has everything again: its last start found all of it, and its replicas vote.
    pub(super) fn is_whole(&self, node: usize) -> bool {
        let machine = &self.machines[node];
        let Some(process) = machine.process.as_ref().filter(|_| machine.found_all) else {
            return false;
        };
        let votes = |(group, held): (GroupId, Held)| {
            let configuration = process.configuration(group);
            configuration.is_some_and(|known| known.is_voter(held.replica))
        };
        process.held().into_iter().all(votes)
    }

    /// Whether all maps are one, replicas are where it says, under the ids that it says, with configurations and states that
    /// are equal; and what differs.
    pub(super) fn replicas_agree(&self) -> Result<(), String> {
        let maps: Vec<_> = self.maps().collect();
        let newest = maps.iter().max_by_key(|(_, map)| map.epoch());
        let Some((_, newest)) = newest else { return Err("no node is up".into()) };
        for (node, map) in &maps {
            if *map != *newest {
                let (held, newest) = (map.epoch(), newest.epoch());
                return Err(format!(
                    "node {node} has a map of epoch {held}, the newest is {newest}"
                ));
            }
        }
        let held: Vec<_> =
            self.machines.iter().map(|machine| Some(machine.process.as_ref()?.held())).collect();
        newest.groups().try_for_each(|(group, placed)| self.group_agrees(group, placed, &held))
    }

    fn group_agrees(
        &self,
        group: GroupId,
        placed: &ShardPlacement,
        held: &[Option<BTreeMap<GroupId, Held>>],
    ) -> Result<(), String> {
        let placed = placed.replicas();
        if placed.iter().any(|replica| replica.quarantined || !replica.is_voter()) {
            return Err(format!("group {group} is not settled: {placed:?}"));
        }
        let wanted: BTreeSet<_> = placed.iter().map(|replica| replica.id).collect();
        let mut seen = Vec::new();
        for (node, held) in held.iter().enumerate() {
            let placed = wanted.iter().find(|replica| usize::from(replica.node().0) == node);
            let Some(held) = held else {
                if placed.is_some() && !self.machines[node].damaged {
                    return Err(format!("node {node} is not up"));
                }
                continue;
            };
            let held = held.get(&group).map(|held| held.replica);
            if held.as_ref() != placed {
                return Err(format!("group {group}: node {node} has {held:?}, not {placed:?}"));
            }
            let Some(process) = self.machines[node].process.as_ref().filter(|_| held.is_some())
            else {
                continue;
            };
            let Some(configuration) = process.configuration(group) else {
                return Err(format!("group {group} is not open on node {node}"));
            };
            let own: BTreeSet<_> = configuration.voters().iter().copied().collect();
            if configuration.is_joint() || !configuration.learners().is_empty() || own != wanted {
                return Err(format!(
                    "group {group} on node {node}: {configuration}, not {wanted:?}"
                ));
            }
            let applied = process.applied(group);
            seen.push((applied, node));
        }
        let what = format!("replicas of group {group}");
        // A state costs as much as the store holds.
        same(&what, &seen)?;
        let state = |node: usize| self.machines[node].process.as_ref()?.state(group);
        let states: Vec<_> = seen.iter().map(|(_, node)| (state(*node), *node)).collect();
        same(&what, &states)
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, seen: &[(T, usize)]) -> Result<(), String> {
    match seen.windows(2).any(|pair| pair[0].0 != pair[1].0) {
        true => Err(format!("{what} differ: {seen:?}")),
        false => Ok(()),
    }
}

fn voters(placement: &ShardPlacement) -> BTreeSet<ReplicaId> {
    placement.voters().map(|replica| replica.id).collect()
}
