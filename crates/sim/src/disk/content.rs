//! One file of the simulated disk: its present content, and what its next power loss may undo.

use std::sync::Arc;

use bytes::Bytes;

use super::PowerLoss;
use crate::Random;

/// Disks write sectors as wholes.
const SECTOR: usize = 512;

/// Bytes that a write replaced.
#[derive(Clone, Debug)]
pub(super) struct Replaced {
    offset: usize,
    bytes: Vec<u8>,
    /// How many bytes were written there.
    length: usize,
    /// Length of the file before.
    file_length: usize,
}

/// One file's content.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    pub(super) now: Arc<Vec<u8>>,
    /// Since the last sync, in order.
    pub(super) replaced: Vec<Replaced>,
}

impl Content {
    pub(super) fn read(&self, offset: u64, len: usize) -> Bytes {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.now.len());
        let to = from.saturating_add(len).min(self.now.len());
        Bytes::copy_from_slice(&self.now[from..to])
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        let offset = usize::try_from(offset).expect("a simulated file fits in memory");
        let end = offset + bytes.len();
        let now = Arc::make_mut(&mut self.now);
        let file_length = now.len();
        let old = now.get(offset..end.min(file_length)).unwrap_or_default().to_vec();
        self.replaced.push(Replaced { offset, bytes: old, length: bytes.len(), file_length });
        if now.len() < end {
            now.resize(end, 0);
        }
        now[offset..end].copy_from_slice(bytes);
    }

    pub(super) fn truncate(&mut self, len: usize) {
        let now = Arc::make_mut(&mut self.now);
        let file_length = now.len();
        let old = now.get(len..).unwrap_or_default().to_vec();
        let length = old.len().max(len.saturating_sub(file_length));
        let offset = len.min(file_length);
        self.replaced.push(Replaced { offset, bytes: old, length, file_length });
        now.resize(len, 0);
    }

    /// What was durable, by undoing everything since the last sync.
    fn durable(&self) -> Vec<u8> {
        let mut durable = Vec::clone(&self.now);
        for replaced in self.replaced.iter().rev() {
            durable.resize(replaced.file_length, 0);
            let end = replaced.offset + replaced.bytes.len();
            durable[replaced.offset..end].copy_from_slice(&replaced.bytes);
        }
        durable
    }

    /// Loses what was not synced, by a pattern.
    pub(super) fn lose(&mut self, pattern: PowerLoss, random: &mut Random) {
        if self.replaced.is_empty() {
            return;
        }
        let durable = self.durable();
        let mut sectors: Vec<usize> = Vec::new();
        for replaced in &self.replaced {
            let last = replaced.offset + replaced.length.max(1);
            sectors.extend(replaced.offset / SECTOR..last.div_ceil(SECTOR));
        }
        self.replaced.clear();
        let torn = random.index(sectors.len() + 1);
        let kept: Vec<usize> = match pattern {
            PowerLoss::LoseAll => Vec::new(),
            PowerLoss::Torn => sectors[..torn].to_vec(),
            PowerLoss::Partial => {
                sectors.sort_unstable();
                sectors.dedup();
                sectors.retain(|_| random.one_in(2));
                sectors
            }
            PowerLoss::KeepAll | PowerLoss::Any => return,
        };
        let now = std::mem::take(&mut self.now);
        let mut left = durable;
        for sector in kept {
            let from = sector * SECTOR;
            let to = (from + SECTOR).min(now.len());
            if from < to {
                if left.len() < to {
                    left.resize(to, 0);
                }
                left[from..to].copy_from_slice(&now[from..to]);
            }
        }
        self.now = Arc::new(left);
    }
}
