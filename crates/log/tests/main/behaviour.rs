//! What the log does, one property at a time.

use std::time::Duration;

use bytes::Bytes;
use ringfort_env::{Disk, DiskErrorKind, DiskOperation, FileName, Lane};
use ringfort_log::{
    Base, DamageKind, GroupWrite, LogError, LogOptions, LogStore, SourceId, Submission,
    SubmissionId, recover,
};
use ringfort_sim::{PowerLoss, SimDisk};
use ringfort_types::{Applied, Entry, GroupId, HardState, Index, Monotonic, ReplicaId, Term};

use crate::support::host::{Host, small_options};
use crate::support::model::Model;
use crate::support::trace::Trace;

/// Submissions of one source, one after the other.
#[derive(Default)]
struct Client {
    id: u64,
}

impl Client {
    fn submission(&mut self, writes: Vec<GroupWrite>) -> Submission {
        self.id += 1;
        Submission { source: SourceId(0), id: SubmissionId(self.id), writes, operations: 1 }
    }

    fn create(&mut self, group: u32) -> Submission {
        let (group, replica) = (GroupId(group), ReplicaId(u64::from(group) + 100));
        self.submission(vec![GroupWrite::Create { group, replica }])
    }

    fn append(&mut self, group: u32, entries: Vec<Entry>) -> Submission {
        let group = GroupId(group);
        self.submission(vec![GroupWrite::Append { group, hard_state: None, entries }])
    }

    fn rebase(&mut self, group: u32, index: u64, term: u64) -> Submission {
        let applied = Applied { index: Index(index), term: Term(term) };
        let base = Base { applied, generation: 1 };
        self.submission(vec![GroupWrite::Rebase { group: GroupId(group), base }])
    }
}

fn entry(index: u64, term: u64, bytes: usize) -> Entry {
    let payload = Bytes::from(vec![u8::try_from(index % 251).unwrap(); bytes]);
    Entry { term: Term(term), index: Index(index), payload }
}

fn restart(host: Host) -> (Host, ringfort_log::RecoveredLog) {
    let mut disk = host.disk;
    disk.power_loss(PowerLoss::LoseAll);
    Host::start(disk, small_options()).unwrap()
}

fn segments(host: &mut Host) -> usize {
    let files = host.disk.list().unwrap();
    files.iter().filter(|(name, _)| name.as_str().starts_with("log-")).count()
}

/// Writes until the active segment is another one.
fn fill_segment(host: &mut Host, client: &mut Client, group: u32, next: &mut u64) {
    let before = host.log.stats().bytes;
    while host.log.stats().bytes < before + (300 << 10) {
        host.submit(client.append(group, vec![entry(*next, 1, 20_000)]));
        *next += 1;
        host.settle();
    }
}

#[test]
fn durable_is_told_after_write_and_sync_and_not_before() {
    let mut host = Host::fresh(1, small_options());
    let mut client = Client::default();
    host.settle();
    host.submit(client.create(1));
    assert!(host.said().durable.is_empty());
    assert!(host.step(Some(Lane::Log)), "the write");
    assert!(host.said().durable.is_empty());
    assert!(host.before_sync());
    assert!(host.step(Some(Lane::Log)), "the sync");
    assert_eq!(host.said().durable, [(0, 1)]);
}

#[test]
fn what_comes_while_a_batch_is_synced_goes_into_one_next_batch() {
    let mut host = Host::fresh(1, small_options());
    let mut client = Client::default();
    host.settle();
    let before = host.log.stats();
    host.submit(client.create(1));
    for index in 1..=9 {
        host.submit(client.append(1, vec![entry(index, 1, 10)]));
    }
    while host.step(Some(Lane::Log)) {}
    assert_eq!(host.log.stats().batches, before.batches + 2);
    assert_eq!(host.log.stats().syncs, before.syncs + 2);
    assert_eq!(host.said().durable.last(), Some(&(0, 10)));
}

