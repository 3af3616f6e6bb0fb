//! What the server has spent so far: CPU time, context switches, syncs, bytes written, memory.
//!
//! From two sources, each for what the other does not know: `/proc` of the server's processes where the user names them,
//! and the server's own `/metrics`. A figure that nobody tells stays unknown; it is never taken as zero.

mod metrics;
mod process;

use crate::arguments::TargetKind;
use crate::target::{Endpoint, Failure, fetch};

pub(crate) use process::own_cpu_us;

/// Totals since the server started; `None` where they are not known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Cost {
    /// User and system time.
    pub(crate) cpu_us: Option<f64>,
    pub(crate) cpu_user_us: Option<f64>,
    pub(crate) cpu_system_us: Option<f64>,
    /// Voluntary (a thread waits) and involuntary (it is displaced) context switches.
    pub(crate) switches: Option<f64>,
    pub(crate) involuntary_switches: Option<f64>,
    pub(crate) syncs: Option<f64>,
    pub(crate) written_bytes: Option<f64>,
    /// Frames that nodes sent each other, and bytes.
    pub(crate) peer_frames: Option<f64>,
    pub(crate) peer_bytes: Option<f64>,
    /// Not a total: what it is now.
    pub(crate) resident_bytes: Option<f64>,
}

impl Cost {
    /// What came to pass between two samples; memory is that of the later one.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        // A counter that fell (a thread has ended, a server restarted) tells nothing.
        let difference = |late: Option<f64>, early: Option<f64>| {
            Some(late? - early?).filter(|difference| *difference >= 0.0)
        };
        Self {
            cpu_user_us: difference(self.cpu_user_us, earlier.cpu_user_us),
            cpu_system_us: difference(self.cpu_system_us, earlier.cpu_system_us),
            cpu_us: difference(self.cpu_us, earlier.cpu_us),
            switches: difference(self.switches, earlier.switches),
            involuntary_switches: difference(
                self.involuntary_switches,
                earlier.involuntary_switches,
            ),
            syncs: difference(self.syncs, earlier.syncs),
            written_bytes: difference(self.written_bytes, earlier.written_bytes),
            peer_frames: difference(self.peer_frames, earlier.peer_frames),
            peer_bytes: difference(self.peer_bytes, earlier.peer_bytes),
            resident_bytes: self.resident_bytes,
        }
    }

    /// What is known here, else what `other` knows.
    fn or(self, other: Self) -> Self {
        Self {
            cpu_user_us: self.cpu_user_us.or(other.cpu_user_us),
            cpu_system_us: self.cpu_system_us.or(other.cpu_system_us),
            cpu_us: self.cpu_us.or(other.cpu_us),
            switches: self.switches.or(other.switches),
            involuntary_switches: self.involuntary_switches.or(other.involuntary_switches),
            syncs: self.syncs.or(other.syncs),
            written_bytes: self.written_bytes.or(other.written_bytes),
            peer_frames: self.peer_frames.or(other.peer_frames),
            peer_bytes: self.peer_bytes.or(other.peer_bytes),
            resident_bytes: self.resident_bytes.or(other.resident_bytes),
        }
    }

    /// Two servers' costs together; unknown where one of them is.
    fn plus(self, other: Self) -> Self {
        let sum = |a: Option<f64>, b: Option<f64>| Some(a? + b?);
        Self {
            cpu_user_us: sum(self.cpu_user_us, other.cpu_user_us),
            cpu_system_us: sum(self.cpu_system_us, other.cpu_system_us),
            cpu_us: sum(self.cpu_us, other.cpu_us),
            switches: sum(self.switches, other.switches),
            involuntary_switches: sum(self.involuntary_switches, other.involuntary_switches),
            syncs: sum(self.syncs, other.syncs),
            written_bytes: sum(self.written_bytes, other.written_bytes),
            peer_frames: sum(self.peer_frames, other.peer_frames),
            peer_bytes: sum(self.peer_bytes, other.peer_bytes),
            resident_bytes: sum(self.resident_bytes, other.resident_bytes),
        }
    }
}

/// Where costs are read.
#[derive(Clone, Debug)]
pub(crate) struct CostSources {
    target: TargetKind,
    endpoints: Vec<Endpoint>,
    pids: Vec<u32>,
}

impl CostSources {
    pub(crate) fn new(target: TargetKind, endpoints: &[Endpoint], pids: &[u32]) -> Self {
        Self { target, endpoints: endpoints.to_vec(), pids: pids.to_vec() }
    }

    /// Reads them all.
    ///
    /// # Errors
    /// A named process cannot be read. That metrics cannot be fetched leaves their figures unknown: a target need not
    /// have any.
    pub(crate) async fn sample(&self) -> anyhow::Result<Cost> {
        let mut from_metrics: Option<Cost> = None;
        if self.target != TargetKind::Redis {
            for endpoint in &self.endpoints {
                let cost = self.scrape(endpoint).await.unwrap_or_default();
                from_metrics = Some(from_metrics.map_or(cost, |sum| sum.plus(cost)));
            }
        }
        let mut from_processes: Option<Cost> = None;
        for pid in &self.pids {
            let cost = process::sample(*pid)?;
            from_processes = Some(from_processes.map_or(cost, |sum| sum.plus(cost)));
        }
        let told = from_metrics.unwrap_or_default();
        let read = from_processes.unwrap_or_default();
        Ok(Cost {
            // The kernel counts whole folios of the page cache that a write touches, up to megabytes for one sector:
            // where the server counts its own bytes, it knows better.
            written_bytes: told.written_bytes.or(read.written_bytes),
            ..read.or(told)
        })
    }

    async fn scrape(&self, endpoint: &Endpoint) -> Result<Cost, Failure> {
        let document = fetch(endpoint, "/metrics").await?;
        Ok(metrics::cost(&String::from_utf8_lossy(&document)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_stays_unknown() {
        let early = Cost { syncs: Some(10.0), cpu_us: Some(5.0), ..Cost::default() };
        let late = Cost {
            syncs: Some(30.0),
            cpu_us: Some(4.0),
            written_bytes: Some(7.0),
            ..Cost::default()
        };
        let difference = late.since(&early);
        assert_eq!(difference.syncs, Some(20.0));
        assert_eq!(difference.cpu_us, None, "the counter fell");
        assert_eq!(difference.written_bytes, None, "known at the end only");
        assert_eq!(early.plus(Cost::default()).syncs, None);
        assert_eq!(Cost::default().or(early).syncs, Some(10.0));
    }
}
