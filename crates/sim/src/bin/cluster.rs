//! Whole nodes under random treatment: a campaign over many seeds, one seed again, or the mutants.
//!
//! ```text
//! cargo run --release -p ringfort-sim --bin cluster -- --campaign --seeds 0..200 --jobs 2 --json figures.json
//! cargo run --release -p ringfort-sim --bin cluster -- --seed 17 --trace
//! cargo run --release -p ringfort-sim --bin cluster -- --mutants
//! cargo run --release -p ringfort-sim --bin cluster -- --full --jobs 2 --commit abc
//! cargo run --release -p ringfort-sim --bin cluster -- --campaign --seeds 0..2500 --seconds 720 --commit abc --json a.json
//! cargo run --release -p ringfort-sim --bin cluster -- --sum a.json b.json
//! ```

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::ops::Range;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use ringfort_sim::cluster::{
    Count, Figures, Outcome, RunOptions, Totals, mutants, run, try_mutant,
};

const USAGE: &str = "\
usage: cluster [options]
  --seed N           one seed, once
  --trace            and what happens in it
  --history FILE     and what clients were told, as JSON lines
  --campaign         many seeds
  --seeds A..B       which (0..100)
  --seconds N        simulated seconds under faults of each (60)
  --jobs N           threads (1)
  --full             the campaign of 5000 seeds of 720 s: fails if it is less, or something rare hardly happened
  --sum FILE...      adds up what parts left, and judges the sum as --full does
  --commit NAME      what was built, for --json
  --json FILE        the figures as one JSON object
  --twice            runs each seed twice, and compares
  --mutant NAME      with this mutant (part of its name)
  --mutants          how many seeds each mutant takes until it is noticed";

#[derive(Debug, Default)]
struct Arguments {
    seed: Option<u64>,
    trace: bool,
    history: Option<String>,
    campaign: bool,
    full: bool,
    sum: Vec<String>,
    commit: String,
    seeds: Option<Range<u64>>,
    seconds: Option<u64>,
    jobs: u64,
    json: Option<String>,
    twice: bool,
    mutant: Option<String>,
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
    match &arguments {
        Arguments { mutants: true, .. } => table(&arguments),
        Arguments { seed: Some(seed), .. } => one(*seed, &arguments),
        Arguments { sum, .. } if !sum.is_empty() => add_up(&arguments),
        Arguments { campaign: true, .. } | Arguments { full: true, .. } => campaign(&arguments),
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments { jobs: 1, ..Arguments::default() };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} wants a value"));
        match word.as_str() {
            "--seed" => arguments.seed = Some(number(&value()?)?),
            "--trace" => arguments.trace = true,
            "--history" => arguments.history = Some(value()?),
            "--campaign" => arguments.campaign = true,
            "--full" => arguments.full = true,
            "--sum" => arguments.sum = words.by_ref().collect(),
            "--commit" => arguments.commit = value()?,
            "--seeds" => arguments.seeds = Some(range(&value()?)?),
            "--seconds" => arguments.seconds = Some(number(&value()?)?),
            "--jobs" => arguments.jobs = number(&value()?)?,
            "--json" => arguments.json = Some(value()?),
            "--twice" => arguments.twice = true,
            "--mutant" => arguments.mutant = Some(value()?),
            "--mutants" => arguments.mutants = true,
            _ => return Err(format!("{word} is unknown")),
        }
    }
    Ok(arguments)
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text} is no number"))
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or(format!("{text} is no range A..B"))?;
    Ok(number(from)?..number(to)?)
}

impl Arguments {
    fn seeds(&self) -> Range<u64> {
        self.seeds.clone().unwrap_or(0..if self.full { 5_000 } else { 100 })
    }

    fn seconds(&self) -> u64 {
        self.seconds.unwrap_or(if self.full { 720 } else { 60 })
    }

    fn options(&self, seed: u64) -> RunOptions {
        let wanted = |(name, _): &(&str, _)| {
            self.mutant.as_ref().is_some_and(|part| name.contains(part.as_str()))
        };
        let mutant = mutants().into_iter().find(wanted).map(|(_, mutant)| mutant);
        RunOptions { seed, seconds: self.seconds(), mutant, trace: self.trace }
    }
}

fn one(seed: u64, arguments: &Arguments) -> ExitCode {
    let began = Instant::now();
    let outcome = run(arguments.options(seed));
    print!("{}", outcome.totals.text());
    let seconds = began.elapsed().as_secs_f64();
    println!("seed {seed}: trace hash {:016x}, {seconds:.1} s", outcome.hash);
    if let Some(path) = &arguments.history {
        let file = File::create(path).map(BufWriter::new);
        let written = file.map(|file| ringfort_check::write_history(file, &outcome.history));
        if !matches!(written, Ok(Ok(()))) {
            eprintln!("{path} cannot be written: {written:?}");
            return ExitCode::from(2);
        }
    }
    match tell(&outcome, arguments) {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    }
}

