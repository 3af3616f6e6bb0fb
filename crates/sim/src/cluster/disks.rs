//! What goes wrong with disks beyond stalls and failing syncs: full for a while, and damaged for good.

use ringfort_env::FileName;

use super::Run;
use super::faults::Undo;
use super::machine::Place;
use super::mix::{MILLI, SECOND};
use super::queue::Event;
use super::report::Count;

/// Disks lose sectors as wholes, in bytes.
const SECTOR: u64 = 512;
/// Places that are tried.
const TRIES: usize = 16;

/// What becomes of a place on a disk.
#[derive(Clone, Copy, Debug)]
enum Harm {
    Flipped,
    Lost,
    Misdirected,
    Unreadable,
}

impl Harm {
    fn count(self) -> Count {
        match self {
            Self::Flipped => Count::BitsFlipped,
            Self::Lost => Count::SectorsLost,
            Self::Misdirected => Count::SectorsMisdirected,
            Self::Unreadable => Count::Unreadable,
        }
    }
}

impl Run {
    pub(super) fn fill_disk(&mut self, node: usize) {
        self.totals.add(Count::FullDisks, 1);
        let left = [0, 4 << 10, 300 << 10, 2 << 20][self.random.index(4)];
        let disk = &mut self.machines[node].disk;
        disk.set_capacity(Some(disk.used() + left));
        let until = self.now + self.random.between(SECOND, 10 * SECOND);
        self.queue.push(until, Event::Undo(Undo::Empty(node)));
    }

    /// The machine goes down, and bits that were synced are not what they were. Only on a minority of any group's copies.
    pub(super) fn damage(&mut self, node: usize) {
        if !self.may_be_damaged(node) || self.machines[node].process.is_none() {
            return;
        }
        if self.random.one_in(2) && self.part_laggards(node) {
            return;
        }
        // What a disk loses is seldom alone.
        let wanted = 1 + self.random.index(4);
        let places: Vec<_> = (0..TRIES).filter_map(|_| self.any_place(node)).take(wanted).collect();
        if places.is_empty() {
            return;
        }
        self.end_process(node, true);
        for place in places {
            self.strike(node, &place);
        }
    }

    /// First part of a plot against what a node acknowledged: some do not hear of it, as few as a quorum can do without.
    fn part_laggards(&mut self, node: usize) -> bool {
        let shard = self.any_shard();
        let mut others: Vec<_> = self.mix.holders(shard.0).filter(|at| *at != node).collect();
        if others.len() < 2 || !self.mix.holders(shard.0).any(|at| at == node) {
            return false;
        }
        let swap = self.random.index(others.len());
        others.swap(0, swap);
        let whole = others.split_off(others.len() / 2);
        let rest = || whole.iter().chain([&node]);
        let pairs: Vec<_> = others
            .iter()
            .flat_map(|late| rest().flat_map(move |other| [(*late, *other), (*other, *late)]))
            .collect();
        // Long enough for them to miss something, and not for more than is damaged then.
        let time = self.random.between(100 * MILLI, SECOND);
        self.part_for(pairs, time);
        self.queue.push(self.now + time, Event::Undo(Undo::Damage { node, whole }));
        true
    }

    /// Second part: it loses some of what it acknowledged, and those that have it whole are down, so that it and those that
    /// never heard of it are a quorum.
    pub(super) fn damage_newest(&mut self, node: usize, whole: &[usize]) {
        if !self.may_be_damaged(node) || self.machines[node].process.is_none() {
            return;
        }
        let newest: Vec<Place> =
            self.machines[node].proven_writes().rev().take(4).cloned().collect();
        self.end_process(node, true);
        let until = self.now + 6 * self.mix.election() + self.random.below(2 * SECOND);
        for node in whole {
            self.end_process(*node, false);
            self.machines[*node].held_until = until;
        }
        for batch in newest {
            let from = batch.from + self.random.below((batch.to - batch.from).max(1));
            self.strike(node, &Place { from, to: from + 1, ..batch });
        }
    }

