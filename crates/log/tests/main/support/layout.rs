//! An independent reading of segment files, after docs/formats/log.md: where each byte in use belongs. It checks no
//! checksum, and is used on intact files only.

use std::collections::BTreeSet;

use ringfort_env::FileName;
use ringfort_sim::{Random, SimDisk};
use ringfort_types::GroupId;

/// What a byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// A batch header.
    Header,
    /// A record without its payload.
    Record,
    /// An entry's payload.
    Payload,
}

/// One byte of a log.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) file: FileName,
    pub(crate) offset: u64,
    /// A later batch proves it.
    pub(crate) proven: bool,
    /// Groups with a record in its batch.
    pub(crate) groups: BTreeSet<GroupId>,
}

#[derive(Clone, Debug)]
struct Batch {
    file: FileName,
    segment: u64,
    offset: usize,
    previous: u64,
    previous_end: usize,
    oldest: u64,
    sequence: u64,
    /// Beginning and length of what is in use, by part.
    parts: Vec<(Part, usize, usize)>,
    groups: BTreeSet<GroupId>,
}

/// Every batch of the chain.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layout {
    batches: Vec<Batch>,
    newest: u64,
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> u64 {
    let mut field = [0; 8];
    field[..N].copy_from_slice(&bytes[at..at + N]);
    u64::from_le_bytes(field)
}

fn position(bytes: &[u8], at: usize) -> usize {
    usize::try_from(number::<8>(bytes, at)).unwrap()
}

impl Layout {
    pub(crate) fn read(disk: &SimDisk, files: &[(FileName, u64)], _salt: u64) -> Self {
        let mut all: Vec<Batch> = Vec::new();
        for (file, _) in files {
            let Some(digits) = file.as_str().strip_prefix("log-") else {
                continue;
            };
            let segment = u64::from_str_radix(&digits[..16], 16).unwrap();
            let content = disk.content(file).unwrap();
            let mut at = 0;
            while let Some(batch) = read_batch(content, at, segment, file) {
                let (_, last, length) = *batch.parts.last().unwrap();
                at = (last + length).next_multiple_of(512);
                all.push(batch);
            }
        }
        let newest = all.iter().max_by_key(|batch| batch.sequence).unwrap().clone();
        let mut batches = Vec::new();
        let (mut segment, mut end) = (newest.segment, usize::MAX);
        while segment >= newest.oldest && segment > 0 {
            let inside = |batch: &&Batch| batch.segment == segment && batch.offset < end;
            let of_segment: Vec<Batch> = all.iter().filter(inside).cloned().collect();
            let first = of_segment.first().expect("the chain is whole");
            (segment, end) = (first.previous, first.previous_end);
            batches.extend(of_segment);
        }
        Self { batches, newest: newest.sequence }
    }

    /// Where the part of a file ends that later batches prove.
    pub(crate) fn proven_end(&self, file: &FileName) -> u64 {
        let of_file = self.batches.iter().filter(|batch| batch.file == *file);
        let proven = of_file.filter(|batch| batch.sequence < self.newest);
        let ends = proven.map(|batch| {
            let (_, from, length) = *batch.parts.last().unwrap();
            ((from + length) as u64).next_multiple_of(512)
        });
        ends.max().unwrap_or(0)
    }

    /// A random byte of a part, of any batch.
    pub(crate) fn random_place(&self, part: Part, random: &mut Random) -> Option<Place> {
        let spans = |batch: &Batch| -> u64 {
            let spans = batch.parts.iter().filter(|(of, _, _)| *of == part);
            spans.map(|(_, _, length)| *length as u64).sum()
        };
        let total: u64 = self.batches.iter().map(spans).sum();
        if total == 0 {
            return None;
        }
        let mut rest = usize::try_from(random.below(total)).unwrap();
        for batch in &self.batches {
            for (of, from, length) in &batch.parts {
                if *of != part {
                    continue;
                }
                if rest < *length {
                    return Some(Place {
                        file: batch.file.clone(),
                        offset: (from + rest) as u64,
                        proven: batch.sequence < self.newest,
                        groups: batch.groups.clone(),
                    });
                }
                rest -= length;
            }
        }
        None
    }
}

fn read_batch(content: &[u8], at: usize, segment: u64, file: &FileName) -> Option<Batch> {
    let header = content.get(at..at + 72)?;
    let ours = &header[..8] == b"RingfLog" && number::<8>(header, 16) == segment;
    if !ours {
        return None;
    }
    let end = at + usize::try_from(number::<4>(header, 64)).unwrap();
    let mut parts = vec![(Part::Header, at, 72)];
    let mut groups = BTreeSet::new();
    let mut record = at + 72;
    while record < end {
        let length = usize::try_from(number::<4>(content, record + 4)).unwrap();
        if length < 22 {
            // A batch cut short by a crash: it does not count.
            return None;
        }
        let kind = content[record + 8];
        let sealed = if kind <= 2 { 42 } else { length };
        parts.push((Part::Record, record, sealed));
        if sealed < length {
            parts.push((Part::Payload, record + sealed, length - sealed));
        }
        if kind != 8 {
            groups.insert(GroupId(u32::try_from(number::<4>(content, record + 10)).unwrap()));
        }
        record += length;
    }
    Some(Batch {
        file: file.clone(),
        segment,
        offset: at,
        previous: number::<8>(header, 40),
        previous_end: position(header, 48),
        oldest: number::<8>(header, 56),
        sequence: number::<8>(header, 32),
        parts,
        groups,
    })
}
