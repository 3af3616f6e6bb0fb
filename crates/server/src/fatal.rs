//! The ways in which a server ends without being asked.

/// Exit code of a process whose disk failed. It did not do what it was asked: 3, as everywhere.
pub const EXIT_DISK_FAILED: i32 = 3;

/// Ends the process at once, without another acknowledgement: what a failed write or sync left on the disk is unknown.
pub(crate) fn disk_failed(error: &dyn std::error::Error) -> ! {
    let cause = error.source().map(|source| format!(": {source}")).unwrap_or_default();
    tracing::error!("the disk failed, the process ends: {error}{cause}");
    std::process::exit(EXIT_DISK_FAILED);
}

/// Exit code of a process that is not the node it says it is: it was refused.
const EXIT_DUPLICATE: i32 = 3;

/// Ends the process: the node that its data directory says it is runs elsewhere. Were it to wait, it would be let in as soon as
/// that one is gone, with data from before, under a name that has promised more since.
pub(crate) fn duplicate(reason: &str) -> ! {
    tracing::error!("this node runs already, the process ends: {reason}");
    std::process::exit(EXIT_DUPLICATE);
}

/// Exit code of a process that found an invariant of its own broken.
const EXIT_BROKEN: i32 = 70;

/// Runs a thread's work. A panic in it is a broken invariant of ours: what else it touched cannot be trusted, so the
/// process ends, and what is durable is replayed at the next start.
pub(crate) fn guard<T>(work: impl FnOnce() -> T) -> T {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)) {
        Ok(result) => result,
        Err(_) => {
            // The panic's message was printed when it happened.
            tracing::error!("a thread of the server panicked, the process ends");
            std::process::exit(EXIT_BROKEN);
        }
    }
}
