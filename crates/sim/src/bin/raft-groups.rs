//! Raft groups under random treatment: a campaign over many seeds, one seed again, or the mutants.
//!
//! ```text
//! cargo run --release -p ringfort-sim --bin raft-groups -- --seeds 20000 --first-seed 0 --steps 5000
//! cargo run --release -p ringfort-sim --bin raft-groups -- --seed 17 --trace
//! cargo run --release -p ringfort-sim --bin raft-groups -- --mutants
//! ```

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use ringfort_sim::group::campaign::{Count, Outcome, RunOptions, Totals, mutants, run, try_mutant};

const USAGE: &str = "\
usage: raft-groups [options]
  --seeds N        how many seeds (1000)
  --first-seed N   the first one (0)
  --steps N        steps of the first phase of each (5000)
  --jobs N         threads (1)
  --twice          runs each seed twice, and compares
  --json           the totals as one JSON object
  --seed N         one seed, once
  --trace          and every step of it
  --mutant NAME    with this mutant (part of its name)
  --mutants        how many seeds each mutant takes until it is noticed";

#[derive(Debug, Default)]
struct Arguments {
    seeds: Option<u64>,
    first: u64,
    steps: Option<u64>,
    jobs: Option<u64>,
    seed: Option<u64>,
    mutant: Option<String>,
    twice: bool,
    json: bool,
    trace: bool,
    mutants: bool,
}

fn main() -> ExitCode {
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(what) => {
            eprintln!("{what}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    // Panics are findings, and told as such.
    std::panic::set_hook(Box::new(|panic| {
        if std::env::var_os("RUST_BACKTRACE").is_some() {
            let trace = std::backtrace::Backtrace::force_capture();
            eprintln!("{panic}\n{trace}");
        }
    }));
    match arguments {
        Arguments { mutants: true, .. } => table(&arguments),
        Arguments { seed: Some(seed), .. } => one(seed, &arguments),
        _ => campaign(&arguments),
    }
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments::default();
    while let Some(word) = words.next() {
        let mut number = || {
            let value = words.next().ok_or(format!("{word} wants a number"))?;
            value.parse::<u64>().map_err(|_| format!("{value} is no number"))
        };
        match word.as_str() {
            "--seeds" => arguments.seeds = Some(number()?),
            "--first-seed" => arguments.first = number()?,
            "--steps" => arguments.steps = Some(number()?),
            "--jobs" => arguments.jobs = Some(number()?),
            "--seed" => arguments.seed = Some(number()?),
            "--mutant" => arguments.mutant = words.next(),
            "--twice" => arguments.twice = true,
            "--json" => arguments.json = true,
            "--trace" => arguments.trace = true,
            "--mutants" => arguments.mutants = true,
            _ => return Err(format!("{word} is unknown")),
        }
    }
    Ok(arguments)
}

impl Arguments {
    fn options(&self, seed: u64) -> RunOptions {
        let wanted = |(name, _): &(&str, _)| {
            self.mutant.as_ref().is_some_and(|part| name.contains(part.as_str()))
        };
        let mutant = mutants().into_iter().find(wanted).map(|(_, mutant)| mutant);
        RunOptions { seed, steps: self.steps.unwrap_or(5000), mutant, trace: self.trace }
    }
}

fn one(seed: u64, arguments: &Arguments) -> ExitCode {
    let outcome = run(arguments.options(seed));
    print!("{}", outcome.totals.text());
    println!("seed {seed}: {} steps, trace hash {:016x}", outcome.steps, outcome.hash);
    match tell(&outcome, arguments) {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    }
}

/// Tells what a run broke, if anything.
fn tell(outcome: &Outcome, arguments: &Arguments) -> bool {
    let Some(violation) = &outcome.violation else { return false };
    let steps = arguments.steps.unwrap_or(5000);
    let seed = outcome.seed;
    println!("seed {seed}, step {}: {violation}", outcome.steps);
    println!(
        "  cargo run --release -p ringfort-sim --bin raft-groups -- --seed {seed} --steps {steps} --trace"
    );
    true
}

/// Nanoseconds that this thread has run.
fn cpu_nanos() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0)
}

fn campaign(arguments: &Arguments) -> ExitCode {
    let seeds = arguments.seeds.unwrap_or(1000);
    let next = AtomicU64::new(arguments.first);
    let failed = AtomicBool::new(false);
    let totals = Mutex::new((Totals::default(), 0));
    let work = || {
        let mut mine = Totals::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= arguments.first.saturating_add(seeds) {
                break;
            }
            let outcome = run(arguments.options(seed));
            let broken = tell(&outcome, arguments);
            let differs = arguments.twice && run(arguments.options(seed)).hash != outcome.hash;
            if differs {
                println!("seed {seed}: the second run is another one");
            }
            if broken || differs {
                failed.store(true, Ordering::Relaxed);
            }
            mine.merge(&outcome.totals);
        }
        let mut all = totals.lock().unwrap_or_else(PoisonError::into_inner);
        all.0.merge(&mine);
        all.1 += cpu_nanos();
    };
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs.unwrap_or(1) {
            scope.spawn(work);
        }
    });
    let (totals, nanos) = totals.into_inner().unwrap_or_else(PoisonError::into_inner);
    report(&totals, nanos, seeds, arguments, failed.into_inner())
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn report(
    totals: &Totals,
    nanos: u64,
    seeds: u64,
    arguments: &Arguments,
    failed: bool,
) -> ExitCode {
    let steps = totals.of(Count::Steps).max(1);
    let (cpu_seconds, step_nanos) = (nanos as f64 / 1e9, nanos as f64 / steps as f64);
    let speed = totals.of(Count::VirtualMillis) as f64 / 1e3 / cpu_seconds.max(1e-9);
    let rare = totals.rare(seeds);
    if arguments.json {
        let first = arguments.first;
        println!(
            "{{\"seeds\":{seeds},\"first_seed\":{first},\"violated\":{failed},\"cpu_seconds\":{cpu_seconds:.1},\
             \"simulated_hours_per_cpu_hour\":{speed:.1},{}}}",
            totals.json()
        );
    } else {
        print!("{}", totals.text());
        println!("{seeds} seeds in {cpu_seconds:.1} s of CPU, {step_nanos:.0} ns a step");
        println!("{speed:.0} simulated hours per CPU-hour");
    }
    // Few seeds say nothing about what is rare.
    let hardly = seeds >= 1000 && !rare.is_empty();
    if !rare.is_empty() && !arguments.json {
        println!("hardly occurred: {}", rare.join(", "));
    }
    if failed || hardly { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn table(arguments: &Arguments) -> ExitCode {
    let (seeds, steps) = (arguments.seeds.unwrap_or(2000), arguments.steps.unwrap_or(5000));
    let mut missed = false;
    for (name, mutant) in mutants() {
        if arguments.mutant.as_ref().is_some_and(|part| !name.contains(part.as_str())) {
            continue;
        }
        let tried = try_mutant(mutant, arguments.first, seeds, steps);
        match &tried.caught {
            Some((seed, violation)) => println!(
                "{name:<46} {:>6} seeds  {} (seed {seed}, {} stray panics)",
                tried.seeds, violation.name, tried.stray
            ),
            None => {
                missed = true;
                println!(
                    "{name:<46} not noticed in {} seeds ({} stray panics)",
                    tried.seeds, tried.stray
                );
            }
        }
    }
    if missed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
