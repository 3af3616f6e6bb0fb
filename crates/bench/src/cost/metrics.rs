//! Costs from a Prometheus text document.

use super::Cost;

/// Series that count syncs: Ringfort's, and etcd's write-ahead log.
const SYNCS: [&str; 2] = ["ringfort_log_syncs_total", "etcd_disk_wal_fsync_duration_seconds_count"];
const WRITTEN_BYTES: [&str; 1] = ["ringfort_log_written_bytes_total"];
/// What nodes send each other. etcd counts bytes only.
const PEER_FRAMES: [&str; 1] = ["ringfort_peer_frames_sent_total"];
const PEER_BYTES: [&str; 2] =
    ["ringfort_peer_sent_bytes_total", "etcd_network_peer_sent_bytes_total"];
const SWITCHES: [&str; 1] = ["process_context_switches_total"];
const CPU_SECONDS: [&str; 1] = ["process_cpu_seconds_total"];
const RESIDENT_BYTES: [&str; 1] = ["process_resident_memory_bytes"];

/// What the document tells.
pub(super) fn cost(document: &str) -> Cost {
    Cost {
        cpu_user_us: None,
        cpu_system_us: None,
        cpu_us: first(document, &CPU_SECONDS).map(|seconds| seconds * 1e6),
        switches: first(document, &SWITCHES),
        involuntary_switches: None,
        syncs: first(document, &SYNCS),
        written_bytes: first(document, &WRITTEN_BYTES),
        peer_frames: first(document, &PEER_FRAMES),
        peer_bytes: first(document, &PEER_BYTES),
        resident_bytes: first(document, &RESIDENT_BYTES),
    }
}

/// The first of these series that the document has.
fn first(document: &str, names: &[&str]) -> Option<f64> {
    names.iter().find_map(|name| sum(document, name))
}

/// The sum of a series over all its labels; `None` if there is no sample.
fn sum(document: &str, name: &str) -> Option<f64> {
    let mut total = None;
    for line in document.lines() {
        let Some(rest) = line.strip_prefix(name) else {
            continue;
        };
        let value = match rest.as_bytes().first() {
            Some(b'{') => rest.rsplit_once('}').map_or("", |(_, value)| value),
            Some(b' ') => rest,
            _ => continue,
        };
        let value = value.split_whitespace().next().and_then(|v| v.parse().ok());
        if let Some(value) = value {
            let value: f64 = value;
            total = Some(total.unwrap_or(0.0) + value);
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_summed_over_labels() {
        let document = "# HELP ringfort_log_syncs Syncs.\n\
            # TYPE ringfort_log_syncs counter\n\
            ringfort_log_syncs_total{worker=\"0\"} 40\n\
            ringfort_log_syncs_total{worker=\"}1\"} 2 1700000000\n\
            ringfort_log_syncs_total_other 7\n\
            ringfort_peer_frames_sent_total{peer=\"b\",channel=\"consensus\"} 3\n\
            ringfort_peer_frames_sent_total{peer=\"c\",channel=\"requests\"} 4\n\
            process_cpu_seconds_total 1.5\n";
        let cost = cost(document);
        assert_eq!(cost.syncs, Some(42.0));
        assert_eq!(cost.cpu_us, Some(1.5e6));
        assert_eq!(cost.peer_frames, Some(7.0));
        assert_eq!(cost.written_bytes, None);
    }

    #[test]
    fn garbage_tells_nothing() {
        assert_eq!(cost("ringfort_log_syncs_total x\n\u{fffd}{{{"), Cost::default());
    }
}