#[test]
fn a_small_put_costs_less_than_sixty_bytes() {
    let mut host = Host::fresh(1, small_options());
    let mut client = Client::default();
    for group in 0..64 {
        host.submit(client.create(group));
    }
    host.settle();
    let before = host.log.stats();
    // The worst case: each entry in a group of its own. The first goes alone, the others share a batch.
    for group in 0..64 {
        host.submit(client.append(group, vec![entry(1, 1, 300)]));
    }
    while host.step(Some(Lane::Log)) {}
    let bytes = host.log.stats().bytes - before.bytes;
    let frames = 2 * (72 + 22 + 512);
    assert!(bytes < 64 * 360 + frames, "{bytes} bytes for 64 entries of 300");
}

#[test]
fn an_idle_log_marks_its_last_batch_once_and_stays_quiet() {
    let mut host = Host::fresh(1, small_options());
    let mut client = Client::default();
    host.settle();
    host.submit(client.create(1));
    while host.step(None) {}
    let batches = host.log.stats().batches;
    let due = host.log.poll_timer().expect("a marker is due");
    assert!(due <= host.now + small_options().marker_delay);
    assert!(host.pass_timer());
    while host.step(None) {}
    assert_eq!(host.log.stats().batches, batches + 1);
    assert_eq!(host.log.poll_timer(), None, "no marker marks a marker");
}

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

/// The segment file written last.
fn newest_used(host: &mut Host) -> FileName {
    let files = host.disk.list().unwrap();
    let used = files.iter().rev().find(|(name, _)| {
        let content = host.disk.content(name).unwrap();
        content.starts_with(b"RingfLog")
            && content[16..24]
                == u64::from_str_radix(&name.as_str()[4..20], 16).unwrap().to_le_bytes()
    });
    used.unwrap().0.clone()
}

#[test]
fn after_a_failed_sync_nothing_more_is_told_durable() {
    for fault in ["sync", "write"] {
        let mut host = Host::fresh(1, small_options());
        let mut client = Client::default();
        host.settle();
        host.submit(client.create(1));
        host.submit(client.append(1, vec![entry(1, 1, 10)]));
        match fault {
            "sync" => host.disk.fail_sync_in(0),
            _ => host.disk.fail_write_in(0),
        }
        while host.step(Some(Lane::Log)) {}
        host.submit(client.append(1, vec![entry(2, 1, 10)]));
        let said = host.settle();
        let error = said.failed.expect("it is told");
        assert_eq!(error.kind, DiskErrorKind::Other);
        assert_eq!(error.operation, fault);
        assert!(said.durable.is_empty(), "{fault}: {:?}", said.durable);
        assert_eq!(host.disk.queued(), 0, "and nothing more is asked of the disk");
        assert!(host.log.poll_disk().is_none());
    }
}

#[test]
fn a_failed_sync_of_a_prepared_segment_is_fatal_too() {
    let mut host = Host::fresh(1, small_options());
    host.disk.fail_sync_in(0);
    let said = host.settle();
    assert!(said.failed.is_some());
}

#[test]
fn a_full_disk_delays_and_heals_by_itself() {
    let mut host = Host::fresh(1, small_options());
    let mut client = Client::default();
    host.submit(client.create(1));
    host.settle();
    let used = host.disk.used();
    host.disk.set_capacity(Some(used + (100 << 10)));
    let mut next = 1;
    let mut told = 0;
    for _ in 0..60 {
        host.submit(client.append(1, vec![entry(next, 1, 20_000)]));
        next += 1;
        for _ in 0..200 {
            host.step(None);
            host.pass_timer();
        }
        let said = host.said();
        assert!(said.failed.is_none(), "{:?}", said.failed);
        told = said.durable.last().map_or(told, |(_, id)| *id);
    }
    let stats = host.log.stats();
    assert!(stats.segments_failed > 0);
    assert!(told < client.id, "two segments do not hold all of it");
    assert!(host.disk.used() <= used + (100 << 10));
    host.disk.set_capacity(None);
    let said = host.settle();
    assert_eq!(said.durable.last(), Some(&(0, client.id)), "all of it, without a command");
    let (_, recovered) = restart(host);
    assert_eq!(recovered.groups[&GroupId(1)].entries.len() as u64, next - 1);
}

