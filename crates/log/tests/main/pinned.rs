//! Groups that are never rebased do not hold back the log for ever, and places that cannot be read are damage.

use ringfort_env::{FileName, Lane};
use ringfort_log::{DamageKind, LogStore};
use ringfort_types::GroupId;

use crate::support::client::{Client, entry, fill_segment, newest_used, restart};
use crate::support::host::{Host, small_options};

fn first() -> FileName {
    FileName::new("log-0000000000000001.seg")
}

/// Where a run of this byte begins in a file.
fn run_of(host: &Host, file: &FileName, byte: u8) -> u64 {
    let content = host.disk.content(file).unwrap();
    let at = content.windows(64).position(|window| window.iter().all(|b| *b == byte)).unwrap();
    at as u64
}

/// Segments 1 and 2 are not the newest any more; the first holds entries 1 to 8 of group 2, of 10,000 bytes each, the fifth of
/// which is hit by `hit`.
fn with_damage(hit: impl Fn(&mut Host, u64)) -> (Host, Client, u64) {
    let mut host = Host::fresh(1, small_options());
    let mut client = Client::default();
    host.submit(client.create(1));
    host.submit(client.create(2));
    // Fills the short first segment, so that the next is a whole one.
    host.submit(client.append(2, (1..=8).map(|index| entry(index, 1, 1_000)).collect()));
    let mut next = 1;
    fill_segment(&mut host, &mut client, 1, &mut next);
    host.settle();
    let at = run_of(&host, &first(), 5);
    hit(&mut host, at);
    (host, client, next)
}

/// Writes and rebases group 1 for a while.
fn go_on(host: &mut Host, client: &mut Client, next: &mut u64, segments: u64) {
    for _ in 0..segments {
        fill_segment(host, client, 1, next);
        host.submit(client.rebase(1, *next - 1, 1));
        host.settle();
    }
}

#[test]
fn a_damaged_group_pins_nothing_and_stays_damaged() {
    let (host, mut client, mut next) =
        with_damage(|host, at| assert!(host.disk.flip_bit(&first(), at + 500, 0)));
    let (mut host, recovered) = restart(host);
    let damage = recovered.groups[&GroupId(2)].damage.clone().expect("it lost an entry");
    assert!(matches!(damage.kind, DamageKind::EntriesLost { .. }), "{damage:?}");
    let kept = recovered.groups[&GroupId(2)].entries.clone();
    assert_eq!(kept.len(), 4);
    go_on(&mut host, &mut client, &mut next, 6);
    assert!(host.disk.content(&first()).is_none(), "the damaged segment is gone");
    assert!(host.log.stats().live_bytes <= 1 << 20, "{:?}", host.log.stats());
    let (_, recovered) = restart(host);
    assert_eq!(recovered.groups[&GroupId(2)].damage.as_ref(), Some(&damage));
    assert_eq!(recovered.groups[&GroupId(2)].entries, kept);
    assert!(recovered.groups[&GroupId(1)].damage.is_none());
}

#[test]
fn a_group_that_does_not_react_is_rewritten_in_the_end() {
    let mut host = Host::fresh(1, small_options());
    let mut client = Client::default();
    host.submit(client.create(1));
    host.submit(client.create(2));
    let mine: Vec<_> = (1..=10).map(|index| entry(index, 1, 20_000)).collect();
    for entry in &mine {
        host.submit(client.append(2, vec![entry.clone()]));
        host.settle();
    }
    let mut next = 1;
    go_on(&mut host, &mut client, &mut next, 20);
    let stats = host.log.stats();
    assert!(stats.stragglers_rewritten >= 10, "{stats:?}");
    assert!(stats.live_bytes <= 5 * (256 << 10), "{stats:?}");
    let (_, recovered) = restart(host);
    assert_eq!(recovered.groups[&GroupId(2)].entries, mine);
    assert!(recovered.groups[&GroupId(2)].damage.is_none());
}

/// The story: so many stragglers went into one batch that it filled a segment. A start has to bring the last batch along, behind
/// the states of all groups, and found no room for it. It has room for three eighths of a segment.
#[test]
fn a_start_has_room_for_every_batch_of_stragglers() {
    let mut host = Host::fresh(1, small_options());
    let mut client = Client::default();
    host.submit(client.create(1));
    host.submit(client.create(2));
    let last: u64 = 600;
    for index in 1..=last {
        host.submit(client.append(2, vec![entry(index, 1, 1_000)]));
        host.settle();
    }
    let mut written = host.log.stats().bytes;
    for index in 1..=250 {
        host.submit(client.append(1, vec![entry(index, 1, 20_000)]));
        if index % 12 == 0 {
            host.submit(client.rebase(1, index, 1));
        }
        // Something is always on its way to the disk: all of a segment is read back before the next batch begins.
        while host.step(Some(Lane::Background)) {}
        for _ in 0..2 {
            host.step(Some(Lane::Log));
            let before = std::mem::replace(&mut written, host.log.stats().bytes);
            let batch = written - before;
            assert!(batch <= (256 << 10) / 8 * 3, "a batch of {batch} bytes");
            if host.before_sync() {
                let mut disk = host.disk.clone();
                disk.process_crash();
                let started = Host::start(disk, small_options());
                let (_, recovered) = started.unwrap_or_else(|down| panic!("{}", down.error));
                assert_eq!(recovered.groups[&GroupId(2)].entries.len() as u64, last);
            }
        }
    }
    let stats = host.log.stats();
    assert!(stats.stragglers_rewritten >= last, "{stats:?}");
}

