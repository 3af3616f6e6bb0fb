//! What goes wrong with disks beyond stalls and failing syncs: full for a while, and damaged for good.

use ringfort_env::FileName;

use super::Run;
use super::faults::Undo;
use super::mix::SECOND;
use super::queue::Event;
use super::report::Count;

/// Disks lose sectors as wholes, in bytes.
const SECTOR: u64 = 512;
/// Places that are tried.
const TRIES: usize = 16;

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
        let tries = (0..TRIES).find_map(|_| self.any_place(node));
        let Some((file, from, to)) = tries else { return };
        self.end_process(node, true);
        let disk = &mut self.machines[node].disk;
        let struck = if to - from > 1 {
            let zeros = vec![0; usize::try_from(to - from).unwrap_or(0)];
            disk.overwrite(&file, from, &zeros)
        } else {
            disk.flip_bit(&file, from, u8::try_from(from % 8).unwrap_or(0))
        };
        if struck {
            self.machines[node].damaged = true;
            self.totals.add(Count::Damages, 1);
            self.note(|| format!("node {node}: {file} is damaged from {from} to {to}"));
        }
    }

    fn may_be_damaged(&self, node: usize) -> bool {
        let damaged = |at: &&usize| **at == node || self.machines[**at].damaged;
        self.mix
            .formed
            .groups()
            .filter(|holders| holders.contains(&node))
            .all(|holders| holders.iter().filter(damaged).count() <= (holders.len() - 1) / 2)
    }

    /// A bit's or a sector's place in any file, if damage there can be told from a torn tail.
    fn any_place(&mut self, node: usize) -> Option<(FileName, u64, u64)> {
        let files = self.machines[node].disk.files();
        let (file, length) = files.get(self.random.index(files.len().max(1)))?;
        if *length == 0 {
            return None;
        }
        let offset = self.random.below(*length);
        let (from, to) = match self.random.one_in(3) {
            true => (offset / SECTOR * SECTOR, (offset / SECTOR * SECTOR + SECTOR).min(*length)),
            false => (offset, offset + 1),
        };
        self.machines[node].is_proven(file, from, to).then(|| (file.clone(), from, to))
    }
}
