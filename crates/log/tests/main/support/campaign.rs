//! How many seeds a campaign runs, and how a failure says which one it was.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Seeds in a full campaign, or a few.
pub(crate) fn run(name: &str, few: u64, full: u64, mut one: impl FnMut(u64)) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let all = std::env::var("RINGFORT_CAMPAIGN").is_ok_and(|extent| extent == "full");
    let seeds = match number("RINGFORT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..if all { full } else { few },
    };
    let count = seeds.end - seeds.start;
    for seed in seeds {
        let result = catch_unwind(AssertUnwindSafe(|| one(seed)));
        if let Err(panic) = result {
            eprintln!("campaign {name} fails with seed {seed}; replay it alone:");
            eprintln!(
                "RINGFORT_SEED={seed} cargo test -p ringfort-log --test main {name} -- --nocapture"
            );
            resume_unwind(panic);
        }
    }
    println!("campaign {name}: {count} seeds");
}
