//! What a start finds, refuses and tells.

use ringfort_env::{Disk, DiskOperation, FileName};
use ringfort_log::{DamageKind, GroupWrite, LogError, LogOptions, LogStore, recover};
use ringfort_sim::{PowerLoss, SimDisk};
use ringfort_types::{GroupId, Index, Monotonic, ReplicaId};

use crate::support::client::{Client, entry, fill_segment, newest_used, restart};
use crate::support::host::{Host, small_options};
use crate::support::model::Model;
use crate::support::trace::Trace;

/// The negative control of marking: a flip in the last batch is found only where a marker follows.
#[test]
fn a_marker_turns_rot_of_the_last_batch_into_damage() {
    for marked in [false, true] {
        let mut host = Host::fresh(1, small_options());
        let mut client = Client::default();
        host.submit(client.create(1));
        host.settle();
        host.submit(client.append(1, vec![entry(1, 1, 100)]));
        while host.step(None) {}
        if marked {
            host.settle();
        }
        let file = newest_used(&mut host);
        let payload = [1_u8; 100];
        let content = host.disk.content(&file).unwrap();
        let at = content.windows(100).position(|window| window == payload).unwrap();
        assert!(host.disk.flip_bit(&file, at as u64 + 50, 3));
        let (_, recovered) = restart(host);
        let group = &recovered.groups[&GroupId(1)];
        assert!(group.entries.is_empty());
        assert_eq!(recovered.findings.is_empty(), !marked);
        let lost = DamageKind::EntriesLost { first: Index(1), last: Index(1) };
        assert_eq!(group.damage.as_ref().map(|damage| damage.kind), marked.then_some(lost));
    }
}

#[test]
fn foreign_files_are_left_alone() {
    let mut disk = SimDisk::new(1);
    let names = ["snap-1-1", "identity", "LOCK", "log-1.seg", "log-000000000000000G.seg", "log-"];
    for name in names {
        disk.execute(&DiskOperation::Create(FileName::new(name))).unwrap();
    }
    let (mut host, _) = Host::start(disk, small_options()).unwrap();
    let mut client = Client::default();
    host.submit(client.create(1));
    host.settle();
    let (host, _) = restart(host);
    for name in names {
        assert_eq!(host.disk.content(&FileName::new(name)), Some(&[][..]), "{name}");
    }
}

#[test]
fn a_log_under_another_salt_is_refused_and_not_touched() {
    let mut host = Host::fresh(1, small_options());
    let mut client = Client::default();
    host.submit(client.create(1));
    host.settle();
    let mut disk = host.disk;
    disk.power_loss(PowerLoss::LoseAll);
    let before = disk.list().unwrap();
    let other = LogOptions { salt: 1, ..small_options() };
    let error = recover(&mut disk, other, Monotonic(0)).unwrap_err();
    assert!(matches!(error, LogError::Unreadable { .. }), "{error}");
    assert_eq!(disk.list().unwrap(), before);
    let (_, recovered) = Host::start(disk, small_options()).unwrap();
    assert!(recovered.groups.contains_key(&GroupId(1)));
}

#[test]
fn options_out_of_range_are_named() {
    let bad = [
        LogOptions { segment_bytes: 1 << 10, ..small_options() },
        LogOptions { segment_bytes: (1 << 20) + 512, ..small_options() },
        LogOptions { log_bytes_target: 1, ..small_options() },
    ];
    let names = bad.map(|options| match recover(&mut SimDisk::new(1), options, Monotonic(0)) {
        Err(LogError::Option { setting, .. }) => setting,
        other => panic!("{other:?}"),
    });
    assert_eq!(names, ["segment_bytes", "segment_bytes", "log_bytes_target"]);
}

/// The segment before the active one is kept for this.
#[test]
fn damage_to_an_opening_costs_nothing() {
    let mut host = Host::fresh(1, small_options());
    let mut client = Client::default();
    for group in 1..=8 {
        host.submit(client.create(group));
        host.submit(client.append(group, vec![entry(1, 1, 100)]));
        host.submit(client.rebase(group, 1, 1));
    }
    let mut next = 2;
    for _ in 0..3 {
        fill_segment(&mut host, &mut client, 1, &mut next);
        host.submit(client.rebase(1, next - 1, 1));
        host.settle();
    }
    let file = newest_used(&mut host);
    let length = host.disk.content(&file).unwrap()[64..68].try_into().unwrap();
    for offset in (0..u64::from(u32::from_le_bytes(length))).step_by(5) {
        let mut disk = host.disk.clone();
        assert!(disk.flip_bit(&file, offset, 4));
        let (_, recovered) = Host::start(disk, small_options()).unwrap();
        assert!(!recovered.findings.is_empty(), "offset {offset}");
        assert!(!recovered.groups_may_be_missing, "offset {offset}");
        assert_eq!(recovered.groups.len(), 8, "offset {offset}");
        for (id, group) in &recovered.groups {
            assert_eq!(group.damage, None, "group {id}, offset {offset}");
            let last = if id.0 == 1 { next - 1 } else { 1 };
            assert_eq!(group.base.applied.index, Index(last), "group {id}, offset {offset}");
        }
    }
}

