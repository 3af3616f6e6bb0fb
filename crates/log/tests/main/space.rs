//! Segments: full disks, freeing, recycling, rewriting, and what they must hold.

use bytes::Bytes;
use ringfort_env::{Disk, FileName};
use ringfort_log::{GroupWrite, Headroom, LogError, LogOptions, LogStore};
use ringfort_sim::PowerLoss;
use ringfort_types::{Entry, GroupId, Index, ReplicaId};

use crate::support::client::{Client, entry, fill_segment, restart, segments};
use crate::support::host::{Host, small_options};

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
    let mut headroom = Vec::new();
    for _ in 0..60 {
        host.submit(client.append(1, vec![entry(next, 1, 20_000)]));
        next += 1;
        for _ in 0..200 {
            host.step(None);
            host.pass_timer();
        }
        let said = host.said();
        assert!(said.failed.is_none(), "{:?}", said.failed);
        headroom.extend(said.headroom);
        told = said.durable.last().map_or(told, |(_, id)| *id);
    }
    let stats = host.log.stats();
    assert!(stats.segments_failed > 0);
    assert_eq!(headroom, [Headroom::Short, Headroom::Exhausted], "told once each");
    assert!(told < client.id, "two segments do not hold all of it");
    assert!(host.disk.used() <= used + (100 << 10));
    host.disk.set_capacity(None);
    let said = host.settle();
    assert_eq!(said.durable.last(), Some(&(0, client.id)), "all of it, without a command");
    assert_eq!(said.headroom.last(), Some(&Headroom::Ample));
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
    let options = LogOptions {
        segment_bytes: 4 << 20,
        groups_max: 4097,
        log_bytes_target: 8 << 20,
        ..small_options()
    };
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

/// The relation between groups and segments: where settings allow it, openings fit, over restarts without a flush too.
#[test]
fn as_many_groups_as_settings_allow_fit_every_segment() {
    let fits = |groups_max, segment_bytes| {
        let log_bytes_target = 2 * segment_bytes;
        let options = LogOptions { segment_bytes, groups_max, log_bytes_target, ..small_options() };
        options.check().is_ok().then_some(options)
    };
    for groups in [64, 400, 4096] {
        let mut sizes = (64..2048).map(|pages| pages << 12);
        let options = sizes.find_map(|bytes| fits(groups, bytes)).unwrap();
        let mut host = Host::fresh(1, options);
        let mut client = Client::default();
        for group in 0..groups {
            host.submit(client.create(group));
        }
        let payload = usize::try_from(options.payload_bytes_max()).unwrap();
        let mut asked = false;
        for term in 1..=8 {
            for group in 0..groups {
                host.submit(client.append(group, vec![entry(term, term, 0)]));
            }
            // The largest entry opens a segment of its own, and is not kept for long.
            for _ in 0..3 {
                host.submit(client.append(0, vec![entry(term, term, payload)]));
            }
            let said = host.settle();
            assert!(said.failed.is_none(), "{groups} groups, term {term}: {:?}", said.failed);
            asked |= said.want_rebase.len() + 1 >= usize::try_from(groups).unwrap();
            let mut disk = host.disk;
            disk.power_loss(PowerLoss::LoseAll);
            let recovered;
            (host, recovered) = Host::start(disk, options).unwrap();
            assert_eq!(u32::try_from(recovered.groups.len()), Ok(groups));
            client = Client::default();
        }
        // With 64 groups the smallest segment has room for many more terms.
        assert_eq!(asked, groups > 64, "{groups} groups");
    }
}

/// Starts without a flush add terms without end: what would no longer fit is refused at a start, and not at a rotation.
#[test]
fn states_that_outgrow_a_segment_are_refused_at_a_start_which_says_what_is_needed() {
    let options = LogOptions {
        groups_max: 300,
        segment_bytes: 320 << 10,
        log_bytes_target: 4 << 20,
        ..small_options()
    };
    let mut host = Host::fresh(1, options);
    for group in 0..300 {
        host.submit(Client { id: u64::from(group) }.create(group));
    }
    let down = (1..100).find_map(|term| {
        let mut client = Client::default();
        for group in 0..300 {
            host.submit(client.append(group, vec![entry(term, term, 0)]));
        }
        for _ in 0..4 {
            let payload = usize::try_from(options.payload_bytes_max()).unwrap();
            host.submit(client.append(0, vec![entry(term, term, payload)]));
        }
        assert!(host.settle().failed.is_none(), "term {term}");
        let mut disk = host.disk.clone();
        disk.power_loss(PowerLoss::LoseAll);
        match Host::start(disk, options) {
            Ok((started, _)) => host = started,
            Err(down) => return Some(down),
        }
        None
    });
    let down = down.expect("it cannot go on for ever");
    let LogError::SegmentTooSmall { needed, .. } = down.error else { panic!("{}", down.error) };
    let larger = LogOptions { segment_bytes: needed, log_bytes_target: 2 * needed, ..options };
    let (_, recovered) = Host::start(*down.disk, larger).unwrap();
    assert_eq!(recovered.groups.len(), 300);
}
