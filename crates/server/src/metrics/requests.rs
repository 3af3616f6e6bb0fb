//! Requests that were answered, by operation, status and how they ended.

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Unit;
use ringfort_door::{Observation, OperationKind};
use ringfort_types::Outcome;

use super::{Encoded, Latencies};

/// How a request ended, as a label. Refusals that the request itself is to blame for are told apart from those of the
/// server.
const ENDINGS: [&str; 4] = ["ok", "rejected", "failed", "unknown"];

/// The place in [`ENDINGS`]. An absent key and a condition that does not hold are answers like any other.
fn ending_of(status: u16, outcome: Option<Outcome>) -> usize {
    match (status, outcome) {
        (_, Some(Outcome::Unknown)) => 3,
        (..400 | 404 | 412, _) => 0,
        (429 | 500.., _) => 2,
        _ => 1,
    }
}

/// The requests of one worker's connections.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequestMetrics {
    latencies: [[Latencies; ENDINGS.len()]; OperationKind::ALL.len()],
    /// Few statuses occur, so a short list finds them fastest.
    statuses: [Vec<(u16, u64)>; OperationKind::ALL.len()],
}

impl RequestMetrics {
    pub(crate) fn observe(&mut self, observation: Observation) {
        let kind = observation.kind as usize;
        let ending = ending_of(observation.status, observation.outcome);
        self.latencies[kind][ending].observe(observation.elapsed);
        self.count(kind, observation.status, 1);
    }

    fn count(&mut self, kind: usize, status: u16, count: u64) {
        match self.statuses[kind].iter_mut().find(|(known, _)| *known == status) {
            Some((_, counted)) => *counted += count,
            None => self.statuses[kind].push((status, count)),
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (kind, endings) in other.latencies.iter().enumerate() {
            for (mine, others) in self.latencies[kind].iter_mut().zip(endings) {
                mine.add(others);
            }
            for (status, count) in &other.statuses[kind] {
                self.count(kind, *status, *count);
            }
        }
    }

    pub(super) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> Encoded {
        let help = "Requests answered, by operation and status";
        let mut metric =
            encoder.encode_descriptor("ringfort_requests", help, None, MetricType::Counter)?;
        for kind in OperationKind::ALL {
            for (status, count) in &self.statuses[kind as usize] {
                let labels =
                    [("operation", kind.as_str().to_owned()), ("status", status.to_string())];
                ConstCounter::new(*count).encode(metric.encode_family(&labels)?)?;
            }
        }
        let help = "Time from a request's head to its answer, by operation and ending";
        let name = "ringfort_request_duration";
        let mut metric =
            encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for kind in OperationKind::ALL {
            let endings = ENDINGS.into_iter().zip(&self.latencies[kind as usize]);
            // An ending that did not occur yet has no series: there are many, with many buckets each.
            for (ending, latencies) in endings.filter(|(name, l)| *name == "ok" || !l.is_empty()) {
                let labels = [("operation", kind.as_str()), ("ending", ending)];
                latencies.encode(metric.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ringfort_door::MetricsFormat;

    use super::*;
    use crate::metrics::{Scrape, write};

    #[test]
    fn a_request_ends_well_or_by_its_own_fault_or_by_ours_or_nobody_knows_how() {
        let unknown = Some(Outcome::Unknown);
        let not_applied = Some(Outcome::NotApplied);
        for (status, outcome, ending) in [
            (200, None, "ok"),
            (202, None, "ok"),
            (304, None, "ok"),
            (404, None, "ok"),
            (412, not_applied, "ok"),
            (400, not_applied, "rejected"),
            (413, not_applied, "rejected"),
            (422, not_applied, "rejected"),
            (429, not_applied, "failed"),
            (503, None, "failed"),
            (503, not_applied, "failed"),
            (507, not_applied, "failed"),
            (503, unknown, "unknown"),
            (504, unknown, "unknown"),
        ] {
            assert_eq!(ENDINGS[ending_of(status, outcome)], ending, "{status} {outcome:?}");
        }
    }

    #[test]
    fn workers_add_up_by_operation_ending_and_status() {
        let observation = |kind, status, outcome| Observation {
            kind,
            status,
            outcome,
            elapsed: std::time::Duration::from_micros(100),
        };
        let (mut one, mut other) = (RequestMetrics::default(), RequestMetrics::default());
        one.observe(observation(OperationKind::Put, 200, None));
        other.observe(observation(OperationKind::Put, 200, None));
        other.observe(observation(OperationKind::Put, 504, Some(Outcome::Unknown)));
        one.add(&other);
        let text = write(Scrape { requests: one, ..Scrape::default() }, MetricsFormat::Prometheus);
        for line in [
            r#"ringfort_requests_total{operation="put",status="200"} 2"#,
            r#"ringfort_requests_total{operation="put",status="504"} 1"#,
            r#"ringfort_request_duration_seconds_count{operation="put",ending="ok"} 2"#,
            r#"ringfort_request_duration_seconds_count{operation="put",ending="unknown"} 1"#,
            r#"ringfort_request_duration_seconds_count{operation="get",ending="ok"} 0"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(!text.contains(r#"operation="get",ending="failed""#), "{text}");
    }
}
