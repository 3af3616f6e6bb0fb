//! From what was read to a log that runs: damage is settled, a fresh segment is opened, the running log takes over.

use std::collections::{BTreeMap, BTreeSet};

use ringfort_env::{Disk, DiskOperation};
use ringfort_types::{Entry, GroupId, HardState, Monotonic};

use super::Spot;
use super::history::{Files, Restored, UNPROVEN};
use super::replay::{Replay, Replayed};
use super::slots::Slots;
use crate::builder::{Batch, BatchBuilder, Place};
use crate::chain::Chain;
use crate::file_log::Parts;
use crate::format::{ENTRY_HEADER_BYTES, Sealer, SegmentId, flags};
use crate::group::Group;
use crate::live::LiveEntries;
use crate::opening::{Opening, Rewrite};
use crate::options::{SHORT_SHARE, opening_bytes};
use crate::prepare::{Preparer, zeros};
use crate::{Damage, DamageKind, FileLog, LogError, LogOptions, RecoveredGroup, RecoveredLog};

/// Opens a fresh segment after what was read, and hands over to a running log.
pub(super) fn reopen(
    disk: &mut dyn Disk,
    options: LogOptions,
    now: Monotonic,
    files: &Files,
    restored: Restored,
) -> Result<(FileLog, RecoveredLog), LogError> {
    let Restored { replay, links, newest, sequence, unreadable } = restored;
    // What cannot be read is deleted in the end, and not recycled.
    let reusable = |id: SegmentId, length: u64| if unreadable.contains(&id) { 0 } else { length };
    let fresh = SegmentId(files.keys().next_back().map_or(1, |id| id.0 + 1));
    let mut chain = Chain::default();
    for link in &links {
        chain.push(link.id, reusable(link.id, link.length), link.end);
    }
    chain.push(fresh, options.segment_bytes, 0);
    let hidden = replay.hidden;
    let (groups, brought, recovered) = settle_all(replay, &mut chain);
    let previous = chain.previous();
    options.check_states(states_after_start(&groups))?;
    let place = Place {
        segment: fresh,
        sealer: Sealer::new(options.salt, fresh),
        previous: previous.map_or(SegmentId::default(), |segment| segment.id),
        previous_end: previous.map_or(0, |segment| segment.end),
        flags: if hidden { flags::HIDDEN } else { 0 },
    };
    let opening = Opening {
        builder: &mut BatchBuilder::new(place),
        chain: &chain,
        sequence,
        batch_bytes: options.batch_bytes_soft(),
    };
    let batches = opening.build(&groups, &brought);
    let spare = spare_behind(newest, files, &unreadable, options.segment_bytes);
    let (end, capacity) = write_opening(disk, fresh, &batches, spare, &options)?;
    chain.set_active_capacity(capacity);
    chain.set_active_end(end);
    let unused = files
        .iter()
        .filter(|(id, _)| Some(**id) != spare && links.iter().all(|link| link.id != **id));
    let mut preparer = Preparer::new(options.segment_bytes, SegmentId(fresh.0 + 1), Vec::new());
    for (id, length) in unused {
        preparer.release(*id, reusable(*id, *length));
    }
    let oldest = chain.oldest_needed();
    while let Some(segment) = chain.pop_before(oldest) {
        preparer.release(segment.id, segment.capacity);
    }
    let sequence = sequence + batches.len() as u64;
    let marked = brought.is_empty();
    let parts = Parts { options, groups, chain, place, sequence, preparer, marked };
    Ok((FileLog::new(parts, now), recovered))
}

/// What the states of all groups take once each has entries of one more term, which is what a start brings.
fn states_after_start(groups: &BTreeMap<GroupId, Group>) -> u64 {
    groups.values().map(|group| opening_bytes(group.live.terms().len() + 1)).sum()
}

