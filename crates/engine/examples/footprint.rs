//! Prints the resident memory of a process that holds a number of records, by default 1,000,000:
//! `cargo run --release -p ringfort-engine --example footprint -- [records] [directory]`.
//!
//! With a directory that does not exist yet, the stores are flushed to it; with one that does, they are loaded from it.
#![expect(clippy::disallowed_methods, reason = "no core: it measures one from outside")]

#[path = "../benches/support/mod.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the benches")]
mod support;

use std::time::Instant;

use mimalloc::MiMalloc;
use ringfort_env::{Disk, DiskAnswer, DiskError, DiskErrorKind, DiskOperation};
use support::filled;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |text: &String| text.parse().ok();
    let records = arguments.iter().find_map(number).unwrap_or(1_000_000);
    let directory = arguments.iter().find(|text| number(text).is_none());
    let start = Instant::now();
    let Some(directory) = directory else {
        let engine = filled(records);
        report("written one by one", records, start);
        return drop(engine);
    };
    let mut files = Directory(directory.into());
    if std::fs::create_dir(directory).is_ok() {
        let mut engine = filled(records);
        report("written one by one", records, start);
        let start = Instant::now();
        support::flush_all(&mut engine, &mut files);
        report("flushed to files", records, start);
    } else {
        let engine = support::opened(&mut files);
        report("loaded from files", records, start);
        drop(engine);
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn report(how: &str, records: u64, start: Instant) {
    let elapsed = start.elapsed().as_secs_f64();
    let resident = resident_bytes();
    let client_bytes = records * (16 + 256);
    println!(
        "{how}: {records} records in {elapsed:.2} s ({:.0}/s); resident {:.1} MB, {:.3} times keys plus values",
        records as f64 / elapsed,
        resident as f64 / 1e6,
        resident as f64 / client_bytes as f64,
    );
}

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|text| text.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}

/// Real files, written and read without any care for durability.
struct Directory(std::path::PathBuf);

impl Disk for Directory {
    fn execute(&mut self, operation: &DiskOperation) -> Result<DiskAnswer, DiskError> {
        use std::os::unix::fs::FileExt;
        let run = || -> std::io::Result<DiskAnswer> {
            let path = |name: &ringfort_env::FileName| self.0.join(name.as_str());
            match operation {
                DiskOperation::Create(file) => drop(std::fs::File::create_new(path(file))?),
                DiskOperation::WriteAt { file, offset, bytes } => {
                    let file = std::fs::File::options().write(true).open(path(file))?;
                    file.write_all_at(bytes, *offset)?;
                }
                DiskOperation::Read { file, offset, len } => {
                    let file = std::fs::File::open(path(file))?;
                    let mut bytes = vec![0; *len];
                    let read = file.read_at(&mut bytes, *offset)?;
                    bytes.truncate(read);
                    return Ok(DiskAnswer::Read(bytes.into()));
                }
                DiskOperation::Rename { from, to } => std::fs::rename(path(from), path(to))?,
                _ => {}
            }
            Ok(DiskAnswer::Done)
        };
        run().map_err(|error| operation.error(DiskErrorKind::Other, error))
    }
}
