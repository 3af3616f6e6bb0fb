//! Descriptors: the operating system's limit, and what of it connections may take.
//!
//! A write of the log that fails ends the process, so connections must never take the last descriptor.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that connections leave to all else: the log, flushes, reads of files, listeners, runtimes.
const RESERVE: u64 = 512;

/// Raises the soft limit of open files to the hard one. The soft one is small by custom, for programs that use `select`.
pub(crate) fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    let raised = Rlimit { current: limit.maximum, ..limit };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!("the limit of open files stays at {}: {error}", shown(limit.current));
    }
}

/// Connections that each of so many acceptors may hold: as configured, or what the limit of open files leaves.
pub(crate) fn connections_max(configured: usize, acceptors: usize) -> usize {
    let open_files = getrlimit(Resource::Nofile).current;
    let most = share(configured, acceptors, open_files);
    if most < configured {
        tracing::warn!(
            "limits.connections is lowered from {configured} to {most}: the limit of open files is {}; raise its hard limit (`ulimit -Hn`, or LimitNOFILE= of a systemd unit)",
            shown(open_files)
        );
    }
    most
}

/// Connections of each entrance while the node starts: enough to ask how it is.
const CONNECTIONS_WHILE_STARTING: usize = 256;

/// Connections that each of so many entrances may hold while the node starts. Some of them may still be there when the
/// workers accept theirs, so they get a small part of what the limit of open files leaves.
pub(crate) fn connections_while_starting(entrances: usize) -> usize {
    share(CONNECTIONS_WHILE_STARTING, 4 * entrances, getrlimit(Resource::Nofile).current)
}

fn share(configured: usize, acceptors: usize, open_files: Option<u64>) -> usize {
    let Some(open_files) = open_files else {
        return configured;
    };
    // Where there are very few, connections get half of them.
    let left = open_files - RESERVE.min(open_files / 2);
    let share = usize::try_from(left).unwrap_or(usize::MAX) / acceptors.max(1);
    configured.min(share.max(1))
}

fn shown(limit: Option<u64>) -> String {
    limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_a_reserve_of_descriptors() {
        let cases = [
            // configured, acceptors, limit, each may hold
            (10_000, 1, Some(20_000), 10_000),
            (10_000, 2, Some(20_000), 9_744),
            (10_000, 1, Some(10_512), 10_000),
            (10_000, 1, Some(10_511), 9_999),
            (10_000, 4, Some(1024), 128),
            (10_000, 1, Some(256), 128),
            (10_000, 1000, Some(1024), 1),
            (10_000, 1, Some(0), 1),
            (10_000, 64, None, 10_000),
            (7, 1, Some(u64::MAX), 7),
            (7, 0, Some(1024), 7),
        ];
        for (configured, acceptors, limit, each) in cases {
            let given = share(configured, acceptors, limit);
            assert_eq!(given, each, "{configured} configured, {acceptors} acceptors, {limit:?}");
        }
    }
}