/// A prepared segment that nobody uses. Only one behind the newest segment: what is older may be needed again if power fails
/// before the fresh segment is on disk, since it may be the page cache alone that says it is not.
fn spare_behind(
    newest: Option<SegmentId>,
    files: &Files,
    unreadable: &BTreeSet<SegmentId>,
    segment_bytes: u64,
) -> Option<SegmentId> {
    let behind = newest.map_or(SegmentId(0), |id| SegmentId(id.0 + 1));
    let mut candidates = files.range(behind..);
    let usable =
        |(id, length): &(&SegmentId, &u64)| **length == segment_bytes && !unreadable.contains(id);
    candidates.find(usable).map(|(id, _)| *id)
}

/// Makes the fresh segment and writes its opening, each batch synced before the next. Returns where the opening ends, and
/// the size of the file.
fn write_opening(
    disk: &mut dyn Disk,
    fresh: SegmentId,
    batches: &[Batch],
    spare: Option<SegmentId>,
    options: &LogOptions,
) -> Result<(u64, u64), LogError> {
    let segment_bytes = options.segment_bytes;
    let needed = batches.last().map_or(0, |batch| batch.header.end());
    if needed > segment_bytes {
        return Err(LogError::SegmentTooSmall { segment_bytes, needed });
    }
    // Where no spare is there, a short segment will do: nobody waits for a long one to be written with zeros.
    let capacity = match spare {
        Some(_) => segment_bytes,
        None => segment_bytes.min(needed + segment_bytes / SHORT_SHARE),
    };
    if let Err(error) = prepare(disk, fresh, capacity, spare) {
        // What was begun gives its space back, if it can; if not, the next start sees to it.
        let _unless_the_disk_is_gone = disk.execute(&DiskOperation::Delete(fresh.file()));
        return Err(error);
    }
    for batch in batches {
        let bytes = batch.bytes.clone();
        let offset = batch.header.offset;
        disk.execute(&DiskOperation::WriteAt { file: fresh.file(), offset, bytes })?;
        disk.execute(&DiskOperation::SyncData(fresh.file()))?;
    }
    Ok((needed, capacity))
}

/// Settles one group after the other: groups as the log keeps them, entries to bring along, and what is told.
fn settle_all(
    replay: Replay,
    chain: &mut Chain,
) -> (BTreeMap<GroupId, Group>, Vec<Rewrite>, RecoveredLog) {
    let mut recovered = RecoveredLog {
        findings: replay.findings,
        groups_may_be_missing: replay.hidden,
        ..RecoveredLog::default()
    };
    let mut groups = BTreeMap::new();
    let mut brought = Vec::new();
    for (id, replayed) in replay.groups {
        let mut settling = Settling {
            chain: &mut *chain,
            brought: &mut brought,
            findings: &mut recovered.findings,
            damaged: replay.damaged,
        };
        let (group, outside) = settle(id, replayed, &mut settling);
        groups.insert(id, group);
        recovered.groups.insert(id, outside);
    }
    (groups, brought, recovered)
}

/// Makes the fresh segment's file: from one that is not in use, or anew.
fn prepare(
    disk: &mut dyn Disk,
    fresh: SegmentId,
    capacity: u64,
    spare: Option<SegmentId>,
) -> Result<(), LogError> {
    if let Some(spare) = spare {
        disk.execute(&DiskOperation::Rename { from: spare.file(), to: fresh.file() })?;
    } else {
        disk.execute(&DiskOperation::Create(fresh.file()))?;
        let mut offset = 0;
        while offset < capacity {
            let bytes = zeros(offset, capacity);
            let length = bytes.len() as u64;
            disk.execute(&DiskOperation::WriteAt { file: fresh.file(), offset, bytes })?;
            offset += length;
        }
        disk.execute(&DiskOperation::SyncData(fresh.file()))?;
    }
    disk.execute(&DiskOperation::SyncDirectory)?;
    Ok(())
}

