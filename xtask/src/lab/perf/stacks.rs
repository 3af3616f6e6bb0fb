//! From samples of `perf script` to kinds of work.
//!
//! A sample is a stack, innermost frame first. It counts for the [`Work`] of the first frame that a rule decides; frames
//! that no rule names (allocation, copying, entry into the kernel) count for whoever called them.

use std::collections::BTreeMap;

use super::work::Work;

/// Samples by kind of work, and for each kind what most of its samples were in.
#[derive(Debug, Default)]
pub(super) struct Attribution {
    pub(super) samples: u64,
    works: BTreeMap<Work, u64>,
    leaves: BTreeMap<(Work, String), u64>,
}

impl Attribution {
    /// Reads what `perf script -F comm,tid,ip,sym` prints.
    pub(super) fn read(script: &str) -> Self {
        let mut attribution = Self::default();
        let mut stack: Vec<&str> = Vec::new();
        for line in script.lines().chain([""]) {
            if let Some(symbol) = frame(line) {
                stack.push(symbol);
            } else if !stack.is_empty() {
                attribution.add(&stack);
                stack.clear();
            }
        }
        attribution
    }

    fn add(&mut self, stack: &[&str]) {
        let work = Work::of(stack);
        self.samples += 1;
        *self.works.entry(work).or_default() += 1;
        let leaf = stack.first().copied().unwrap_or("?").to_owned();
        *self.leaves.entry((work, leaf)).or_default() += 1;
    }

    /// The share of all samples that a kind of work has.
    pub(super) fn share(&self, work: Work) -> f64 {
        self.works.get(&work).map_or(0.0, |samples| self.share_of(*samples))
    }

    /// The innermost functions of some kinds of work with the most samples, with their shares of all samples.
    pub(super) fn top(&self, works: &[Work], count: usize) -> Vec<(&str, f64)> {
        let mut leaves: BTreeMap<&str, u64> = BTreeMap::new();
        for ((work, leaf), samples) in &self.leaves {
            if works.contains(work) {
                *leaves.entry(leaf).or_default() += samples;
            }
        }
        let mut leaves: Vec<(&str, u64)> = leaves.into_iter().collect();
        leaves.sort_by_key(|(leaf, samples)| (std::cmp::Reverse(*samples), *leaf));
        leaves.truncate(count);
        leaves.into_iter().map(|(leaf, samples)| (leaf, self.share_of(samples))).collect()
    }

    fn share_of(&self, samples: u64) -> f64 {
        samples as f64 / self.samples as f64
    }
}

/// A line of a stack is indented: an address and a symbol. Others are heads of samples.
fn frame(line: &str) -> Option<&str> {
    let inner = line.strip_prefix([' ', '\t'])?.trim_start();
    let (address, symbol) = inner.split_once(' ')?;
    let is_address = address.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_address.then(|| symbol.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = "\
ringfort 100
\tffffffff81 tcp_sendmsg_locked
\tffffffff82 __x64_sys_sendto
\t    55d1 <tokio::net::tcp::stream::TcpStream>::poll_write
\t    55d2 <hyper::proto::h1::io::Buffered<T, B>>::poll_flush

ringfort-disk 101
        ffff81 ext4_sync_file
        ffff82 __x64_sys_fdatasync

ringfort 100
\t55d1 mi_malloc
\t55d2 ringfort_log::encode::batch
\t55d3 ringfort_server::worker::turn

ringfort 100
\t7f00 [unknown]
";

    #[test]
    fn a_sample_counts_for_the_first_frame_that_a_rule_decides() {
        let attribution = Attribution::read(SCRIPT);
        assert_eq!(attribution.samples, 4);
        for work in [Work::Http, Work::WriteAndSync, Work::LogRecord, Work::Rest] {
            assert!((attribution.share(work) - 0.25).abs() < 1e-9, "{work:?}");
        }
        assert_eq!(attribution.top(&[Work::LogRecord], 3), [("mi_malloc", 0.25)]);
        assert_eq!(attribution.top(&[Work::LogRecord, Work::Rest], 3).len(), 2);
    }

    #[test]
    fn no_samples_are_no_error() {
        assert_eq!(Attribution::read("").samples, 0);
    }
}