#[test]
fn a_lower_target_asks_again() {
    let mut host = Host::fresh(1, small_options());
    let mut client = Client::default();
    host.submit(client.create(1));
    host.log.set_log_bytes_target(4 << 20);
    let mut next = 1;
    for _ in 0..4 {
        fill_segment(&mut host, &mut client, 1, &mut next);
    }
    assert!(host.settle().want_rebase.is_empty());
    for target in [1 << 20, 512 << 10] {
        host.log.set_log_bytes_target(target);
        assert_eq!(host.settle().want_rebase, [GroupId(1)]);
    }
}

#[test]
fn an_unreadable_place_is_damage_of_the_groups_it_touches() {
    let (host, mut client, mut next) = with_damage(|host, at| {
        let page = at / 4096 * 4096;
        assert!(page > 0, "the opening is elsewhere");
        assert!(host.disk.fail_reads_of(&first(), page..page + 4096));
    });
    let (mut host, recovered) = restart(host);
    let finding = &recovered.findings[0];
    assert!(finding.contains(first().as_str()) && finding.contains("cannot be read"), "{finding}");
    assert!(recovered.groups[&GroupId(2)].damage.is_some());
    assert!(recovered.groups[&GroupId(1)].damage.is_none());
    go_on(&mut host, &mut client, &mut next, 6);
    assert!(host.disk.content(&first()).is_none(), "the unreadable segment is gone");
    let (_, recovered) = restart(host);
    assert!(recovered.groups[&GroupId(2)].damage.is_some());
    assert!(recovered.groups[&GroupId(1)].damage.is_none());
}

#[test]
fn an_unreadable_end_of_the_log_is_never_taken_for_its_end() {
    let mut host = Host::fresh(1, small_options());
    let mut client = Client::default();
    host.submit(client.create(1));
    for index in 1..=8 {
        host.submit(client.append(1, vec![entry(index, 1, 2_000)]));
        host.settle();
    }
    let newest = newest_used(&mut host);
    let at = run_of(&host, &newest, 8) / 4096 * 4096;
    assert!(at > 0 && host.disk.fail_reads_of(&newest, at..at + 8192));
    let (host, recovered) = restart(host);
    assert!(recovered.groups[&GroupId(1)].damage.is_some(), "{:?}", recovered.findings);
    let (_, again) = restart(host);
    assert_eq!(again.groups[&GroupId(1)].damage, recovered.groups[&GroupId(1)].damage);
}

/// A log of one group whose newest segment is one of which no byte was written before: with that file, and where each of six
/// batches in it begins, an entry in each.
fn in_a_fresh_segment() -> (Host, FileName, Vec<u64>) {
    let mut host = Host::fresh(1, small_options());
    let mut client = Client::default();
    host.submit(client.create(1));
    let first = newest_used(&mut host);
    let (mut index, mut inside) = (0, Vec::new());
    while inside.len() < 6 {
        index += 1;
        host.submit(client.append(1, vec![entry(index, 1, 2_000)]));
        host.settle();
        let newest = newest_used(&mut host);
        if newest != first {
            inside.push(run_of(&host, &newest, u8::try_from(index).unwrap()) / 512 * 512);
        }
    }
    let file = newest_used(&mut host);
    (host, file, inside)
}

fn is_damaged(host: Host) -> bool {
    let (_, recovered) = restart(host);
    recovered.groups.get(&GroupId(1)).is_none_or(|group| group.damage.is_some())
}

/// The story: of the newest batches on a disk one had a flipped bit in its header, and those behind it stood in a page that
/// could not be read. Nothing valid was seen behind the broken one: it was taken for a batch that was never ended, and an
/// acknowledged entry was gone without a word.
#[test]
fn a_broken_batch_before_an_unreadable_page_is_never_taken_for_the_end() {
    let (mut host, file, inside) = in_a_fresh_segment();
    let page = inside[5] / 4096 * 4096;
    let broken: Vec<u64> =
        inside.into_iter().filter(|header| header + 512 <= page).skip(1).collect();
    assert!(!broken.is_empty());
    for header in broken {
        assert!(host.disk.flip_bit(&file, header + 20, 1));
    }
    assert!(host.disk.fail_reads_of(&file, page..page + 8192));
    assert!(is_damaged(host));
}

/// And one that is nothing but zeros, close to what cannot be read.
#[test]
fn zeros_close_to_an_unreadable_page_are_never_taken_for_the_end() {
    let (mut host, file, inside) = in_a_fresh_segment();
    let page = inside[5] / 4096 * 4096;
    let last = inside.into_iter().rfind(|header| header + 512 <= page).unwrap();
    let zeros = vec![0; usize::try_from(page - last).unwrap()];
    assert!(host.disk.overwrite(&file, last, &zeros));
    assert!(host.disk.fail_reads_of(&file, page..page + 8192));
    assert!(is_damaged(host));
}

/// The same with a segment's opening: the segment would not count, and the one before it end the log.
#[test]
fn a_segment_whose_opening_is_broken_is_not_passed_over() {
    let (mut host, file, inside) = in_a_fresh_segment();
    assert!(host.disk.flip_bit(&file, 20, 1));
    let page = (inside[0] / 4096 * 4096).max(4096);
    assert!(host.disk.fail_reads_of(&file, page..page + 16_384));
    for header in inside.into_iter().filter(|header| header + 512 <= page) {
        assert!(host.disk.flip_bit(&file, header + 20, 1));
    }
    assert!(is_damaged(host));
}

/// A bad sector where nothing was written yet costs nothing.
#[test]
fn an_unreadable_page_of_the_rest_is_no_damage() {
    let (mut host, file, inside) = in_a_fresh_segment();
    let page = inside[5] / 4096 * 4096 + 64 * 1024;
    assert!(host.disk.fail_reads_of(&file, page..page + 4096));
    assert!(!is_damaged(host));
}
