//! What goes wrong with disks beyond stalls and failing syncs: full for a while, and damaged for good.

use ringfort_env::FileName;

use super::Run;
use super::faults::Undo;
use super::mix::SECOND;
use super::queue::Event;
use super::report::Count;

/// Disks lose sectors as wholes, in bytes.
const SECTOR: u64 = 512;

impl Run {
    pub(super) fn fill_disk(&mut self, node: usize) {
        self.totals.add(Count::FullDisks, 1);
        let left = [0, 4 << 10, 300 << 10, 2 << 20][self.random.index(4)];
        let disk = &mut self.machines[node].disk;
        disk.set_capacity(Some(disk.used() + left));
        let until = self.now + self.random.between(SECOND, 10 * SECOND);
        self.queue.push(until, Event::Undo(Undo::Empty(node)));
    }

    /// The machine goes down, and bits that were synced are not what they were. Only on a minority of any shard's copies.
    pub(super) fn damage(&mut self, node: usize) {
        if !self.may_be_damaged(node) || self.machines[node].process.is_none() {
            return;
        }
        let Some((file, length)) = self.any_file(node) else { return };
        let offset = self.random.below(length);
        let lost = self.random.one_in(3);
        let (from, to) = match lost {
            true => (offset / SECTOR * SECTOR, (offset / SECTOR * SECTOR + SECTOR).min(length)),
            false => (offset, offset + 1),
        };
        if !self.machines[node].is_proven(&file, from, to) {
            return;
        }
        self.end_process(node, true);
        let disk = &mut self.machines[node].disk;
        let struck = if lost {
            let zeros = vec![0; usize::try_from(to - from).unwrap_or(0)];
            disk.overwrite(&file, from, &zeros)
        } else {
            disk.flip_bit(&file, offset, u8::try_from(offset % 8).unwrap_or(0))
        };
        if struck {
            self.machines[node].damaged = true;
            self.totals.add(Count::Damages, 1);
            self.note(|| format!("node {node}: {file} is damaged from {from} to {to}"));
        }
    }

    fn may_be_damaged(&self, node: usize) -> bool {
        (0..self.mix.shards).filter(|shard| self.mix.holders(*shard).any(|at| at == node)).all(
            |shard| {
                let damaged = |at: &usize| *at == node || self.machines[*at].damaged;
                self.mix.holders(shard).filter(damaged).count() <= (self.mix.replicas - 1) / 2
            },
        )
    }

    fn any_file(&mut self, node: usize) -> Option<(FileName, u64)> {
        let files = self.machines[node].disk.files();
        let (file, length) = files.get(self.random.index(files.len().max(1)))?;
        (*length > 0).then(|| (file.clone(), *length))
    }
}
