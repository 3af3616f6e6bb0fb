//! What must hold: while it runs, between the replicas; in the end, in what clients were told.

use std::collections::BTreeMap;
use std::fmt::Debug;

use ringfort_check::{Options, Outcome, Verdict, check_with};
use ringfort_raft::Role;
use ringfort_types::{GroupId, Index, ShardId, Term};

use super::Run;
use super::clients::shard_of;
use super::machine::Machine;
use super::mix::MILLI;
use super::node::ClusterNode;
use super::queue::Event;
use super::report::{Count, Violation};

/// How often replicas are looked at.
const LOOK: u64 = 100 * MILLI;
/// A hash costs as much as a store holds: each look may spend so many bytes of it, or save them.
const HASH_BYTES: u64 = 2 << 10;
/// State hashes that are remembered.
const HASHES_MAX: usize = 4_096;

/// What was seen of the replicas so far.
#[derive(Debug, Default)]
pub(super) struct Seen {
    leaders: BTreeMap<(ShardId, Term), usize>,
    /// Of the catalog, too, which is no shard.
    hashes: BTreeMap<(Option<ShardId>, Index), (u128, usize)>,
    /// Bytes that may be hashed.
    saved: u64,
    /// Of each shard: the greatest commit index, and how long it had no leader that commits, in nanoseconds.
    commits: BTreeMap<ShardId, (Index, u64)>,
}

fn broken(name: &'static str, what: String) -> Violation {
    Violation { name, what }
}

impl Run {
    /// Compares replicas.
    pub(super) fn look(&mut self) -> Result<(), Violation> {
        self.queue.push(self.now + LOOK, Event::Look);
        let hashed = self.choose_hashed();
        let mut led: BTreeMap<ShardId, (Index, bool)> = BTreeMap::new();
        for node in 0..self.mix.nodes {
            let machine = &self.machines[node];
            let Some(process) = &machine.process else { continue };
            for summary in process.shards() {
                let shard = summary.shard;
                if let Some(reason) = &summary.closed
                    && !machine.damaged
                {
                    return Err(broken(
                        "undamaged_replicas_serve",
                        format!("node {node}: {reason}"),
                    ));
                }
                let Some(status) = &summary.status else { continue };
                if status.raft.role == Role::Leader {
                    let term = status.raft.term;
                    if !self.seen.leaders.contains_key(&(shard, term)) {
                        self.note(|| format!("node {node} leads shard {shard} in term {term}"));
                    }
                    let first = *self.seen.leaders.entry((shard, term)).or_insert(node);
                    if first != node {
                        let what = format!("nodes {first} and {node} led shard {shard} in {term}");
                        return Err(broken("one_leader_a_term", what));
                    }
                    let done = status.raft.commit == status.raft.last;
                    let entry = led.entry(shard).or_default();
                    let commits = !machine.paused && done;
                    *entry = (entry.0.max(status.raft.commit), entry.1 || commits);
                }
                if Some(shard) == hashed
                    && let Some((applied, hash)) = process.state(GroupId::of_shard(shard))
                {
                    self.seen.compare(Some(shard), applied.index, hash, node)?;
                }
            }
        }
        self.count_leaderless(&led);
        self.look_at_maps();
        self.look_at_catalogs(hashed.is_some())
    }

    /// Replicas of the catalog are open where nothing was damaged, and equal. What is mended counts as damaged no longer.
    fn look_at_catalogs(&mut self, hashed: bool) -> Result<(), Violation> {
        for node in 0..self.mix.nodes {
            if self.machines[node].damaged && self.is_whole(node) {
                self.machines[node].damaged = false;
                self.totals.add(Count::Mended, 1);
                self.note(|| format!("node {node} has everything again"));
            }
            let machine = &self.machines[node];
            let Some(process) = &machine.process else { continue };
            if let Some(reason) = process.catalog_damage().filter(|_| !machine.damaged) {
                let what = format!("node {node}, catalog: {reason}");
                return Err(broken("undamaged_replicas_serve", what));
            }
            if let Some((applied, hash)) = process.state(GroupId::CATALOG).filter(|_| hashed) {
                self.seen.compare(None, applied.index, hash, node)?;
            }
        }
        Ok(())
    }

