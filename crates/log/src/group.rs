//! What the log knows of one group while it runs.

use ringfort_types::{HardState, ReplicaId};

use crate::format::{SegmentId, StateRecord};
use crate::live::LiveEntries;
use crate::opening::Rewrite;
use crate::{Base, Damage};

/// A group that exists.
#[derive(Clone, Debug, Default)]
pub(crate) struct Group {
    pub(crate) replica: ReplicaId,
    /// Number of the record that founded it.
    pub(crate) founded: u64,
    pub(crate) hard_state: HardState,
    pub(crate) base: Base,
    /// Number of its last record.
    pub(crate) sequence: u64,
    pub(crate) live: LiveEntries,
    pub(crate) damage: Option<Damage>,
    /// The batch that names the group in its directory last, and its place there.
    pub(crate) listed: Option<(u64, usize)>,
}

impl Group {
    /// Whether an entry, written by the record of this number, is live and stands in this segment. The number tells it
    /// from an entry of an earlier incarnation of the group.
    pub(crate) fn stands_in(&self, entry: &Rewrite, segment: SegmentId) -> bool {
        let Rewrite { sequence, index, term, .. } = *entry;
        sequence >= self.founded && self.live.stands_in(index, term, segment)
    }

    /// Everything about the group but payloads, to be written.
    pub(crate) fn state(&self) -> StateRecord {
        StateRecord {
            replica: self.replica,
            founded: self.founded,
            hard_state: self.hard_state,
            base: self.base,
            last: self.live.last(),
            damage: self.damage.clone(),
            terms: self.live.terms().collect(),
        }
    }
}
