//! The opening of a segment: the first batches, which hold every group's state and, after a start, the entries that were
//! not proven durable where they stood.
//!
//! Only the last batch of an opening lacks the flag `MORE`; a segment counts only once that one is on disk. So an opening
//! takes effect as a whole, whatever its size.

use std::collections::BTreeMap;

use bytes::Bytes;
use ringfort_types::{GroupId, Index, Term};

use crate::builder::{Batch, BatchBuilder};
use crate::chain::Chain;
use crate::format::{ENTRY_HEADER_BYTES, flags, kinds, push_rewritten, push_state, state_bytes};
use crate::group::Group;

/// An entry to be written again, in a newer segment.
#[derive(Clone, Debug)]
pub(crate) struct Rewrite {
    pub(crate) group: GroupId,
    /// Number of the record that wrote it first.
    pub(crate) sequence: u64,
    pub(crate) index: Index,
    pub(crate) term: Term,
    pub(crate) payload: Bytes,
}

impl Rewrite {
    /// Bytes of its record.
    pub(crate) fn record_bytes(&self) -> usize {
        ENTRY_HEADER_BYTES + self.payload.len()
    }
}

/// Makes the batches of an opening. The builder stands at the segment, which is the chain's active one.
pub(crate) struct Opening<'a> {
    pub(crate) builder: &'a mut BatchBuilder,
    pub(crate) chain: &'a Chain,
    /// Number of the first batch.
    pub(crate) sequence: u64,
    /// Batches end at about this size.
    pub(crate) batch_bytes: u64,
}

impl Opening<'_> {
    /// The opening's batches, in order; at least one.
    pub(crate) fn build(
        mut self,
        groups: &BTreeMap<GroupId, Group>,
        brought: &[Rewrite],
    ) -> Vec<Batch> {
        let mut batches = Vec::new();
        let mut offset = 0;
        self.builder.begin(offset, self.sequence);
        for (id, group) in groups {
            let state = group.state();
            self.make_room(&mut batches, &mut offset, state_bytes(state.terms.len()));
            push_state(&mut self.builder.record(), *id, group.sequence, &state);
            self.builder.list(&mut None, *id, kinds::STATE, group.sequence);
        }
        for entry in brought {
            self.make_room(&mut batches, &mut offset, entry.record_bytes());
            push_rewritten(&mut self.builder.record(), entry);
        }
        batches.push(self.builder.finish(flags::OPENING, self.chain.oldest_needed()));
        batches
    }

    /// Ends the batch if the next record would make it too long.
    fn make_room(&mut self, batches: &mut Vec<Batch>, offset: &mut u64, record: usize) {
        let full = self.builder.length_with(record) > self.batch_bytes;
        if !full || self.builder.is_empty() {
            return;
        }
        let more = flags::OPENING | flags::MORE;
        let batch = self.builder.finish(more, self.chain.oldest_needed());
        *offset = batch.header.end();
        batches.push(batch);
        self.sequence += 1;
        self.builder.begin(*offset, self.sequence);
    }
}
