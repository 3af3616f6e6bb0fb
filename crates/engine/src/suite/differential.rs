//! Random operations on an engine and on ordered maps, with snapshots, flushes and starts in between.
//!
//! The test plays the replica and the log: it remembers every batch, records a generation once its flush is durable, and
//! after a start replays the batches from where the engine says it stands.

use std::collections::BTreeMap;

use bytes::Bytes;
use ringfort_env::DiskCompletion;
use ringfort_types::{Applied, GroupId};

use super::model::{random_batch, random_key};
use super::random::Random;
use super::{Harness, Model};
use crate::store::{Flushed, Generation, Range, SnapshotId, StorageEngine, WriteBatch};

/// What happens to the disk when the process ends, before the next one starts.
pub type Restarts<'a> = dyn FnMut(&mut Harness, u64) + 'a;

/// How long, and from which seed.
#[derive(Clone, Copy, Debug)]
pub struct Differential {
    /// Decides everything.
    pub seed: u64,
    /// Number of steps.
    pub steps: usize,
    /// Number of groups.
    pub groups: u32,
}

impl Differential {
    /// A short run.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let (steps, groups) = (600, 3);
        Self { seed, steps, groups }
    }
}

/// Runs one differential test. A start finds everything that was written.
///
/// # Panics
/// Engine and model disagree; the message begins with the seed.
pub fn differential(harness: &mut Harness, settings: &Differential) {
    differential_with(harness, settings, &mut |_, _| {});
}

/// Runs one differential test with something of the caller's between the end of one engine and the start of the next, such
/// as a power loss.
///
/// # Panics
/// Engine and model disagree; the message begins with the seed.
pub fn differential_with(
    harness: &mut Harness,
    settings: &Differential,
    between: &mut Restarts<'_>,
) {
    println!("{settings:?}");
    let mut random = Random::new(settings.seed);
    let mut run = Run::start(harness, settings.groups);
    for _ in 0..settings.steps {
        run.step(harness, &mut random, between);
    }
    run.check_all();
    run.restart(harness, &mut random, between);
    run.check_all();
}

/// One group as the test knows it.
#[derive(Default)]
struct Group {
    model: Model,
    log: Vec<WriteBatch>,
    generation: Generation,
    generations_used: u64,
    flush: Option<(Generation, Applied)>,
}

struct Reading {
    id: SnapshotId,
    group: GroupId,
    then: Model,
    parts: Vec<Bytes>,
}

struct Run {
    engine: Box<dyn StorageEngine>,
    groups: BTreeMap<GroupId, Group>,
    readings: Vec<Reading>,
}

impl Run {
    fn start(harness: &mut Harness, groups: u32) -> Self {
        let mut engine = harness.start();
        let groups = (0..groups).map(|number| (GroupId(number), Group::default()));
        let groups: BTreeMap<_, _> = groups.collect();
        for group in groups.keys() {
            engine.create(*group).unwrap();
        }
        Self { engine, groups, readings: Vec::new() }
    }

    fn group(&mut self, random: &mut Random) -> GroupId {
        let number = random.below(self.groups.len());
        GroupId(u32::try_from(number).expect("few groups"))
    }

    fn step(&mut self, harness: &mut Harness, random: &mut Random, between: &mut Restarts<'_>) {
        let group = self.group(random);
        match random.below(1000) {
            0..550 => self.write(group, random),
            550..700 => self.read(group, random),
            700..730 => self.begin_snapshot(group),
            730..800 => self.read_snapshot(random),
            800..830 => self.begin_flush(group),
            830..980 => self.disk_step(harness),
            980..985 => self.drop_and_create(group),
            985..990 => self.check_all(),
            _ => self.restart(harness, random, between),
        }
    }

    fn write(&mut self, id: GroupId, random: &mut Random) {
        let group = self.groups.get_mut(&id).expect("known");
        let batch = random_batch(random, group.model.applied.index.0 + 1);
        self.engine.write(id, &batch).unwrap();
        group.model.write(&batch);
        group.log.push(batch);
    }

    fn read(&mut self, id: GroupId, random: &mut Random) {
        let model = &self.groups[&id].model;
        let (start, end) = (random_key(random), random_key(random));
        model.check_key(&*self.engine, id, &start);
        let end = random.percent(50).then_some(&end[..]);
        let range = Range { start: &start, end };
        model.check_range(&*self.engine, id, range, 1 + random.below(40));
    }

