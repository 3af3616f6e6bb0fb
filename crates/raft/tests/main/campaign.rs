//! How much a test does: little by default, all of it with `RINGFORT_CAMPAIGN=full`, in a release build. One seed alone with
//! `RINGFORT_SEED`.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Whether the whole campaign is asked for.
pub(crate) fn is_full() -> bool {
    std::env::var("RINGFORT_CAMPAIGN").is_ok_and(|extent| extent == "full")
}

/// One of two sizes.
pub(crate) fn size<T>(few: T, full: T) -> T {
    if is_full() { full } else { few }
}

/// Runs something for each seed; says which one failed and how to replay it.
pub(crate) fn each_seed(name: &str, few: u64, full: u64, mut one: impl FnMut(u64)) {
    let given = std::env::var("RINGFORT_SEED").ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match given {
        Some(seed) => seed..seed + 1,
        None => 0..size(few, full),
    };
    for seed in seeds {
        let result = catch_unwind(AssertUnwindSafe(|| one(seed)));
        if let Err(panic) = result {
            eprintln!("{name} fails with seed {seed}; replay it alone:");
            eprintln!(
                "RINGFORT_SEED={seed} cargo test -p ringfort-raft --test main {name} -- --nocapture"
            );
            resume_unwind(panic);
        }
    }
}
