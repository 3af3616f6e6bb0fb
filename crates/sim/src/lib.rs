//! The simulator: everything outside a core, from one seed and under control.

mod disk;
mod random;

pub use disk::{DiskCounts, PowerLoss, SimDisk};
pub use random::Random;
