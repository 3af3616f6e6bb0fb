//! Settings that the whole cluster shares. They count at formation; later, the catalog's do.

use std::time::Duration;

use ringfort_placement::{ReplicationFactor, ReplicationFactorError};
use ringfort_types::limits::SHARDS_MAX;
use ringfort_types::{FeatureLevel, format_duration};

/// An election timeout is at least this many heartbeats.
const HEARTBEATS_PER_ELECTION_MIN: u32 = 3;
/// Longest heartbeat and election timeout, in milliseconds.
const TIMING_MS_MAX: u64 = 600_000;

/// How linearizable reads are confirmed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ReadsBy {
    /// By the leader's lease.
    #[default]
    Lease,
    /// By asking a quorum.
    ReadIndex,
}

impl ReadsBy {
    /// The setting's text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lease => "lease",
            Self::ReadIndex => "read_index",
        }
    }
}

/// Settings of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClusterSettings {
    /// Shards, 1 to 4,096; fixed at formation.
    pub shards: u32,
    /// How many nodes are to hold each shard.
    pub replication_factor: ReplicationFactor,
    /// Time between two heartbeats of a leader, in whole milliseconds.
    pub heartbeat: Duration,
    /// How long a follower waits for its leader, in whole milliseconds; at least three heartbeats.
    pub election_timeout: Duration,
    /// How linearizable reads are confirmed.
    pub reads: ReadsBy,
    /// The feature level that is active: leaders stamp it on what they propose.
    pub feature_level: FeatureLevel,
}

/// Settings that no cluster can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The number of shards.
    #[error("a cluster has 1 to {SHARDS_MAX} shards; got {0}")]
    Shards(u32),
    /// The replication factor.
    #[error(transparent)]
    ReplicationFactor(#[from] ReplicationFactorError),
    /// Heartbeat and election timeout.
    #[error(
        "heartbeat and election timeout are whole milliseconds, a heartbeat at least one, an election timeout three heartbeats to ten minutes; got {heartbeat_ms} ms and {election_timeout_ms} ms"
    )]
    Timing {
        /// The heartbeat.
        heartbeat_ms: u64,
        /// The election timeout.
        election_timeout_ms: u64,
    },
    /// A level that this executable does not know.
    #[error(
        "feature level {0} is none that this executable knows, which are 1 to {newest}: start a newer ringfort",
        newest = FeatureLevel::NEWEST
    )]
    FeatureLevel(FeatureLevel),
}

impl ClusterSettings {
    /// Checks every range; whatever comes from outside goes through here.
    ///
    /// # Errors
    /// A value is out of its range, or of a newer version.
    pub fn check(&self) -> Result<(), SettingsError> {
        if self.shards == 0 || self.shards > SHARDS_MAX {
            return Err(SettingsError::Shards(self.shards));
        }
        let (heartbeat_ms, election_timeout_ms) =
            (millis(self.heartbeat), millis(self.election_timeout));
        let least = heartbeat_ms.saturating_mul(u64::from(HEARTBEATS_PER_ELECTION_MIN));
        let timing = least..=TIMING_MS_MAX;
        let is_whole = |duration: Duration| duration == Duration::from_millis(millis(duration));
        let whole = is_whole(self.heartbeat) && is_whole(self.election_timeout);
        if heartbeat_ms == 0 || !whole || !timing.contains(&election_timeout_ms) {
            return Err(SettingsError::Timing { heartbeat_ms, election_timeout_ms });
        }
        if !(FeatureLevel(1)..=FeatureLevel::NEWEST).contains(&self.feature_level) {
            return Err(SettingsError::FeatureLevel(self.feature_level));
        }
        Ok(())
    }

    /// What a configuration says that the cluster does not do, one line each, for `cluster status`.
    #[must_use]
    pub fn warnings(&self, configured: &Self) -> Vec<String> {
        let timing = |duration| format_duration(duration);
        let rows = [
            ("cluster.shards", configured.shards.to_string(), self.shards.to_string()),
            (
                "cluster.replication_factor",
                configured.replication_factor.get().to_string(),
                self.replication_factor.get().to_string(),
            ),
            ("raft.heartbeat", timing(configured.heartbeat), timing(self.heartbeat)),
            (
                "raft.election_timeout",
                timing(configured.election_timeout),
                timing(self.election_timeout),
            ),
            ("raft.reads", configured.reads.as_str().into(), self.reads.as_str().into()),
        ];
        let differ = rows.into_iter().filter(|(_, configured, cluster)| configured != cluster);
        differ
            .map(|(name, configured, cluster)| {
                format!("{name} is configured as {configured}; the cluster was formed with {cluster}, and that counts")
            })
            .collect()
    }
}

/// Whole milliseconds of a duration.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> ClusterSettings {
        ClusterSettings {
            shards: 64,
            replication_factor: ReplicationFactor::new(3).unwrap(),
            heartbeat: Duration::from_millis(100),
            election_timeout: Duration::from_secs(1),
            reads: ReadsBy::Lease,
            feature_level: FeatureLevel(1),
        }
    }

    #[test]
    fn values_out_of_range_are_refused() {
        assert_eq!(settings().check(), Ok(()));
        let refused = |change: fn(&mut ClusterSettings)| {
            let mut settings = settings();
            change(&mut settings);
            settings.check().unwrap_err()
        };
        assert_eq!(refused(|s| s.shards = 0), SettingsError::Shards(0));
        assert_eq!(refused(|s| s.shards = 4097), SettingsError::Shards(4097));
        let timing = |error| matches!(error, SettingsError::Timing { .. });
        assert!(timing(refused(|s| s.heartbeat = Duration::ZERO)));
        assert!(timing(refused(|s| s.heartbeat = Duration::from_millis(334))));
        assert!(timing(refused(|s| s.heartbeat = Duration::MAX)));
        assert!(timing(refused(|s| s.heartbeat = Duration::from_micros(1500))));
        assert_eq!(
            refused(|s| s.feature_level = FeatureLevel(0)),
            SettingsError::FeatureLevel(FeatureLevel(0))
        );
        let newer = FeatureLevel(FeatureLevel::NEWEST.0 + 1);
        let mut settings = settings();
        settings.feature_level = newer;
        let error = settings.check().unwrap_err();
        assert_eq!(error, SettingsError::FeatureLevel(newer));
        assert!(error.to_string().contains("which are 1 to 1: start a newer ringfort"), "{error}");
    }

    #[test]
    fn each_setting_that_differs_is_named_with_both_values() {
        let mut configured = settings();
        assert!(settings().warnings(&configured).is_empty());
        configured.shards = 32;
        configured.reads = ReadsBy::ReadIndex;
        let warnings = settings().warnings(&configured);
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings[0].contains("cluster.shards is configured as 32"), "{warnings:?}");
        assert!(warnings[0].contains("formed with 64"), "{warnings:?}");
        assert!(warnings[1].contains("read_index"), "{warnings:?}");
    }
}
