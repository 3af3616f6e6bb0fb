//! Keeping the log short: which groups hold back its oldest segment, and what is done about it.
//!
//! Once the log is longer than it should be, its oldest segment should go. Where little in it is still needed, the log
//! reads that back and writes it forward itself; where much is, it asks the groups to be flushed and rebased.
//!
//! Some groups are never rebased: those that are damaged, which the log knows of itself, and those that their users closed
//! for other reasons, which do not react to being asked. Their entries are written forward whatever their share, against
//! credit that submissions earn byte by byte: so this never costs more than they do, and never goes round in circles.

mod reading;

use std::collections::{BTreeMap, VecDeque};

use ringfort_env::{DiskAnswer, DiskError, DiskOperation};
use ringfort_types::GroupId;

use crate::Base;
use crate::chain::{Chain, Segment};
use crate::format::{Body, Record, SegmentId};
use crate::group::Group;
use crate::opening::Rewrite;
use reading::Reading;

/// At most this part of a segment's usual size is rewritten; where more is needed, groups are asked for rebases.
const REWRITTEN_SHARE: u64 = 8;
/// A group asked so often, without a rebase, is rewritten whatever its share.
const ASKS_MAX: u32 = 3;

/// What to do about the oldest segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// The log is short enough, or the oldest segment is about to go, or may not go yet.
    Nothing,
    /// Write forward what is needed of it.
    Rewrite,
    /// Ask for rebases.
    Ask,
}

/// A pure choice: `segments` in the chain, `bytes` in all, and how much is needed of the oldest.
pub(crate) fn choose(
    oldest: &Segment,
    (segments, bytes): (usize, u64),
    target: u64,
    segment_bytes: u64,
) -> Choice {
    // The active segment and the one before it are kept whatever is in them.
    if bytes <= target || segments <= 2 || oldest.live_entries == 0 {
        Choice::Nothing
    } else if oldest.live_bytes <= segment_bytes / REWRITTEN_SHARE {
        Choice::Rewrite
    } else {
        Choice::Ask
    }
}

/// A group that was asked for a rebase.
#[derive(Clone, Copy, Debug)]
struct Asked {
    /// Its base at that time.
    base: Base,
    /// How often, at this base.
    times: u32,
}

/// What was found about an oldest segment of which much is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Judgement {
    segment: SegmentId,
    /// Bytes that were needed of it.
    live_bytes: u64,
    /// Little of it is needed by groups that may still be rebased.
    hopeless: bool,
}

/// The state of it all.
#[derive(Debug)]
pub(crate) struct Stragglers {
    target: u64,
    segment_bytes: u64,
    reading: Option<Reading>,
    /// Read back, and still to be written.
    pub(crate) rewrites: VecDeque<Rewrite>,
    /// A segment that was read to its end, and all that was needed and found is written.
    ended: Option<SegmentId>,
    /// A segment that was read and still has entries needed.
    unreadable: Option<SegmentId>,
    /// Oldest and active segment when rebases were asked for last.
    asked: Option<(SegmentId, SegmentId)>,
    /// Ask again though these are the same.
    ask_again: bool,
    /// The groups asked last.
    asks: BTreeMap<GroupId, Asked>,
    judgement: Option<Judgement>,
    /// Bytes that may be rewritten of segments of which much is needed.
    credit: u64,
}

impl Stragglers {
    pub(crate) fn new(target: u64, segment_bytes: u64) -> Self {
        Self {
            target,
            segment_bytes,
            reading: None,
            rewrites: VecDeque::new(),
            ended: None,
            unreadable: None,
            asked: None,
            ask_again: false,
            asks: BTreeMap::new(),
            judgement: None,
            credit: segment_bytes,
        }
    }

    /// Sets the target of a log that holds `live_bytes`.
    pub(crate) fn set_target(&mut self, bytes: u64, live_bytes: u64) {
        self.ask_again |= bytes < self.target && bytes < live_bytes;
        self.target = bytes;
    }

    /// So many bytes of submissions are written.
    pub(crate) fn earn(&mut self, bytes: u64) {
        self.credit = self.credit.saturating_add(bytes).min(self.segment_bytes);
    }

    /// The segment whose entries are being rewritten.
    pub(crate) fn segment(&self) -> Option<SegmentId> {
        self.reading.as_ref().map(|reading| reading.segment)
    }

    /// A segment is gone.
    pub(crate) fn forget(&mut self, segment: SegmentId) {
        if self.segment() == Some(segment) {
            self.reading = None;
            self.rewrites.clear();
        }
        self.ended = self.ended.filter(|ended| *ended != segment);
        self.unreadable = self.unreadable.filter(|unreadable| *unreadable != segment);
    }

    /// Begins to rewrite, or says which groups to ask for a rebase; once per oldest and active segment.
    pub(crate) fn decide(
        &mut self,
        chain: &Chain,
        groups: &BTreeMap<GroupId, Group>,
    ) -> Option<Vec<GroupId>> {
        if self.reading.is_some() {
            return None;
        }
        let oldest = *chain.oldest();
        let size = (chain.len(), chain.bytes());
        match choose(&oldest, size, self.target, self.segment_bytes) {
            Choice::Nothing => None,
            Choice::Rewrite if self.unreadable != Some(oldest.id) => {
                self.begin(&oldest);
                None
            }
            Choice::Rewrite | Choice::Ask => self.press(&oldest, chain.active().id, groups),
        }
    }

