//! From samples of `perf script` to the rows of the CPU table.
//!
//! A sample is a stack, innermost frame first. It belongs to the row of the first frame that a rule names; frames that no
//! rule names (allocation, copying, entry into the kernel) count for whoever called them. Kernel frames come first, so
//! that a sync is a sync whoever asked for it, while what the kernel does on its own account under an interrupt counts
//! for the code that it interrupted.

use std::collections::BTreeMap;

/// Rows of the table, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Row {
    Http,
    Routing,
    Propose,
    LogRecord,
    WriteAndSync,
    Apply,
    WakeUps,
    Rest,
}

impl Row {
    pub(super) const ALL: [Self; 8] = [
        Self::Http,
        Self::Routing,
        Self::Propose,
        Self::LogRecord,
        Self::WriteAndSync,
        Self::Apply,
        Self::WakeUps,
        Self::Rest,
    ];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Http => "HTTP in and out",
            Self::Routing => "routing",
            Self::Propose => "command, propose, Raft",
            Self::LogRecord => "log record, checksum",
            Self::WriteAndSync => "write and sync",
            Self::Apply => "apply, retry table",
            Self::WakeUps => "wake-ups, timers, metrics",
            Self::Rest => "rest",
        }
    }
}

/// Part of a symbol, and the row it means. The first rule that fits a frame counts.
const RULES: [(&str, Row); 48] = [
    // The kernel, by system call or subsystem.
    ("sys_fdatasync", Row::WriteAndSync),
    ("sys_fsync", Row::WriteAndSync),
    ("sys_pwrite64", Row::WriteAndSync),
    ("sys_pwritev", Row::WriteAndSync),
    ("ext4_", Row::WriteAndSync),
    ("blk_mq_", Row::WriteAndSync),
    ("sys_sendto", Row::Http),
    ("sys_sendmsg", Row::Http),
    ("sys_recvfrom", Row::Http),
    ("sys_recvmsg", Row::Http),
    ("sys_writev", Row::Http),
    ("sock_", Row::Http),
    ("tcp_", Row::Http),
    ("sys_accept", Row::Http),
    ("sys_epoll_wait", Row::WakeUps),
    ("sys_epoll_pwait", Row::WakeUps),
    ("sys_futex", Row::WakeUps),
    ("eventfd_", Row::WakeUps),
    ("sys_clock_gettime", Row::WakeUps),
    ("sys_nanosleep", Row::WakeUps),
    ("sys_clock_nanosleep", Row::WakeUps),
    ("sys_timerfd", Row::WakeUps),
    ("schedule", Row::WakeUps),
    // Ringfort, innermost crates first; names of functions before names of crates.
    ("crc32c::", Row::LogRecord),
    ("ringfort_log::", Row::LogRecord),
    ("ringfort_engine::", Row::Apply),
    ("ringfort_replica::apply", Row::Apply),
    ("ringfort_replica::retry", Row::Apply),
    ("ringfort_replica::machine", Row::Apply),
    ("ringfort_replica::state", Row::Apply),
    ("ringfort_types::key::token_of", Row::Routing),
    ("ringfort_node::route", Row::Routing),
    ("ringfort_raft::", Row::Propose),
    ("ringfort_replica::", Row::Propose),
    ("ringfort_node::", Row::Propose),
    ("ringfort_server::disk", Row::WriteAndSync),
    ("ringfort_server::metrics", Row::WakeUps),
    ("ringfort_door::", Row::Http),
    ("httparse::", Row::Http),
    ("hyper_util::", Row::Http),
    ("hyper::", Row::Http),
    ("ringfort_server::listen", Row::Http),
    ("ringfort_server::", Row::Propose),
    ("tokio::net::", Row::Http),
    ("prometheus_client::", Row::WakeUps),
    ("__vdso_clock_gettime", Row::WakeUps),
    ("tokio::", Row::WakeUps),
    ("mio::", Row::WakeUps),
];

/// Samples by row, and for each row what most of its samples were in.
#[derive(Debug, Default)]
pub(super) struct Attribution {
    pub(super) samples: u64,
    pub(super) rows: BTreeMap<Row, u64>,
    leaves: BTreeMap<(Row, String), u64>,
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
        let row = row_of(stack);
        self.samples += 1;
        *self.rows.entry(row).or_default() += 1;
        let leaf = stack.first().copied().unwrap_or("?").to_owned();
        *self.leaves.entry((row, leaf)).or_default() += 1;
    }

    /// The innermost functions of a row with the most samples.
    pub(super) fn top(&self, row: Row, count: usize) -> Vec<(&str, u64)> {
        let mut leaves: Vec<(&str, u64)> = self
            .leaves
            .iter()
            .filter(|((its_row, _), _)| *its_row == row)
            .map(|((_, leaf), samples)| (leaf.as_str(), *samples))
            .collect();
        leaves.sort_by_key(|(leaf, samples)| (std::cmp::Reverse(*samples), *leaf));
        leaves.truncate(count);
        leaves
    }
}

/// A line of a stack is indented: an address and a symbol. Others are heads of samples.
fn frame(line: &str) -> Option<&str> {
    let inner = line.strip_prefix([' ', '\t'])?.trim_start();
    let (address, symbol) = inner.split_once(' ')?;
    let is_address = address.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_address.then(|| symbol.trim())
}

fn row_of(stack: &[&str]) -> Row {
    stack
        .iter()
        .find_map(|symbol| {
            RULES.iter().find(|(part, _)| symbol.contains(part)).map(|(_, row)| *row)
        })
        .unwrap_or(Row::Rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = "\
ringfort 100
\tffffffff81 tcp_sendmsg_locked
\tffffffff82 __x64_sys_sendto
\t    55d1 <tokio::net::tcp::stream::TcpStream>::poll_write

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
    fn a_sample_belongs_to_the_first_frame_that_a_rule_names() {
        let attribution = Attribution::read(SCRIPT);
        assert_eq!(attribution.samples, 4);
        for row in [Row::Http, Row::WriteAndSync, Row::LogRecord, Row::Rest] {
            assert_eq!(attribution.rows.get(&row), Some(&1), "{row:?}");
        }
        assert_eq!(attribution.top(Row::LogRecord, 3), [("mi_malloc", 1)]);
    }

    #[test]
    fn no_samples_are_no_error() {
        assert_eq!(Attribution::read("").samples, 0);
    }
}
