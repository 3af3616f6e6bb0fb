//! A client of the log with submissions of one source, and what tests do over and over.

use bytes::Bytes;
use ringfort_env::{Disk, FileName};
use ringfort_log::{Base, GroupWrite, LogStore, RecoveredLog, SourceId, Submission, SubmissionId};
use ringfort_sim::PowerLoss;
use ringfort_types::{Applied, Entry, GroupId, Index, ReplicaId, Term};

use super::host::{Host, small_options};

/// Submissions of one source, one after the other.
#[derive(Default)]
pub(crate) struct Client {
    pub(crate) id: u64,
}

impl Client {
    pub(crate) fn submission(&mut self, writes: Vec<GroupWrite>) -> Submission {
        self.id += 1;
        Submission { source: SourceId(0), id: SubmissionId(self.id), writes, operations: 1 }
    }

    pub(crate) fn create(&mut self, group: u32) -> Submission {
        let (group, replica) = (GroupId(group), ReplicaId(u64::from(group) + 100));
        self.submission(vec![GroupWrite::Create { group, replica }])
    }

    pub(crate) fn append(&mut self, group: u32, entries: Vec<Entry>) -> Submission {
        let group = GroupId(group);
        self.submission(vec![GroupWrite::Append { group, hard_state: None, entries }])
    }

    pub(crate) fn rebase(&mut self, group: u32, index: u64, term: u64) -> Submission {
        let applied = Applied { index: Index(index), term: Term(term) };
        let base = Base { applied, generation: 1 };
        self.submission(vec![GroupWrite::Rebase { group: GroupId(group), base }])
    }
}

pub(crate) fn entry(index: u64, term: u64, bytes: usize) -> Entry {
    let payload = Bytes::from(vec![u8::try_from(index % 251).unwrap(); bytes]);
    Entry { term: Term(term), index: Index(index), payload }
}

pub(crate) fn restart(host: Host) -> (Host, RecoveredLog) {
    let mut disk = host.disk;
    disk.power_loss(PowerLoss::LoseAll);
    Host::start(disk, small_options()).unwrap()
}

pub(crate) fn segments(host: &mut Host) -> usize {
    let files = host.disk.list().unwrap();
    files.iter().filter(|(name, _)| name.as_str().starts_with("log-")).count()
}

/// Writes until the active segment is another one.
pub(crate) fn fill_segment(host: &mut Host, client: &mut Client, group: u32, next: &mut u64) {
    let before = host.log.stats().bytes;
    while host.log.stats().bytes < before + (300 << 10) {
        host.submit(client.append(group, vec![entry(*next, 1, 20_000)]));
        *next += 1;
        host.settle();
    }
}

/// The segment file written last.
pub(crate) fn newest_used(host: &mut Host) -> FileName {
    let files = host.disk.list().unwrap();
    let used = files.iter().rev().find(|(name, _)| {
        let content = host.disk.content(name).unwrap();
        content.starts_with(b"RingfLog")
            && content[16..24]
                == u64::from_str_radix(&name.as_str()[4..20], 16).unwrap().to_le_bytes()
    });
    used.unwrap().0.clone()
}
