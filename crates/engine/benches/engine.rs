//! Puts, gets, scans, snapshots and starts of the memory engine: `cargo bench -p ringfort-engine`.
//!
//! Keys of 21 bytes and values of 265 over 64 groups, as a node with default settings stores 16-byte keys and 256-byte
//! values of clients.

#[allow(dead_code, unreachable_pub, reason = "shared with an example")]
mod support;

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mimalloc::MiMalloc;
use ringfort_engine::{MemoryEngine, Range, ScanControl, StorageEngine};

use support::{Files, VALUE_BYTES, engine, filled, flush_all, group, key, opened, put};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const RECORDS: u64 = 1_000_000;

fn value() -> Bytes {
    Bytes::from(vec![b'w'; VALUE_BYTES])
}

/// The time that puts of these numbers take, without that of making their batches.
#[expect(clippy::disallowed_methods, reason = "no core: it measures one from outside")]
fn time_puts(store: &mut MemoryEngine, mut numbers: impl Iterator<Item = u64>) -> Duration {
    let value = value();
    let mut passed = Duration::ZERO;
    loop {
        let some = numbers.by_ref().take(1000);
        let batches: Vec<_> = some.map(|n| (group(n), put(n, &value, n))).collect();
        if batches.is_empty() {
            return passed;
        }
        let start = Instant::now();
        for (group, batch) in &batches {
            store.write(*group, batch).expect("it exists");
        }
        passed += start.elapsed();
    }
}

fn puts(criterion: &mut Criterion) {
    let mut benches = criterion.benchmark_group("put");
    benches.throughput(Throughput::Elements(1));
    benches.bench_function("new", |bencher| {
        bencher.iter_custom(|count| time_puts(&mut engine(), 0..count));
    });
    let mut store = filled(RECORDS);
    benches.bench_function("overwrite", |bencher| {
        bencher.iter_custom(|count| {
            let numbers = (0..count).map(|n| n * 7919 % RECORDS);
            time_puts(&mut store, numbers)
        });
    });
    benches.finish();
}

fn reads(criterion: &mut Criterion) {
    let store = filled(RECORDS);
    let mut number = 0;
    let mut benches = criterion.benchmark_group("read");
    benches.throughput(Throughput::Elements(1));
    benches.bench_function("get", |bencher| {
        bencher.iter(|| {
            number = (number + 7919) % RECORDS;
            let found = store.get(group(number), &key(number)).expect("it exists");
            assert_eq!(found.expect("it was written").len(), VALUE_BYTES);
        });
    });
    benches.throughput(Throughput::Elements(100));
    benches.bench_function("scan of 100", |bencher| {
        bencher.iter(|| {
            number = (number + 7919) % RECORDS;
            let start = key(number);
            let mut left = 100;
            let range = Range { start: &start, end: None };
            let mut visitor = |key: &[u8], value: &[u8]| {
                black_box((key, value));
                left -= 1;
                if left == 0 { ScanControl::Stop } else { ScanControl::Continue }
            };
            store.scan(group(number), range, &mut visitor).expect("it exists");
        });
    });
    benches.finish();
}

fn snapshots(criterion: &mut Criterion) {
    let mut store = filled(RECORDS);
    let value = value();
    let mut number = 0;
    let mut benches = criterion.benchmark_group("snapshot");
    benches.throughput(Throughput::Elements(RECORDS / u64::from(support::GROUPS)));
    for (name, writes) in [("of a quiet store", 0), ("with 900 overwrites a part", 900)] {
        benches.bench_function(name, |bencher| {
            bencher.iter(|| {
                number += 1;
                let group = group(number);
                let (id, _) = store.snapshot(group).expect("it exists");
                while let Some(part) = store.read_snapshot(id, 256 << 10).expect("it is open") {
                    black_box(part);
                    for _ in 0..writes {
                        number = (number + 7919 * u64::from(support::GROUPS)) % RECORDS;
                        store
                            .write(support::group(number), &put(number, &value, 0))
                            .expect("it exists");
                    }
                }
                store.release_snapshot(id);
            });
        });
    }
    benches.finish();
}

fn restart(criterion: &mut Criterion) {
    let mut files = Files::default();
    assert_eq!(flush_all(&mut filled(RECORDS), &mut files).len(), 64);
    let mut benches = criterion.benchmark_group("restart");
    benches.sample_size(10).measurement_time(Duration::from_secs(15));
    benches.throughput(Throughput::Elements(RECORDS));
    benches.bench_function("open of 1,000,000 records", |bencher| {
        bencher.iter_with_large_drop(|| opened(&mut files));
    });
    benches.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_secs(1));
    targets = puts, reads, snapshots, restart
}
criterion_main!(benches);