    /// A bit flips, a sector is lost or holds what belongs elsewhere, or what is there cannot be read for a while.
    fn strike(&mut self, node: usize, place: &Place) {
        let harm = match self.random.below(8) {
            0 | 1 => Harm::Unreadable,
            2 => Harm::Misdirected,
            _ if place.to - place.from > 1 => Harm::Lost,
            _ => Harm::Flipped,
        };
        let elsewhere = self.written_elsewhere(node, place);
        let disk = &mut self.machines[node].disk;
        let Place { file, from, to } = place;
        let struck = match harm {
            Harm::Flipped => disk.flip_bit(file, *from, u8::try_from(from % 8).unwrap_or(0)),
            Harm::Lost => {
                disk.overwrite(file, *from, &vec![0; usize::try_from(to - from).unwrap_or(0)])
            }
            Harm::Misdirected => disk.overwrite(file, from / SECTOR * SECTOR, &elsewhere),
            Harm::Unreadable => {
                let until = self.now + self.random.between(200 * MILLI, 3 * SECOND);
                self.queue.push(until, Event::Undo(Undo::ReadAgain(node)));
                disk.fail_reads_of(file, *from..*to)
            }
        };
        if struck {
            self.machines[node].damaged = true;
            self.totals.add(Count::Damages, 1);
            self.totals.add(harm.count(), 1);
            self.note(|| format!("node {node}: {file} is damaged from {from} to {to}: {harm:?}"));
        }
    }

    /// A sector of another place of the node's disk, as a write that went to the wrong one leaves it; as much of it as there is
    /// room for.
    fn written_elsewhere(&mut self, node: usize, place: &Place) -> Vec<u8> {
        let machine = &self.machines[node];
        let files = machine.disk.files();
        let (file, length) = &files[self.random.index(files.len())];
        let at = self.random.below(length / SECTOR + 1) * SECTOR;
        let bytes =
            machine.disk.content(file).and_then(|content| content.get(usize::try_from(at).ok()?..));
        let room = machine.disk.content(&place.file).map_or(0, |content| {
            content.len().saturating_sub(usize::try_from(place.from / SECTOR * SECTOR).unwrap_or(0))
        });
        let sector = usize::try_from(SECTOR).unwrap_or(0);
        bytes.unwrap_or_default().iter().take(sector.min(room)).copied().collect()
    }

    fn may_be_damaged(&self, node: usize) -> bool {
        let damaged = |at: &&usize| **at == node || self.machines[**at].damaged;
        self.mix
            .formed
            .groups()
            .filter(|holders| holders.contains(&node))
            .all(|holders| holders.iter().filter(damaged).count() <= (holders.len() - 1) / 2)
    }

    /// A bit's or a sector's place, if damage there can be told from a torn tail: mostly in what a start needs.
    fn any_place(&mut self, node: usize) -> Option<Place> {
        let machine = &self.machines[node];
        let whole = |(file, to): (FileName, u64)| Place { file, from: 0, to };
        let within = match self.random.index(4) {
            0 | 1 => {
                let batches = machine.proven_writes();
                let chosen = self.random.index(batches.len().max(1));
                machine.proven_writes().nth(chosen).cloned()
            }
            kind => {
                let mut files = machine.disk.files();
                files.retain(|(file, _)| kind == 3 || file.as_str().ends_with(".snap"));
                let chosen = self.random.index(files.len().max(1));
                files.into_iter().nth(chosen).map(whole)
            }
        }?;
        let length = within.to.checked_sub(within.from).filter(|length| *length > 0)?;
        let offset = within.from + self.random.below(length);
        let place = match self.random.one_in(3) {
            true => {
                let from = offset / SECTOR * SECTOR;
                let end = machine.disk.content(&within.file)?.len() as u64;
                Place { from, to: (from + SECTOR).min(end), ..within }
            }
            false => Place { from: offset, to: offset + 1, ..within },
        };
        machine.is_proven(&place).then_some(place)
    }
}
