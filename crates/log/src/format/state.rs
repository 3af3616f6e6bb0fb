//! A group's full state as a record: everything but its entries' payloads.

use ringfort_types::{HardState, Index, ReplicaId, Term};

use super::record::{RECORD_HEADER_BYTES, Target, read_base, read_hard_state};
use super::{Fields, SegmentId};
use crate::{Base, Damage, DamageKind};

/// Entries of one term that follow each other: from `first` on, up to the next run or the last entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TermRun {
    pub(crate) first: Index,
    pub(crate) term: Term,
}

/// Everything that must be known of a group but its payloads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StateRecord {
    pub(crate) replica: ReplicaId,
    /// Number of the record that founded the group: records of an earlier incarnation have smaller ones.
    pub(crate) founded: u64,
    pub(crate) hard_state: HardState,
    pub(crate) base: Base,
    /// Last index of the log; the base's, where it is empty.
    pub(crate) last: Index,
    /// Damage the group has suffered and keeps until it is dropped.
    pub(crate) damage: Option<Damage>,
    /// Terms of the live entries, in order; the first run begins right after the base.
    pub(crate) terms: Vec<TermRun>,
}

/// More live entries than this in one group is more than any log can hold.
const LIVE_ENTRIES_MAX: u64 = 1 << 28;

const DAMAGE_NONE: u8 = 0;
const DAMAGE_HARD_STATE: u8 = 1;
const DAMAGE_ENTRIES: u8 = 2;

/// Bytes of the record of a state with so many runs.
pub(crate) fn state_bytes(runs: usize) -> usize {
    RECORD_HEADER_BYTES + 16 + 24 + 24 + 8 + 1 + 32 + 16 * runs
}

pub(super) fn write(target: &mut Target<'_>, state: &StateRecord) {
    let mut put = |field: u64| target.bytes.extend_from_slice(&field.to_le_bytes());
    put(state.replica.0);
    put(state.founded);
    target.put_hard_state(&state.hard_state);
    target.put_base(&state.base);
    let (tag, file, offset, first, last) = encode_damage(state.damage.as_ref());
    target.bytes.extend_from_slice(&state.last.0.to_le_bytes());
    target.bytes.extend_from_slice(&[tag]);
    let mut put = |field: u64| target.bytes.extend_from_slice(&field.to_le_bytes());
    for field in [file, offset, first, last] {
        put(field);
    }
    for run in &state.terms {
        put(run.first.0);
        put(run.term.0);
    }
}

fn encode_damage(damage: Option<&Damage>) -> (u8, u64, u64, u64, u64) {
    let Some(damage) = damage else {
        return (DAMAGE_NONE, 0, 0, 0, 0);
    };
    let file = SegmentId::of_file(&damage.file).unwrap_or_default().0;
    match damage.kind {
        DamageKind::HardStateLost => (DAMAGE_HARD_STATE, file, damage.offset, 0, 0),
        DamageKind::EntriesLost { first, last } => {
            (DAMAGE_ENTRIES, file, damage.offset, first.0, last.0)
        }
    }
}

pub(super) fn read(fields: &mut Fields<'_>) -> Option<StateRecord> {
    let replica = ReplicaId(fields.u64()?);
    let founded = fields.u64()?;
    let hard_state = read_hard_state(fields)?;
    let base = read_base(fields)?;
    let last = Index(fields.u64()?);
    let damage = read_damage(fields)?;
    let mut terms = Vec::with_capacity(fields.0.len() / 16);
    while !fields.0.is_empty() {
        let first = Index(fields.u64()?);
        let term = Term(fields.u64()?);
        terms.push(TermRun { first, term });
    }
    let state = StateRecord { replica, founded, hard_state, base, last, damage, terms };
    consistent(&state).then_some(state)
}

/// The runs cover the live entries and nothing else. A state that fails this was never written by us; it counts as damaged.
fn consistent(state: &StateRecord) -> bool {
    let base = state.base.applied.index;
    let Some(live) = state.last.0.checked_sub(base.0) else {
        return false;
    };
    let ordered = state.terms.windows(2).all(|pair| pair[0].first < pair[1].first);
    let begins = state.terms.first().map(|run| run.first);
    let ends = state.terms.last().is_none_or(|run| run.first <= state.last);
    live <= LIVE_ENTRIES_MAX && ordered && ends && begins == (live > 0).then(|| base.next())
}

fn read_damage(fields: &mut Fields<'_>) -> Option<Option<Damage>> {
    let tag = fields.u8()?;
    let segment = SegmentId(fields.u64()?);
    let offset = fields.u64()?;
    let first = Index(fields.u64()?);
    let last = Index(fields.u64()?);
    let kind = match tag {
        DAMAGE_NONE => return Some(None),
        DAMAGE_HARD_STATE => DamageKind::HardStateLost,
        DAMAGE_ENTRIES => DamageKind::EntriesLost { first, last },
        _ => return None,
    };
    Some(Some(Damage { file: segment.file(), offset, kind }))
}