/// What settling one group after the other adds to.
struct Settling<'a> {
    chain: &'a mut Chain,
    brought: &'a mut Vec<Rewrite>,
    findings: &'a mut Vec<String>,
    /// Where damage was found last: the cause of losses of which no other is known.
    damaged: Option<Spot>,
}

/// Decides what damage cost a group, cuts its entries there, and splits it into what the log keeps and what it tells.
fn settle(
    id: GroupId,
    mut replayed: Replayed,
    settling: &mut Settling<'_>,
) -> (Group, RecoveredGroup) {
    let Settling { chain, brought, findings, damaged } = settling;
    let found = found_damage(&replayed, *damaged);
    if let Some(damage) = &found {
        let Damage { file, offset, kind } = damage;
        let what = match kind {
            DamageKind::HardStateLost => "its hard state".to_owned(),
            DamageKind::EntriesLost { first, last } => format!("entries {first} to {last}"),
        };
        let replica = replayed.replica;
        findings.push(format!(
            "{file}: damage at offset {offset} cost group {id} (replica {replica}) {what}"
        ));
    }
    let damage = merge(replayed.damage.take(), found);
    replayed.slots.cut_lost();
    let base = replayed.base;
    if replayed.slots.base() != base.applied.index {
        // A gap too wide lies between the two; the group is quarantined for it.
        replayed.slots = Slots::empty(base.applied.index);
    }
    let fresh = chain.active().id;
    let mut live = LiveEntries::empty(base.applied.index);
    let mut entries = Vec::new();
    for (index, slot) in std::mem::take(&mut replayed.slots).into_entries() {
        let (term, payload) = (slot.term, slot.payload.unwrap_or_default());
        let home = if slot.home == UNPROVEN { fresh } else { slot.home };
        let bytes = (ENTRY_HEADER_BYTES + payload.len()) as u64;
        live.append(chain, (index, term), home, bytes);
        if slot.home == UNPROVEN {
            let (sequence, payload) = (slot.sequence, payload.clone());
            brought.push(Rewrite { group: id, sequence, index, term, payload });
        }
        entries.push(Entry { term, index, payload });
    }
    let mut hard_state = replayed.hard_state;
    if let Some(newest) = entries.last().map(|entry| entry.term).filter(|t| *t > hard_state.term) {
        // A submission was cut short between its entries and its hard state: nothing of it was told durable, no vote was
        // sent, and the term is known from the entries.
        hard_state = HardState { term: newest, vote: None, ..hard_state };
    }
    let replica = replayed.replica;
    let outside = RecoveredGroup { replica, hard_state, base, entries, damage: damage.clone() };
    let sequence = replayed.sequence;
    let founded = replayed.founded;
    let group = Group { replica, founded, hard_state, base, sequence, live, damage, listed: None };
    (group, outside)
}

/// Damage found by this start.
fn found_damage(replayed: &Replayed, damaged: Option<Spot>) -> Option<Damage> {
    if let Some(spot) = replayed.broken.or(replayed.doubt) {
        let (file, offset) = (spot.file(), spot.offset);
        return Some(Damage { file, offset, kind: DamageKind::HardStateLost });
    }
    let (first, last, spot) = replayed.slots.lost(damaged)?;
    let kind = DamageKind::EntriesLost { first, last };
    Some(Damage { file: spot.file(), offset: spot.offset, kind })
}

/// Damage of an earlier start and of this one, as one: the graver, or both ranges.
fn merge(before: Option<Damage>, found: Option<Damage>) -> Option<Damage> {
    let (Some(before), Some(found)) = (before.clone(), found.clone()) else {
        return before.or(found);
    };
    let kind = match (before.kind, found.kind) {
        (
            DamageKind::EntriesLost { first: f1, last: l1 },
            DamageKind::EntriesLost { first: f2, last: l2 },
        ) => DamageKind::EntriesLost { first: f1.min(f2), last: l1.max(l2) },
        _ => DamageKind::HardStateLost,
    };
    Some(Damage { kind, ..before })
}
