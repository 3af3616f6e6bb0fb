//! The second phase: nothing fails any more, and within a bounded time everything must be well again.

use std::collections::BTreeSet;

use ringfort_check::{Condition, Operation};
use ringfort_node::ShardSummary;
use ringfort_raft::Status;
use ringfort_types::ShardId;

use super::Run;
use super::clients::{Question, shard_of};
use super::listings::Listing;
use super::mix::{MILLI, SECOND};
use super::report::{Count, Violation};
use super::words;

/// How long it may take, besides some election timeouts: disks are slow, and much may have to be caught up with.
const HEAL: u64 = 60 * SECOND;
const ELECTIONS: u64 = 20;

impl Run {
    /// Heals everything, and awaits that every shard is written through its leader, that everything can be read, and that
    /// the replicas agree.
    pub(super) fn heal(&mut self) -> Result<(), Violation> {
        let began = self.now;
        self.end_faults();
        self.crowd.quiet = true;
        let deadline = self.now + HEAL + ELECTIONS * self.mix.election();
        self.run_until(deadline, |run| match run.crowd.is_busy() {
            true => Err(format!("clients wait: {:#?}", run.crowd.waiting())),
            false => run.all_up(),
        })?;
        self.write_script();
        self.start_clients();
        self.run_until(deadline, |run| {
            match run.crowd.is_busy() || !run.crowd.script.is_empty() {
                true => Err(format!(
                    "{} questions are left, and clients wait: {:#?}",
                    run.crowd.script.len(),
                    run.crowd.waiting()
                )),
                false => Ok(()),
            }
        })?;
        self.run_until(deadline, Self::replicas_agree)?;
        let took = (self.now - began) / MILLI;
        self.totals.set(Count::HealMillis, took);
        self.totals.set(Count::HealMillisMax, took);
        Ok(())
    }

    /// Lets things happen until a condition holds.
    fn run_until(
        &mut self,
        deadline: u64,
        condition: impl Fn(&Self) -> Result<(), String>,
    ) -> Result<(), Violation> {
        loop {
            match condition(self) {
                Ok(()) => return Ok(()),
                Err(what) if self.now > deadline => {
                    let shards = self.describe();
                    return Err(Violation { name: "liveness", what: format!("{what}\n{shards}") });
                }
                Err(_) => {}
            }
            let until = self.now + 20 * MILLI;
            while self.now < until {
                self.step()?;
            }
        }
    }

    fn all_up(&self) -> Result<(), String> {
        let down = |node: &usize| {
            let machine = &self.machines[*node];
            machine.process.is_none() && !machine.damaged
        };
        match (0..self.mix.nodes).find(down) {
            Some(node) => Err(format!("node {node} is not up")),
            None => Ok(()),
        }
    }

    /// A write to each shard through each node, a read of every key, and a listing.
    fn write_script(&mut self) {
        let one = |key: String, operation, node| Question {
            operations: vec![(key, operation)],
            batch: None,
            stale: false,
            keyed: false,
            list: None,
            node,
            insistent: true,
        };
        for shard in (0..self.mix.shards).map(ShardId) {
            let key =
                (0..).map(|n| format!("h{n}")).find(|k| shard_of(k, self.mix.shards) == shard);
            for node in 0..self.mix.nodes {
                if self.machines[node].process.is_none() {
                    continue;
                }
                let condition = Condition::Always;
                let put = Operation::Put { value: String::new(), condition, ttl_ms: None };
                self.crowd.script.extend(key.clone().map(|key| one(key, put, Some(node))));
            }
        }
        let keys: BTreeSet<&String> = self.crowd.history.iter().map(|event| &event.key).collect();
        let reads: Vec<_> =
            keys.into_iter().map(|key| one(key.clone(), Operation::Get, None)).collect();
        self.crowd.script.extend(reads);
        // Of everything that is still there.
        let listing = Listing { era: None, after: None, limit: 100, bytes_max: 4 << 20 };
        self.crowd.script.push_back(words::list(listing, true));
    }

    /// Every replica, for whoever wants to know why nothing gets on.
    fn describe(&self) -> String {
        let mut out = String::new();
        for (node, machine) in self.machines.iter().enumerate() {
            let Some(process) = &machine.process else {
                out += &format!("node {node} is down\n");
                continue;
            };
            let epoch = process.map().epoch();
            let catalog = match (process.catalog(), process.catalog_damage()) {
                (Some(raft), _) => describe_raft(&raft),
                (None, Some(_)) => " quarantined".to_owned(),
                (None, None) => " not here".to_owned(),
            };
            out += &format!("node {node} epoch {epoch} catalog{catalog}\n");
            for ShardSummary { shard, replica, status, .. } in process.shards() {
                let status = status.map(|status| describe_raft(&status.raft));
                let status = status.unwrap_or_else(|| " closed".to_owned());
                out += &format!("node {node} shard {shard} replica {replica}{status}\n");
            }
        }
        out
    }
}

fn describe_raft(raft: &Status) -> String {
    let Status { role, term, last, durable, commit, applied, .. } = raft;
    let mut out = format!(
        " {role:?} term {term} last {last} durable {durable} commit {commit} applied {applied}"
    );
    for peer in &raft.peers {
        out += &format!(" {}:{:?}", peer.id, peer.sending);
    }
    out
}
