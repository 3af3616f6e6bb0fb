//! The text format of Prometheus (version 0.0.4), made of that of OpenMetrics, which is what the library of metrics writes.
//!
//! The two differ, for what this server writes, in what is said of a family: Prometheus calls a counter by the name of its
//! samples, `_total` included, knows no units and no mark of the end. Samples are the same. Nothing here has a timestamp or
//! an exemplar, nor a type besides counters, gauges and histograms.

/// Rewrites a document.
pub(super) fn prometheus(open_metrics: &str) -> String {
    let mut out = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(name), text) => help = text.map(|text| (name, text)),
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                let suffix = if kind == "counter" { "_total" } else { "" };
                // Whatever it says of another family is lost rather than said of this one.
                if let Some((_, text)) = help.take().filter(|(helped, _)| *helped == name) {
                    push_line(&mut out, &["# HELP ", name, suffix, " ", text]);
                }
                push_line(&mut out, &["# TYPE ", name, suffix, " ", kind]);
            }
            (Some("#"), ..) => {}
            _ => push_line(&mut out, &[line]),
        }
    }
    out
}

fn push_line(out: &mut String, parts: &[&str]) {
    parts.iter().for_each(|part| out.push_str(part));
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_called_by_their_samples_and_all_else_is_kept() {
        let open_metrics = "\
# HELP requests Requests answered, by \\\\ operation
# TYPE requests counter
requests_total{operation=\"get # 1\",status=\"200\"} 17
requests_total{operation=\"put\",status=\"200\"} 3
# HELP cpu_seconds CPU time
# TYPE cpu_seconds counter
# UNIT cpu_seconds seconds
cpu_seconds_total 1.5
# HELP duration_seconds Time
# TYPE duration_seconds histogram
# UNIT duration_seconds seconds
duration_seconds_sum 0.5
duration_seconds_count 2
duration_seconds_bucket{le=\"0.000032\"} 1
duration_seconds_bucket{le=\"+Inf\"} 2
# HELP keys Live keys
# TYPE keys gauge
keys 4
# EOF
";
        let expected = "\
# HELP requests_total Requests answered, by \\\\ operation
# TYPE requests_total counter
requests_total{operation=\"get # 1\",status=\"200\"} 17
requests_total{operation=\"put\",status=\"200\"} 3
# HELP cpu_seconds_total CPU time
# TYPE cpu_seconds_total counter
cpu_seconds_total 1.5
# HELP duration_seconds Time
# TYPE duration_seconds histogram
duration_seconds_sum 0.5
duration_seconds_count 2
duration_seconds_bucket{le=\"0.000032\"} 1
duration_seconds_bucket{le=\"+Inf\"} 2
# HELP keys Live keys
# TYPE keys gauge
keys 4
";
        assert_eq!(prometheus(open_metrics), expected);
        assert_eq!(prometheus("# EOF\n"), "");
        let strange = "# HELP a A\n# TYPE b gauge\nb 1\n";
        assert_eq!(prometheus(strange), "# TYPE b gauge\nb 1\n");
    }
}
