//! What the log costs: appends of 64 KiB beside a bare disk that does the same writes and syncs, the CPU of it without a
//! disk, and reading a log back.
//!
//! The bare disk and the log take turns in one run, since a disk's speed changes from minute to minute; each says how long
//! its own turns took, and their ratio is printed. `RINGFORT_BENCH_DIR` names a directory on the disk to measure.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // a bench is a host: it has files and a clock, and panics

mod host;

use std::cell::{OnceCell, RefCell};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use host::{Directory, Host, instant};
use ringfort_env::{DiskAnswer, DiskCompletion};
use ringfort_log::{
    Base, FileLog, GroupWrite, LogEvent, LogOptions, LogStore, SourceId, Submission, SubmissionId,
    recover,
};
use ringfort_types::{Applied, Entry, GroupId, Index, Monotonic, ReplicaId, Term};

const BATCH_BYTES: usize = 64 << 10;
/// What a batch of exactly 64 KiB is made of: entries, and bytes of each one's payload.
type Shape = (u64, usize);
/// A turn in which 63 shards have one entry each, with the commands of three or four puts.
const TURN_OF_SHARDS: Shape = (63, 990);
/// The harshest case: each put an entry of its own.
const SINGLE_PUTS: Shape = (190, 300);
/// Batches of one turn.
const TURN: u64 = 32;

fn scratch() -> tempfile::TempDir {
    let within =
        std::env::var("RINGFORT_BENCH_DIR").map_or_else(|_| std::env::temp_dir(), Into::into);
    tempfile::tempdir_in(within).unwrap()
}

/// One client that appends batch after batch to group 1, and now and then moves its base.
struct Writer {
    shape: Shape,
    payload: Bytes,
    id: u64,
    next: u64,
}

impl Writer {
    fn new(shape: Shape) -> Self {
        Self { shape, payload: Bytes::from(vec![0x5a; shape.1]), id: 0, next: 1 }
    }

    fn wrap(&mut self, writes: Vec<GroupWrite>) -> Submission {
        self.id += 1;
        let operations = u32::try_from(self.shape.0).unwrap();
        Submission { source: SourceId(0), id: SubmissionId(self.id), writes, operations }
    }

    fn create(&mut self) -> Submission {
        self.wrap(vec![GroupWrite::Create { group: GroupId(1), replica: ReplicaId(1) }])
    }

    fn batch(&mut self) -> Submission {
        let entry =
            |index| Entry { term: Term(1), index: Index(index), payload: self.payload.clone() };
        let entries = (self.next..self.next + self.shape.0).map(entry).collect();
        self.next += self.shape.0;
        self.wrap(vec![GroupWrite::Append { group: GroupId(1), hard_state: None, entries }])
    }

    fn rebase(&mut self) -> Submission {
        let applied = Applied { index: Index(self.next - 1), term: Term(1) };
        let base = Base { applied, generation: self.id };
        self.wrap(vec![GroupWrite::Rebase { group: GroupId(1), base }])
    }
}

fn open(directory: &mut Directory) -> FileLog {
    let options = LogOptions { sync_delay_max: Duration::ZERO, ..LogOptions::new(7) };
    recover(directory, options, Monotonic(0)).unwrap().0
}

/// A bare file, written in advance, that takes 64 KiB and a sync at a time.
struct Bare {
    file: File,
    offset: u64,
    buffer: Vec<u8>,
}

const BARE_BYTES: u64 = 64 << 20;

impl Bare {
    fn new(directory: &std::path::Path) -> Self {
        let path = directory.join("bare");
        let file = OpenOptions::new().write(true).create_new(true).open(path).unwrap();
        let zeros = vec![0; 1 << 20];
        for offset in (0..BARE_BYTES).step_by(zeros.len()) {
            file.write_all_at(&zeros, offset).unwrap();
        }
        file.sync_all().unwrap();
        Self { file, offset: 0, buffer: vec![0x5a; BATCH_BYTES] }
    }

    fn batch(&mut self) {
        self.file.write_all_at(&self.buffer, self.offset).unwrap();
        self.file.sync_data().unwrap();
        self.offset = (self.offset + BATCH_BYTES as u64) % BARE_BYTES;
    }
}

/// Both, taking turns; each benchmark function is charged its own turns only.
struct Race {
    _directory: tempfile::TempDir,
    host: Host,
    writer: Writer,
    bare: Bare,
    turns: Vec<(Duration, Duration)>,
}

impl Race {
    fn new(shape: Shape) -> Self {
        let scratch = scratch();
        let bare = Bare::new(scratch.path());
        let log_directory = scratch.path().join("log");
        std::fs::create_dir(&log_directory).unwrap();
        let mut directory = Directory::new(log_directory);
        let log = open(&mut directory);
        let mut host = Host::new(directory, log);
        let mut writer = Writer::new(shape);
        host.log.submit(host.now(), writer.create());
        host.pump();
        let mut race = Self { _directory: scratch, host, writer, bare, turns: Vec::new() };
        // Past the first segments, which are made new; from then on they are recycled.
        for _ in 0..4 * 1024 / TURN {
            race.log_turn();
        }
        race.host.settle();
        race
    }

    fn log_turn(&mut self) -> Duration {
        let start = instant();
        for _ in 0..TURN {
            let batch = self.writer.batch();
            self.host.log.submit(self.host.now(), batch);
            assert_eq!(self.host.pump(), 1);
        }
        let took = start.elapsed();
        self.host.log.submit(self.host.now(), self.writer.rebase());
        self.host.pump();
        took
    }

