//! Rot: random bits flipped in bytes in use.
//!
//! What must hold whatever bit it is: no entry is given back that is not exactly what was submitted; damage before the last
//! proven offset is reported; a group that is not said to be damaged is exactly as it was; and damage costs only groups
//! with a record in the damaged batch.

use std::collections::BTreeSet;

use ringfort_env::{Disk, FileName};
use ringfort_log::{DamageKind, LogOptions, RecoveredLog};
use ringfort_sim::{Random, SimDisk};
use ringfort_types::{Entry, GroupId};

use crate::support::campaign;
use crate::support::host::{Host, small_options};
use crate::support::layout::{Layout, Part};
use crate::support::model::{Groups, Model};
use crate::support::trace::Trace;

/// A log that was used for a while, settled and marked; everything in it is proven but the marker.
struct Specimen {
    disk: SimDisk,
    groups: Groups,
    layout: Layout,
}

fn specimen(seed: u64, options: LogOptions) -> Specimen {
    let mut model = Model::default();
    let mut trace = Trace::new(seed);
    let mut host = Host::fresh(seed, options);
    for round in 0..trace.random.between(40, 400) {
        let submission = trace.submission(&model.newest);
        model.submit(&submission);
        host.submit(submission);
        if round % 7 == 0 {
            host.settle();
        }
        if trace.random.one_in(60) {
            // A start in between: its segment's opening holds entries brought along.
            if trace.random.one_in(2) {
                host.settle();
            }
            let mut disk = host.disk;
            disk.process_crash();
            let (after, recovered) = Host::start(disk, options).unwrap();
            host = after;
            model.adopt(&recovered);
        }
    }
    host.settle();
    let groups = model.newest.clone();
    let mut disk = host.disk;
    let files = disk.list().unwrap();
    let layout = Layout::read(&disk, &files, options.salt);
    Specimen { disk, groups, layout }
}

fn same_entries(id: GroupId, found: &[Entry], there: &[Entry]) {
    let differing = found.iter().zip(there).find(|(found, there)| found != there);
    if let Some((found, there)) = differing {
        let draw = |entry: &Entry| format!("{}.{}", entry.index, entry.term);
        panic!("group {id}: found {} where {} was", draw(found), draw(there));
    }
    assert_eq!(found.len(), there.len(), "group {id}");
}

/// Compares what was found with what was there. Returns the groups that are said to be damaged.
fn check(specimen: &Specimen, recovered: &RecoveredLog) -> BTreeSet<GroupId> {
    let mut damaged = BTreeSet::new();
    for (id, found) in &recovered.groups {
        let there = specimen.groups.get(id);
        match &found.damage {
            None => {
                let there = there.unwrap_or_else(|| panic!("group {id} was invented"));
                assert_eq!(found.replica, there.replica, "group {id}");
                assert_eq!(found.hard_state, there.hard_state, "group {id}");
                assert_eq!(found.base, there.base, "group {id}");
                same_entries(*id, &found.entries, &there.entries);
            }
            Some(damage) => {
                damaged.insert(*id);
                if let DamageKind::EntriesLost { first, last } = damage.kind {
                    let there = there.unwrap_or_else(|| panic!("group {id} was invented"));
                    assert_eq!(found.hard_state, there.hard_state, "group {id}");
                    assert_eq!(found.replica, there.replica, "group {id}");
                    assert!(first <= last);
                    let kept = found.entries.len();
                    let end = |entries: usize| there.base.applied.index.0 + entries as u64;
                    assert_eq!(first.0, end(kept) + 1, "group {id}");
                    assert!(
                        last.0 >= end(there.entries.len()),
                        "group {id}: all that is not given"
                    );
                    same_entries(*id, &found.entries, &there.entries[..kept]);
                }
            }
        }
    }
    for id in specimen.groups.keys() {
        let there = recovered.groups.contains_key(id) || recovered.groups_may_be_missing;
        assert!(there, "group {id} is missing: {:?}", recovered.findings);
    }
    damaged
}

/// Flips one bit of the specimen and starts on it.
fn flip(specimen: &Specimen, file: &FileName, offset: u64, bit: u8) -> RecoveredLog {
    let mut disk = specimen.disk.clone();
    assert!(disk.flip_bit(file, offset, bit));
    disk.process_crash();
    let (host, recovered) = Host::start(disk, small_options()).unwrap();
    if recovered.groups.values().any(|group| group.damage.is_some()) {
        stays_damaged(host, &recovered);
    }
    recovered
}

