//! Submissions that wait for a batch, taken apart piece by piece so that one may span several batches.

use std::collections::VecDeque;

use ringfort_types::{Entry, GroupId, HardState, ReplicaId};

use crate::format::{ENTRY_HEADER_BYTES, RECORD_HEADER_BYTES};
use crate::{Base, GroupWrite, SourceId, Submission, SubmissionId};

/// The smallest part of a submission: one record, or its end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Piece<'a> {
    Create(GroupId, ReplicaId),
    HardState(GroupId, &'a HardState),
    Entry(GroupId, &'a Entry),
    Rebase(GroupId, &'a Base),
    Drop(GroupId),
    /// Nothing is left of the submission: once all before is durable, so is it.
    End(SourceId, SubmissionId, u32),
}

impl Piece<'_> {
    /// Bytes of the record.
    pub(crate) fn record_bytes(&self) -> usize {
        match self {
            Self::Create(..) => RECORD_HEADER_BYTES + 8,
            Self::HardState(..) | Self::Rebase(..) => RECORD_HEADER_BYTES + 24,
            Self::Entry(_, entry) => ENTRY_HEADER_BYTES + entry.payload.len(),
            Self::Drop(_) => RECORD_HEADER_BYTES,
            Self::End(..) => 0,
        }
    }
}

/// The queue, and how far its first submission was taken.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    queue: VecDeque<Submission>,
    operations: u64,
    write: usize,
    /// Pieces taken of the current write: its entries, then its hard state, if it has one.
    part: usize,
}

impl Pending {
    pub(crate) fn push(&mut self, submission: Submission) {
        self.operations += u64::from(submission.operations);
        self.queue.push_back(submission);
        if self.queue.len() == 1 {
            self.skip_empty();
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Client operations of the submissions that wait.
    pub(crate) fn operations(&self) -> u64 {
        self.operations
    }

    /// The next piece.
    pub(crate) fn front(&self) -> Option<Piece<'_>> {
        let submission = self.queue.front()?;
        let Some(write) = submission.writes.get(self.write) else {
            return Some(Piece::End(submission.source, submission.id, submission.operations));
        };
        Some(match write {
            GroupWrite::Create { group, replica } => Piece::Create(*group, *replica),
            // Entries come first: so a commit index on disk never speaks of entries that come behind it.
            GroupWrite::Append { group, hard_state, entries } => {
                match (entries.get(self.part), hard_state) {
                    (Some(entry), _) => Piece::Entry(*group, entry),
                    (None, Some(hard_state)) => Piece::HardState(*group, hard_state),
                    (None, None) => unreachable!("a write without pieces is skipped"),
                }
            }
            GroupWrite::Rebase { group, base } => Piece::Rebase(*group, base),
            GroupWrite::Drop { group } => Piece::Drop(*group),
        })
    }

    /// Goes on to the piece after [`Pending::front`].
    pub(crate) fn advance(&mut self) {
        let Some(submission) = self.queue.front() else {
            return;
        };
        self.part += 1;
        match submission.writes.get(self.write) {
            None => {
                self.operations -= u64::from(submission.operations);
                self.queue.pop_front();
                self.write = 0;
                self.part = 0;
                self.skip_empty();
            }
            Some(write) if self.part >= parts(write) => {
                self.write += 1;
                self.part = 0;
                self.skip_empty();
            }
            Some(_) => {}
        }
    }

    /// Appends of nothing have no piece.
    fn skip_empty(&mut self) {
        let Some(submission) = self.queue.front() else {
            return;
        };
        while submission.writes.get(self.write).is_some_and(|write| parts(write) == 0) {
            self.write += 1;
        }
    }
}

fn parts(write: &GroupWrite) -> usize {
    match write {
        GroupWrite::Append { hard_state, entries, .. } => {
            usize::from(hard_state.is_some()) + entries.len()
        }
        _ => 1,
    }
}