    fn begin_snapshot(&mut self, group: GroupId) {
        if self.readings.len() < 5 {
            let (id, applied) = self.engine.snapshot(group).unwrap();
            let then = self.groups[&group].model.clone();
            assert_eq!(applied, then.applied);
            self.readings.push(Reading { id, group, then, parts: Vec::new() });
        }
    }

    /// Reads one part; a snapshot read to its end is installed, compared, and taken back by another snapshot.
    fn read_snapshot(&mut self, random: &mut Random) {
        if self.readings.is_empty() {
            return;
        }
        let chosen = random.below(self.readings.len());
        let reading = &mut self.readings[chosen];
        let size = 1 + random.below(200_000);
        if let Some(part) = self.engine.read_snapshot(reading.id, size).unwrap() {
            reading.parts.push(part);
            return;
        }
        let Reading { id, group, then, parts } = self.readings.swap_remove(chosen);
        self.engine.release_snapshot(id);
        let (now, _) = self.engine.snapshot(group).unwrap();
        let engine = &mut self.engine;
        let present: Vec<_> =
            std::iter::from_fn(|| engine.read_snapshot(now, 100_000).unwrap()).collect();
        self.engine.release_snapshot(now);
        let taken = self.engine.install(group, &mut parts.into_iter()).unwrap();
        assert_eq!(taken, Ok(then.applied));
        then.check(&*self.engine, group);
        let back = self.engine.install(group, &mut present.into_iter()).unwrap();
        assert_eq!(back, Ok(self.groups[&group].model.applied));
    }

    fn begin_flush(&mut self, id: GroupId) {
        let group = self.groups.get_mut(&id).expect("known");
        if group.flush.is_some() {
            return;
        }
        group.generations_used += 1;
        let generation = Generation(group.generations_used);
        self.engine.flush(id, generation).unwrap();
        group.flush = Some((generation, group.model.applied));
    }

    fn disk_step(&mut self, harness: &mut Harness) {
        if let Some(request) = self.engine.poll_disk() {
            let result = harness.disk.execute(&request.operation);
            let completion = DiskCompletion { id: request.id, result };
            self.engine.handle_disk(completion).expect("no sync fails");
        }
        while let Some(end) = self.engine.poll_flushed() {
            self.record(end.expect("no write fails"));
        }
    }

    /// Plays the log: the generation counts from here on, and the one before may go.
    fn record(&mut self, flushed: Flushed) {
        let group = self.groups.get_mut(&flushed.group).expect("known");
        assert_eq!(group.flush.take(), Some((flushed.generation, flushed.applied)));
        let before = std::mem::replace(&mut group.generation, flushed.generation);
        group.log.retain(|batch| batch.applied > flushed.applied);
        self.engine.remove_generation(flushed.group, before);
    }

    fn drop_and_create(&mut self, id: GroupId) {
        self.engine.drop_store(id);
        self.engine.create(id).unwrap();
        self.readings.retain(|reading| reading.group != id);
        let before = self.groups.insert(id, Group::default());
        // Generations go on, as they do where the replica that follows is told of its predecessor.
        if let Some(group) = self.groups.get_mut(&id) {
            group.generations_used = before.map_or(0, |before| before.generations_used);
        }
    }

    fn restart(&mut self, harness: &mut Harness, random: &mut Random, between: &mut Restarts<'_>) {
        self.readings.clear();
        // Engines are one at a time: the old one is gone before the new one looks at the disk.
        self.engine = harness.start();
        between(harness, random.bits());
        self.engine = harness.start();
        let mut live = Vec::new();
        for (id, group) in &mut self.groups {
            let applied = self.engine.open(&mut *harness.disk, *id, group.generation).unwrap();
            live.push((*id, group.generation));
            group.flush = None;
            for batch in group.log.iter().filter(|batch| batch.applied > applied) {
                self.engine.write(*id, batch).unwrap();
            }
        }
        self.engine.remove_leftovers(&mut *harness.disk, &live).unwrap();
        let left = self.engine.remove_leftovers(&mut *harness.disk, &live).unwrap();
        assert_eq!(left, 0, "left-overs go at once");
        self.check_all();
    }

    fn check_all(&self) {
        for (id, group) in &self.groups {
            group.model.check(&*self.engine, *id);
        }
    }
}
