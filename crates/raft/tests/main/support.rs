//! Clusters for tests.

use std::time::Duration;

use ringfort_raft::{Guards, Settings};
use ringfort_sim::group::{Cluster, ClusterOptions};
use ringfort_types::ReplicaId;

/// A group of the replicas 1 to `voters`, with all guards and default settings.
pub(crate) fn cluster(voters: u64) -> Cluster {
    cluster_with(voters, Settings::default())
}

/// A group of the replicas 1 to `voters`, with all guards.
pub(crate) fn cluster_with(voters: u64, settings: Settings) -> Cluster {
    Cluster::new(ClusterOptions {
        voters: (1..=voters).map(ReplicaId).collect(),
        settings,
        guards: Guards::default(),
        seed: 7,
    })
}

/// Lets time pass, in steps of 50 ms with everything done in between, until somebody leads.
pub(crate) fn elect(cluster: &mut Cluster) -> ReplicaId {
    for _ in 0..200 {
        if let Some(leader) = cluster.leader() {
            return leader;
        }
        pass(cluster, Duration::from_millis(50));
    }
    panic!("nobody leads after ten seconds");
}

/// Lets time pass, and does everything there is to do.
pub(crate) fn pass(cluster: &mut Cluster, time: Duration) {
    cluster.advance(time);
    for id in cluster.ids() {
        cluster.tick(id);
    }
    cluster.stabilize().unwrap();
}