    fn bare_turn(&mut self) -> Duration {
        let start = instant();
        for _ in 0..TURN {
            self.bare.batch();
        }
        start.elapsed()
    }

    /// Turns of both until so many batches are written; the time of one batch, log and bare.
    fn run(&mut self, batches: u64) -> (Duration, Duration) {
        let (mut log, mut bare) = (Duration::ZERO, Duration::ZERO);
        let turns = batches.div_ceil(TURN);
        for _ in 0..turns {
            let turn = (self.log_turn(), self.bare_turn());
            log += turn.0;
            bare += turn.1;
            self.turns.push(turn);
        }
        let count = u32::try_from(turns * TURN).unwrap();
        (log / count, bare / count)
    }
}

fn append(criterion: &mut Criterion) {
    race(criterion, "append_64KiB", TURN_OF_SHARDS);
    race(criterion, "append_64KiB_single_puts", SINGLE_PUTS);
}

fn race(criterion: &mut Criterion, name: &str, shape: Shape) {
    let race = OnceCell::new();
    let the_race = || race.get_or_init(|| RefCell::new(Race::new(shape))).borrow_mut();
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Bytes(BATCH_BYTES as u64)).sample_size(20);
    let iterations = |per_batch: Duration, count: u64| per_batch * u32::try_from(count).unwrap();
    group.bench_function("log", |bencher| {
        bencher.iter_custom(|count| iterations(the_race().run(count).0, count));
    });
    group.bench_function("bare", |bencher| {
        bencher.iter_custom(|count| iterations(the_race().run(count).1, count));
    });
    group.finish();
    let Some(race) = race.get() else {
        return;
    };
    let mut ratios: Vec<f64> = race
        .borrow()
        .turns
        .iter()
        .map(|(log, bare)| bare.as_secs_f64() / log.as_secs_f64())
        .collect();
    ratios.sort_by(f64::total_cmp);
    let median = ratios[ratios.len() / 2];
    println!(
        "{name}: the log does {:.1}% of the bare disk (median of {} pairs of interleaved turns of {TURN} batches)",
        median * 100.0,
        ratios.len()
    );
}

/// The log's own work for a batch: every disk operation succeeds at once and does nothing.
fn core(criterion: &mut Criterion) {
    let scratch = scratch();
    let mut log = open(&mut Directory::new(scratch.path().to_owned()));
    let mut writer = Writer::new(SINGLE_PUTS);
    log.submit(Monotonic(0), writer.create());
    let mut group = criterion.benchmark_group("core");
    group.throughput(Throughput::Elements(SINGLE_PUTS.0));
    group.bench_function("batch_of_190_puts", |bencher| {
        bencher.iter(|| {
            let submission = writer.batch();
            log.submit(Monotonic(0), submission);
            if writer.id.is_multiple_of(64) {
                log.submit(Monotonic(0), writer.rebase());
            }
            complete_at_once(&mut log, writer.id);
        });
    });
    group.finish();
}

fn complete_at_once(log: &mut FileLog, last: u64) {
    let mut durable = 0;
    while durable < last {
        while let Some(request) = log.poll_disk() {
            let id = request.id;
            drop(request);
            log.handle_disk(Monotonic(0), DiskCompletion { id, result: Ok(DiskAnswer::Done) });
        }
        while let Some(event) = log.poll_event() {
            if let LogEvent::Durable { id, .. } = event {
                durable = id.0;
            }
        }
    }
}

/// A start on a log of 128 MiB, all of it live; between starts the log gets its spare segment ready, as a server does.
fn replay(criterion: &mut Criterion) {
    const BATCHES: u64 = 2048;
    let scratch = scratch();
    let options = LogOptions { log_bytes_target: 1 << 30, ..LogOptions::new(7) };
    let mut directory = Some(Directory::new(scratch.path().to_owned()));
    let mut group = criterion.benchmark_group("replay");
    group.throughput(Throughput::Bytes(BATCHES * BATCH_BYTES as u64)).sample_size(10);
    let mut entries = 0;
    group.bench_function("128MiB_of_389120_entries", |bencher| {
        bencher.iter_custom(|count| {
            let mut took = Duration::ZERO;
            for _ in 0..count {
                let mut used = directory.take().unwrap();
                if entries == 0 {
                    used = fill(used, BATCHES);
                    entries = BATCHES * SINGLE_PUTS.0;
                }
                let start = instant();
                let (log, recovered) = recover(&mut used, options, Monotonic(0)).unwrap();
                took += start.elapsed();
                assert_eq!(recovered.groups[&GroupId(1)].entries.len() as u64, entries);
                let mut host = Host::new(used, log);
                host.pump();
                host.settle();
                directory = Some(host.directory);
            }
            took
        });
    });
    group.finish();
}

/// Writes a log of so many batches.
fn fill(mut directory: Directory, batches: u64) -> Directory {
    let log = open(&mut directory);
    let mut host = Host::new(directory, log);
    let mut writer = Writer::new(SINGLE_PUTS);
    host.log.submit(host.now(), writer.create());
    for _ in 0..batches {
        let batch = writer.batch();
        host.log.submit(host.now(), batch);
        host.pump();
    }
    host.settle();
    host.directory
}

criterion_group!(benches, core, append, replay);
criterion_main!(benches);
