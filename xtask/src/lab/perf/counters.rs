//! What the nodes of a cluster counted themselves while a load ran.

use anyhow::{Context, bail};

use crate::lab::cluster::{Cluster, MEMBERS};
use crate::lab::http;

/// The metrics of all nodes at one moment.
pub(super) struct Counters {
    documents: Vec<String>,
}

impl Counters {
    /// Asks every node.
    pub(super) fn scrape(cluster: &Cluster) -> anyhow::Result<Self> {
        let scraped = (0..MEMBERS).map(|position| {
            let (status, body) = http::get(cluster.address(position), "/metrics")?;
            if status != 200 {
                bail!("/metrics answered {status}");
            }
            String::from_utf8(body).context("metrics that are not UTF-8")
        });
        Ok(Self { documents: scraped.collect::<anyhow::Result<_>>()? })
    }

    /// How much a counter has grown since, over all nodes and all series that have this label.
    ///
    /// # Errors
    /// No node has such a series now.
    pub(super) fn since(&self, before: &Self, name: &str, label: &str) -> anyhow::Result<f64> {
        let now = self.total(name, label).with_context(|| format!("no node counts {name} {label}"));
        // What had not happened yet had no series.
        Ok(now? - before.total(name, label).unwrap_or(0.0))
    }

    fn total(&self, name: &str, label: &str) -> Option<f64> {
        let lines = self.documents.iter().flat_map(|document| document.lines());
        let values = lines.filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let labels = series.strip_prefix(name)?;
            let is_named = labels.is_empty() || labels.starts_with('{');
            (is_named && labels.contains(label)).then(|| value.parse::<f64>().ok()).flatten()
        });
        values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(documents: &[&str]) -> Counters {
        Counters { documents: documents.iter().map(|text| (*text).to_owned()).collect() }
    }

    #[test]
    fn series_are_summed_by_name_and_label() {
        let before = counters(&["frames_total{peer=\"b\",channel=\"requests\"} 3\nputs_total 1"]);
        let after = counters(&[
            "# HELP frames_total Frames\nframes_total{peer=\"b\",channel=\"requests\"} 10\n\
             frames_total{peer=\"c\",channel=\"requests\"} 5\n\
             frames_total{peer=\"c\",channel=\"consensus\"} 100\nputs_total 4",
            "frames_total{peer=\"a\",channel=\"requests\"} 1\nputs_total_more 50\nputs_total 2",
        ]);
        let grown = |name, label| after.since(&before, name, label);
        assert!((grown("frames_total", "channel=\"requests\"").unwrap() - 13.0).abs() < 1e-9);
        assert!((grown("frames_total", "channel=\"consensus\"").unwrap() - 100.0).abs() < 1e-9);
        assert!((grown("puts_total", "").unwrap() - 5.0).abs() < 1e-9);
        assert!(grown("frames_total", "channel=\"snapshots\"").is_err());
        assert!(grown("frames", "").is_err());
    }
}
