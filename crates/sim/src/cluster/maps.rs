//! What the nodes' maps say, and whether it is so: who holds a shard is told by the newest map and by the replicas' own
//! configurations, and in the end these agree on every node.

use std::collections::BTreeSet;
use std::sync::Arc;

use ringfort_node::ShardSummary;
use ringfort_node::control::ClusterMap;
use ringfort_placement::Replica;
use ringfort_types::{ReplicaId, ShardId};

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
            for shard in (0..self.mix.shards).map(ShardId) {
                let (before, after) = (voters(known, shard), voters(&newest, shard));
                if before != after {
                    self.totals.add(Count::Promoted, after.difference(&before).count() as u64);
                    self.totals.add(Count::Replaced, before.difference(&after).count() as u64);
                }
                let is_well = |replica: &&Replica| {
                    let mut now = newest.replicas(shard).iter();
                    replica.quarantined && now.any(|now| now.id == replica.id && !now.quarantined)
                };
                let well = known.replicas(shard).iter().filter(is_well).count();
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
        let votes = |summary: &ShardSummary| {
            let configuration = process.configuration(summary.shard);
            configuration.is_some_and(|(_, known)| known.voters().contains(&summary.replica))
        };
        process.shards().iter().all(votes)
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
        let summaries: Vec<_> =
            self.machines.iter().map(|machine| Some(machine.process.as_ref()?.shards())).collect();
        for shard in (0..self.mix.shards).map(ShardId) {
            self.shard_agrees(shard, newest, &summaries)?;
        }
        self.catalogs_agree()
    }

    fn shard_agrees(
        &self,
        shard: ShardId,
        map: &ClusterMap,
        summaries: &[Option<Vec<ShardSummary>>],
    ) -> Result<(), String> {
        let placed = map.replicas(shard);
        if placed.iter().any(|replica| replica.quarantined || !replica.is_voter()) {
            return Err(format!("shard {shard} is not settled: {placed:?}"));
        }
        let wanted = voters(map, shard);
        let mut seen = Vec::new();
        for (node, summaries) in summaries.iter().enumerate() {
            let placed = wanted.iter().find(|replica| usize::from(replica.node().0) == node);
            let Some(summaries) = summaries else {
                if placed.is_some() && !self.machines[node].damaged {
                    return Err(format!("node {node} is not up"));
                }
                continue;
            };
            let held = summaries.iter().find(|summary| summary.shard == shard);
            if held.map(|summary| &summary.replica) != placed {
                let held = held.map(|summary| summary.replica);
                return Err(format!("shard {shard}: node {node} has {held:?}, not {placed:?}"));
            }
            let process = self.machines[node].process.as_ref();
            let (Some(process), Some(held)) = (process, held) else { continue };
            let Some((_, configuration)) = process.configuration(shard) else {
                return Err(format!("shard {shard} is not open on node {node}"));
            };
            let own: BTreeSet<_> = configuration.voters().iter().copied().collect();
            if configuration.is_joint() || !configuration.learners().is_empty() || own != wanted {
                return Err(format!(
                    "shard {shard} on node {node}: {configuration}, not {wanted:?}"
                ));
            }
            seen.push((held.status.as_ref().map(|status| status.raft.applied), node));
        }
        let what = format!("replicas of shard {shard}");
        // A state costs as much as the store holds.
        same(&what, &seen)?;
        let state = |node: usize| self.machines[node].process.as_ref()?.state(shard);
        let states: Vec<_> = seen.iter().map(|(_, node)| (state(*node), *node)).collect();
        same(&what, &states)
    }

    /// A damaged replica of the catalog stays so: nothing replaces it yet.
    fn catalogs_agree(&self) -> Result<(), String> {
        let state = |node: &usize| {
            let process = self.machines[*node].process.as_ref()?;
            Some((process.catalog_state()?, *node))
        };
        let seen: Vec<_> = self.mix.formed.catalog.iter().filter_map(state).collect();
        same("replicas of the catalog", &seen)
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, seen: &[(T, usize)]) -> Result<(), String> {
    match seen.windows(2).any(|pair| pair[0].0 != pair[1].0) {
        true => Err(format!("{what} differ: {seen:?}")),
        false => Ok(()),
    }
}

fn voters(map: &ClusterMap, shard: ShardId) -> BTreeSet<ReplicaId> {
    let voters = map.replicas(shard).iter().filter(|replica| replica.is_voter());
    voters.map(|replica| replica.id).collect()
}
