//! The background thread: executes disk operations that nobody waits for, one after the other.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use ringfort_env::{Disk, DiskCompletion, DiskRequest};

use crate::disk::FileDisk;
use crate::fatal;

/// An operation and where its end is told.
pub(crate) struct Job {
    pub(crate) request: DiskRequest,
    pub(crate) done: Box<dyn FnOnce(DiskCompletion) + Send>,
}

/// Starts the thread. It ends when every sender is gone.
pub(crate) fn start(disk: FileDisk) -> std::io::Result<(Sender<Job>, JoinHandle<()>)> {
    let (sender, receiver) = channel();
    let thread = std::thread::Builder::new()
        .name("background".into())
        .spawn(move || fatal::guard(|| run(disk, &receiver)))?;
    Ok((sender, thread))
}

fn run(mut disk: FileDisk, jobs: &Receiver<Job>) {
    while let Ok(job) = jobs.recv() {
        let result = disk.execute(&job.request.operation);
        (job.done)(DiskCompletion { id: job.request.id, result });
    }
}