#[test]
fn a_group_that_holds_back_much_is_asked_for_a_rebase_and_the_log_shrinks() {
    let mut host = Host::fresh(1, small_options());
    let mut client = Client::default();
    host.submit(client.create(1));
    host.submit(client.create(2));
    let mut next = 1;
    let mut asked = Vec::new();
    while asked.is_empty() {
        host.submit(client.append(1, vec![entry(next, 1, 20_000)]));
        next += 1;
        asked = host.settle().want_rebase;
    }
    assert_eq!(asked, [GroupId(1)]);
    let before = host.log.stats().live_bytes;
    host.submit(client.rebase(1, next - 1, 1));
    host.settle();
    assert!(host.log.stats().live_bytes < before);
    for _ in 0..5 {
        fill_segment(&mut host, &mut client, 1, &mut next);
        host.submit(client.rebase(1, next - 1, 1));
        host.settle();
    }
    assert!(segments(&mut host) <= 5, "{}", segments(&mut host));
    assert!(host.log.stats().segments_recycled >= 3);
}

#[test]
fn stragglers_are_rewritten_and_only_what_recovery_needs() {
    let mut host = Host::fresh(1, small_options());
    let mut client = Client::default();
    host.submit(client.create(1));
    host.submit(client.create(2));
    // Group 2 has five entries, of which two are overwritten in a newer term, and then is silent.
    host.submit(client.append(2, (1..=5).map(|index| entry(index, 1, 700)).collect()));
    host.submit(client.append(2, vec![entry(4, 2, 900)]));
    host.settle();
    let mut next = 1;
    for _ in 0..5 {
        fill_segment(&mut host, &mut client, 1, &mut next);
        host.submit(client.rebase(1, next - 1, 1));
        host.settle();
    }
    let stats = host.log.stats();
    assert!(stats.stragglers_rewritten >= 4, "{stats:?}");
    assert_eq!(stats.stragglers_rewritten % 4, 0, "what was overwritten is not written again");
    let first = FileName::new("log-0000000000000001.seg");
    assert!(host.disk.content(&first).is_none(), "the first segment is gone");
    let (host, recovered) = restart(host);
    let found = &recovered.groups[&GroupId(2)].entries;
    let wanted = [entry(1, 1, 700), entry(2, 1, 700), entry(3, 1, 700), entry(4, 2, 900)];
    assert_eq!(found[..], wanted);
    // A start after the start finds the same.
    let (_, recovered) = restart(host);
    assert_eq!(recovered.groups[&GroupId(2)].entries[..], wanted);
}

#[test]
fn a_dropped_group_never_lends_its_entries_to_its_successor() {
    let mut host = Host::fresh(1, small_options());
    let mut client = Client::default();
    host.submit(client.create(1));
    host.submit(client.create(2));
    host.submit(client.append(2, vec![entry(1, 1, 500)]));
    host.submit(client.submission(vec![
        GroupWrite::Drop { group: GroupId(2) },
        GroupWrite::Create { group: GroupId(2), replica: ReplicaId(900) },
    ]));
    let mine = Entry { payload: Bytes::from_static(b"mine"), ..entry(1, 1, 0) };
    host.submit(client.append(2, vec![mine.clone()]));
    host.settle();
    let mut next = 1;
    for _ in 0..5 {
        fill_segment(&mut host, &mut client, 1, &mut next);
        host.submit(client.rebase(1, next - 1, 1));
        host.settle();
    }
    assert!(host.log.stats().stragglers_rewritten > 0);
    let (_, recovered) = restart(host);
    let group = &recovered.groups[&GroupId(2)];
    assert_eq!(group.replica, ReplicaId(900));
    assert_eq!(group.entries, [mine]);
}

/// Segments full of an earlier life's batches, under new names: not one record of that life is seen again.
#[test]
fn recycled_bytes_never_parse() {
    let mut host = Host::fresh(1, small_options());
    let mut client = Client::default();
    host.submit(client.create(1));
    let mut next = 1;
    while host.log.stats().segments_recycled < 4 {
        fill_segment(&mut host, &mut client, 1, &mut next);
        host.submit(client.rebase(1, next - 1, 1));
        host.settle();
    }
    let recycled = host.disk.list().unwrap().into_iter().filter(|(name, _)| {
        let content = host.disk.content(name).unwrap();
        let own = u64::from_str_radix(&name.as_str()[4..20], 16).unwrap();
        let foreign = |at: usize| {
            content[at..].starts_with(b"RingfLog") && content[at + 16..at + 24] != own.to_le_bytes()
        };
        (0..content.len()).step_by(512).any(foreign)
    });
    assert!(recycled.count() > 0, "some segment holds bytes of an earlier life");
    let (_, recovered) = restart(host);
    assert_eq!(recovered.findings, Vec::<String>::new());
    let group = &recovered.groups[&GroupId(1)];
    assert!(group.entries.iter().all(|entry| entry.index > group.base.applied.index));
    assert_eq!(group.base.applied.index, Index(next - 1));
}

