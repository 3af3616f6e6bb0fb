//! The suite that every engine passes: what [`StorageEngine`] promises, as cases, and a differential test against an ordered
//! map. Engines bring a [`Harness`]; a test runs [`run`] or single [`CASES`].
//!
//! Cases see an engine through its trait and a disk through [`Disk`]; faults of disks are up to each engine's own tests,
//! because engines with files of their own do not use this one.

#![expect(clippy::unwrap_used, reason = "a case fails by panicking, as a test does")]

mod basics;
mod differential;
mod disk;
mod durable;
mod model;
mod random;
mod snapshots;

use ringfort_env::{Disk, DiskCompletion};
use ringfort_types::GroupId;

pub use differential::{Differential, Restarts, differential, differential_with};
pub use disk::MemoryDisk;
pub use model::Model;
pub use random::Random;

use crate::store::{EngineError, Flushed, StorageEngine};

/// What a case works with: engines that all stand on the same disk, one at a time, and that disk.
pub struct Harness {
    /// Makes an engine, as a start does. The one before it has been dropped.
    pub make: Box<dyn FnMut() -> Box<dyn StorageEngine>>,
    /// The disk, for engines that ask for operations.
    pub disk: Box<dyn Disk>,
}

impl Harness {
    /// A new engine.
    pub fn start(&mut self) -> Box<dyn StorageEngine> {
        (self.make)()
    }

    /// Executes what an engine asks for until it asks for nothing, and returns the flushes that ended.
    ///
    /// # Panics
    /// A sync failed.
    pub fn settle(&mut self, engine: &mut dyn StorageEngine) -> Vec<FlushEnd> {
        let mut ended = Vec::new();
        loop {
            let request = engine.poll_disk();
            let idle = request.is_none();
            if let Some(request) = request {
                let result = self.disk.execute(&request.operation);
                let id = request.id;
                let completion = DiskCompletion { id, result };
                engine.handle_disk(completion).expect("no sync fails");
            }
            let before = ended.len();
            while let Some(end) = engine.poll_flushed() {
                ended.push(end);
            }
            if idle && ended.len() == before {
                return ended;
            }
        }
    }
}

/// How a flush ended.
pub type FlushEnd = Result<Flushed, (GroupId, EngineError)>;

/// A case: a property as its name, and what shows it.
pub type Case = (&'static str, fn(&mut Harness));

/// All cases, in the order of their subjects.
pub const CASES: &[&[Case]] = &[basics::CASES, snapshots::CASES, durable::CASES];

/// Runs every case and a short differential test, each on a harness of its own.
///
/// # Panics
/// The engine does not do what the trait promises.
pub fn run(harness: &mut dyn FnMut() -> Harness) {
    for (name, case) in CASES.iter().copied().flatten() {
        println!("{name}");
        case(&mut harness());
    }
    for seed in 0..10 {
        differential(&mut harness(), &Differential::new(seed));
    }
}