    fn begin(&mut self, oldest: &Segment) {
        self.reading = Some(Reading::new(oldest.id, oldest.end));
    }

    /// Asks, or rewrites what asking does not help with. Called often, and cheap unless something has changed.
    fn press(
        &mut self,
        oldest: &Segment,
        active: SegmentId,
        groups: &BTreeMap<GroupId, Group>,
    ) -> Option<Vec<GroupId>> {
        let pair = Some((oldest.id, active));
        let grown = self.asked != pair;
        let ask = grown || std::mem::take(&mut self.ask_again);
        let judged =
            |known: &Judgement| known.segment == oldest.id && known.live_bytes == oldest.live_bytes;
        let judgement = self.judgement.filter(judged).filter(|_| !ask);
        let mut wanted = None;
        let judgement = judgement.unwrap_or_else(|| {
            let holders = holding(oldest.id, groups);
            if grown {
                self.asked = pair;
                self.count(&holders);
            }
            let asked = || holders.iter().filter(|holder| holder.group.damage.is_none());
            let hopeful = asked().filter(|holder| !self.is_deaf(holder.id));
            let hopeful: u64 = hopeful.map(|holder| holder.bytes).sum();
            wanted = ask.then(|| asked().map(|holder| holder.id).collect::<Vec<_>>());
            Judgement {
                segment: oldest.id,
                live_bytes: oldest.live_bytes,
                hopeless: hopeful <= self.segment_bytes / REWRITTEN_SHARE,
            }
        });
        self.judgement = Some(judgement);
        let cost = oldest.live_bytes.min(self.segment_bytes);
        let readable = self.unreadable != Some(oldest.id);
        if judgement.hopeless && readable && self.credit >= cost {
            self.credit -= cost;
            self.begin(oldest);
        }
        wanted.filter(|groups| !groups.is_empty())
    }

    /// Keeps count of how often the holders were asked since their last rebase.
    fn count(&mut self, holders: &[Holder<'_>]) {
        let before = std::mem::take(&mut self.asks);
        for holder in holders {
            let base = holder.group.base;
            let known = before.get(&holder.id).filter(|asked| asked.base == base);
            let times = known.map_or(1, |asked| asked.times.saturating_add(1));
            self.asks.insert(holder.id, Asked { base, times });
        }
    }

    /// Whether asking this group has not helped.
    fn is_deaf(&self, id: GroupId) -> bool {
        self.asks.get(&id).is_some_and(|asked| asked.times >= ASKS_MAX)
    }

    /// The next read, once everything read before is written.
    pub(crate) fn poll(&mut self) -> Option<DiskOperation> {
        let reading = self.reading.as_mut()?;
        if !self.rewrites.is_empty() {
            return None;
        }
        if reading.is_done() {
            self.ended = Some(reading.segment);
            self.reading = None;
            return None;
        }
        Some(reading.poll())
    }

    /// A segment that was read to its end, all that was found there being written; once.
    pub(crate) fn take_ended(&mut self) -> Option<SegmentId> {
        self.ended.take()
    }

    /// Entries that are needed of this segment were not found there. Only rebases help.
    pub(crate) fn set_unreadable(&mut self, segment: SegmentId) {
        self.unreadable = Some(segment);
    }

    /// Takes the end of a read.
    pub(crate) fn handle(
        &mut self,
        result: Result<DiskAnswer, DiskError>,
        groups: &BTreeMap<GroupId, Group>,
        salt: u64,
    ) {
        let Some(reading) = &mut self.reading else {
            return;
        };
        let segment = reading.segment;
        let rewrites = &mut self.rewrites;
        reading.handle(result, salt, &mut |record| {
            rewrites.extend(needed(record, segment, groups));
        });
    }
}

/// The record as something to rewrite, if it is a live entry that stands in `segment`.
fn needed(
    record: Record,
    segment: SegmentId,
    groups: &BTreeMap<GroupId, Group>,
) -> Option<Rewrite> {
    let Record { group, sequence, .. } = record;
    let (Body::Append { index, term, payload: Some(payload) }
    | Body::Rewritten { index, term, payload: Some(payload) }) = record.body
    else {
        return None;
    };
    let entry = Rewrite { group, sequence, index, term, payload };
    groups.get(&group)?.stands_in(&entry, segment).then_some(entry)
}

/// A group with live entries in a segment.
#[derive(Clone, Copy, Debug)]
struct Holder<'a> {
    id: GroupId,
    group: &'a Group,
    bytes: u64,
}

/// Groups with live entries in a segment, those with most bytes first.
fn holding(segment: SegmentId, groups: &BTreeMap<GroupId, Group>) -> Vec<Holder<'_>> {
    let mut holders: Vec<Holder<'_>> = groups
        .iter()
        .filter_map(|(id, group)| {
            let homes = group.live.homes().filter(|home| home.segment == segment);
            let bytes: u64 = homes.map(|home| home.bytes).sum();
            (bytes > 0).then_some(Holder { id: *id, group, bytes })
        })
        .collect();
    holders.sort_by_key(|holder| (std::cmp::Reverse(holder.bytes), holder.id));
    holders
}
