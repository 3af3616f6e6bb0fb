//! The simulator: everything outside a core, from one seed and under control.

pub mod cluster;
mod disk;
pub mod group;
mod node;
mod random;

pub use disk::{DiskCounts, PowerLoss, SimDisk};
pub use node::{SimNode, SimNodeOptions, Stopped};
pub use random::Random;
