//! Requests that this node had other nodes answer.

use prometheus_client::encoding::DescriptorEncoder;
use ringfort_node::ForwardStats;

use super::{Encoded, counter};

type Of = fn(&ForwardStats) -> u64;

const COUNTERS: [(&str, &str, Of); 9] = [
    ("ringfort_forward_requests", "Requests for shards that other nodes lead", |s| s.begun),
    ("ringfort_forward_requests_refused", "Of those, refused by admission", |s| s.refused),
    ("ringfort_forward_requests_timed_out", "Of those, whose deadline passed", |s| s.timeouts),
    ("ringfort_forward_attempts", "Attempts sent to other nodes", |s| s.sent),
    ("ringfort_forward_attempts_lost", "Attempts whose connection broke", |s| s.lost),
    ("ringfort_forward_not_leader", "Answers that a node does not lead", |s| s.not_leader),
    ("ringfort_forward_stale_maps", "Of those, from a node with a newer map", |s| s.stale_maps),
    (
        "ringfort_forward_stale_maps_corrected",
        "Requests that these sent back, and that were then served",
        |s| s.stale_maps_corrected,
    ),
    ("ringfort_forward_late_answers", "Answers nobody waited for any more", |s| s.late_answers),
];

/// The counters of all workers.
pub(super) fn encode(workers: &[ForwardStats], encoder: &mut DescriptorEncoder<'_>) -> Encoded {
    for (name, help, of) in COUNTERS {
        counter(encoder, name, help, workers.iter().map(of).sum())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ringfort_door::MetricsFormat;

    use super::*;
    use crate::metrics::{Scrape, write};

    #[test]
    fn workers_add_up_each_counter_under_its_own_name() {
        let stats = |times: u64| ForwardStats {
            begun: times,
            refused: 2 * times,
            sent: 3 * times,
            not_leader: 4 * times,
            stale_maps: 5 * times,
            lost: 6 * times,
            timeouts: 7 * times,
            late_answers: 8 * times,
            stale_maps_corrected: 9 * times,
        };
        let forwards = vec![stats(1), stats(10)];
        let text = write(Scrape { forwards, ..Scrape::default() }, MetricsFormat::Prometheus);
        let found: Vec<_> =
            text.lines().filter(|line| line.starts_with("ringfort_forward")).collect();
        let expected = [
            "ringfort_forward_requests_total 11",
            "ringfort_forward_requests_refused_total 22",
            "ringfort_forward_requests_timed_out_total 77",
            "ringfort_forward_attempts_total 33",
            "ringfort_forward_attempts_lost_total 66",
            "ringfort_forward_not_leader_total 44",
            "ringfort_forward_stale_maps_total 55",
            "ringfort_forward_stale_maps_corrected_total 99",
            "ringfort_forward_late_answers_total 88",
        ];
        assert_eq!(found, expected);
    }
}
