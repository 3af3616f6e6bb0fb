//! Format version 1 is read for ever: logs written once and kept, byte by byte.
//!
//! `RINGFORT_FIXTURES=write` writes them anew, which is right only before a version is released.

use std::fmt::Write;
use std::path::PathBuf;

use bytes::Bytes;
use ringfort_env::{Disk, DiskOperation, FileName};
use ringfort_log::{
    Base, GroupWrite, LogError, RecoveredLog, SourceId, Submission, SubmissionId, recover,
};
use ringfort_sim::{PowerLoss, SimDisk};
use ringfort_types::{Applied, Entry, GroupId, HardState, Index, Monotonic, ReplicaId, Term};

use crate::support::host::{Host, small_options};

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1")
}

fn append(group: u32, hard_state: Option<HardState>, entries: &[(u64, u64, &str)]) -> GroupWrite {
    let entries = entries.iter().map(|(index, term, payload)| Entry {
        index: Index(*index),
        term: Term(*term),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
    });
    GroupWrite::Append { group: GroupId(group), hard_state, entries: entries.collect() }
}

fn create(group: u32, replica: u64) -> GroupWrite {
    GroupWrite::Create { group: GroupId(group), replica: ReplicaId(replica) }
}

/// Every kind of record, over two starts.
fn write_log() -> SimDisk {
    let state = HardState { term: Term(3), vote: Some(ReplicaId(12)), commit: Index(1) };
    let base = Base { applied: Applied { index: Index(1), term: Term(1) }, generation: 7 };
    let submissions = [
        vec![create(0, 10), create(1, 11), create(2, 12)],
        vec![append(0, None, &[(1, 1, ""), (2, 1, "two"), (3, 2, "three")])],
        vec![append(1, Some(state), &[(1, 3, "one")]), append(2, None, &[(1, 1, "gone")])],
        vec![GroupWrite::Rebase { group: GroupId(0), base }],
        vec![GroupWrite::Drop { group: GroupId(2) }, create(2, 13)],
        vec![append(0, None, &[(3, 4, "three again"), (4, 4, "four")])],
    ];
    let mut host = Host::fresh(0, small_options());
    for (at, writes) in submissions.into_iter().enumerate() {
        let id = SubmissionId(at as u64 + 1);
        host.submit(Submission { source: SourceId(0), id, writes, operations: 1 });
        while host.step(None) {}
    }
    // No marker follows: the last batch's entries are brought along by the next start.
    let mut disk = host.disk;
    disk.power_loss(PowerLoss::LoseAll);
    let (mut host, _) = Host::start(disk, small_options()).unwrap();
    let id = SubmissionId(7);
    let writes = vec![append(1, None, &[(2, 3, "after the start")])];
    host.submit(Submission { source: SourceId(0), id, writes, operations: 1 });
    host.settle();
    host.disk
}

/// Segments in use, without the zeros at their ends.
fn segments(disk: &mut SimDisk) -> Vec<(FileName, Vec<u8>)> {
    let files = disk.list().unwrap();
    let used = files.iter().filter_map(|(name, _)| {
        let content = disk.content(name).unwrap();
        let last = content.iter().rposition(|byte| *byte != 0)?;
        Some((name.clone(), content[..(last + 1).next_multiple_of(512)].to_vec()))
    });
    used.collect()
}

fn load(name: &str) -> Bytes {
    let path = directory().join(name);
    let bytes = std::fs::read(&path);
    bytes.unwrap_or_else(|error| panic!("{}: {error}", path.display())).into()
}

fn store(name: &str, bytes: &[u8]) {
    std::fs::write(directory().join(name), bytes).unwrap();
}

const SEGMENTS: [&str; 2] = ["log-0000000000000001.seg", "log-0000000000000003.seg"];

fn fixture() -> SimDisk {
    let mut disk = SimDisk::new(0);
    for name in SEGMENTS {
        let file = FileName::new(name);
        disk.execute(&DiskOperation::Create(file.clone())).unwrap();
        let write = DiskOperation::WriteAt { file, offset: 0, bytes: load(name) };
        disk.execute(&write).unwrap();
    }
    disk
}

fn draw(recovered: &RecoveredLog) -> String {
    let mut text = String::new();
    for (id, group) in &recovered.groups {
        let HardState { term, vote, commit } = group.hard_state;
        let vote = vote.map_or("nobody".to_owned(), |replica| replica.to_string());
        let Base { applied, generation } = group.base;
        writeln!(text, "group {id} replica {}", group.replica).unwrap();
        writeln!(text, "  hard state: term {term}, vote {vote}, commit {commit}").unwrap();
        writeln!(
            text,
            "  base: {} of term {}, generation {generation}",
            applied.index, applied.term
        )
        .unwrap();
        for entry in &group.entries {
            let payload = String::from_utf8_lossy(&entry.payload);
            writeln!(text, "  entry {} of term {}: {payload:?}", entry.index, entry.term).unwrap();
        }
    }
    for finding in &recovered.findings {
        writeln!(text, "finding: {finding}").unwrap();
    }
    text
}

#[test]
fn version_1_is_read() {
    if std::env::var_os("RINGFORT_FIXTURES").is_some_and(|what| what == "write") {
        write_fixtures();
    }
    let (_, recovered) = recover(&mut fixture(), small_options(), Monotonic(0)).unwrap();
    assert_eq!(draw(&recovered), String::from_utf8_lossy(&load("expected.txt")));
}

fn write_fixtures() {
    let mut disk = write_log();
    let segments = segments(&mut disk);
    let names: Vec<&str> = segments.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, SEGMENTS);
    for (name, bytes) in &segments {
        store(name.as_str(), bytes);
    }
    let (_, recovered) = recover(&mut fixture(), small_options(), Monotonic(0)).unwrap();
    store("expected.txt", draw(&recovered).as_bytes());
}

/// Guards against a change of the format that nobody meant.
#[test]
fn version_1_is_written_to_the_byte() {
    let mut disk = write_log();
    for (name, bytes) in segments(&mut disk) {
        assert!(bytes == load(name.as_str()), "{name} differs from its fixture");
    }
}

/// A newer version is refused by name; the same byte changed by rot is damage.
#[test]
fn a_newer_version_is_refused() {
    let mut disk = fixture();
    let file = FileName::new(SEGMENTS[1]);
    let mut header = disk.content(&file).unwrap()[..72].to_vec();
    header[12] = 2;
    assert!(disk.overwrite(&file, 0, &header));
    let (_, recovered) = recover(&mut disk.clone(), small_options(), Monotonic(0)).unwrap();
    assert!(recovered.findings[0].contains(SEGMENTS[1]), "{:?}", recovered.findings);
    // The checksum, after docs/formats/log.md: salt, segment, offset, then the header from its version on.
    let mut sealed = Vec::new();
    sealed.extend(small_options().salt.to_le_bytes());
    sealed.extend(3_u64.to_le_bytes());
    sealed.extend(0_u64.to_le_bytes());
    sealed.extend(&header[12..]);
    header[8..12].copy_from_slice(&crc32c::crc32c(&sealed).to_le_bytes());
    assert!(disk.overwrite(&file, 0, &header));
    let error = recover(&mut disk, small_options(), Monotonic(0)).unwrap_err();
    let LogError::NewerFormat { file: named, found, known } = error else {
        panic!("{error}");
    };
    assert_eq!((named, found, known), (file, 2, 1));
}
