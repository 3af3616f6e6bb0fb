//! Finds the chain of segments and reads it from the oldest to the newest.

use std::collections::{BTreeMap, BTreeSet};

use ringfort_env::Disk;

use super::reader::SegmentReader;
use super::reads::Reads;
use super::replay::{Replay, Source};
use super::scan::{Scan, Step};
use super::survey::{Survey, survey};
use crate::LogError;
use crate::format::{ALIGNMENT, BatchHeader, SegmentId};

/// Home of entries that stand in the part that is not proven durable.
pub(super) const UNPROVEN: SegmentId = SegmentId(u64::MAX);

/// Where batches may be hidden, so many of their numbers are left out.
const SKIPPED: u64 = 1 << 20;

/// Segment files in the data directory, with their lengths in bytes.
pub(super) type Files = BTreeMap<SegmentId, u64>;

/// One segment of the chain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) id: SegmentId,
    pub(super) length: u64,
    /// Where its part of the log ends.
    pub(super) end: u64,
    /// Its first header, where that is valid.
    first: Option<BatchHeader>,
}

/// The chain.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    /// Oldest first, the newest not among them.
    older: Vec<Link>,
    newest: Option<(Link, Survey)>,
    /// Segments that should be there, with what is wrong, newest first.
    missing: Vec<(SegmentId, String)>,
    /// Segments behind the newest that cannot be read where it would show whether they count.
    doubtful: Vec<SegmentId>,
}

/// What reading the chain gave.
pub(super) struct Restored {
    pub(super) replay: Replay,
    /// Segments of which a part counts, oldest first; their ends are proven.
    pub(super) links: Vec<Link>,
    /// The newest segment; not among the links where nothing of it is proven.
    pub(super) newest: Option<SegmentId>,
    /// Number of the next batch.
    pub(super) sequence: u64,
    /// Segments of which something cannot be read.
    pub(super) unreadable: BTreeSet<SegmentId>,
}

/// Lists the log's files.
pub(super) fn segments(disk: &mut dyn Disk) -> Result<Files, LogError> {
    let files = disk.list()?;
    let ours = files.iter().filter_map(|(name, length)| Some((SegmentId::of_file(name)?, *length)));
    Ok(ours.collect())
}

/// Finds the newest segment that counts, and the chain that leads to it.
pub(super) fn find(reads: &mut Reads<'_>, files: &Files, salt: u64) -> Result<History, LogError> {
    let mut history = History::default();
    for (&id, &length) in files.iter().rev() {
        let mut reader = SegmentReader::new(reads, salt, id, length);
        if let Some(survey) = survey(&mut reader)? {
            let first = reader.header_from(0, u64::MAX)?;
            let link = Link { id, length, end: survey.end, first };
            history.newest = Some((link, survey));
            break;
        }
        if reader.may_count()? {
            history.doubtful.push(id);
        }
    }
    let Some((newest, survey)) = history.newest else {
        if let Some(id) = history.doubtful.first() {
            return Err(LogError::Unreadable { file: id.file() });
        }
        refuse_unreadable(reads, files)?;
        return Ok(history);
    };
    let last = survey.last;
    let mut next = Some((last.previous, last.previous_end));
    let mut above = newest.id;
    while let Some((id, end)) = next.filter(|(id, _)| *id >= survey.oldest && id.0 > 0) {
        let link = match files.get(&id) {
            Some(&length) => open_link(reads, salt, id, length, end)?,
            None => None,
        };
        match link {
            Some(link) => history.older.push(link),
            None => history
                .missing
                .push((id, "the file is missing or not one header in it is valid".to_owned())),
        }
        above = above.min(id);
        next = match link.and_then(|link| link.first) {
            Some(first) => Some((first.previous, first.previous_end)),
            None => guess(reads, files, salt, survey.oldest, above)?,
        };
    }
    history.older.reverse();
    Ok(history)
}

/// A segment of the chain; `None` if no header in it is valid.
fn open_link(
    reads: &mut Reads<'_>,
    salt: u64,
    id: SegmentId,
    length: u64,
    end: u64,
) -> Result<Option<Link>, LogError> {
    let mut reader = SegmentReader::new(reads, salt, id, length);
    let first = reader.header_from(0, end)?;
    Ok(first.map(|first| Link { id, length, end, first: Some(first) }))
}

