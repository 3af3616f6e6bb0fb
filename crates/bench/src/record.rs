//! What came of the operations: latencies in HDR histograms, errors by code.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::workload::Kind;

/// Longest latency a histogram tells apart, in nanoseconds: ten minutes. Longer ones count as that.
const LATENCY_NS_MAX: u64 = 600_000_000_000;
/// Significant decimal digits of a latency.
const SIGNIFICANT_DIGITS: u8 = 3;

/// A short machine-readable reason, such as `overloaded`, `timeout`, `connection`.
pub(crate) type ErrorCode = Cow<'static, str>;

/// Everything one run recorded.
#[derive(Debug)]
pub(crate) struct Recorder {
    put: Histogram<u64>,
    get: Histogram<u64>,
    /// Operations that were not answered as expected.
    pub(crate) errors: BTreeMap<ErrorCode, u64>,
}

impl Recorder {
    /// An empty one.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let histogram = || Histogram::new_with_bounds(1, LATENCY_NS_MAX, SIGNIFICANT_DIGITS);
        Ok(Self { put: histogram()?, get: histogram()?, errors: BTreeMap::new() })
    }

    /// Notes an operation that was answered as expected.
    pub(crate) fn succeeded(&mut self, kind: Kind, latency: Duration) {
        let ns = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        match kind {
            Kind::Put => self.put.saturating_record(ns),
            Kind::Get => self.get.saturating_record(ns),
        }
    }

    /// Notes one that was not.
    pub(crate) fn failed(&mut self, code: ErrorCode) {
        *self.errors.entry(code).or_default() += 1;
    }

    /// Operations that were answered as expected.
    pub(crate) fn operations(&self) -> u64 {
        self.put.len() + self.get.len()
    }

    /// Histograms in nanoseconds: puts, gets, and both.
    pub(crate) fn histograms(&self) -> anyhow::Result<[Histogram<u64>; 3]> {
        let mut all = self.put.clone();
        all.add(&self.get)?;
        Ok([self.put.clone(), self.get.clone(), all])
    }
}
