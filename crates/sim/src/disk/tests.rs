//! The simulated disk forgets what it may and nothing else.

use bytes::Bytes;
use ringfort_env::{Disk, DiskErrorKind, DiskOperation, DiskRequest, FileName, Lane, OperationId};

use super::{PowerLoss, SimDisk};

fn file(name: &str) -> FileName {
    FileName::new(name)
}

fn write(name: &str, offset: u64, bytes: &[u8]) -> DiskOperation {
    DiskOperation::WriteAt { file: file(name), offset, bytes: Bytes::copy_from_slice(bytes) }
}

fn run(disk: &mut SimDisk, operations: impl IntoIterator<Item = DiskOperation>) {
    for operation in operations {
        disk.execute(&operation).unwrap();
    }
}

/// A disk with one durable file of four sectors of `old`.
fn with_file(seed: u64) -> SimDisk {
    let mut disk = SimDisk::new(seed);
    run(
        &mut disk,
        [
            DiskOperation::Create(file("a")),
            write("a", 0, &[b'o'; 2048]),
            DiskOperation::SyncData(file("a")),
            DiskOperation::SyncDirectory,
        ],
    );
    disk
}

#[test]
fn what_is_synced_survives_and_what_is_not_is_old_or_new_sector_by_sector() {
    let patterns = [PowerLoss::LoseAll, PowerLoss::Torn, PowerLoss::Partial, PowerLoss::KeepAll];
    let mut seen = std::collections::BTreeSet::new();
    for pattern in patterns {
        for seed in 0..50 {
            let mut disk = with_file(seed);
            run(&mut disk, [write("a", 512, &[b'n'; 1024])]);
            disk.power_loss(pattern);
            let content = disk.content(&file("a")).unwrap();
            assert!(content.len() == 2048 && content[..512] == [b'o'; 512]);
            let sectors: String = content
                .chunks(512)
                .map(|sector| {
                    assert!(sector.iter().all(|byte| *byte == sector[0]), "sectors are wholes");
                    char::from(sector[0])
                })
                .collect();
            seen.insert((format!("{pattern:?}"), sectors));
        }
    }
    let of = |name: &str| -> Vec<&str> {
        seen.iter().filter(|(pattern, _)| pattern == name).map(|(_, s)| s.as_str()).collect()
    };
    assert_eq!(of("LoseAll"), ["oooo"]);
    assert_eq!(of("Torn"), ["onno", "onoo", "oooo"]);
    assert_eq!(of("Partial"), ["onno", "onoo", "oono", "oooo"]);
    assert_eq!(of("KeepAll"), ["onno"]);
}

#[test]
fn a_process_crash_keeps_what_was_completed() {
    let mut disk = with_file(1);
    run(&mut disk, [write("a", 0, &[b'n'; 512]), DiskOperation::Create(file("b"))]);
    disk.process_crash();
    assert_eq!(disk.content(&file("a")).unwrap()[0], b'n');
    assert!(disk.content(&file("b")).is_some());
    disk.power_loss(PowerLoss::LoseAll);
    assert_eq!(disk.content(&file("a")).unwrap()[0], b'o', "it was in the page cache only");
    assert!(disk.content(&file("b")).is_none());
}

#[test]
fn names_are_each_there_or_not_and_a_file_has_one() {
    for seed in 0..200 {
        let mut disk = with_file(seed);
        let rename = |from, to| DiskOperation::Rename { from: file(from), to: file(to) };
        run(&mut disk, [rename("a", "b"), rename("b", "c"), DiskOperation::Create(file("d"))]);
        disk.power_loss(PowerLoss::Partial);
        let files: Vec<String> =
            disk.list().unwrap().iter().map(|(name, _)| name.to_string()).collect();
        let names = files.iter().filter(|name| *name != "d").count();
        assert_eq!(names, 1, "{files:?}");
    }
}

#[test]
fn a_lost_file_takes_its_unsynced_truncation_back() {
    let mut disk = with_file(1);
    let truncate = |len| DiskOperation::Truncate { file: file("a"), len };
    run(&mut disk, [truncate(100), truncate(4096), write("a", 3000, b"x")]);
    disk.power_loss(PowerLoss::LoseAll);
    assert_eq!(disk.content(&file("a")).unwrap(), [b'o'; 2048]);
}

#[test]
fn faults_strike_once_where_they_are_asked_for() {
    let mut disk = with_file(1);
    disk.fail_sync_in(1);
    let sync = DiskOperation::SyncData(file("a"));
    assert!(disk.execute(&sync).is_ok());
    assert!(disk.execute(&DiskOperation::SyncDirectory).is_err());
    assert!(disk.execute(&sync).is_ok());
    disk.set_capacity(Some(2048));
    let error = disk.execute(&write("a", 2000, &[0; 100])).unwrap_err();
    assert_eq!(error.kind, DiskErrorKind::Full);
    assert!(disk.execute(&write("a", 1000, &[0; 100])).is_ok(), "no growth");
    disk.crash_in(1);
    assert!(disk.execute(&sync).is_ok());
    assert!(!disk.crashed());
    assert!(disk.execute(&write("a", 0, &[b'n'; 2048])).is_err());
    assert!(disk.crashed() && disk.execute(&sync).is_err());
    disk.process_crash();
    assert!(disk.execute(&sync).is_ok());
}

#[test]
fn lanes_keep_their_order_and_one_may_stall() {
    let mut disk = with_file(1);
    let request = |id, lane| DiskRequest {
        id: OperationId(id),
        lane,
        operation: write("a", 0, &[u8::try_from(id).unwrap()]),
    };
    for id in 1..=3 {
        disk.submit(request(id, Lane::Log));
        disk.submit(request(id + 10, Lane::Background));
    }
    disk.stall(Lane::Log, true);
    let mut order = Vec::new();
    while let Some(completion) = disk.complete_any() {
        order.push(completion.id.0);
    }
    disk.stall(Lane::Log, false);
    while let Some(completion) = disk.complete_any() {
        order.push(completion.id.0);
    }
    assert_eq!(order, [11, 12, 13, 1, 2, 3]);
}

#[test]
fn the_same_seed_makes_the_same_choices() {
    let run_once = || {
        let mut disk = with_file(9);
        run(&mut disk, [write("a", 0, &[b'n'; 2048]), DiskOperation::Create(file("z"))]);
        disk.power_loss(PowerLoss::Any);
        (disk.list().unwrap(), disk.content(&file("a")).map(<[u8]>::to_vec))
    };
    assert_eq!(run_once(), run_once());
}