/// A later start tells of the same damage.
fn stays_damaged(host: Host, recovered: &RecoveredLog) {
    let (_, again) = Host::start(host.disk, small_options()).unwrap();
    for (id, group) in &recovered.groups {
        assert_eq!(again.groups[id].damage, group.damage, "group {id}");
        assert_eq!(again.groups[id].entries, group.entries, "group {id}");
    }
}

#[derive(Debug, Default)]
struct Tally {
    flips: u64,
    headers: u64,
    records: u64,
    payloads: u64,
    reported: u64,
    groups_hit: u64,
    hard_state_lost: u64,
}

fn one_seed(seed: u64, flips: u64, tally: &mut Tally) {
    let specimen = specimen(seed, small_options());
    let mut random = Random::new(seed ^ 0xf11b);
    for turn in 0..flips {
        let part = [Part::Header, Part::Record, Part::Payload][(turn % 3) as usize];
        let Some(place) = specimen.layout.random_place(part, &mut random) else {
            continue;
        };
        let bit = u8::try_from(random.below(8)).unwrap();
        let context =
            format!("seed {seed}, {part:?}, {} offset {} bit {bit}", place.file, place.offset);
        let recovered = flip(&specimen, &place.file, place.offset, bit);
        let damaged = check(&specimen, &recovered);
        tally.flips += 1;
        match part {
            Part::Header => tally.headers += 1,
            Part::Record => tally.records += 1,
            Part::Payload => tally.payloads += 1,
        }
        if place.proven {
            assert!(!recovered.findings.is_empty(), "not reported: {context}");
            assert!(
                recovered.findings[0].contains(place.file.as_str()),
                "{context}: {:?}",
                recovered.findings
            );
            tally.reported += 1;
        }
        for id in &damaged {
            let damage = recovered.groups[id].damage.as_ref().unwrap();
            assert_eq!(damage.file, place.file, "{context}");
            assert!(
                place.groups.contains(id),
                "group {id} was not touched: {context}: {:?}",
                recovered.findings
            );
        }
        assert!(!recovered.groups_may_be_missing, "{context}: {:?}", recovered.findings);
        assert!(
            damaged.len() <= 1,
            "one bit cost several groups: {context}: {:?}",
            recovered.findings
        );
        tally.groups_hit += damaged.len() as u64;
        let lost = |id: &&GroupId| {
            let damage = recovered.groups[*id].damage.as_ref();
            damage.is_some_and(|damage| damage.kind == DamageKind::HardStateLost)
        };
        tally.hard_state_lost += damaged.iter().filter(lost).count() as u64;
    }
}

/// Makes whole sectors unreadable garbage, or zeros, and checks what can be promised then: what is not said to be damaged
/// is as it was.
fn lose_sectors(specimen: &Specimen, random: &mut Random, tally: &mut Tally) {
    let part = [Part::Header, Part::Record, Part::Payload][random.index(3)];
    let Some(place) = specimen.layout.random_place(part, random) else {
        return;
    };
    let sectors = 1 + random.index(16);
    let mut garbage = vec![0; 512 * sectors];
    if random.one_in(2) {
        random.fill(&mut garbage);
    }
    let mut disk = specimen.disk.clone();
    let from = place.offset / 512 * 512;
    let proven = specimen.layout.proven_end(&place.file);
    let length = garbage.len().min(usize::try_from(proven.saturating_sub(from)).unwrap());
    assert!(disk.overwrite(&place.file, from, &garbage[..length]));
    let (_, recovered) = Host::start(disk, small_options()).unwrap();
    let damaged = check(specimen, &recovered);
    tally.flips += 1;
    tally.groups_hit += damaged.len() as u64;
    if length > 0 {
        assert!(!recovered.findings.is_empty(), "{} at {from}, {sectors} sectors", place.file);
        tally.reported += 1;
    }
}

#[test]
fn lost_sectors_are_never_papered_over() {
    let mut tally = Tally::default();
    campaign::run("lost_sectors_are_never_papered_over", 8, 300, |seed| {
        let specimen = specimen(seed, small_options());
        let mut random = Random::new(seed ^ 0x5ec7);
        for _ in 0..50 {
            lose_sectors(&specimen, &mut random, &mut tally);
        }
    });
    println!("{tally:?}");
}

#[test]
fn a_flipped_bit_is_never_served() {
    let mut tally = Tally::default();
    campaign::run("a_flipped_bit_is_never_served", 8, 300, |seed| one_seed(seed, 100, &mut tally));
    println!("{tally:?}");
}
