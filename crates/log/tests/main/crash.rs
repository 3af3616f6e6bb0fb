//! Power loss and process crashes at every moment that matters.

use ringfort_log::{Base, GroupWrite, LogStore};
use ringfort_sim::{PowerLoss, Random, SimDisk};
use ringfort_types::{Applied, GroupId};

use crate::support::campaign;
use crate::support::host::{Host, small_options};
use crate::support::model::{Model, ModelGroup};
use crate::support::trace::Trace;

/// What a campaign has seen, to show that it saw what it is for.
#[derive(Debug, Default)]
struct Tally {
    sync_boundaries: u64,
    other_moments: u64,
    crashes: u64,
    crashes_in_recovery: u64,
    batches: u64,
    stragglers: u64,
    recycled: u64,
}

/// A disk as a power loss leaves it must give back what the model allows.
fn check_power_loss(disk: &SimDisk, seed: u64, pattern: PowerLoss, model: &Model) {
    let mut copy = disk.clone();
    copy.reseed(seed);
    copy.power_loss(pattern);
    let (_, recovered) = Host::start(copy, small_options()).unwrap();
    model.check(&recovered);
}

struct Life<'a> {
    /// A power loss is tried at one in so many sync boundaries, and at one in four times as many other moments.
    thinned: u64,
    host: Host,
    model: &'a mut Model,
    trace: &'a mut Trace,
    tally: &'a mut Tally,
}

impl Life<'_> {
    /// Submits and completes at random, and tries a power loss at every sync boundary.
    fn run(&mut self, steps: u64) {
        for _ in 0..steps {
            if self.trace.random.one_in(3) {
                let submission = self.trace.submission(&self.model.newest);
                self.model.submit(&submission);
                self.host.submit(submission);
            } else if self.trace.random.one_in(10) {
                self.host.pass_timer();
            } else {
                self.step();
            }
            let said = self.host.said();
            assert_eq!(said.failed, None);
            for (source, id) in said.durable {
                self.model.durable(source, id);
            }
            let asked = said.want_rebase.into_iter().filter(|_| !self.trace.random.one_in(4));
            let asked: Vec<_> = asked.collect();
            let known = |id| Some((id, self.model.newest.get(&id)?.clone()));
            let writes = asked.into_iter().filter_map(known);
            let writes: Vec<_> = writes.map(|(id, group)| self.trace.rebase(id, &group)).collect();
            if !writes.is_empty() {
                let submission = self.trace.wrap(writes);
                self.model.submit(&submission);
                self.host.submit(submission);
            }
        }
    }

    fn step(&mut self) {
        if self.host.before_sync() && self.trace.random.one_in(self.thinned) {
            self.tally.sync_boundaries += 1;
            for pattern in [PowerLoss::Torn, PowerLoss::Partial] {
                let seed = self.trace.random.next_u64();
                check_power_loss(&self.host.disk, seed, pattern, self.model);
            }
        } else if self.trace.random.one_in(4 * self.thinned) {
            self.tally.other_moments += 1;
            let seed = self.trace.random.next_u64();
            check_power_loss(&self.host.disk, seed, PowerLoss::Any, self.model);
        }
        self.host.step(None);
    }
}

/// Crashes in one of several ways.
fn crash(disk: &mut SimDisk, random: &mut Random) {
    match random.below(3) {
        0 => disk.process_crash(),
        1 => disk.power_loss(PowerLoss::Any),
        _ => {
            disk.process_crash();
            disk.power_loss(PowerLoss::Any);
        }
    }
}

/// Starts the log, crashing on the way some times.
fn restart(mut disk: SimDisk, random: &mut Random, model: &mut Model, tally: &mut Tally) -> Host {
    for _ in 0..random.below(4) {
        disk.crash_in(random.below(12));
        match Host::start(disk, small_options()) {
            Ok((host, recovered)) => {
                // It made it before the crash: what it gave back is durable now, whatever comes.
                model.check(&recovered);
                model.adopt(&recovered);
                disk = host.disk;
            }
            Err(down) => {
                assert!(down.disk.crashed(), "{}", down.error);
                disk = *down.disk;
                tally.crashes_in_recovery += 1;
            }
        }
        crash(&mut disk, random);
    }
    let (mut host, recovered) = Host::start(disk, small_options()).unwrap();
    model.check(&recovered);
    model.adopt(&recovered);
    host.hand_over();
    host
}