    /// The shard whose replicas are compared now, if what was saved is enough for it.
    fn choose_hashed(&mut self) -> Option<ShardId> {
        let shard = self.any_shard();
        let stored = |machine: &Machine| {
            let shards = machine.process.as_ref().map(ClusterNode::shards).unwrap_or_default();
            shards.iter().find(|summary| summary.shard == shard).map_or(0, |of| of.stored.bytes)
        };
        self.seen.saved += HASH_BYTES;
        let cost = 1 + self.machines.iter().map(stored).sum::<u64>();
        let enough = self.seen.saved >= cost;
        self.seen.saved -= if enough { cost } else { 0 };
        enough.then_some(shard)
    }

    /// A shard is led where a leader has committed all it has, or some of it since the last look.
    fn count_leaderless(&mut self, led: &BTreeMap<ShardId, (Index, bool)>) {
        for shard in (0..self.mix.shards).map(ShardId) {
            let (commit, done) = led.get(&shard).copied().unwrap_or_default();
            let (newest, leaderless) = self.seen.commits.entry(shard).or_default();
            if !done && commit <= *newest {
                *leaderless += LOOK;
                self.leaderless = self.leaderless.max(*leaderless);
            }
            *newest = (*newest).max(commit);
        }
    }

    /// The node that leads a shard in the newest term, if one does.
    pub(super) fn leader_of(&self, shard: ShardId) -> Option<usize> {
        let holders = self.mix.holders(shard.0);
        let leaders = holders.filter_map(|node| {
            let process = self.machines[node].process.as_ref()?;
            let summary = process.shards().into_iter().find(|summary| summary.shard == shard)?;
            summary.leads.then(|| (summary.status.map(|status| status.raft.term), node))
        });
        leaders.max().map(|(_, node)| node)
    }

    /// Judges what clients were told.
    pub(super) fn judge(&mut self) -> Result<(), Violation> {
        let options = Options { expiry_late_us: self.expiry_late_us(), ..Options::default() };
        let report = check_with(&self.crowd.history, &options);
        self.totals.set(Count::OperationsChecked, self.crowd.history.len() as u64);
        self.totals.set(Count::Acknowledged, report.acknowledged as u64);
        self.totals.set(Count::Unknown, report.unknown as u64);
        match report.verdict() {
            Verdict::Violated => return Err(broken("history", report.to_string())),
            Verdict::Undecided => self.totals.add(Count::Undecided, 1),
            Verdict::Passed => {}
        }
        self.versions_are_used_once()
    }

    /// Within a shard no two writes have one version.
    fn versions_are_used_once(&self) -> Result<(), Violation> {
        let mut used: BTreeMap<(ShardId, u64), (&str, Option<u64>)> = BTreeMap::new();
        for event in self.crowd.history.iter().filter(|event| event.is_write()) {
            let Outcome::Written { version } = event.outcome else { continue };
            let shard = shard_of(&event.key, self.mix.shards);
            let write = (event.key.as_str(), event.write);
            let first = *used.entry((shard, version)).or_insert(write);
            if first != write {
                let what = format!("shard {shard}, version {version}: {first:?} and {write:?}");
                return Err(broken("versions_are_used_once", what));
            }
        }
        Ok(())
    }
}

impl Seen {
    fn compare(
        &mut self,
        shard: Option<ShardId>,
        applied: Index,
        hash: u128,
        node: usize,
    ) -> Result<(), Violation> {
        let (known, first) = *self.hashes.entry((shard, applied)).or_insert((hash, node));
        if known != hash {
            let what = format!("nodes {first} and {node}, shard {shard:?}, applied {applied}");
            return Err(broken("replicas_are_equal", what));
        }
        if self.hashes.len() > HASHES_MAX {
            self.hashes.pop_first();
        }
        Ok(())
    }
}