/// A record of which not even the head is left may have replaced an older entry: that one is not given back.
#[test]
fn what_a_lost_entry_may_have_replaced_is_lost_too() {
    for follower in [false, true] {
        let mut host = Host::fresh(1, small_options());
        let mut client = Client::default();
        host.submit(client.create(1));
        host.submit(client.append(1, (1..=3).map(|index| entry(index, 1, 50)).collect()));
        host.settle();
        let mut newer = vec![entry(2, 2, 77)];
        newer.extend(follower.then(|| entry(3, 2, 78)));
        host.submit(client.append(1, newer));
        host.settle();
        let file = newest_used(&mut host);
        let content = host.disk.content(&file).unwrap();
        let payload = content.windows(77).position(|window| window == [2; 77]).unwrap();
        assert!(host.disk.flip_bit(&file, payload as u64 - 15, 1), "in its index");
        let (_, recovered) = restart(host);
        let group = &recovered.groups[&GroupId(1)];
        let kind = group.damage.as_ref().expect("found").kind;
        if follower {
            // It was the one before entry 3, and that is of no use without it: it counts as lost as well.
            assert_eq!(kind, DamageKind::EntriesLost { first: Index(2), last: Index(3) });
            assert_eq!(group.entries, [entry(1, 1, 50)]);
        } else {
            // It may have been any: none is known to be committed.
            assert_eq!(kind, DamageKind::EntriesLost { first: Index(1), last: Index(4) });
            assert!(group.entries.is_empty());
        }
    }
}

#[test]
fn damage_stays_until_the_group_is_dropped() {
    let mut host = Host::fresh(1, small_options());
    let mut client = Client::default();
    host.submit(client.create(1));
    host.submit(client.append(1, vec![entry(1, 1, 50), entry(2, 1, 50), entry(3, 1, 50)]));
    host.settle();
    let file = newest_used(&mut host);
    let content = host.disk.content(&file).unwrap();
    let at = content.windows(50).position(|window| window == [2; 50]).unwrap() as u64;
    assert!(host.disk.flip_bit(&file, at, 0));
    let (mut host, recovered) = restart(host);
    let damage = recovered.groups[&GroupId(1)].damage.clone().expect("found");
    // The third is whole, and was acknowledged: whoever gets the second back has not got that.
    assert_eq!(damage.kind, DamageKind::EntriesLost { first: Index(2), last: Index(3) });
    assert_eq!(recovered.groups[&GroupId(1)].entries, [entry(1, 1, 50)]);
    // The lost range is filled again by a leader: the damage stays on record all the same.
    host.submit(client.append(1, vec![entry(2, 2, 60)]));
    host.settle();
    let (mut host, recovered) = restart(host);
    assert_eq!(recovered.groups[&GroupId(1)].damage.as_ref(), Some(&damage));
    assert_eq!(recovered.groups[&GroupId(1)].entries, [entry(1, 1, 50), entry(2, 2, 60)]);
    host.submit(client.submission(vec![
        GroupWrite::Drop { group: GroupId(1) },
        GroupWrite::Create { group: GroupId(1), replica: ReplicaId(2) },
    ]));
    host.settle();
    let (_, recovered) = restart(host);
    assert_eq!(recovered.groups[&GroupId(1)].damage, None);
    assert_eq!(recovered.groups[&GroupId(1)].replica, ReplicaId(2));
}

/// The memory log tells and gives back what the file log does.
#[test]
fn memory_log_and_file_log_agree() {
    for seed in 0..20 {
        let mut trace = Trace::new(seed);
        let mut model = Model::default();
        let mut host = Host::fresh(seed, small_options());
        let mut memory = ringfort_log::MemoryLog::new();
        for _ in 0..100 {
            let submission = trace.submission(&model.newest);
            model.submit(&submission);
            memory.submit(host.now, submission.clone());
            host.submit(submission);
        }
        let said = host.settle();
        for (source, id) in said.durable {
            model.durable(source, id);
        }
        let (_, recovered) = restart(host);
        model.check(&recovered);
        model.check(&memory.recovered());
        assert_eq!(recovered.groups.len(), memory.recovered().groups.len());
    }
}
