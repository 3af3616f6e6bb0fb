//! Disks that fail and disks that are full.

mod failing;
mod full;
mod quota;