#[test]
fn four_thousand_groups_survive_and_each_segment_knows_them_all() {
    let options =
        LogOptions { segment_bytes: 4 << 20, log_bytes_target: 8 << 20, ..small_options() };
    let mut host = Host::fresh(1, options);
    let mut client = Client::default();
    for group in 0..=4096 {
        host.submit(client.create(group));
    }
    for group in 0..=4096 {
        host.submit(client.append(group, vec![entry(1, 1, 100)]));
    }
    host.settle();
    let mut next = 2;
    while host.log.stats().live_bytes < 9 << 20 {
        host.submit(client.append(7, vec![entry(next, 1, 20_000)]));
        next += 1;
        host.settle();
    }
    let mut disk = host.disk;
    disk.power_loss(PowerLoss::LoseAll);
    let (_, recovered) = Host::start(disk, options).unwrap();
    assert_eq!(recovered.groups.len(), 4097);
    assert!(recovered.findings.is_empty());
    assert!(recovered.groups.values().all(|group| group.entries[0] == entry(1, 1, 100)));
    assert_eq!(recovered.groups[&GroupId(7)].entries.len() as u64, next - 1);
}

#[test]
fn entries_of_seventeen_mebibytes_fit_default_segments() {
    let options = LogOptions::new(1);
    assert!(options.payload_bytes_max() >= 17 << 20);
    let mut host = Host::fresh(1, options);
    let mut client = Client::default();
    host.submit(client.create(1));
    for index in 1..=5 {
        host.submit(client.append(1, vec![entry(index, 1, 17 << 20)]));
    }
    let said = host.settle();
    assert_eq!(said.durable.last(), Some(&(0, 6)));
    let mut disk = host.disk;
    disk.power_loss(PowerLoss::LoseAll);
    let (_, recovered) = Host::start(disk, options).unwrap();
    let lengths = recovered.groups[&GroupId(1)].entries.iter().map(|entry| entry.payload.len());
    assert!(lengths.eq([17 << 20; 5]));
}

#[test]
fn an_entry_that_no_segment_can_hold_ends_the_log_cleanly() {
    let mut host = Host::fresh(1, small_options());
    let mut client = Client::default();
    host.submit(client.create(1));
    host.submit(client.append(1, vec![entry(1, 1, 300 << 10)]));
    let said = host.settle();
    let error = said.failed.expect("it cannot go on");
    assert!(error.message.contains("cannot hold"), "{error}");
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
    assert_eq!(damage.kind, DamageKind::EntriesLost { first: Index(2), last: Index(2) });
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

#[test]
fn many_operations_wait_a_little_for_company_and_one_does_not() {
    let options = LogOptions { sync_delay_max: Duration::from_millis(1), ..small_options() };
    let mut host = Host::fresh(1, options);
    let mut client = Client::default();
    host.submit(client.create(1));
    host.settle();
    let busy = |client: &mut Client, operations| {
        let group = GroupId(1);
        let hard_state = Some(HardState::default());
        let write = GroupWrite::Append { group, hard_state, entries: Vec::new() };
        Submission { operations, ..client.submission(vec![write]) }
    };
    for _ in 0..50 {
        host.submit(busy(&mut client, 64));
        while host.step(Some(Lane::Log)) {}
    }
    assert_eq!(host.disk.queued(), 0);
    host.submit(busy(&mut client, 20));
    assert_eq!(host.disk.queued(), 0, "64 came before: more are expected");
    let due = host.log.poll_timer().unwrap();
    assert!(due > host.now && due <= host.now + Duration::from_millis(1));
    host.submit(busy(&mut client, 40));
    assert_eq!(host.disk.queued(), 2, "most are there");
    while host.step(Some(Lane::Log)) {}
    host.submit(busy(&mut client, 1));
    assert_eq!(host.disk.queued(), 2, "one waits for nobody");
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