/// The segment before `above` and where it ends, when nothing says so: the newest one that counts.
fn guess(
    reads: &mut Reads<'_>,
    files: &Files,
    salt: u64,
    oldest: SegmentId,
    above: SegmentId,
) -> Result<Option<(SegmentId, u64)>, LogError> {
    if oldest >= above {
        return Ok(None);
    }
    for (&id, &length) in files.range(oldest..above).rev() {
        let mut reader = SegmentReader::new(reads, salt, id, length);
        if let Some(survey) = survey(&mut reader)? {
            return Ok(Some((id, survey.end)));
        }
    }
    Ok(None)
}

/// No segment counts: either there never was a log (at most the very first batch was begun), or it cannot be read.
fn refuse_unreadable(reads: &mut Reads<'_>, files: &Files) -> Result<(), LogError> {
    for (&id, &length) in files {
        let mut reader = SegmentReader::new(reads, 0, id, length);
        if reader.any_magic_from(ALIGNMENT)? {
            return Err(LogError::Unreadable { file: id.file() });
        }
    }
    Ok(())
}

/// Reads the chain.
pub(super) fn read(
    reads: &mut Reads<'_>,
    history: &History,
    salt: u64,
) -> Result<Restored, LogError> {
    let mut replay = Replay::default();
    let mut links = history.older.clone();
    let mut missing = history.missing.iter().rev().peekable();
    let mut expected = None;
    for (at, link) in history.older.iter().enumerate() {
        while let Some((id, what)) = missing.next_if(|(id, _)| *id < link.id) {
            replay.take_missing(*id, what);
            expected = None;
        }
        let next = history.older.get(at + 1).or(history.newest.as_ref().map(|(link, _)| link));
        let after = next.and_then(|link| link.first).filter(|header| header.offset == 0);
        let mut reader = SegmentReader::new(reads, salt, link.id, link.length);
        let source = Source { segment: link.id, home: link.id };
        let after = after.map(|header| header.sequence);
        let scan = Scan { reader: &mut reader, range: 0..link.end, expected, after };
        expected = run(scan, &mut replay, source)?;
    }
    for (id, what) in missing {
        replay.take_missing(*id, what);
        expected = None;
    }
    let Some((newest, survey)) = &history.newest else {
        let unreadable = reads.unreadable_segments();
        replay.findings = reads.findings();
        return Ok(Restored { replay, links, newest: None, sequence: 1, unreadable });
    };
    let mut reader = SegmentReader::new(reads, salt, newest.id, newest.length);
    let proven_end = if survey.opening_only { 0 } else { survey.proven_end };
    let source = Source { segment: newest.id, home: newest.id };
    let after = survey.after;
    let scan = Scan { reader: &mut reader, range: 0..proven_end, expected, after };
    let sequence = run(scan, &mut replay, source)?;
    let source = Source { segment: newest.id, home: UNPROVEN };
    let range = proven_end..survey.end;
    let scan = Scan { reader: &mut reader, range, expected: sequence, after: None };
    run(scan, &mut replay, source)?;
    if !survey.opening_only {
        links.push(Link { end: proven_end, ..*newest });
    }
    let mut sequence = sequence.or(after).unwrap_or(survey.last.sequence + SKIPPED);
    for id in history.doubtful.iter().rev() {
        replay.take_missing(*id, "it cannot be read; it may have held the newest part of the log");
        sequence += SKIPPED;
    }
    replay.findings.splice(0..0, reads.findings());
    let (newest, unreadable) = (Some(newest.id), reads.unreadable_segments());
    Ok(Restored { replay, links, newest, sequence, unreadable })
}

fn run(
    scan: Scan<'_, '_, '_>,
    replay: &mut Replay,
    source: Source,
) -> Result<Option<u64>, LogError> {
    scan.run(&mut |step, records| match step {
        Step::Batch(header) => replay.take_batch(source, &header, records),
        Step::Damaged(region) => replay.take_region(source, region, records),
    })
}