/// Several lives of one log, each of up to so many steps.
fn lives(seed: u64, mut trace: Trace, (steps_max, thinned): (u64, u64), tally: &mut Tally) {
    let mut model = Model::default();
    let mut host = Host::fresh(seed, small_options());
    for _ in 0..5 {
        let steps = trace.random.between(1, steps_max);
        let mut life = Life { thinned, host, model: &mut model, trace: &mut trace, tally };
        life.run(steps);
        host = life.host;
        let stats = host.log.stats();
        tally.batches += stats.batches;
        tally.stragglers += stats.stragglers_rewritten;
        tally.recycled += stats.segments_recycled;
        tally.crashes += 1;
        let mut disk = host.disk;
        crash(&mut disk, &mut trace.random);
        host = restart(disk, &mut trace.random, &mut model, tally);
    }
}

/// After any crash, and any crash while recovering from it, a start finds every record that was told durable, and nothing
/// but a prefix of what was submitted.
#[test]
fn what_was_told_durable_survives_every_crash() {
    let mut tally = Tally::default();
    campaign::run("what_was_told_durable_survives_every_crash", 12, 1000, |seed| {
        lives(seed, Trace::new(seed), (300, 1), &mut tally);
    });
    println!("{tally:?}");
}

/// The same over so many segments that they are freed, recycled and rewritten all the time.
#[test]
fn what_was_told_durable_survives_in_recycled_segments() {
    let mut tally = Tally::default();
    campaign::run("what_was_told_durable_survives_in_recycled_segments", 3, 200, |seed| {
        let mut trace = Trace::new(seed);
        trace.payload_bytes = 8192;
        lives(seed, trace, (1500, 10), &mut tally);
    });
    println!("{tally:?}");
}

/// The same with so many groups that a segment's opening takes several batches.
#[test]
fn what_was_told_durable_survives_with_many_groups() {
    let mut tally = Tally::default();
    campaign::run("what_was_told_durable_survives_with_many_groups", 3, 100, |seed| {
        let mut trace = Trace::new(seed);
        trace.groups = 500;
        lives(seed, trace, (1200, 8), &mut tally);
    });
    println!("{tally:?}");
}

/// A start that was cut off may have left a fresh segment in the page cache alone. The next one sees it, is cut off too,
/// and then power fails: nothing that is needed without that segment may be gone.
#[test]
fn two_starts_cut_off_one_after_the_other_lose_nothing() {
    let mut trace = Trace::new(3);
    trace.groups = 2;
    let mut model = Model::default();
    let mut host = Host::fresh(3, small_options());
    // Two segments in use, of which the first is kept for its group states only.
    while host.log.stats().segments < 3 || host.log.stats().bytes < 300 << 10 {
        let submission = trace.submission(&model.newest);
        model.submit(&submission);
        host.submit(submission);
        host.settle();
    }
    let rebases: Vec<_> =
        model.newest.iter().map(|(id, group)| rebase_to_last(*id, group)).collect();
    let submission = trace.wrap(rebases);
    model.submit(&submission);
    let (source, id) = (submission.source.0, submission.id.0);
    host.submit(submission);
    host.settle();
    model.durable(source, id);
    let starts = |disk: SimDisk, operations| {
        let mut disk = disk;
        disk.crash_in(operations);
        match Host::start(disk, small_options()) {
            Ok((host, _)) => host.disk,
            Err(down) => *down.disk,
        }
    };
    for first in 0..14 {
        let mut once = starts(host.disk.clone(), first);
        once.process_crash();
        for second in 0..14 {
            let mut twice = starts(once.clone(), second);
            twice.power_loss(PowerLoss::LoseAll);
            let (_, recovered) = Host::start(twice, small_options()).unwrap();
            model.check(&recovered);
        }
    }
}

fn rebase_to_last(id: GroupId, group: &ModelGroup) -> GroupWrite {
    let applied = group
        .entries
        .last()
        .map_or(group.base.applied, |entry| Applied { index: entry.index, term: entry.term });
    GroupWrite::Rebase { group: id, base: Base { applied, generation: 1000 } }
}
