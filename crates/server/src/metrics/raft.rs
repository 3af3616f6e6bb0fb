//! What the Raft groups of this node did, added up: a cluster has up to 4,096 of them, so none has series of its own.
//! `ringfort cluster shards` tells them apart.
//!
//! Counters are those of the replicas that are here; with a replica that leaves, its own go, which looks like a restart of
//! the counter and is read as one.

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use ringfort_node::ShardSummary;
use ringfort_node::host::Status;

use super::{Encoded, counter, gauge};

/// Sums and maxima over the groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RaftTotals {
    elections: u64,
    pre_votes: u64,
    terms_led: u64,
    proposals: u64,
    transfers: u64,
    lost_quorum: u64,
    stalls: u64,
    truncations: u64,
    snapshots_begun: u64,
    snapshots_resumed: u64,
    snapshots_installed: u64,
    reads_by_lease: u64,
    reads_by_round: u64,
    /// Messages dropped, by why: another replica's, old, of strangers, against the rules.
    dropped: [u64; DROPPED.len()],
    leaderless: u64,
    asleep: u64,
    term_max: u64,
    /// Entries that a follower of a group led here lacks, of those that are committed.
    commit_lag_max: u64,
    /// Entries that a replica here has not applied, of those that it knows committed.
    apply_lag_max: u64,
}

const DROPPED: [&str; 4] = ["misaddressed", "stale", "unknown", "impossible"];

impl RaftTotals {
    /// Of the shards, and of the catalog's group where the node has a replica of it. What is closed has no group.
    pub(super) fn of(shards: &[ShardSummary], catalog: Option<&Status>) -> Self {
        let mut totals = Self::default();
        let of_shards = shards.iter().filter_map(|shard| Some(&shard.status.as_ref()?.raft));
        of_shards.chain(catalog).for_each(|raft| totals.add(raft));
        totals
    }

    fn add(&mut self, raft: &Status) {
        let counters = raft.counters;
        for (sum, count) in [
            (&mut self.elections, counters.elections),
            (&mut self.pre_votes, counters.pre_votes),
            (&mut self.terms_led, counters.terms_led),
            (&mut self.proposals, counters.proposals),
            (&mut self.transfers, counters.transfers),
            (&mut self.lost_quorum, counters.lost_quorum),
            (&mut self.stalls, counters.stalls),
            (&mut self.truncations, counters.truncations),
            (&mut self.snapshots_begun, counters.snapshots_begun),
            (&mut self.snapshots_resumed, counters.snapshots_resumed),
            (&mut self.snapshots_installed, counters.snapshots_installed),
            (&mut self.reads_by_lease, counters.reads_by_lease),
            (&mut self.reads_by_round, counters.reads_by_round),
            (&mut self.leaderless, u64::from(raft.leader.is_none())),
            (&mut self.asleep, u64::from(raft.asleep)),
        ] {
            *sum += count;
        }
        let dropped = [
            counters.dropped_misaddressed,
            counters.dropped_stale,
            counters.dropped_unknown,
            counters.dropped_impossible,
        ];
        for (sum, count) in self.dropped.iter_mut().zip(dropped) {
            *sum += count;
        }
        self.term_max = self.term_max.max(raft.term.0);
        self.apply_lag_max = self.apply_lag_max.max(raft.commit.0.saturating_sub(raft.applied.0));
        // Only a leader knows peers.
        let lags = raft.peers.iter().map(|peer| raft.commit.0.saturating_sub(peer.matched.0));
        self.commit_lag_max = lags.max().unwrap_or(0).max(self.commit_lag_max);
    }

    pub(super) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> Encoded {
        for (name, help, value) in [
            ("ringfort_raft_pre_votes", "Elections sounded out", self.pre_votes),
            ("ringfort_raft_elections", "Elections begun by replicas here", self.elections),
            ("ringfort_raft_terms_led", "Elections won by replicas here", self.terms_led),
            ("ringfort_raft_proposals", "Entries proposed by leaders here", self.proposals),
            ("ringfort_raft_transfers", "Leaderships handed over", self.transfers),
            (
                "ringfort_raft_quorums_lost",
                "Leaderships given up for want of a quorum",
                self.lost_quorum,
            ),
            ("ringfort_raft_stalls", "Leaderships given up because the disk stalled", self.stalls),
            (
                "ringfort_raft_truncations",
                "Times that uncommitted entries were replaced",
                self.truncations,
            ),
            (
                "ringfort_raft_snapshots_begun",
                "Snapshots begun for other replicas",
                self.snapshots_begun,
            ),
            (
                "ringfort_raft_snapshots_resumed",
                "Snapshots that went on where they had stopped",
                self.snapshots_resumed,
            ),
            (
                "ringfort_raft_snapshots_installed",
                "Snapshots of other replicas installed here",
                self.snapshots_installed,
            ),
        ] {
            counter(encoder, name, help, value)?;
        }
        let reads = [("lease", self.reads_by_lease), ("round", self.reads_by_round)];
        by_label(encoder, "ringfort_raft_reads", "Reads confirmed, by what", "by", &reads)?;
        let dropped = DROPPED.into_iter().zip(self.dropped).collect::<Vec<_>>();
        let (name, help) = ("ringfort_raft_messages_dropped", "Messages dropped, by why");
        by_label(encoder, name, help, "reason", &dropped)?;
        for (name, help, value) in [
            ("ringfort_raft_leaderless", "Groups here that know no leader", self.leaderless),
            ("ringfort_raft_asleep", "Groups here that sleep", self.asleep),
            ("ringfort_raft_term_max", "The highest term of a group here", self.term_max),
            (
                "ringfort_raft_commit_lag_entries_max",
                "Committed entries that the slowest follower of a group led here lacks",
                self.commit_lag_max,
            ),
            (
                "ringfort_raft_apply_lag_entries_max",
                "Committed entries that the slowest replica here has not applied",
                self.apply_lag_max,
            ),
        ] {
            gauge(encoder, name, help, value)?;
        }
        Ok(())
    }
}

fn by_label(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    label: &str,
    values: &[(&str, u64)],
) -> Encoded {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (value, count) in values {
        ConstCounter::new(*count).encode(metric.encode_family(&[(label, *value)])?)?;
    }
    Ok(())
}
