//! Turns pieces of submissions into records of the batch being built, and keeps the groups in step with what is written.

use std::collections::BTreeMap;

use ringfort_types::{GroupId, Index, ReplicaId};

use crate::builder::BatchBuilder;
use crate::chain::Chain;
use crate::format::{
    ENTRY_HEADER_BYTES, SegmentId, kinds, push_append, push_create, push_drop, push_hard_state,
    push_rebase, push_rewritten,
};
use crate::group::Group;
use crate::live::LiveEntries;
use crate::opening::Rewrite;
use crate::pending::Piece;

/// A group founded in the batch numbered `b` begins its records' sequence at `b << FOUNDING_SHIFT`: above every number that
/// an earlier incarnation of the group can have reached, so that the two are never taken for one.
pub(crate) const FOUNDING_SHIFT: u32 = 20;

/// A group dropped in the batch being built; its founding in the same batch goes on from here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retired {
    group: GroupId,
    sequence: u64,
    listed: Option<(u64, usize)>,
}

/// Everything a record changes.
pub(crate) struct Writer<'a> {
    pub(crate) groups: &'a mut BTreeMap<GroupId, Group>,
    pub(crate) chain: &'a mut Chain,
    pub(crate) builder: &'a mut BatchBuilder,
    pub(crate) retired: &'a mut Vec<Retired>,
}

impl Writer<'_> {
    /// Writes one piece that is a record.
    ///
    /// # Panics
    /// The piece contradicts what the log holds (an unknown group, a gap between entries): the caller's bug.
    pub(crate) fn write(&mut self, piece: Piece<'_>) {
        match piece {
            Piece::Create(id, replica) => self.create(id, replica),
            Piece::HardState(id, hard_state) => {
                let group = self.groups.get_mut(&id).unwrap_or_else(|| missing(id));
                group.hard_state = *hard_state;
                group.sequence += 1;
                push_hard_state(&mut self.builder.record(), id, group.sequence, hard_state);
                self.builder.list(&mut group.listed, id, kinds::HARD_STATE, group.sequence);
            }
            Piece::Entry(id, entry) => {
                let group = self.groups.get_mut(&id).unwrap_or_else(|| missing(id));
                let at = (entry.index, entry.term);
                let bytes = (ENTRY_HEADER_BYTES + entry.payload.len()) as u64;
                group.live.append(self.chain, at, self.builder.segment(), bytes);
                group.sequence += 1;
                push_append(&mut self.builder.record(), id, group.sequence, entry);
                self.builder.list(&mut group.listed, id, kinds::APPEND, group.sequence);
            }
            Piece::Rebase(id, base) => {
                let group = self.groups.get_mut(&id).unwrap_or_else(|| missing(id));
                group.live.rebase(self.chain, &group.base, base);
                group.base = *base;
                group.sequence += 1;
                push_rebase(&mut self.builder.record(), id, group.sequence, base);
                self.builder.list(&mut group.listed, id, kinds::REBASE, group.sequence);
            }
            Piece::Drop(id) => self.drop_group(id),
            Piece::End(..) => {}
        }
    }

    fn create(&mut self, id: GroupId, replica: ReplicaId) {
        let founding = self.builder.sequence() << FOUNDING_SHIFT;
        let retired = self.retired.iter().rev().find(|retired| retired.group == id);
        let (sequence, listed) =
            retired.map_or((founding, None), |retired| (retired.sequence + 1, retired.listed));
        let live = LiveEntries::empty(Index(0));
        let founded = sequence;
        let mut group = Group { replica, founded, sequence, listed, live, ..Group::default() };
        push_create(&mut self.builder.record(), id, sequence, replica);
        self.builder.list(&mut group.listed, id, kinds::CREATE, sequence);
        let before = self.groups.insert(id, group);
        assert!(before.is_none(), "group {id} exists already");
    }

    fn drop_group(&mut self, id: GroupId) {
        let mut group = self.groups.remove(&id).unwrap_or_else(|| missing(id));
        group.live.clear(self.chain);
        let sequence = group.sequence + 1;
        push_drop(&mut self.builder.record(), id, sequence);
        self.builder.list(&mut group.listed, id, kinds::DROP | kinds::GONE, sequence);
        self.retired.push(Retired { group: id, sequence, listed: group.listed });
    }

    /// Writes an entry that stands in `from` again, if it is still needed there. Says whether it was.
    pub(crate) fn rewrite(&mut self, entry: &Rewrite, from: SegmentId) -> bool {
        let Some(group) = self.groups.get_mut(&entry.group) else {
            return false;
        };
        if !group.stands_in(entry, from) {
            return false;
        }
        let bytes = entry.record_bytes() as u64;
        group.live.move_home(self.chain, entry.index, self.builder.segment(), bytes);
        push_rewritten(&mut self.builder.record(), entry);
        true
    }
}

fn missing<T>(id: GroupId) -> T {
    panic!("group {id} does not exist in the log")
}
