//! Damaged snapshot files: whatever is wrong, the file is refused and named, and no value of it is served.

use super::*;
use crate::store::WriteOperation;
use crate::suite::{MemoryDisk, Random};

const GROUP: GroupId = GroupId(5);
const GENERATION: Generation = Generation(3);

fn name() -> ringfort_env::FileName {
    files::whole(GROUP, GENERATION)
}

/// A file of several frames, small records and one that has a frame of its own.
fn file() -> Vec<u8> {
    let mut engine = engine();
    engine.create(GROUP).unwrap();
    let mut random = Random::new(2);
    for index in 1..=1500 {
        let large = if index == 700 { 100_000 } else { 0 };
        let len = large + random.below(200);
        let operation = WriteOperation::Put {
            key: Bytes::from(format!("key {:05}", random.below(5000))),
            head: Bytes::from_static(b"head"),
            body: random.bytes(len).into(),
        };
        let applied =
            Applied { index: ringfort_types::Index(index), term: ringfort_types::Term(2) };
        let batch = WriteBatch { operations: vec![operation], applied };
        engine.write(GROUP, &batch).unwrap();
    }
    engine.flush(GROUP, GENERATION).unwrap();
    let mut disk = MemoryDisk::default();
    while let Some(request) = engine.poll_disk() {
        let result = disk.execute(&request.operation);
        engine.handle_disk(DiskCompletion { id: request.id, result }).unwrap();
    }
    disk.file_mut(&name()).unwrap().clone()
}

/// How an engine refuses a file with these bytes: the offset.
fn refusal(bytes: Vec<u8>) -> Result<u64, String> {
    let len = bytes.len() as u64;
    let mut disk = MemoryDisk::default();
    disk.put(name(), bytes);
    let mut engine = engine();
    match engine.open(&mut disk, GROUP, GENERATION) {
        Err(EngineError::Damaged { file, offset, .. }) => {
            assert_eq!(file, name());
            assert!(offset <= len);
            assert!(matches!(engine.size(GROUP), Err(EngineError::NoStore(_))));
            Ok(offset)
        }
        other => Err(format!("{other:?}")),
    }
}

#[test]
fn every_flipped_bit_is_found() {
    let file = file();
    let mut random = Random::new(3);
    // Every bit of the heads and the tail, and thousands in between.
    let heads = 0..32 + 64 + 20 + 40;
    let tail = file.len() - 60..file.len();
    let ends = heads.chain(tail).flat_map(|byte| (0..8).map(move |bit| (byte, bit)));
    let between: Vec<_> = (0..4000).map(|_| (random.below(file.len()), random.below(8))).collect();
    let mut flips = 0;
    for (byte, bit) in ends.chain(between) {
        let mut flipped = file.clone();
        flipped[byte] ^= 1 << bit;
        let offset =
            refusal(flipped).unwrap_or_else(|other| panic!("byte {byte}, bit {bit}: {other}"));
        assert!(offset <= byte as u64, "byte {byte}: reported at {offset}");
        flips += 1;
    }
    println!("{flips} flipped bits, all found");
}

#[test]
fn several_flips_zeroed_and_misplaced_sectors_are_found() {
    let file = file();
    let mut random = Random::new(4);
    for round in 0..2000 {
        let mut damaged = file.clone();
        let sector = |random: &mut Random| random.below(file.len() / 512) * 512;
        let (at, from) = (sector(&mut random), sector(&mut random));
        match round % 4 {
            0 => (0..2 + random.below(8)).for_each(|_| {
                let byte = random.below(file.len());
                damaged[byte] ^= 1 << random.below(8);
            }),
            1 => damaged[at..at + 512].fill(0),
            2 => damaged[at..at + 512].copy_from_slice(&file[from..from + 512]),
            _ => damaged[at..at + 512].copy_from_slice(&random.bytes(512)),
        }
        if damaged != file {
            refusal(damaged).unwrap_or_else(|other| panic!("round {round}: {other}"));
        }
    }
}

#[test]
fn files_too_short_too_long_or_of_another_name_are_found() {
    let file = file();
    let mut random = Random::new(5);
    for len in (0..200).chain((0..500).map(|_| random.below(file.len()))) {
        let offset = refusal(file[..len].to_vec()).unwrap();
        assert_eq!(offset, len as u64, "it ends there");
    }
    for more in [1, 20, 512, 1 << 20] {
        let longer = [&file[..], &vec![0; more]].concat();
        assert_eq!(refusal(longer).unwrap(), file.len() as u64);
    }
    let (group, generation) = (GroupId(6), Generation(4));
    for (group, generation) in [(group, GENERATION), (GROUP, generation)] {
        let mut disk = MemoryDisk::default();
        disk.put(files::whole(group, generation), file.clone());
        let opened = engine().open(&mut disk, group, generation);
        assert!(matches!(opened, Err(EngineError::Damaged { offset: 16, .. })), "{opened:?}");
    }
}

#[test]
fn frames_of_other_places_and_streams_are_found() {
    let file = file();
    // Frames begin where the heads end; each says how long it is.
    let mut frames = Vec::new();
    let mut at = 32 + 64;
    while at < file.len() {
        let len = u32::from_le_bytes(file[at + 4..at + 8].try_into().unwrap()) as usize + 20;
        frames.push(at..at + len);
        at += len;
    }
    assert!(frames.len() > 4);
    for first in 0..frames.len() {
        for second in 0..frames.len() {
            if first == second {
                continue;
            }
            let mut damaged = file[..frames[0].start].to_vec();
            for number in 0..frames.len() {
                let taken = match number {
                    _ if number == first => second,
                    _ if number == second => first,
                    _ => number,
                };
                damaged.extend_from_slice(&file[frames[taken].clone()]);
            }
            refusal(damaged).unwrap();
        }
        let without = [&file[..frames[first].start], &file[frames[first].end..]].concat();
        refusal(without).unwrap();
        let twice = [&file[..frames[first].end], &file[frames[first].start..]].concat();
        refusal(twice).unwrap();
    }
    // The same records one position later make another stream: none of its frames fits.
    let mut engine = engine();
    let mut disk = MemoryDisk::default();
    disk.put(name(), file.clone());
    engine.open(&mut disk, GROUP, GENERATION).unwrap();
    let applied = Applied { index: ringfort_types::Index(9999), ..Applied::default() };
    let batch = WriteBatch { operations: vec![], applied };
    engine.write(GROUP, &batch).unwrap();
    engine.remove_generation(GROUP, GENERATION);
    engine.flush(GROUP, GENERATION).unwrap();
    while let Some(request) = engine.poll_disk() {
        let result = disk.execute(&request.operation);
        engine.handle_disk(DiskCompletion { id: request.id, result }).unwrap();
    }
    let other = disk.file_mut(&name()).unwrap().clone();
    assert_eq!(other.len(), file.len());
    for frame in frames {
        let mut mixed = file.clone();
        mixed[frame.clone()].copy_from_slice(&other[frame]);
        refusal(mixed).unwrap();
    }
}

#[test]
fn a_newer_format_is_named_and_not_called_damage() {
    let mut newer = file();
    newer[8..10].copy_from_slice(&2_u16.to_le_bytes());
    let crc = crc32c::crc32c(&newer[..12]);
    newer[12..16].copy_from_slice(&crc.to_le_bytes());
    let mut disk = MemoryDisk::default();
    disk.put(name(), newer);
    let opened = engine().open(&mut disk, GROUP, GENERATION);
    let Err(EngineError::NewerFormat { found: 2, known: 1, .. }) = opened else {
        panic!("{opened:?}");
    };
}