/// Tells what a run broke, if anything.
fn tell(outcome: &Outcome, arguments: &Arguments) -> bool {
    let Some(violation) = &outcome.violation else { return false };
    let (seed, seconds) = (outcome.seed, arguments.seconds());
    println!("seed {seed}, at {} ms: {violation}", outcome.totals.of(Count::VirtualMillis));
    println!(
        "  cargo run --release -p ringfort-sim --bin cluster -- --seed {seed} --seconds {seconds} --trace"
    );
    true
}

fn campaign(arguments: &Arguments) -> ExitCode {
    let began = Instant::now();
    let Range { start, end } = arguments.seeds();
    println!("seeds {start}..{end}, {} s each", arguments.seconds());
    let next = AtomicU64::new(start);
    let broken = AtomicU64::new(0);
    let totals = Mutex::new(Totals::default());
    let work = || {
        let mut mine = Totals::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                break;
            }
            let outcome = run(arguments.options(seed));
            let mut failed = tell(&outcome, arguments);
            if arguments.twice && run(arguments.options(seed)).hash != outcome.hash {
                println!("seed {seed}: the second run is another one");
                failed = true;
            }
            broken.fetch_add(u64::from(failed), Ordering::Relaxed);
            mine.merge(&outcome.totals);
        }
        totals.lock().unwrap_or_else(PoisonError::into_inner).merge(&mine);
    };
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs {
            scope.spawn(work);
        }
    });
    let totals = totals.into_inner().unwrap_or_else(PoisonError::into_inner);
    let seconds = began.elapsed().as_secs_f64();
    let (broken, each) = (broken.into_inner(), arguments.seconds());
    report(&Figures::new(&arguments.commit, start..end, each, broken, totals), seconds, arguments)
}

/// Adds up what parts left.
fn add_up(arguments: &Arguments) -> ExitCode {
    let mut sum = Figures::default();
    for path in &arguments.sum {
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string());
        let added = text.and_then(|text| Figures::parse(&text)).and_then(|part| sum.add(part));
        if let Err(what) = added {
            eprintln!("{path}: {what}");
            return ExitCode::from(2);
        }
    }
    print!("{}", sum.totals.text());
    judge(&sum)
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn report(figures: &Figures, seconds: f64, arguments: &Arguments) -> ExitCode {
    let (totals, seeds, broken) = (&figures.totals, figures.seeds(), figures.broken);
    let hours = totals.of(Count::FaultMillis) as f64 / 3.6e6;
    let speed = totals.of(Count::VirtualMillis) as f64 / 1e3 / seconds;
    print!("{}", totals.text());
    for count in figures.never_met() {
        println!("never met: {}", count.name());
    }
    println!(
        "{seeds} seeds, {broken} broken, {hours:.2} simulated hours under faults with 50 operations a second or more"
    );
    println!("{seconds:.1} s, {speed:.0} simulated seconds a second");
    if let Some(path) = &arguments.json {
        let written =
            File::create(path).and_then(|mut file| file.write_all(figures.json().as_bytes()));
        if let Err(error) = written {
            eprintln!("{path} cannot be written: {error}");
            return ExitCode::from(2);
        }
    }
    match arguments.full {
        true => judge(figures),
        false if broken > 0 => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    }
}

/// Whether it is what the full campaign has to be.
fn judge(figures: &Figures) -> ExitCode {
    let lacks = figures.shortfalls();
    if lacks.is_empty() {
        println!("the full campaign: nothing is lacking");
        return ExitCode::SUCCESS;
    }
    for what in lacks {
        println!("lacking: {what}");
    }
    ExitCode::FAILURE
}

fn table(arguments: &Arguments) -> ExitCode {
    let Range { start, end } = arguments.seeds();
    let mut missed = false;
    for (name, mutant) in mutants() {
        if arguments.mutant.as_ref().is_some_and(|part| !name.contains(part.as_str())) {
            continue;
        }
        let tried = try_mutant(mutant, start, end.saturating_sub(start), arguments.seconds());
        match &tried.caught {
            Some((seed, violation)) => {
                println!("{name:<46} {:>6} seeds  {} (seed {seed})", tried.seeds, violation.name);
            }
            None => {
                missed = true;
                println!("{name:<46} not noticed in {} seeds", tried.seeds);
            }
        }
    }
    if missed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
